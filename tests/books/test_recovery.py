"""What is left of a worker that died: all of it, once."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.books import recovery as recovery_module
from aipool.books.recovery import Ending, Recovery
from aipool.calls import service as calls
from aipool.calls.types import CallRow
from aipool.doors import records
from aipool.doors.frames import Fenced, Welcome
from aipool.doors.records import Hold, Lost, Returned
from aipool.ledger import service as ledger
from aipool.ledger.types import EpochState
from tests.books.rig import (
    CNY,
    FakeWorker,
    Installation,
    hold,
    installation,
    outcome,
    progress,
)
from tests.waiting import eventually

pytestmark = pytest.mark.slow

EPOCH = 7
START = 100 * CNY


@pytest.fixture
def books(tmp_path: Path, kind: str) -> Iterator[Installation]:
    """The user has money; no process runs until a test starts it."""
    with installation(tmp_path / "data", kind) as books:
        books.credit(1, START)
        yield books


@pytest.fixture
def running(books: Installation) -> Installation:
    """The same with the process."""
    books.start()
    return books


@pytest.fixture
def worker(books: Installation) -> FakeWorker:
    """Worker 7, with a lease."""
    one = FakeWorker(books, EPOCH)
    assert isinstance(one.connect(), Welcome)
    one.lease(1, CNY)
    return one


def closed(books: Installation) -> bool:
    with books.database.read() as connection:
        stream = ledger.find_epochs(connection, [EPOCH])[EPOCH]
    return stream.state is EpochState.CLOSED


def frozen(books: Installation) -> bool:
    with books.database.read() as connection:
        return bool(ledger.epochs_in(connection, EpochState.FROZEN))


def row(books: Installation, of: Hold) -> CallRow | None:
    with books.database.read() as connection:
        return calls.get(connection, of.rid)


def recovered(books: Installation, worker: FakeWorker) -> int:
    """Lets the worker die and recovers its epoch; how many calls had been open."""
    worker.die()
    (ended,) = Recovery(books.database, books.epochs).sweep()
    assert ended.how is Ending.RECOVERED
    assert closed(books)
    assert not worker.directory.exists()
    assert books.balance(1)[1] == 0
    return ended.calls


def test_what_was_settled_but_not_shipped_is_charged_exactly(
    books: Installation, worker: FakeWorker
) -> None:
    done = [hold(1, 1000, token_id=5) for _ in range(3)]
    for one in done:
        worker.write(one)
        worker.write(outcome(one, 100, 50))
    worker.write(Returned("wallet:1", 0, 1000))

    assert recovered(books, worker) == 0

    assert books.balance(1) == (START - 600, 0)
    for one in done:
        call = row(books, one)
        assert call is not None
        assert (call.charged_nano, call.recovered, call.status) == (200, False, 200)


def test_a_stream_that_was_cut_is_charged_to_its_last_progress(
    books: Installation, worker: FakeWorker
) -> None:
    cut = hold(1, 1000, stream=True)
    worker.write(cut)
    worker.write(progress(cut, 100, 64))
    worker.write(progress(cut, 100, 128))

    recovered(books, worker)

    call = row(books, cut)
    assert call is not None
    assert (call.charged_nano, call.recovered) == (356, True)
    assert (call.status, call.error) == (500, "worker_lost")
    assert (call.input_tokens, call.output_tokens) == (100, 128)
    assert books.balance(1)[0] == START - 356


def test_a_cut_stream_is_never_charged_above_its_hold(
    books: Installation, worker: FakeWorker
) -> None:
    cut = hold(1, 300, stream=True)
    worker.write(cut)
    worker.write(progress(cut, 100, 5000))

    recovered(books, worker)

    call = row(books, cut)
    assert call is not None
    assert (call.charged_nano, call.written_off_nano) == (300, 0)


def test_a_call_without_progress_is_void(books: Installation, worker: FakeWorker) -> None:
    waiting = hold(1, 1000)
    worker.write(waiting)

    assert recovered(books, worker) == 1

    call = row(books, waiting)
    assert call is not None
    assert (call.charged_nano, call.recovered, call.usage_source) == (0, True, 0)
    assert books.balance(1)[0] == START


def test_a_shipped_call_is_not_charged_again(books: Installation, worker: FakeWorker) -> None:
    shipped, later = hold(1, 1000), hold(1, 1000)
    worker.write(shipped)
    worker.write(outcome(shipped, 100, 0))
    worker.ship_and_wait()
    worker.write(later)
    worker.write(outcome(later, 7, 0))

    recovered(books, worker)

    assert books.balance(1)[0] == START - 107


def test_the_running_process_recovers_a_worker_and_fences_its_epoch(
    running: Installation, worker: FakeWorker
) -> None:
    one = hold(1, 1000)
    worker.write(one)
    worker.write(outcome(one, 100, 0))

    worker.die()
    eventually(lambda: closed(running), "the epoch is closed")
    eventually(lambda: not worker.directory.exists(), "its directory is deleted")
    ghost = FakeWorker(running, EPOCH)

    assert running.balance(1) == (START - 100, 0)
    assert isinstance(ghost.connect(), Fenced)


def test_a_worker_that_died_while_no_ledger_process_ran_is_recovered_at_its_start(
    books: Installation, worker: FakeWorker
) -> None:
    one = hold(1, 1000)
    worker.write(one)
    worker.write(outcome(one, 100, 0))
    worker.die()

    books.start()

    eventually(lambda: closed(books), "the epoch is closed")
    assert books.balance(1) == (START - 100, 0)


def test_a_worker_that_is_stopped_is_not_taken_for_dead(
    books: Installation, worker: FakeWorker
) -> None:
    """It holds its lock; that it says nothing means nothing."""
    other = FakeWorker(books, 8)
    other.connect()

    other.die()
    ended = Recovery(books.database, books.epochs).sweep()

    assert [one.epoch for one in ended] == [8]
    assert not closed(books)
    assert books.balance(1)[1] > 0


def test_a_torn_tail_is_dropped(books: Installation, worker: FakeWorker) -> None:
    whole, torn = hold(1, 1000), hold(1, 1000)
    worker.write(whole)
    worker.write(outcome(whole, 100, 0))
    worker.sync()
    worker.write(torn)
    worker.write(outcome(torn, 50, 0))
    with worker.segment.open("r+b") as file:
        file.truncate(worker.position - 3)

    recovered(books, worker)

    assert books.balance(1)[0] == START - 100
    call = row(books, torn)
    assert call is not None
    assert (call.charged_nano, call.recovered) == (0, True)


@pytest.mark.parametrize("rotated", [False, True])
def test_a_damaged_journal_is_not_guessed_at(
    running: Installation, worker: FakeWorker, rotated: bool
) -> None:
    good, bad = hold(1, 1000), hold(1, 1000)
    worker.write(Returned("wallet:1", 0, 1000))
    worker.ship_and_wait()
    worker.write(good)
    worker.write(outcome(good, 100, 0))
    damaged = worker.position + 30
    worker.write(bad)
    worker.write(outcome(bad, 50, 0))
    first = worker.segment
    if rotated:
        worker.rotate()
    worker.sync()
    with first.open("r+b") as file:
        file.seek(damaged)
        file.write(b"\xff\xff")

    worker.die()
    eventually(lambda: frozen(running), "the epoch is frozen")

    balance, leased = running.balance(1)
    assert (balance, leased) == (START - 100, 2 * CNY - 1000 - 100)
    assert worker.directory.exists()
    assert "journal_corrupt" in running.log()
    assert row(running, bad) is None
    running.kill()
    running.start()
    assert frozen(running)
    assert "epochs_frozen" in running.log()


def test_a_missing_journal_frees_the_leases_and_is_told(
    books: Installation, worker: FakeWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    (worker.directory / records.LOCK_NAME).unlink()
    worker.segment.unlink()
    worker.directory.rmdir()

    (ended,) = Recovery(books.database, books.epochs).sweep()

    assert ended.how is Ending.MISSING
    assert closed(books)
    assert books.balance(1) == (START, 0)
    assert "journal_missing" in capsys.readouterr().out


def test_books_ahead_of_the_journal_are_left_as_they_are(
    books: Installation, worker: FakeWorker
) -> None:
    """A power cut can take the journal's last moments, but not what was recorded."""
    one = hold(1, 1000, stream=True)
    worker.write(one)
    before = worker.write(progress(one, 100, 64))
    worker.write(outcome(one, 100, 200))
    worker.ship_and_wait()
    with worker.segment.open("r+b") as file:
        file.truncate(before)

    recovered(books, worker)

    assert books.balance(1)[0] == START - 500
    call = row(books, one)
    assert call is not None
    assert (call.charged_nano, call.recovered) == (500, False)


