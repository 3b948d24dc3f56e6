"""Four workers and the books: whatever was done before, at rest a call is refused if, and only
if, what is left beside the running calls does not cover it; and nothing is lent for ever."""

from __future__ import annotations

import random

import pytest

from aipool.gateway.funds import IDLE_SECONDS
from aipool.ledger.rules import concurrency_budget, requests_budget
from tests.adversary.fleet import DAY, Fleet

CONCURRENCY = concurrency_budget("token-1")
REQUESTS = requests_budget("token-1")
Named = list[tuple[str, int, int]]

CHAINS: list[Named] = [
    [("wallet:1", 0, 0)],
    [("wallet:1", 0, 0), ("token:1", 0, 0)],
    [("wallet:1", 0, 0), ("token:2", 0, 0)],
    [("wallet:1", 0, 0), ("token:1", 0, 0), (CONCURRENCY, 0, 3)],
    [("wallet:1", 0, 0), (REQUESTS, DAY, 400), (CONCURRENCY, 0, 3)],
    [("wallet:2", 0, 0), ("token:3", 0, 0)],
]


def world(seed: int) -> Fleet:
    chance = random.Random(seed)
    fleet = Fleet(4, chance)
    fleet.wallet(1, chance.choice([300, 3_000, 60_000]))
    fleet.wallet(2, chance.choice([100, 100_000]))
    fleet.cap("token:1", chance.choice([100, 2_000, 50_000]))
    fleet.cap("token:2", chance.choice([100, 2_000, 50_000]))
    fleet.cap("token:3", chance.choice([50, 100_000]))
    return fleet


def churn(fleet: Fleet, steps: int) -> None:
    """Anything at all."""
    chance = fleet.chance
    for _ in range(steps):
        what = chance.random()
        place = chance.choice(fleet.places)
        held = fleet.held()
        if what < 0.25:
            fleet.call(place, chance.choice(CHAINS), chance.choice([0, 1, 7, 40, 90]))
        elif what < 0.40 and held:
            call = chance.choice(held)
            fleet.end(call, chance.choice([0, call.hold // 2, call.hold]))
        elif what < 0.43:
            place.funds.tick()
        elif what < 0.45:
            budget = chance.choice(["token:1", "token:2", "token:3"])
            fleet.cap(budget, chance.choice([0, 60, 500, 80_000]))
        elif what < 0.5:
            fleet.ship(place)
        elif what < 0.53:
            waiting = [call for call in fleet.calls if call.said is None]
            if waiting:
                call = chance.choice(waiting)
                call.leave()
                fleet.calls.remove(call)
        else:
            fleet.deliver(place)
        fleet.calls = [call for call in fleet.calls if call.said is not False]


@pytest.mark.parametrize("seed", range(60))
def test_at_rest_a_call_is_refused_only_for_want_of_room(seed: int) -> None:
    fleet = world(seed)
    for _ in range(12):
        churn(fleet, 60)
        fleet.settle_down()
        fleet.calls = [call for call in fleet.calls if call.said is not False]
        assert all(call.said for call in fleet.calls), "a call waits for nothing"
        place, named = fleet.chance.choice(fleet.places), fleet.chance.choice(CHAINS)
        amount = fleet.chance.choice([1, 40, 90, 400])
        room = fleet.room(named, amount)

        call = fleet.call(place, named, amount)
        fleet.settle_down()

        assert call.said is room, (call.denied, named, amount)
        fleet.calls = [one for one in fleet.calls if one.said]
    for call in fleet.held():
        fleet.end(call, call.hold // 3)
    for _ in range(2 * IDLE_SECONDS + 2):
        for place in fleet.places:
            place.funds.tick()
        fleet.settle_down()
    assert fleet.books.leases == {}, "lent for ever"
    assert fleet.books.written_off == 0
