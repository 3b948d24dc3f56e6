"""PostgreSQL killed and paused under load, a tenth of `scripts/prove postgres-faults`."""

from __future__ import annotations

import pytest

from benchmarks.postgres_faults import Plan, storm

pytestmark = pytest.mark.slow


def test_a_postgresql_that_dies_under_load_loses_no_call_and_no_charge() -> None:
    report = storm(Plan(deaths=3, pauses=1, seed=7))

    assert report.problems == []
    assert report.verdict.whole > 0
    assert report.answered_away > 0