def test_a_call_open_across_segments_is_found_in_the_newest(
    books: Installation, worker: FakeWorker
) -> None:
    old, long = hold(1, 1000), hold(1, 1000, stream=True)
    worker.write(old)
    worker.write(long)
    worker.write(progress(long, 10, 10))
    worker.write(outcome(old, 100, 0))
    worker.ship_and_wait()
    first = worker.segment
    worker.rotate()
    worker.write(long)
    worker.write(progress(long, 10, 20))
    first.unlink()

    recovered(books, worker)

    call = row(books, long)
    assert call is not None
    assert call.charged_nano == 50
    assert books.balance(1)[0] == START - 150


def test_a_segment_that_begins_later_than_the_last_one_ended_is_read_on(
    books: Installation, worker: FakeWorker, capsys: pytest.CaptureFixture[str]
) -> None:
    """What could not be written left a hole; the writer went on in a new segment."""
    one, two = hold(1, 1000), hold(1, 1000)
    worker.write(one)
    worker.write(outcome(one, 100, 0))
    end, worker.position = worker.position, worker.position + 500
    worker.rotate()
    worker.write(Lost(end, worker.position))
    worker.write(two)
    worker.write(outcome(two, 10, 0))
    worker.sync()

    recovered(books, worker)

    assert books.balance(1)[0] == START - 110
    assert "journal_has_a_hole" in capsys.readouterr().out


