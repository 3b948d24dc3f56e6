"""Who may have more calls in flight: the authority, and the same over a real link."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from aipool.books.slots import NEWS_SECONDS, PATIENCE_SECONDS, SlotKeeper
from aipool.doors.frames import AskSlots, RecallSlots, Slots, SlotsBack, Welcome
from tests.books.rig import FakeWorker, installation

CAP = "key:7"
HERE, THERE = 1, 2


class Rig:
    """A keeper whose two workers are the test."""

    def __init__(self, *, known: bool = True) -> None:
        self.now = 50.0
        self.live = {HERE, THERE}
        self.said: list[tuple[int, Slots | RecallSlots]] = []
        self.timers: list[tuple[float, Callable[[], None]]] = []
        self.number = 0
        self.keeper = SlotKeeper(
            lambda: self.live,
            lambda epoch, message: self.said.append((epoch, message)),
            lambda: self.now,
            lambda seconds, work: self.timers.append((self.now + seconds, work)),
        )
        if known:
            self.keeper.back(HERE, "", 0)
            self.keeper.back(THERE, "", 0)

    def ask(self, epoch: int, want: int = 1, *, held: int = 0, limit: int = 3) -> int:
        self.number += 1
        self.keeper.ask(epoch, AskSlots(self.number, CAP, limit, held, want))
        return self.number

    def later(self, seconds: float) -> None:
        self.now += seconds
        due = [work for at, work in self.timers if at <= self.now]
        self.timers = [one for one in self.timers if one[0] > self.now]
        for work in due:
            work()

    def heard(self) -> list[tuple[int, Slots | RecallSlots]]:
        """What was said since the last look."""
        said, self.said = self.said, []
        return said


def test_what_is_free_is_granted_at_once() -> None:
    rig = Rig()
    first, second = rig.ask(HERE, 2), rig.ask(THERE, 5)

    assert rig.heard() == [(HERE, Slots(first, CAP, 2)), (THERE, Slots(second, CAP, 1))]


def test_who_is_short_gets_what_others_hand_back() -> None:
    rig = Rig()
    rig.ask(HERE, 3)
    rig.heard()

    number = rig.ask(THERE, 2)
    assert rig.heard() == [(HERE, RecallSlots(CAP))]
    rig.keeper.back(HERE, CAP, 2)

    assert rig.heard() == [(THERE, Slots(number, CAP, 1))]


def test_who_is_short_hears_a_no_once_all_have_answered_or_time_is_over() -> None:
    rig = Rig()
    rig.ask(HERE, 3)
    number = rig.ask(THERE)
    rig.keeper.back(HERE, CAP, 3)
    assert rig.heard()[-1] == (THERE, Slots(number, CAP, 0))

    number = rig.ask(THERE)
    rig.later(PATIENCE_SECONDS - 0.01)
    assert rig.heard() == [(HERE, RecallSlots(CAP))]
    rig.later(0.01)
    assert rig.heard() == [(THERE, Slots(number, CAP, 0))]
    alone = rig.ask(HERE, held=3)
    assert rig.heard() == [(HERE, Slots(alone, CAP, 0))]


def test_a_worker_that_is_gone_holds_nothing() -> None:
    rig = Rig()
    rig.ask(HERE, 3)
    number = rig.ask(THERE)
    rig.heard()

    rig.live.discard(HERE)
    rig.keeper.over(HERE)

    assert rig.heard() == [(THERE, Slots(number, CAP, 1))]


def test_after_a_restart_nothing_is_granted_before_every_worker_has_spoken() -> None:
    rig = Rig(known=False)
    rig.keeper.back(THERE, "", 0)
    number = rig.ask(THERE, 3)
    assert rig.heard() == []

    rig.keeper.back(HERE, CAP, 2)
    assert rig.heard() == []
    rig.keeper.back(HERE, "", 0)
    assert rig.heard() == [(THERE, Slots(number, CAP, 1))]

    silent = Rig(known=False)
    number = silent.ask(THERE)
    silent.later(PATIENCE_SECONDS)
    assert silent.heard() == [(THERE, Slots(number, CAP, 0))]


def test_a_new_connection_forgets_the_questions_of_the_old_one() -> None:
    rig = Rig()
    rig.ask(HERE, 3)
    rig.ask(THERE)
    rig.heard()

    rig.keeper.connected(THERE)
    rig.keeper.back(HERE, CAP, 0)
    rig.later(1.0)

    assert rig.heard() == []


def test_for_a_second_the_lowest_limit_counts_that_was_named() -> None:
    rig = Rig()
    rig.ask(HERE, 1, limit=1)
    old = rig.ask(THERE, 5, limit=6)
    rig.keeper.back(HERE, CAP, 1)
    assert rig.heard()[-1] == (THERE, Slots(old, CAP, 0))

    rig.later(NEWS_SECONDS)
    new = rig.ask(THERE, 5, limit=6)
    assert rig.heard() == [(THERE, Slots(new, CAP, 5))]


@pytest.mark.slow
def test_over_the_link_slots_outlive_a_restart_of_the_ledger_process(tmp_path: Path) -> None:
    with installation(tmp_path / "data") as books:
        books.start()
        one, other = FakeWorker(books, 1), FakeWorker(books, 2, index=1)
        for each in (one, other):
            assert isinstance(each.connect(), Welcome)
            each.send(SlotsBack("", 0))
        one.send(AskSlots(1, CAP, 3, 0, 2))
        assert one.hear(Slots) == Slots(1, CAP, 2)

        books.kill()
        books.start()
        other.connect()
        other.send(SlotsBack("", 0))
        other.send(AskSlots(7, CAP, 3, 0, 3))
        one.connect()
        one.send(SlotsBack(CAP, 2))
        one.send(SlotsBack("", 0))
        answer = other.hear(Slots)
        assert isinstance(answer, Slots)
        if not answer.amount:  # the first worker took too long to connect
            other.send(AskSlots(8, CAP, 3, 0, 3))
            answer = other.hear(Slots)
            assert isinstance(answer, Slots)
        assert answer.amount == 1

        one.die()
        for number in range(9, 400):
            other.send(AskSlots(number, CAP, 3, 1, 2))
            answer = other.hear(Slots)
            if isinstance(answer, Slots) and answer.amount:
                break
        assert isinstance(answer, Slots)
        assert answer.amount == 2
