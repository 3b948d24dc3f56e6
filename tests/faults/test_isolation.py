"""Reports beside calls, a tenth of `scripts/prove isolation`; how fast is the proof's business."""

from __future__ import annotations

import pytest

from benchmarks.isolation import measure

pytestmark = pytest.mark.slow


def test_calls_are_answered_and_leases_granted_while_reports_read_the_same_books() -> None:
    report = measure(rows=100_000, turns=1, seconds=1.0, settle_seconds=0.3)
    assert report.problems == []
    (beside,) = report.beside
    assert beside.calls == 1000
    assert beside.grants
    assert report.exported > 0
    assert report.dashboards > 0
