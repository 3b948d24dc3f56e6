"""Nobody is refused what lies unused elsewhere, and nobody waits for who does not answer."""

from __future__ import annotations

import itertools
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.doors.frames import Collect, Collected, GivenBack, Recall, Today, Welcome
from aipool.doors.records import Returned
from aipool.kit.clock import now_ms
from aipool.ledger.rules import day_of
from aipool.ledger.types import Note
from tests.books.rig import CNY, FakeWorker, Installation, installation

pytestmark = pytest.mark.slow

WALLET = (("wallet:1", 0),)
_epochs = itertools.count(100)


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Installation]:
    with installation(tmp_path / "data") as books:
        books.credit(1, CNY)
        books.start()
        yield books


def worker(books: Installation) -> FakeWorker:
    one = FakeWorker(books, next(_epochs))
    assert isinstance(one.connect(), Welcome)
    return one


def collect(asker: FakeWorker, number: int = 9) -> None:
    asker.send(Collect(number, WALLET))


def give_back(holder: FakeWorker, nano: int) -> None:
    """Does what a worker does when it is recalled."""
    recall = holder.hear(Recall)
    assert isinstance(recall, Recall)
    assert recall.budgets == WALLET
    end = holder.write(Returned("wallet:1", 0, nano))
    holder.send(GivenBack(recall.number, end))
    holder.ship_and_wait()


def answer(asker: FakeWorker) -> Collected:
    heard = asker.hear(Collected)
    assert isinstance(heard, Collected)
    return heard


def test_what_a_holder_gives_back_can_be_lent_to_who_asked(running: Installation) -> None:
    holder, asker = worker(running), worker(running)
    holder.lease(1, CNY)
    (refused,) = asker.lease(1, CNY).chains[0]

    collect(asker)
    give_back(holder, CNY)

    assert refused.note == Note.ELSEWHERE
    assert answer(asker) == Collected(9, complete=True)
    assert asker.lease(1, CNY).chains[0][0].amount == CNY


def test_without_holders_the_answer_is_at_once(running: Installation) -> None:
    asker = worker(running)
    asker.lease(1, CNY)

    collect(asker)

    assert answer(asker) == Collected(9, complete=True)


def test_a_silent_holder_is_waited_for_no_longer_than_a_tenth_of_a_second(
    running: Installation,
) -> None:
    holder, asker = worker(running), worker(running)
    holder.lease(1, CNY)

    collect(asker)

    assert answer(asker) == Collected(9, complete=False)


def test_what_is_given_back_counts_only_once_it_is_recorded(running: Installation) -> None:
    holder, asker = worker(running), worker(running)
    holder.lease(1, CNY)

    collect(asker)
    recall = holder.hear(Recall)
    assert isinstance(recall, Recall)
    holder.send(GivenBack(recall.number, holder.write(Returned("wallet:1", 0, CNY))))

    assert answer(asker) == Collected(9, complete=False)


def test_a_holder_that_has_nothing_free_has_answered_too(running: Installation) -> None:
    holder, asker = worker(running), worker(running)
    holder.lease(1, CNY)

    collect(asker)
    recall = holder.hear(Recall)
    assert isinstance(recall, Recall)
    holder.send(GivenBack(recall.number, 0))

    assert answer(asker) == Collected(9, complete=True)


def test_the_journal_of_a_dead_holder_gives_its_leases_back(running: Installation) -> None:
    holder, asker = worker(running), worker(running)
    holder.lease(1, CNY)
    holder.die()

    complete = False
    for number in range(50):
        collect(asker, number)
        complete = answer(asker).complete
        if complete:
            break

    assert complete
    assert asker.lease(1, CNY).chains[0][0].amount == CNY


def test_a_writer_may_ask_too(running: Installation) -> None:
    holder = worker(running)
    holder.lease(1, CNY)
    writer = FakeWorker(running, next(_epochs))
    writer.socket = socket.socket(socket.AF_UNIX)
    writer.socket.settimeout(10)
    writer.socket.connect(str(running.link_path))

    collect(writer)
    give_back(holder, CNY)

    assert answer(writer) == Collected(9, complete=True)
    running.debit(1, CNY)
    writer.unlock()


def test_a_worker_is_told_what_day_it_is(running: Installation) -> None:
    assert worker(running).hear(Today) == Today(day_of(now_ms()))
