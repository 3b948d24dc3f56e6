"""The day of the windows, under every clock a machine can have."""

from __future__ import annotations

import random

from aipool.books.calendar import LEAP_SECONDS, Calendar, Day, seconds_to_midnight
from aipool.ledger.rules import DAY_SECONDS

DAY = 20_773
NOON = DAY * DAY_SECONDS + DAY_SECONDS / 2


class Clocks:
    """A wall clock that can be set, and one that cannot."""

    def __init__(self, kept: Day | None = None, wall: float = NOON) -> None:
        self.wall, self.passed = wall, 1000.0
        self.calendar = Calendar(kept, self.wall, self.passed)

    def go(self, seconds: float, *, leap: float = 0.0) -> Day:
        self.passed += seconds
        self.wall += seconds + leap
        day = self.calendar.look(self.wall, self.passed)
        self.calendar.keep(day)
        return day


def test_the_day_begins_at_midnight_to_the_second() -> None:
    clocks = Clocks()

    assert clocks.go(DAY_SECONDS / 2 - 1) == Day(DAY, frozen=False)
    assert clocks.go(1) == Day(DAY + 1, frozen=False)


def test_a_clock_set_back_never_brings_a_day_back() -> None:
    clocks = Clocks()
    clocks.go(DAY_SECONDS)

    assert clocks.go(1, leap=-3 * DAY_SECONDS) == Day(DAY + 1, frozen=False)
    assert clocks.go(2 * DAY_SECONDS) == Day(DAY + 1, frozen=False)
    assert clocks.go(2 * DAY_SECONDS) == Day(DAY + 2, frozen=False)


def test_a_day_that_is_kept_is_not_gone_behind_after_a_restart() -> None:
    assert Clocks(Day(DAY + 5, frozen=False)).go(1) == Day(DAY + 5, frozen=False)


def test_a_great_leap_freezes_the_day_until_the_clock_comes_back() -> None:
    clocks = Clocks()

    assert clocks.go(1, leap=LEAP_SECONDS + 1) == Day(DAY, frozen=True)
    assert clocks.go(3600) == Day(DAY, frozen=True)
    assert clocks.go(1, leap=-(LEAP_SECONDS + 1)) == Day(DAY, frozen=False)


def test_a_person_can_confirm_a_leap() -> None:
    clocks = Clocks()
    clocks.go(1, leap=40 * DAY_SECONDS)

    clocks.calendar.confirm(Day(DAY + 40, frozen=False), clocks.wall, clocks.passed)

    assert clocks.go(1) == Day(DAY + 40, frozen=False)


def test_a_frozen_day_stays_frozen_over_a_restart() -> None:
    clocks = Clocks(Day(DAY, frozen=True), NOON + 90 * DAY_SECONDS)

    assert clocks.go(60) == Day(DAY, frozen=True)


def test_small_steps_of_the_clock_are_followed() -> None:
    clocks = Clocks()

    assert clocks.go(1, leap=LEAP_SECONDS) == Day(DAY + 2, frozen=False)
    assert clocks.go(1, leap=0.5).frozen is False


def test_a_long_sleep_is_no_leap() -> None:
    assert Clocks().go(10 * DAY_SECONDS) == Day(DAY + 10, frozen=False)


def test_the_day_never_falls_whatever_the_clock_does() -> None:
    chance = random.Random(18)
    clocks = Clocks()
    seen = [DAY]
    for _ in range(5000):
        leap = chance.choice([0, 0, 0, 3600, -3600, 86400, -86400, 0.5, 200_000, -200_000])
        seen.append(clocks.go(chance.uniform(0, 40_000), leap=leap).number)

    assert seen == sorted(seen)
    assert seen[-1] > DAY + 400


def test_how_long_the_day_lasts() -> None:
    assert seconds_to_midnight(NOON) == DAY_SECONDS / 2
    assert seconds_to_midnight(DAY * DAY_SECONDS - 0.25) == 0.25
