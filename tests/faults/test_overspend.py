"""Near-empty wallets and many calls at once, a tenth of `scripts/prove overspend`."""

from __future__ import annotations

import pytest

from benchmarks.overspend import race

pytestmark = pytest.mark.slow


def test_of_64_calls_on_a_wallet_worth_one_exactly_one_is_admitted_and_none_is_overdrawn() -> None:
    report = race(rounds=10)
    assert report.problems == []
    assert report.admitted.total() == 20
