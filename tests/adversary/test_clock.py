"""A clock that was wrong for a while and is right again has not leapt."""

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
