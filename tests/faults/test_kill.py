"""Kill -9 of real processes under load, a tenth of `scripts/prove kill`."""

from __future__ import annotations

import pytest

from benchmarks.kill import Plan, shortfalls, storm

pytestmark = pytest.mark.slow


def test_whatever_process_is_killed_whoever_got_an_answer_is_charged_exactly_for_it() -> None:
    plan = Plan(workers=2, ledger=1, control=1, load_seconds=(0.4, 0.6), seed=7)
    report = storm(plan)
    assert report.problems == []
    assert shortfalls(plan, report) == []
    assert report.verdict.recovered > 0
    assert report.unavailable > 0
