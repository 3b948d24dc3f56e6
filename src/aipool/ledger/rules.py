"""What a budget counts, and for how long. Pure, and read by both planes.

The name of a budget says both, so nothing has to be looked up:

    wallet:<user>                 money, for ever
    token:<id>                    money, over the token's whole life
    token:<id>/day|week|month     money, in one window of that period
    token:<id>/day#2, /life#3     the same, counted anew since the reset type was changed
    requests:<bucket>/day         calls, in one UTC day
    concurrency:<bucket>          calls in flight

A *window* is a number, and it is part of the budget's key: when the number moves on there
is simply no row yet, so a reset is nothing that has to run, and nothing that can be missed
or done twice. All windows are those of UTC and follow from the day, counted from
1970-01-01; 0 stands for a limit of a lifetime.

    day     d                       from 00:00
    week    (d + 3) // 7            from Monday 00:00; 1970-01-01 was a Thursday
    month   year * 12 + month - 1   from the 1st, 00:00
"""

from __future__ import annotations

import datetime
from enum import StrEnum

DAY_SECONDS = 86_400
DAY_MS = DAY_SECONDS * 1000
#: The window of what has none.
LIFETIME = 0

_EPOCH = datetime.date(1970, 1, 1)
_REQUESTS = "requests:"
_CONCURRENCY = "concurrency:"
_LIFE = "life"


class Period(StrEnum):
    """How long a limit counts before it begins anew, as it is written behind a budget's name."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"


class Unit(StrEnum):
    """What a budget counts. Money in nano-yuan; the others in calls."""

    MONEY = "money"
    REQUESTS = "requests"
    CONCURRENCY = "concurrency"


def unit_of(budget: str) -> Unit:
    """What a budget of this name counts."""
    if budget.startswith(_REQUESTS):
        return Unit.REQUESTS
    return Unit.CONCURRENCY if budget.startswith(_CONCURRENCY) else Unit.MONEY


def token_limit_budget(token_id: int, period: Period | None, number: int) -> str:
    """The budget of a token's limit.

    period: how often it begins anew, None = never.  number: how often it was begun anew
    by hand, because its reset type was changed.
    """
    if period is None and not number:
        return f"token:{token_id}"
    name = f"token:{token_id}/{_LIFE if period is None else period.value}"
    return f"{name}#{number}" if number else name


def requests_budget(bucket: str) -> str:
    """The budget of the calls a bucket may make in one UTC day."""
    return f"{_REQUESTS}{bucket}/{Period.DAY.value}"


def concurrency_budget(bucket: str) -> str:
    """The budget of the calls a bucket may have in flight."""
    return f"{_CONCURRENCY}{bucket}"


def counts_requests(budgets: tuple[tuple[str, int], ...]) -> bool:
    """Does a chain count calls, so that it matters to the books even when nothing is charged?"""
    return any(budget.startswith(_REQUESTS) for budget, _ in budgets)


def without_requests(budgets: tuple[tuple[str, int], ...]) -> tuple[tuple[str, int], ...]:
    """A chain of a call that does not count as a request."""
    if not counts_requests(budgets):
        return budgets
    return tuple(key for key in budgets if not key[0].startswith(_REQUESTS))


def period_of(budget: str) -> Period | None:
    """How long a window of this budget is; None = it counts over a lifetime."""
    period = budget.partition("/")[2].partition("#")[0]
    return Period(period) if period and period != _LIFE else None


def window_of(period: Period | None, day: int) -> int:
    """The number of the window that a day lies in.

    day: days since 1970-01-01, UTC.
    """
    if period is None:
        return LIFETIME
    if period is Period.DAY:
        return day
    if period is Period.WEEK:
        return (day + 3) // 7
    date = _EPOCH + datetime.timedelta(days=day)
    return date.year * 12 + date.month - 1


def next_window_day(period: Period, day: int) -> int:
    """The day on which the next window begins; its 00:00 UTC is when the limit resets."""
    if period is Period.DAY:
        return day + 1
    if period is Period.WEEK:
        return ((day + 3) // 7 + 1) * 7 - 3
    date = _EPOCH + datetime.timedelta(days=day)
    first = datetime.date(date.year + date.month // 12, date.month % 12 + 1, 1)
    return (first - _EPOCH).days


def is_past(budget: str, window: int, day: int) -> bool:
    """Was this window over before that day?"""
    period = period_of(budget)
    return period is not None and window < window_of(period, day)


def day_of(unix_ms: int) -> int:
    """The UTC day of a moment."""
    return unix_ms // DAY_MS
