"""Near-empty wallets and many calls at once, a twentieth of `scripts/prove overspend`."""

from __future__ import annotations

import pytest

from benchmarks import race as near_empty
from benchmarks.overspend import race

pytestmark = pytest.mark.slow


def test_of_64_calls_on_a_wallet_worth_one_exactly_one_is_admitted_and_none_is_overdrawn() -> None:
    report = race(rounds=6)
    assert report.problems == []
    assert report.admitted.total() == 12


def test_at_rest_a_call_is_refused_if_and_only_if_more_is_held_than_is_left() -> None:
    report = near_empty.race(purses=10, attempts=1_000, seed=7)
    assert report.problems == []
    assert report.attempts >= 1_000
    assert report.overspent_nano == report.false_refusals == 0
    assert report.scattered > 0
    assert set(report.purses) == set(near_empty.Kind)