# --- in pieces, and again -----------------------------------------------------------------------


class Stopped(BaseException):
    """The process ends here."""


@pytest.mark.parametrize("survived", range(6))
def test_recovery_that_was_cut_off_anywhere_ends_in_the_same_books(
    books: Installation, worker: FakeWorker, monkeypatch: pytest.MonkeyPatch, survived: int
) -> None:
    monkeypatch.setattr(recovery_module, "CHUNK_ENTRIES", 3)
    for number in range(12):
        one = hold(1, 1000, token_id=5, stream=True)
        worker.write(one)
        worker.write(progress(one, 10, 0))
        if number % 2:
            worker.write(outcome(one, 100, 0))
    worker.die()

    recovery = Recovery(books.database, books.epochs)
    write, left = recovery._write, survived

    def write_until_stopped(*args: object) -> object:
        nonlocal left
        if not left:
            raise Stopped
        left -= 1
        return write(*args)  # type: ignore[arg-type]

    with monkeypatch.context() as patched:
        patched.setattr(recovery, "_write", write_until_stopped)
        try:
            recovery.sweep()
        except Stopped:
            pass
    again = recovery.sweep()
    nothing_left = recovery.sweep()

    assert [ended.how for ended in again] in ([Ending.RECOVERED], [])
    assert nothing_left == []
    assert books.balance(1) == (START - 6 * 100 - 6 * 10, 0)
    assert not worker.directory.exists()


def test_directories_of_nobody_are_left_while_they_are_young(tmp_path: Path) -> None:
    books = Installation(tmp_path / "data")
    epochs = books.epochs
    recovery = Recovery(books.database, epochs)
    starting, over, alive = FakeWorker(books, 1), FakeWorker(books, 2), FakeWorker(books, 3)
    with books.database.write() as tx:
        ledger.open_epoch(tx, 2, worker=0, pid=1, at_ms=1)
        ledger.close_epoch(tx, 2, 2)
    starting.die()
    over.die()

    recovery.tidy()

    assert list(epochs.present()) == [1, 3]
    alive.die()
    books.close()


def test_directories_of_nobody_go_when_nobody_claims_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recovery_module, "UNREGISTERED_SECONDS", -1)
    books = Installation(tmp_path / "data")
    dead, alive = FakeWorker(books, 1), FakeWorker(books, 3)
    dead.die()

    Recovery(books.database, books.epochs).tidy()

    assert list(books.epochs.present()) == [3]
    alive.die()
    books.close()
