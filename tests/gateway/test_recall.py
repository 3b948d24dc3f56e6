"""Money that others hold, windows that move on, and limits of calls, in a worker's hands."""

from __future__ import annotations

from aipool.doors.frames import Acquire, Collect, Grant, Granted
from aipool.doors.records import Returned
from aipool.gateway.funds import IDLE_SECONDS, Denied, Shortage
from aipool.ledger.rules import concurrency_budget, requests_budget
from aipool.ledger.types import Note
from tests.gateway.purse import WALLET, Rig, funded

# --- what others hold -----------------------------------------------------------------------------


def test_nobody_is_refused_while_others_hold_what_is_missing() -> None:
    rig = Rig()
    rig.call("a", 10)

    rig.grant(0, 0, free=4, note=Note.ELSEWHERE)

    assert rig.said == {}
    collect = rig.sent[-1]
    assert collect == Collect(collect.number, (("token:1", 0), ("wallet:1", 0)))
    rig.funds.collected(collect.number, complete=True)
    rig.grant(10, 10, low=True)
    assert rig.said == {"a": None}


def test_a_no_after_everybody_gave_back_is_a_no() -> None:
    rig = Rig()
    rig.call("a", 10)
    rig.grant(0, 0, free=4, note=Note.ELSEWHERE)

    rig.funds.collected(rig.sent[-1].number, complete=True)
    rig.grant(0, 0, free=6, note=Note.ELSEWHERE)

    assert rig.said == {"a": Denied(Shortage.FUNDS, "wallet:1", 6)}


def test_a_holder_that_is_silent_makes_no_customer_poor() -> None:
    rig = Rig()
    rig.call("a", 10)
    rig.grant(0, 0, free=4, note=Note.ELSEWHERE)

    rig.funds.collected(rig.sent[-1].number, complete=False)
    rig.grant(0, 0, free=4, note=Note.ELSEWHERE)

    assert rig.said == {"a": Denied(Shortage.SILENCE, "wallet:1", 4)}


def test_others_are_served_while_one_chain_waits_for_what_comes_back() -> None:
    rig = Rig()
    other = rig.funds.chain((("wallet:2", 0, 0),))
    rig.call("poor", 10)
    rig.grant(0, 0, note=Note.ELSEWHERE)

    rig.call("rich", 5, other)
    rig.grant(5)

    assert rig.said == {"rich": None}
    assert [type(one) for one in rig.sent] == [Acquire, Collect, Acquire]


def test_who_waited_for_others_when_the_link_broke_asks_again() -> None:
    rig = Rig()
    rig.call("a", 10)
    rig.grant(0, 0, note=Note.ELSEWHERE)
    collect = rig.sent[-1]

    rig.funds.reconnected()
    rig.grant(10, 10)
    rig.funds.collected(collect.number, complete=False)

    assert rig.said == {"a": None}


def test_what_others_gave_back_for_one_call_says_nothing_of_the_next() -> None:
    rig = Rig()
    rig.call("a", 10)
    rig.grant(0, 0, note=Note.ELSEWHERE)
    rig.funds.collected(rig.sent[-1].number, complete=True)
    rig.grant(10, 10, low=True)

    rig.call("b", 10)
    rig.grant(0, 0, note=Note.ELSEWHERE)

    assert rig.said == {"a": None}
    assert isinstance(rig.sent[-1], Collect)


def test_what_is_free_goes_back_when_others_need_it_and_so_does_the_rest() -> None:
    rig = funded(100)
    assert rig.funds.hold(rig.chain, 30)

    position = rig.funds.recall([WALLET[:2], ("wallet:9", 0)])

    assert position == 1
    assert rig.returned == [Returned("wallet:1", 0, 70)]
    assert rig.free == [0, 70]
    rig.funds.settle(rig.chain, 30, 10)
    assert rig.returned[1:] == [Returned("wallet:1", 0, 20)]


def test_a_recall_of_what_is_held_gives_back_nothing() -> None:
    rig = funded(100)
    assert rig.funds.hold(rig.chain, 100)

    assert rig.funds.recall([WALLET[:2]]) == 0
    assert rig.returned == []


def test_a_recall_between_question_and_answer_is_no_refusal() -> None:
    rig = funded(100)
    rig.call("a", 130)
    assert rig.asked == [[("wallet:1", 30, 30), ("token:1", 30, 30)]]

    rig.funds.recall([WALLET[:2]])
    rig.funds.recorded(1)
    rig.grant(30, 30, low=True)

    assert rig.said == {}
    assert rig.asked == [[("wallet:1", 100, 100)]]
    rig.grant(100, low=True)
    assert rig.said == {"a": None}


# --- windows, and limits of calls -----------------------------------------------------------------


def test_a_call_whose_window_has_passed_is_told_to_hold_again() -> None:
    rig = Rig()
    rig.call("a", 10)

    rig.grant(0, 0, note=Note.OTHER_WINDOW)

    assert rig.said == {"a": Denied(Shortage.WINDOW, "", 0)}


def calls_rig(budget: str) -> Rig:
    rig = Rig()
    rig.chain = rig.funds.chain((WALLET, (budget, 0, 5)))
    return rig


def test_each_call_takes_one_of_a_limit_of_calls() -> None:
    rig = calls_rig(concurrency_budget("token-1"))
    rig.call("a", 100)
    rig.call("b", 50)
    assert rig.asked == [[("wallet:1", 100, 100), ("concurrency:token-1", 1, 1)]]
    assert [need.cap for need in rig.acquires[-1].chains[0]] == [0, 5]

    rig.grant(1000, 2)

    assert rig.said == {"a": None, "b": None}
    assert rig.free == [850, 0]


def test_a_place_is_free_again_when_its_call_has_ended_and_a_request_is_not() -> None:
    for budget, after in ((concurrency_budget("t"), 1), (requests_budget("t"), 0)):
        rig = calls_rig(budget)
        rig.call("a", 100)
        rig.grant(100, 1)

        rig.funds.settle(rig.chain, 100, 40)

        assert rig.free == [60, after]


def test_the_limit_of_calls_is_named_when_it_is_what_is_missing() -> None:
    rig = calls_rig(concurrency_budget("t"))
    rig.call("a", 100)

    rig.funds.granted(Granted(1, ((Grant(0, 999, False), Grant(0, 0, True, Note.SHORT)),)))

    assert rig.said == {"a": Denied(Shortage.FUNDS, "concurrency:t", 0)}


def test_a_call_that_nobody_heard_of_counts_for_nothing_however_long_it_was_held() -> None:
    rig = calls_rig(requests_budget("t"))
    rig.call("a", 100)
    rig.grant(100, 1)
    rig.seconds(IDLE_SECONDS + 1)

    rig.funds.release(rig.chain, 100)
    assert rig.free == [100, 1]
    rig.seconds(IDLE_SECONDS + 1)

    assert rig.returned == [Returned("wallet:1", 0, 100), Returned("requests:t/day", 0, 1)]
