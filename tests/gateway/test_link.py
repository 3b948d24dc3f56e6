"""Shipping: in order, one batch at a time, repeated until it is recorded."""

from __future__ import annotations

from aipool.doors import frames
from aipool.doors.frames import Ship
from aipool.gateway.link import Shipping


class World:
    """A Shipping and what it sent."""

    def __init__(self) -> None:
        self.sent: list[Ship] = []
        self.up = True
        self.shipping = Shipping(self._send)

    def _send(self, ship: Ship) -> bool:
        if self.up:
            self.sent.append(ship)
        return self.up

    def add(self, *ends: int) -> None:
        for end in ends:
            self.shipping.add(end, b"%d" % end)


def test_entries_leave_in_order_one_batch_at_a_time() -> None:
    world = World()
    world.add(10, 20)
    world.shipping.push()
    world.add(35)
    world.shipping.push()
    assert world.sent == [Ship(0, 20, (b"10", b"20"))]

    world.shipping.recorded(20)

    assert world.sent[1:] == [Ship(20, 35, (b"35",))]
    assert world.shipping.waiting == 1
    world.shipping.recorded(35)
    assert world.shipping.waiting == 0
    assert len(world.sent) == 2


def test_a_batch_is_bounded() -> None:
    world = World()
    world.add(*range(1, frames.SHIP_ENTRIES_MAX + 2))

    world.shipping.push()

    assert len(world.sent[0].entries) == frames.SHIP_ENTRIES_MAX
    world.shipping.recorded(world.sent[0].end)
    assert len(world.sent[1].entries) == 1


def test_what_was_not_recorded_is_sent_again_after_a_break() -> None:
    world = World()
    world.add(10, 20)
    world.shipping.push()
    world.up = False
    world.shipping.broken()
    world.add(30)
    world.shipping.push()

    world.up = True
    world.shipping.recorded(0)

    assert world.sent[-1] == Ship(0, 30, (b"10", b"20", b"30"))


def test_what_was_recorded_before_the_break_is_not() -> None:
    world = World()
    world.add(10, 20, 30)
    world.shipping.push()
    world.shipping.broken()

    world.shipping.recorded(20)

    assert world.sent[-1] == Ship(20, 30, (b"30",))


def test_nothing_to_say_is_not_said() -> None:
    world = World()

    world.shipping.push()
    world.shipping.recorded(0)

    assert world.sent == []
