"""Money in a worker's hands: nothing is promised twice, nothing is lost, everybody is answered."""

from __future__ import annotations

from aipool.doors.frames import Grant, Granted
from aipool.doors.records import Returned
from aipool.gateway.funds import IDLE_SECONDS, WAIT_SECONDS, Denied, Shortage
from aipool.ledger.types import Note
from tests.gateway.purse import SIBLING, WALLET, Rig, funded


def test_a_hold_takes_from_every_budget_of_the_chain_or_from_none() -> None:
    rig = funded(100)
    rig.chain[1].free = 50

    assert not rig.funds.hold(rig.chain, 51)
    assert rig.free == [100, 50]
    assert rig.funds.hold(rig.chain, 50)
    assert rig.free == [50, 0]


def test_a_free_call_needs_nothing() -> None:
    assert Rig().funds.hold(Rig().chain, 0)


def test_a_settle_gives_back_what_was_not_used() -> None:
    rig = funded(100)
    assert rig.funds.hold(rig.chain, 80)

    rig.funds.settle(rig.chain, 80, 30)

    assert rig.free == [70, 70]


def test_a_charge_above_the_hold_uses_up_the_hold_and_no_more() -> None:
    rig = funded(100)
    assert rig.funds.hold(rig.chain, 80)

    rig.funds.settle(rig.chain, 80, 500)

    assert rig.free == [20, 20]


def test_one_budget_is_one_lease_in_all_chains() -> None:
    rig = Rig()

    sibling = rig.funds.chain((WALLET, SIBLING))

    assert sibling[0] is rig.chain[0]
    assert sibling[1] is not rig.chain[1]
    assert rig.funds.chain((("wallet:1", 1, 0),))[0] is not rig.chain[0], "another window"


def test_only_what_is_missing_is_asked_for() -> None:
    rig = funded(100)
    rig.chain[0].free = 500

    rig.call("a", 130)

    assert rig.asked == [[("token:1", 30, 30)]]


def test_calls_that_come_while_one_asks_wait_for_the_next_question() -> None:
    rig = Rig()
    rig.call("a", 10)
    rig.call("b", 20)
    rig.call("c", 30)
    assert len(rig.sent) == 1
    assert rig.asked == [[("wallet:1", 10, 10), ("token:1", 10, 10)]]

    rig.grant(10, 10)

    assert rig.said == {"a": None}
    assert len(rig.sent) == 2
    assert rig.asked == [[("wallet:1", 20, 50), ("token:1", 20, 50)]]


def test_one_question_carries_all_chains_that_wait() -> None:
    rig = Rig()
    sibling = rig.funds.chain((WALLET, SIBLING))
    rig.call("a", 10)
    rig.call("b", 10)
    rig.call("c", 7, sibling)
    rig.grant(10, 10)

    assert rig.asked == [
        [("wallet:1", 10, 10), ("token:1", 10, 10)],
        [("wallet:1", 7, 7), ("token:2", 7, 7)],
    ]


def test_a_small_call_does_not_overtake_a_large_one_that_waits() -> None:
    rig = funded(100)
    rig.call("large", 500)

    rig.call("small", 1)

    assert rig.said == {}
    rig.grant(400, 400)
    assert list(rig.said) == ["large"]
    rig.grant(1, 1)
    assert list(rig.said) == ["large", "small"]


def test_a_no_refuses_whom_all_there_is_would_not_cover() -> None:
    rig = Rig()
    rig.call("a", 10)
    rig.call("b", 4)

    rig.grant(0, 0, free=6)

    assert rig.said == {"a": Denied(Shortage.FUNDS, "wallet:1", 6)}
    assert rig.asked == [[("wallet:1", 4, 4), ("token:1", 4, 4)]]


def test_the_narrowest_budget_is_named() -> None:
    rig = Rig()
    rig.call("a", 10)

    rig.funds.granted(Granted(1, ((Grant(0, 50, False), Grant(0, 3, False, Note.SHORT)),)))

    assert rig.said == {"a": Denied(Shortage.FUNDS, "token:1", 3)}


