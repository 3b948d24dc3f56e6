"""Calls in flight under a cap: never more than the limit, in the whole installation."""

from __future__ import annotations

import pytest

from aipool.doors.frames import AskSlots, SlotsBack
from aipool.doors.frames import Slots as Answer
from aipool.gateway.slots import WAIT_SECONDS, Slots
from tests.slot_world import KEY, VENDOR, Shape, World

SHAPES = {
    "steady": Shape(),
    "one at a time": Shape(key=1, calls_per_second=100),
    "a vendor's cap below its key's": Shape(key=6, vendor=4),
    "messages are lost": Shape(lost=0.05),
    "workers die, links break, the keeper restarts": Shape(faults=True),
    "limits change": Shape(changes=True),
    "everything at once": Shape(key=4, vendor=7, faults=True, lost=0.03, changes=True),
}


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_there_are_never_more_calls_in_flight_than_the_limit(shape: Shape) -> None:
    for seed in range(4):
        world = World(seed, shape).run(8)

        assert world.over == []
        assert world.passed > 100
        assert world.refused > 0


@pytest.mark.slow
@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_in_many_worlds_there_are_never_more_than_the_limit(shape: Shape) -> None:
    for seed in range(100, 130):
        assert World(seed, shape).run(20).over == []


@pytest.mark.parametrize("shape", SHAPES.values(), ids=SHAPES)
def test_after_all_trouble_the_whole_limit_can_be_used_from_any_worker(shape: Shape) -> None:
    world = World(5, shape).run(6)
    world.shape = Shape(key=shape.key, vendor=shape.vendor)
    world.run(4, load=False)
    limit = min(world.limits.values())

    for worker in tuple(world.workers.values()):
        assert world.in_flight(KEY) == 0
        passed, refused = world.passed, world.refused
        for _ in range(limit + 3):
            worker.call()
        world.run(0.5, load=False)
        assert world.passed - passed >= limit
        assert world.passed - passed + world.refused - refused == limit + 3
        world.run(3, load=False)


def test_nobody_waits_longer_than_a_tenth_of_a_second() -> None:
    world = World(3, SHAPES["everything at once"]).run(8)

    assert max(world.waits) <= WAIT_SECONDS + 0.001


def test_below_the_limit_a_steady_load_is_not_refused_and_hardly_asks() -> None:
    world = World(1, Shape(key=60, workers=2)).run(10)

    assert world.refused == 0
    assert world.frames < world.asked / 10


class Rig:
    """One worker; the ledger process is the test."""

    def __init__(self) -> None:
        self.now = 10.0
        self.up = True
        self.said: list[AskSlots | SlotsBack] = []
        self.timers: list[tuple[float, object]] = []
        self.slots = Slots(self._send, lambda: self.now, self._later)
        self.ended: list[bool] = []

    def _send(self, message: AskSlots | SlotsBack) -> bool:
        if self.up:
            self.said.append(message)
        return self.up

    def _later(self, seconds: float, work: object) -> None:
        self.timers.append((self.now + seconds, work))

    def later(self, seconds: float) -> None:
        """Time passes."""
        self.now += seconds
        due = [one for one in self.timers if one[0] <= self.now]
        self.timers = [one for one in self.timers if one[0] > self.now]
        for _, work in due:
            work()  # type: ignore[operator]

    def wait(self, limit: int = 3) -> None:
        """A call that takes a slot, or waits for one."""
        if self.slots.take(KEY, limit):
            self.ended.append(True)
        else:
            self.slots.wait(((KEY, limit),), self.ended.append)
            self.later(0.0)

    def newest(self) -> AskSlots:
        return [one for one in self.said if isinstance(one, AskSlots)][-1]

    def grant(self, amount: int) -> None:
        self.slots.granted(Answer(self.newest().number, KEY, amount))


def test_one_question_asks_for_all_that_wait() -> None:
    rig = Rig()
    for _ in range(3):
        rig.wait()
    assert rig.said == [AskSlots(1, KEY, 3, 0, 1)]

    rig.grant(1)

    assert rig.ended == [True]
    assert rig.said[1:] == [AskSlots(2, KEY, 3, 1, 2)]
    rig.grant(1)
    assert rig.ended == [True, True, False]


def test_an_answer_that_never_comes_is_a_no_after_a_tenth_of_a_second() -> None:
    rig = Rig()
    rig.wait()
    number = rig.newest().number
    rig.later(WAIT_SECONDS)
    assert rig.ended == [False]

    # It comes after all: it is handed back, for nobody counts on it.
    rig.slots.granted(Answer(number, KEY, 1))
    assert rig.said[-1] == SlotsBack(KEY, 0)
    assert not rig.slots.take(KEY, 3)


def test_with_the_link_down_there_is_what_is_held_and_no_more() -> None:
    rig = Rig()
    rig.wait()
    rig.grant(1)
    rig.slots.free(KEY)
    rig.up = False

    rig.wait()
    rig.wait()
    assert rig.ended == [True, True, False]

    rig.up, rig.said = True, []
    rig.slots.reconnected()
    assert rig.said == [SlotsBack(KEY, 1), SlotsBack("", 0)]


def test_what_nobody_needed_for_a_second_is_handed_back() -> None:
    rig = Rig()
    rig.wait()
    rig.grant(1)
    rig.slots.free(KEY)

    rig.slots.tick()
    assert rig.slots.take(KEY, 3)
    rig.slots.free(KEY)
    rig.slots.tick()
    assert len(rig.said) == 1
    rig.slots.tick()

    assert rig.said[-1] == SlotsBack(KEY, 0)
    assert not rig.slots.take(KEY, 3)


def test_a_recall_hands_back_what_is_unused_and_counts_what_may_be_on_its_way() -> None:
    rig = Rig()
    rig.wait()
    rig.wait()
    rig.grant(1)
    assert rig.slots.recall(KEY) == 2  # one is used, one was asked for
    rig.grant(0)
    assert rig.said.pop() == SlotsBack(KEY, 1)
    rig.slots.free(KEY)

    assert rig.slots.recall(KEY) == 0
    assert rig.slots.recall(VENDOR) == 0


def test_a_lowered_limit_holds_for_new_calls_at_once() -> None:
    rig = Rig()
    rig.wait()
    rig.grant(1)
    rig.wait()
    rig.grant(1)
    rig.slots.free(KEY)

    rig.wait(limit=1)
    assert rig.newest() == AskSlots(3, KEY, 1, 1, 1), rig.said
    rig.slots.free(KEY)
    rig.grant(0)
    assert rig.ended == [True, True, False]
    assert rig.said[-1] == SlotsBack(KEY, 0)


def test_who_leaves_the_queue_takes_no_slot() -> None:
    rig = Rig()
    assert not rig.slots.take(KEY, 3)
    leave = rig.slots.wait(((KEY, 3),), rig.ended.append)
    rig.later(0.0)
    leave()
    rig.grant(1)

    assert rig.ended == []
    assert rig.slots.take(KEY, 3)
