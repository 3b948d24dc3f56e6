"""Changes reach every live worker, and the writer learns when."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.doors.announce import announce
from aipool.doors.frames import Acknowledged, Changed, Publish, Welcome
from tests.books.rig import FakeWorker, Installation, installation
from tests.waiting import eventually

_epochs = itertools.count(1)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Installation]:
    with installation(tmp_path_factory.mktemp("broadcast") / "data") as books:
        books.start()
        yield books


@pytest.fixture
def running(shared: Installation) -> Iterator[Installation]:
    """The process, without the workers of other tests."""
    yield shared
    for one in shared.workers:
        one.die()
    eventually(lambda: not shared.open_epochs(), "all workers are recovered")


def worker(books: Installation, *, index: int = 0) -> FakeWorker:
    one = FakeWorker(books, next(_epochs), index=index, pid=4000 + index)
    assert isinstance(one.connect(), Welcome)
    one.apply(heard(one))
    return one


def heard(one: FakeWorker) -> Publish:
    published = one.hear(Publish)
    assert isinstance(published, Publish)
    return published


def commit(books: Installation, digest: bytes | None = None) -> Changed:
    """A change of the catalogue, or of one token."""
    with books.database.write() as tx:
        if digest is None:
            tx.changes.note_catalogue()
        else:
            tx.changes.note_tokens([digest])
    changes = tx.changes
    return Changed(tx.revision, changes.catalogue, tuple(changes.digests), changes.everything)


def announced(books: Installation, changed: Changed, workers: list[FakeWorker]) -> Acknowledged:
    """Announces while these workers act on what they hear."""
    answers: list[Acknowledged | None] = []
    telling = threading.Thread(target=lambda: answers.append(announce(books.link_path, changed)))
    telling.start()
    for one in workers:
        one.apply(heard(one))
    telling.join()
    (answer,) = answers
    assert answer is not None
    return answer


def test_a_change_is_acknowledged_when_every_worker_acts_on_it(running: Installation) -> None:
    workers = [worker(running), worker(running, index=1)]

    changed = commit(running)
    answer = announced(running, changed, workers)

    assert answer == Acknowledged(changed.revision, ())
    for one in workers:
        assert one.published[-1].revision == changed.revision
        assert one.published[-1].snapshot is not None
        assert not one.published[-1].everything


def test_a_changed_token_costs_only_its_own_size(running: Installation) -> None:
    one = worker(running)

    changed = commit(running, b"d" * 32)
    announced(running, changed, [one])

    assert one.published[-1] == Publish(changed.revision, None, (b"d" * 32,), everything=False)


@pytest.mark.slow
def test_a_worker_that_does_not_act_is_named(running: Installation) -> None:
    good, slow = worker(running), worker(running, index=1)

    answer = announced(running, commit(running), [good])

    assert answer.missing == ("worker 1 (pid 4001)",)
    assert slow.published[-1].revision < answer.revision


@pytest.mark.slow
def test_a_live_worker_without_a_connection_is_named_also_after_a_restart(
    running: Installation,
) -> None:
    one = worker(running)
    running.kill()
    one.hang_up()
    running.start()

    answer = announced(running, commit(running), [])

    assert answer.missing == ("worker 0 (pid 4000)",)


def test_a_dead_worker_is_not_waited_for(running: Installation) -> None:
    good, dead = worker(running), worker(running, index=1)
    dead.hang_up()
    dead.unlock()

    answer = announced(running, commit(running), [good])

    assert answer.missing == ()


def test_without_workers_there_is_nobody_to_wait_for(running: Installation) -> None:
    assert announced(running, commit(running), []).missing == ()


def test_without_a_ledger_process_nobody_answers(tmp_path: Path) -> None:
    changed = Changed(1, catalogue=True, digests=(), everything=False)

    assert announce(tmp_path / "link.sock", changed, timeout=0.1) is None


def test_what_a_writer_did_not_tell_is_told_for_it(running: Installation) -> None:
    one = worker(running)

    changed = commit(running, b"d" * 32)

    published = heard(one)
    assert (published.revision, published.everything) == (changed.revision, True)
    assert published.snapshot is not None


def test_announcements_that_cross_make_the_workers_forget_everything(
    running: Installation,
) -> None:
    one = worker(running)
    first, second = commit(running, b"a" * 32), commit(running, b"b" * 32)

    later = announced(running, second, [one])
    earlier = announced(running, first, [])

    assert later == Acknowledged(second.revision, ())
    assert earlier == Acknowledged(first.revision, ())
    assert one.published[-1].revision == second.revision
    assert one.published[-1].everything


def test_a_worker_that_missed_a_change_gets_everything_when_it_connects(
    running: Installation,
) -> None:
    one = worker(running)
    one.hang_up()
    now = commit(running, b"d" * 32).revision

    one.connect(applied=now - 1)
    behind = heard(one)
    one.hang_up()
    one.connect(applied=now)
    level = heard(one)

    assert (behind.revision, behind.everything) == (now, True)
    assert behind.snapshot is not None
    assert level == Publish(now, None, (), everything=False)


def test_a_worker_that_connects_late_still_acknowledges(running: Installation) -> None:
    one = worker(running)
    one.hang_up()
    changed = commit(running)
    answers: list[Acknowledged | None] = []
    telling = threading.Thread(target=lambda: answers.append(announce(running.link_path, changed)))
    telling.start()

    one.connect(applied=0)
    one.apply(heard(one))
    telling.join()

    assert answers == [Acknowledged(changed.revision, ())]
