"""Logins beside calls, a tenth of `scripts/prove logins`; how fast is the proof's business."""

from __future__ import annotations

import pytest

from benchmarks.logins import measure

pytestmark = pytest.mark.slow


def test_calls_are_answered_while_people_log_in_all_the_time() -> None:
    report = measure(turns=1, seconds=1.0, people=20)

    assert report.failed_calls == 0
    assert [len(turn) for turn in report.beside] == [300]
    assert {200, 401} <= report.logins.keys() <= {200, 401, 503}
