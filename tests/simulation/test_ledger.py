"""The ledger's protocol in simulated worlds, a tenth of `scripts/prove ledger-simulation`."""

from __future__ import annotations

import io

import pytest

from aipool.books import verify
from tests.simulation.mutations import MUTATIONS, STEPS, Mutation, applied
from tests.simulation.replay import run, staged
from tests.simulation.sql import SqlBooks, new_database


@pytest.mark.slow
def test_in_two_hundred_worlds_every_invariant_holds_at_every_moment() -> None:
    with staged():
        outcomes = [run(seed, 1_000) for seed in range(200)]
    assert [str(outcome) for outcome in outcomes if outcome.broken] == []
    assert sum(outcome.calls for outcome in outcomes) > 5_000
    assert sum(outcome.recovered for outcome in outcomes) > 100
    assert sum(outcome.refused for outcome in outcomes) > 2_000


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda mutation: mutation.name)
def test_a_deliberate_bug_is_caught(mutation: Mutation) -> None:
    with applied(mutation), staged():
        assert run(mutation.seed, STEPS).broken


def test_a_bug_in_code_that_has_changed_says_so() -> None:
    gone = MUTATIONS[0]._replace(old="no such text")
    with pytest.raises(LookupError, match="no such text"), applied(gone):
        raise AssertionError


def test_a_seed_is_a_world_and_a_failure_says_how_to_see_it_again() -> None:
    with staged(), applied(MUTATIONS[0]):
        traces = [io.StringIO(), io.StringIO()]
        outcomes = [run(MUTATIONS[0].seed, STEPS, trace=trace) for trace in traces]
    assert outcomes[0] == outcomes[1]
    assert traces[0].getvalue() == traces[1].getvalue()
    assert (
        f"scripts/prove ledger-simulation --seed {outcomes[0].seed} "
        f"--steps {outcomes[0].steps} --trace" in str(outcomes[0])
    )


@pytest.mark.slow
def test_worlds_on_a_real_database_end_with_books_that_agree(kind: str) -> None:
    for seed in range(3):
        with new_database(kind) as database:
            with staged(memory=False):
                outcome = run(seed, 300, books=SqlBooks(database))
            assert not outcome.broken, str(outcome)
            assert verify.verify(database).differences == []