def test_a_budget_that_was_not_asked_for_is_not_taken_to_be_empty() -> None:
    rig = funded(100)
    wallet_only = rig.funds.chain((WALLET,))
    rig.chain[1].free = 0
    rig.call("large", 40)
    rig.call("small", 20)
    assert rig.asked == [[("token:1", 40, 40)]], "the wallet had enough for the first"
    assert rig.funds.hold(wallet_only, 90)

    rig.grant(0, free=30)

    assert rig.said == {"large": Denied(Shortage.FUNDS, "token:1", 30)}
    assert rig.asked == [[("wallet:1", 10, 10), ("token:1", 20, 20)]]


def test_a_call_whose_money_others_take_is_refused_in_the_end() -> None:
    rig = Rig()
    rig.call("a", 10)

    for _ in range(3):
        assert rig.said == {}
        rig.grant(0, 0, free=10)

    assert rig.said == {"a": Denied(Shortage.FUNDS, "wallet:1", 10)}


def test_a_refused_call_may_come_again_for_less_at_once() -> None:
    rig = Rig()

    def cheaper(denied: Denied | None) -> None:
        assert denied is not None
        rig.call("cheaper", denied.available)

    rig.funds.wait(rig.chain, 10, cheaper)
    rig.grant(0, 0, free=6)
    rig.grant(6, 6)

    assert rig.said == {"cheaper": None}


def test_a_call_whose_client_left_takes_nothing_and_is_not_answered() -> None:
    rig = Rig()
    said: list[Denied | None] = []
    leave = rig.funds.wait(rig.chain, 10, said.append)
    rig.call("b", 10)

    leave()
    rig.grant(10, 10)

    assert said == []
    assert rig.said == {"b": None}
    assert rig.free == [0, 0]


# --- low-balance mode -----------------------------------------------------------------------------


def test_in_low_mode_what_a_settle_leaves_goes_straight_back() -> None:
    rig = funded(100, low=True)

    rig.funds.settle(rig.chain, 100, 30)

    assert rig.free == [0, 0]
    assert rig.returned == [Returned("wallet:1", 0, 70), Returned("token:1", 0, 70)]


def test_a_lease_that_is_funded_again_keeps_its_rest() -> None:
    rig = funded(100, low=True)
    rig.call("b", 50)
    rig.grant(500, 500)

    rig.funds.settle(rig.chain, 100, 30)

    assert rig.free == [520, 520]
    assert rig.returned == []


def test_what_is_on_its_way_back_is_waited_for_before_asking() -> None:
    rig = funded(100, low=True)
    rig.funds.settle(rig.chain, 100, 30)
    asked = len(rig.sent)

    rig.call("next", 70)
    assert len(rig.sent) == asked, "the question would overtake the money"
    rig.funds.recorded(1)
    assert len(rig.sent) == asked
    rig.funds.recorded(2)

    assert len(rig.sent) == asked + 1
    rig.grant(70, 70, low=True)
    assert rig.said == {"next": None}


def test_who_waits_at_the_same_worker_is_served_from_what_a_call_leaves() -> None:
    rig = funded(100, low=True)
    rig.call("next", 60)

    rig.funds.settle(rig.chain, 100, 30)

    assert rig.said == {"next": None}
    assert [item.amount for item in rig.returned] == [10, 10]


def test_a_no_that_overtook_money_on_its_way_back_refuses_nobody() -> None:
    rig = funded(100, low=True)
    rig.call("next", 80)
    asked = len(rig.sent)
    rig.funds.settle(rig.chain, 100, 30)

    rig.grant(0, 0, free=0)
    assert rig.said == {}
    rig.funds.recorded(2)
    assert len(rig.sent) == asked + 1
    rig.grant(80, 80, low=True)

    assert rig.said == {"next": None}


def test_an_old_no_repeated_after_the_money_is_back_refuses_nobody() -> None:
    rig = funded(100, low=True)
    rig.call("next", 80)
    rig.funds.settle(rig.chain, 100, 30)
    rig.funds.recorded(2)
    rig.funds.reconnected()

    rig.grant(0, 0, free=0)

    assert rig.said == {}
    rig.grant(80, 80, low=True)
    assert rig.said == {"next": None}


