"""Kill -9 of real processes under load, a tenth of `scripts/prove kill`."""

from __future__ import annotations

import pytest

from benchmarks.kill import shortfalls, storm
from benchmarks.storm import Plan

pytestmark = pytest.mark.slow


def test_whatever_process_is_killed_whoever_got_an_answer_is_charged_exactly_for_it() -> None:
    plan = Plan.quick(seed=7)
    report = storm(plan)
    assert report.problems == []
    assert shortfalls(plan, report) == []
    assert report.verdict.recovered > 0
    assert report.unavailable > 0
    assert report.stopped == 2
