"""The ledger process as its workers and its supervisor see it."""

from __future__ import annotations

import contextlib
import itertools
import os
import random
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.doors.frames import (
    Acquire,
    Fenced,
    FetchToken,
    Granted,
    Need,
    Publish,
    Ship,
    TokenAnswer,
    Welcome,
)
from aipool.doors.records import Returned
from tests.books.rig import CNY, FakeWorker, Installation, hold, installation, outcome
from tests.waiting import eventually

_epochs = itertools.count(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    """A process that no test kills."""
    with installation(tmp_path_factory.mktemp("main") / "data") as books:
        books.start()
        yield books


@pytest.fixture
def running(shared: Installation) -> Iterator[Installation]:
    """That process without the workers of other tests; user 1 has 100 yuan."""
    if shared.has_wallet(1):
        shared.debit(1, shared.balance(1)[0])
    shared.credit(1, 100 * CNY)
    yield shared
    for one in shared.workers:
        one.die()
    eventually(lambda: not shared.open_epochs(), "all workers are recovered")


@pytest.fixture
def mortal(tmp_path: Path) -> Iterator[Installation]:
    """A process of a test's own; user 1 has 100 yuan."""
    with installation(tmp_path / "data") as books:
        books.credit(1, 100 * CNY)
        books.start()
        yield books


def worker(books: Installation, *, pid: int = 4242) -> FakeWorker:
    one = FakeWorker(books, next(_epochs), pid=pid)
    assert isinstance(one.connect(), Welcome)
    return one


def test_a_worker_is_welcomed_lent_to_and_recorded(running: Installation) -> None:
    one = worker(running)
    published = one.hear(Publish)

    granted = one.lease(1, CNY)
    call = hold(1, 1000, token_id=5)
    one.write(call)
    end = one.write(outcome(call, 100, 200))
    recorded = one.ship_and_wait()

    assert isinstance(published, Publish)
    assert published.snapshot is not None
    assert granted.chains[0][0].amount == 2 * CNY
    assert recorded.high_water == end
    assert running.balance(1) == (100 * CNY - 500, 2 * CNY - 500)


def test_a_worker_that_connects_again_is_answered_as_before(running: Installation) -> None:
    one = worker(running)
    first = one.lease(1, CNY)
    one.hang_up()

    one.connect()
    one.send(Acquire(1, ((Need("wallet:1", 0, CNY, CNY),),)))

    assert one.hear(Granted) == first
    assert running.balance(1)[1] == 2 * CNY


def test_a_hello_without_the_lock_is_fenced(running: Installation) -> None:
    one = FakeWorker(running, next(_epochs))
    one.unlock()

    assert isinstance(one.connect(), Fenced)


def test_entries_out_of_place_close_the_line_and_the_next_hello_tells_the_place(
    running: Installation,
) -> None:
    one = worker(running)
    call = hold(1, 1000)
    one.write(call)
    end = one.write(outcome(call, 1, 0))
    one.ship_and_wait()

    one.send(Ship(end + 50, end + 90, ()))
    with pytest.raises(ConnectionResetError):
        one.hear(Granted)

    assert one.connect() == Welcome(end)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\xff\xff\xff\xff",
        b"\x03\x00\x00\x00abc",
        b"\x02\x00\x00\x00\x91\x63",
        # an Acquire before any Hello
        b"\x04\x00\x00\x00\x93\x04\x01\x90",
    ],
    ids=["too long", "no msgpack", "no such message", "before hello"],
)
def test_what_cannot_be_understood_closes_only_its_own_line(
    running: Installation, garbage: bytes
) -> None:
    good = worker(running)
    bad = FakeWorker(running, next(_epochs))
    bad.connect()
    if garbage.startswith(b"\x04"):
        bad.hang_up()
        bad.socket = socket.socket(socket.AF_UNIX)
        bad.socket.connect(str(running.link_path))

    assert bad.socket is not None
    bad.socket.sendall(garbage)
    with pytest.raises(ConnectionResetError):
        bad.hear(Granted)

    assert good.lease(1, CNY).chains[0][0].amount > 0


def test_an_entry_that_is_none_moves_nothing(running: Installation) -> None:
    one = worker(running)

    one.send(Ship(0, 40, (b"\x93\xa1X\x01\x02",)))
    with pytest.raises(ConnectionResetError):
        one.hear(Granted)

    assert one.connect() == Welcome(0)


def test_a_call_that_cannot_be_written_does_not_hold_up_the_others(running: Installation) -> None:
    """A number beyond 64 bits cannot be stored; whoever sent it hears nothing, others do."""
    good, bad = worker(running), worker(running)
    absurd = hold(2**63, 0)
    bad.write(outcome(absurd, 0, 0))
    call = hold(1, 1000)
    good.write(outcome(call, 1, 0))

    bad.ship()
    good.ship_and_wait()

    with pytest.raises(ConnectionResetError):
        bad.hear(Granted)
    assert "request_turned_away" in running.log()
    bad.die()
    eventually(lambda: bad.epoch not in running.open_epochs(), "its journal was looked at")
    assert "journal_not_writable_to_the_books" in running.log()
    good.lease(1, CNY)


