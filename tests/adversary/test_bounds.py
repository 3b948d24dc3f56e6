"""What docs/ledger.md says of bounds, measured."""

from __future__ import annotations

import random

from aipool.gateway.funds import IDLE_SECONDS, WAIT_SECONDS, Denied
from tests.adversary.fleet import SLICE_MAX_NANO, Fleet
from tests.gateway.purse import Rig

WALLET = [("wallet:1", 0, 0)]


def test_what_lies_leased_while_nothing_runs_is_a_slice_a_worker() -> None:
    """¥2 x workers: here a slice is 2,000."""
    fleet = Fleet(2, random.Random(1))
    fleet.wallet(1, 10_000_000)
    calls = [fleet.call(fleet.places[0], WALLET, 1_500) for _ in range(200)]
    fleet.settle_down()
    assert all(call.said for call in calls)

    for call in calls:
        fleet.end(call, 1)
    fleet.settle_down()

    leased = sum(fleet.books.leases.values())
    assert leased <= SLICE_MAX_NANO * len(fleet.places), f"{leased} lie leased, and nothing runs"


def test_a_call_waits_for_money_three_seconds_and_no_longer() -> None:
    """Refused for less, it asks again; the time it has waited is waited."""
    rig = Rig()
    seconds = 0
    answered: list[int] = []

    def cheaper(denied: Denied | None) -> None:
        rig.funds.wait(rig.chain, 4, lambda said: answered.append(seconds))

    rig.funds.wait(rig.chain, 10, cheaper)
    for seconds in range(1, 3 * IDLE_SECONDS):
        rig.funds.tick()
        if seconds == WAIT_SECONDS - 1:
            rig.grant(0, 0, free=6)

    assert answered
    assert answered[0] <= WAIT_SECONDS + 1, f"it was answered after {answered[0]} seconds"
