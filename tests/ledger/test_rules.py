"""Windows of budgets against a calendar, and what the names of budgets say."""

from __future__ import annotations

import datetime

import pytest

from aipool.ledger.rules import (
    DAY_MS,
    Period,
    Unit,
    concurrency_budget,
    counts_requests,
    day_of,
    next_window_day,
    period_of,
    requests_budget,
    token_limit_budget,
    unit_of,
    window_of,
)

EPOCH = datetime.date(1970, 1, 1)
#: 50 years from 2000, leap days, year ends and the century's 400-year leap included.
FIRST = (datetime.date(2000, 1, 1) - EPOCH).days
LAST = (datetime.date(2050, 1, 1) - EPOCH).days


@pytest.mark.parametrize(
    ("period", "key"),
    [
        (Period.DAY, lambda date: date),
        (Period.WEEK, lambda date: date.isocalendar()[:2]),
        (Period.MONTH, lambda date: (date.year, date.month)),
    ],
)
def test_a_window_is_what_the_calendar_calls_it_on_every_day_of_fifty_years(
    period: Period, key: object
) -> None:
    assert callable(key)
    before = None
    for day in range(FIRST, LAST):
        date = EPOCH + datetime.timedelta(days=day)
        now = (window_of(period, day), key(date))
        if before is not None:
            assert (now[0] != before[0]) == (now[1] != before[1]), date
            assert now[0] in (before[0], before[0] + 1), date
        assert window_of(period, next_window_day(period, day)) == now[0] + 1
        assert window_of(period, next_window_day(period, day) - 1) == now[0]
        before = now


def test_a_week_begins_on_monday() -> None:
    monday = (datetime.date(2026, 11, 16) - EPOCH).days

    assert window_of(Period.WEEK, monday) == window_of(Period.WEEK, monday + 6)
    assert window_of(Period.WEEK, monday) == window_of(Period.WEEK, monday - 1) + 1


def test_a_day_begins_at_midnight_utc_to_the_millisecond() -> None:
    assert day_of(DAY_MS * 20_000 - 1) == 19_999
    assert day_of(DAY_MS * 20_000) == 20_000


def test_a_lifetime_is_one_window() -> None:
    assert window_of(None, 0) == window_of(None, 30_000) == 0


def test_the_name_of_a_budget_says_what_it_counts_and_for_how_long() -> None:
    said = {
        "wallet:3": (Unit.MONEY, None),
        token_limit_budget(7, None, 0): (Unit.MONEY, None),
        token_limit_budget(7, Period.WEEK, 0): (Unit.MONEY, Period.WEEK),
        token_limit_budget(7, Period.MONTH, 12): (Unit.MONEY, Period.MONTH),
        token_limit_budget(7, None, 3): (Unit.MONEY, None),
        requests_budget("group-2-user-3"): (Unit.REQUESTS, Period.DAY),
        concurrency_budget("token-7"): (Unit.CONCURRENCY, None),
    }

    assert {name: (unit_of(name), period_of(name)) for name in said} == said
    assert len(said) == 7


def test_only_requests_matter_when_nothing_is_charged() -> None:
    assert counts_requests((("wallet:1", 0), (requests_budget("t"), 5)))
    assert not counts_requests((("wallet:1", 0), (concurrency_budget("t"), 0)))
