"""Work is shown once, where and when it was asked for, and as much as was asked for."""

from __future__ import annotations

import pytest

from aipool.accounts import proof
from aipool.accounts.proof import ChallengeNeeded, Proof, Proofs
from tests.accounts.people import solve

NOW = 1_800_000_000_000
HERE = "203.0.113.7"
BITS = 8


@pytest.fixture
def proofs() -> Proofs:
    return Proofs(b"k" * 32)


def solved(proofs: Proofs, bits: int = BITS, network: str = HERE) -> Proof:
    challenge = proofs.challenge(network, bits, NOW)
    return solve(challenge.text, bits)


def test_a_solved_challenge_is_good_once(proofs: Proofs) -> None:
    shown = solved(proofs)

    proofs.demand(shown, HERE, BITS, NOW + 1)
    with pytest.raises(ChallengeNeeded):
        proofs.demand(shown, HERE, BITS, NOW + 2)


def test_a_refusal_carries_the_next_challenge(proofs: Proofs) -> None:
    with pytest.raises(ChallengeNeeded) as needed:
        proofs.demand(None, HERE, BITS, NOW)

    assert needed.value.more["bits"] == BITS
    proofs.demand(solve(needed.value.more["challenge"], BITS), HERE, BITS, NOW)


@pytest.mark.parametrize(
    ("network", "bits", "later_ms"),
    [("203.0.113.8", BITS, 0), (HERE, BITS + 1, 0), (HERE, BITS, proof.LIFE_SECONDS * 1000)],
)
def test_work_of_elsewhere_or_too_little_or_too_late_is_none(
    proofs: Proofs, network: str, bits: int, later_ms: int
) -> None:
    shown = solved(proofs)

    with pytest.raises(ChallengeNeeded):
        proofs.demand(shown, network, bits, NOW + later_ms)


@pytest.mark.parametrize(
    "challenge", ["", ".", "9999999999999.0.x.00", "é.1.x.y", "a.b.c.d", "x" * 500]
)
def test_a_made_up_challenge_is_none(proofs: Proofs, challenge: str) -> None:
    with pytest.raises(ChallengeNeeded):
        proofs.demand(Proof(challenge, "0"), HERE, 0, NOW)


def test_a_challenge_of_another_installation_is_none(proofs: Proofs) -> None:
    with pytest.raises(ChallengeNeeded):
        Proofs(b"x" * 32).demand(solved(proofs), HERE, BITS, NOW)


def test_a_wrong_answer_is_none(proofs: Proofs) -> None:
    shown = solved(proofs, 12)

    with pytest.raises(ChallengeNeeded):
        proofs.demand(Proof(shown.challenge, shown.answer + "x"), HERE, 12, NOW)


def test_what_is_remembered_is_bounded(proofs: Proofs, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof, "_USED_MAX", 3)
    for _ in range(3):
        proofs.demand(solved(proofs), HERE, BITS, NOW)

    with pytest.raises(ChallengeNeeded):
        proofs.demand(solved(proofs), HERE, BITS, NOW)
    # Those that expired make room.
    late = NOW + proof.LIFE_SECONDS * 1000
    challenge = proofs.challenge(HERE, BITS, late)
    proofs.demand(solve(challenge.text, BITS), HERE, BITS, late)
