"""A clock that was wrong for a while and is right again is no leap; one that creeps is."""

from __future__ import annotations

from aipool.books.calendar import Calendar, Day
from aipool.ledger.rules import DAY_SECONDS

NOON = 20_000 * DAY_SECONDS + DAY_SECONDS // 2


def looked(calendar: Calendar, unix_seconds: float, passed_seconds: float) -> Day:
    calendar.keep(calendar.look(unix_seconds, passed_seconds))
    return calendar.day


def test_a_clock_that_was_set_back_and_is_right_again_has_not_leapt() -> None:
    calendar = Calendar(None, NOON, 0.0)
    assert looked(calendar, NOON - 3 * DAY_SECONDS, 10.0) == Day(20_000, frozen=False)

    assert looked(calendar, NOON + 20, 20.0) == Day(20_000, frozen=False)


def test_many_small_leaps_are_one_large_one() -> None:
    calendar = Calendar(None, NOON, 0.0)
    ahead = 0.0
    for second in range(1, 30):
        ahead += 30 * 3600
        looked(calendar, NOON + ahead + second, float(second))

    assert calendar.day.frozen, f"{calendar.day.number - 20_000} days in half a minute"
