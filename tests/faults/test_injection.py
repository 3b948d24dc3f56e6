"""Processes that die in the middle of a line, a sample of `scripts/prove injection`."""

from __future__ import annotations

import pytest

from benchmarks.injection import PARTS, POINTS_LEAST, die_everywhere

pytestmark = pytest.mark.slow


def test_at_whatever_line_a_process_dies_the_books_are_right_afterwards() -> None:
    report = die_everywhere(seed=7, quick=True)
    assert report.problems == []
    assert len(report.tried) == len(PARTS)
    assert all(report.tried.values())
    assert report.hit == report.tried
    assert sum(report.tried.values()) >= POINTS_LEAST