def test_a_no_is_a_no_once_everything_is_back() -> None:
    rig = funded(100, low=True)
    rig.funds.settle(rig.chain, 100, 30)
    rig.call("next", 71)
    rig.funds.recorded(2)

    rig.grant(0, 0, free=70)

    assert rig.said == {"next": Denied(Shortage.FUNDS, "wallet:1", 70)}


def test_in_low_mode_what_nobody_takes_goes_back() -> None:
    rig = Rig()
    leave = rig.funds.wait(rig.chain, 10, lambda _: None)
    leave()

    rig.grant(10, 10, low=True)

    assert rig.free == [0, 0]
    assert [item.amount for item in rig.returned] == [10, 10]


# --- the link -------------------------------------------------------------------------------------


def test_what_was_not_answered_is_asked_again_under_its_number() -> None:
    rig = Rig()
    rig.call("a", 10)

    rig.funds.reconnected()

    assert rig.sent == [rig.sent[0]] * 2
    rig.grant(10, 10)
    rig.grant(10, 10)
    assert rig.said == {"a": None}
    assert rig.free == [0, 0], "the second answer to one question is no money"


def test_an_answer_to_another_question_is_none() -> None:
    rig = Rig()
    rig.call("a", 10)

    rig.funds.granted(Granted(99, ((Grant(10, 0, False), Grant(10, 0, False)),)))

    assert rig.said == {}
    assert rig.free == [0, 0]


def test_reconnecting_asks_nothing_when_nobody_waits() -> None:
    rig = funded()
    asked = len(rig.sent)

    rig.funds.reconnected()

    assert len(rig.sent) == asked


def test_who_waits_too_long_is_told_that_nobody_answers() -> None:
    rig = Rig()
    rig.call("a", 10)
    rig.seconds(1)
    rig.call("b", 10)

    rig.seconds(WAIT_SECONDS - 1)
    assert rig.said == {"a": Denied(Shortage.SILENCE, "", 0)}
    rig.seconds(1)
    assert list(rig.said) == ["a", "b"]


def test_money_that_comes_too_late_is_kept_and_goes_back_when_idle() -> None:
    rig = Rig()
    rig.call("a", 10)
    rig.seconds(3 * IDLE_SECONDS)
    chain = tuple((lease.budget, lease.window) for lease in rig.chain)
    rig.chain = ()  # the token was forgotten meanwhile

    rig.grant(10, 10)
    rig.seconds(IDLE_SECONDS)

    assert [(item.budget, item.window) for item in rig.returned] == list(chain)
    assert {item.amount for item in rig.returned} == {10}


# --- idle and closing -----------------------------------------------------------------------------


def test_an_idle_lease_goes_back_and_a_busy_one_stays() -> None:
    rig = funded(100)
    rig.seconds(IDLE_SECONDS - 1)
    assert rig.funds.hold(rig.chain, 1)
    rig.funds.settle(rig.chain, 1, 1)

    rig.seconds(IDLE_SECONDS - 1)
    assert rig.returned == []
    rig.seconds(1)

    assert rig.returned == [Returned("wallet:1", 0, 99), Returned("token:1", 0, 99)]
    assert rig.free == [0, 0]
    rig.seconds(2)
    assert not rig.funds._active, "nothing is kept of leases without money"


def test_what_a_long_call_leaves_goes_back_too() -> None:
    rig = funded(100)
    assert rig.funds.hold(rig.chain, 100)
    rig.seconds(3 * IDLE_SECONDS)

    rig.funds.settle(rig.chain, 100, 40)
    rig.seconds(1)

    assert [item.amount for item in rig.returned] == [60, 60]


def test_closing_gives_everything_back_now_and_the_rest_as_it_settles() -> None:
    rig = funded(100)
    assert rig.funds.hold(rig.chain, 60)

    rig.funds.close()
    assert [item.amount for item in rig.returned] == [40, 40]
    rig.funds.settle(rig.chain, 60, 10)

    assert [item.amount for item in rig.returned] == [40, 40, 50, 50]
