"""A no is a no only when everybody who holds some of what is short was asked."""

from __future__ import annotations

import contextlib

from aipool.doors.frames import Collect, Grant, Granted
from aipool.gateway.funds import Denied, Shortage
from aipool.ledger.types import Note
from tests.gateway.purse import Rig, funded


def test_what_was_collected_before_a_grant_says_nothing_of_a_later_shortage() -> None:
    """The queue was served in part after a collection; its next shortage is a new one: others
    may have been lent what is missing since."""
    rig = Rig()
    rig.call("first", 10)
    rig.grant(0, 0, note=Note.ELSEWHERE)
    rig.call("second", 10)
    rig.funds.collected(rig.sent[-1].number, complete=True)
    rig.grant(10, 10, low=True)
    assert rig.said == {"first": None}

    rig.grant(0, 0, free=0, note=Note.ELSEWHERE)

    assert rig.said == {"first": None}, "refused, and nobody was asked to give back"
    assert isinstance(rig.sent[-1], Collect)


def test_a_collection_of_one_budget_says_nothing_of_another() -> None:
    rig = funded(100)
    rig.chain[0].free = 0
    rig.call("a", 40)
    assert rig.asked == [[("wallet:1", 40, 40)]], "of the limit there is enough"
    rig.grant(0, note=Note.ELSEWHERE)
    assert rig.sent[-1].budgets == (("wallet:1", 0),)  # type: ignore[union-attr]
    rig.funds.recall([("token:1", 0)])
    rig.funds.recorded(1)
    rig.funds.collected(rig.sent[-1].number, complete=True)

    number = rig.acquires[-1].number
    rig.funds.granted(Granted(number, ((Grant(0, 100, True), Grant(0, 0, True, Note.ELSEWHERE)),)))

    assert rig.said == {}, "refused, and no holder of the token's limit was asked"
    assert rig.sent[-1].budgets == (("token:1", 0),)  # type: ignore[union-attr]


def test_a_no_of_a_budget_that_nobody_else_holds_is_a_no_whoever_was_silent_before() -> None:
    """The silent holder has gone, and its leases are free: the books know that all there is
    does not suffice. A smaller answer may be had, and only a 402 leads there."""
    rig = Rig()
    rig.call("a", 10)
    rig.grant(0, 0, free=4, note=Note.ELSEWHERE)
    rig.funds.collected(rig.sent[-1].number, complete=False)

    rig.grant(0, 0, free=6, note=Note.SHORT)

    assert rig.said == {"a": Denied(Shortage.FUNDS, "wallet:1", 6)}


def test_a_call_that_comes_again_for_less_has_its_own_tries() -> None:
    """A cheaper call that is queued while others are being refused is not counted as tried."""
    rig = Rig()
    waits = rig.funds.wait
    said: list[Denied | None] = []

    def cheaper(denied: Denied | None) -> None:
        assert denied is not None
        waits(rig.chain, 4, said.append)

    waits(rig.chain, 10, cheaper)
    rig.call("other", 5)
    rig.grant(0, 0, free=6)
    queue = rig.funds._waiting[rig.chain]

    assert {waiter.amount: waiter.tries for waiter in queue} == {5: 1, 4: 0}


def test_a_mistake_in_what_one_call_does_with_its_answer_stops_nobody_else() -> None:
    rig = Rig()

    def broken(denied: Denied | None) -> None:
        raise RuntimeError("a mistake of ours")

    rig.funds.wait(rig.chain, 10, broken)
    with contextlib.suppress(RuntimeError):
        rig.grant(10, 10)

    rig.call("next", 10)

    assert len(rig.acquires) == 2, "nobody at this worker is ever asked for again"
