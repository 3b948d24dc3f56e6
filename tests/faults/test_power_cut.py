"""Power cuts and failed syncs in the middle of everything, a tenth of `scripts/prove power-cut`."""

from __future__ import annotations

import pytest

from benchmarks.power_cut import (
    Plan,
    problems_of_books,
    problems_of_control,
    problems_of_journal,
)
from tests.faults.power import books, journal

pytestmark = pytest.mark.slow

PLAN = Plan.quick(seed=7)


def test_nothing_that_was_answered_for_is_lost_when_the_power_is_cut() -> None:
    assert problems_of_books(books.cut_often(PLAN.cuts, PLAN.seed)) == []


def test_without_a_sync_at_each_commit_the_same_cuts_lose_answers() -> None:
    report = books.cut_often(PLAN.control_cuts, PLAN.seed, books.NOT_SYNCED)
    assert problems_of_control(report) == []


def test_a_sync_of_the_books_that_fails_loses_nothing_that_was_answered_for() -> None:
    assert problems_of_books(books.fail_syncs(PLAN.syncs(), PLAN.seed)) == []


def test_a_journal_cut_at_any_byte_gives_back_all_that_was_safe_and_nothing_twice() -> None:
    report = journal.cut_journals(range(PLAN.cuts))
    assert problems_of_journal(report) == []
    assert report.flipped > 0


def test_a_sync_of_the_journal_that_fails_is_gone_past_and_nothing_safe_is_lost() -> None:
    assert problems_of_journal(journal.fail_syncs(PLAN.syncs(), PLAN.seed)) == []
