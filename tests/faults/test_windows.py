"""Limits that begin anew, a few days of `scripts/prove windows`."""

from __future__ import annotations

import pytest

from benchmarks.windows import (
    QUICK_DAYS,
    QUICK_FIRST,
    ZONES,
    cross_midnight,
    problems_of,
    simulate,
)

pytestmark = pytest.mark.slow


def test_each_limit_begins_anew_on_the_second_wherever_the_host_thinks_it_is() -> None:
    lives = simulate(QUICK_FIRST, QUICK_DAYS, seed=7)
    assert problems_of(lives) == []
    assert [life["days"] for life in lives] == [QUICK_DAYS] * len(ZONES)
    assert lives[0]["boundaries"] == {"daily": QUICK_DAYS, "weekly": 1, "monthly": 1}


def test_a_running_platform_goes_past_midnight_and_stands_still_when_its_clock_leaps() -> None:
    report = cross_midnight()
    assert report.problems == []
    assert report.first_seconds.keys() == {"daily", "monthly"}