def test_a_call_shipped_twice_at_different_places_is_recorded_once(running: Installation) -> None:
    one = worker(running)
    call = hold(1, 1000)
    one.write(outcome(call, 10, 0))
    one.ship_and_wait()

    one.write(outcome(call, 10, 0))
    end = one.write(outcome(hold(1, 1000), 5, 0))

    assert one.ship_and_wait().high_water == end
    assert running.balance(1)[0] == 100 * CNY - 15


def test_a_token_nobody_has_is_answered_with_none(running: Installation) -> None:
    one = worker(running)

    for number in range(40):
        one.send(FetchToken(number, bytes([number]) * 32))
    answers = [one.hear(TokenAnswer) for _ in range(40)]

    assert answers == [TokenAnswer(number, 0, None) for number in range(40)]


@pytest.mark.slow
def test_killed_at_any_moment_the_process_records_each_call_once(mortal: Installation) -> None:
    one = worker(mortal)
    one.lease(1, CNY)
    chance = random.Random(7)
    charged = 0
    for _ in range(5):
        for _ in range(30):
            call = hold(1, 1000, token_id=5)
            one.write(call)
            one.write(outcome(call, 3, 1))
            charged += 5
        one.ship()
        time.sleep(chance.random() * 0.02)
        mortal.kill()
        mortal.start()
        one.connect()
        if one.unshipped:
            one.ship_and_wait()
        mortal.assert_books_agree()

    assert mortal.balance(1)[0] == 100 * CNY - charged


def test_a_process_that_starts_again_knows_its_leases(mortal: Installation) -> None:
    one = worker(mortal)
    one.lease(1, CNY)
    leased = mortal.balance(1)[1]

    mortal.kill()
    mortal.start()

    assert mortal.balance(1)[1] == leased
    one.connect()
    one.write(Returned("wallet:1", 0, leased))
    one.ship_and_wait()
    assert mortal.balance(1)[1] == 0


@pytest.mark.slow
def test_a_locked_database_delays_answers_but_not_the_heartbeat(running: Installation) -> None:
    one = worker(running)
    locked, release = threading.Event(), threading.Event()

    def keep_lock() -> None:
        with running.database.write():
            locked.set()
            release.wait(20)

    holder = threading.Thread(target=keep_lock)
    holder.start()
    locked.wait(20)
    one.send(Acquire(1, ((Need("wallet:1", 0, CNY, CNY),),)))
    with contextlib.suppress(BlockingIOError):
        os.read(running.heartbeat, 65536)
    for _ in range(2):
        running.wait_said("beat")
    assert running.balance(1)[1] == 0
    release.set()
    holder.join()

    assert isinstance(one.hear(Granted), Granted)


def test_other_writers_get_their_turn_under_load(running: Installation) -> None:
    one = worker(running)
    stop = threading.Event()

    def ship_without_pause() -> None:
        while not stop.is_set():
            call = hold(1, 0)
            one.write(outcome(call, 0, 0))
            one.ship_and_wait()

    shipping = threading.Thread(target=ship_without_pause)
    shipping.start()
    for _ in range(20):
        running.credit(2, 5)
    stop.set()
    shipping.join()

    assert running.balance(2) == (100, 0)


@pytest.mark.slow
def test_only_a_live_worker_that_does_not_answer_is_reported(mortal: Installation) -> None:
    left = worker(mortal, pid=1111)
    silent = worker(mortal, pid=2222)
    answering = worker(mortal, pid=3333)
    gone = worker(mortal, pid=4444)
    left.hang_up()
    gone.die()
    assert silent.socket is not None
    answering.hear(Publish)

    stop = threading.Event()

    def answer_pings() -> None:
        while not stop.is_set():
            answering.lease(1, 1)
            time.sleep(0.05)

    talking = threading.Thread(target=answer_pings)
    talking.start()
    said = b""

    def both() -> bool:
        nonlocal said
        try:
            said += os.read(mortal.heartbeat, 65536)
        except BlockingIOError:
            return False
        return b"unreachable 1111\n" in said and b"unreachable 2222\n" in said

    eventually(both, "both reported")
    stop.set()
    talking.join()

    assert b"3333" not in said
    assert b"4444" not in said
    assert said.count(b"unreachable") == 2


def test_told_to_stop_it_writes_what_it_has_and_closes_whose_workers_are_gone(
    mortal: Installation,
) -> None:
    one = worker(mortal)
    one.lease(1, CNY)
    call = hold(1, 1000)
    one.write(outcome(call, 10, 0))
    one.ship_and_wait()
    one.die()

    code = mortal.stop()

    assert code == 0
    assert mortal.balance(1) == (100 * CNY - 10, 0)
    assert not (mortal.data_dir / "aipool.db-wal").exists() or (
        (mortal.data_dir / "aipool.db-wal").stat().st_size == 0
    )
