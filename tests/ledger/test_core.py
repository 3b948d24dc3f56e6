"""What the pure core decides, case by case."""

from __future__ import annotations

from aipool.kit.money import AMOUNT_NANO_MAX
from aipool.ledger.core import slice_of
from aipool.ledger.rules import Period, concurrency_budget, requests_budget, window_of
from aipool.ledger.types import (
    REVENUE,
    WRITEOFF,
    BudgetRow,
    GiveBack,
    Lend,
    LendRule,
    Move,
    Moved,
    Note,
    RefusalReason,
    Refused,
    Release,
    SetCap,
    Settle,
    Settled,
    TransferKind,
    WalletRow,
)
from tests.ledger.model import (
    DAY,
    RULE,
    AskFor,
    Ended,
    books,
    call,
    debit,
    exactly,
    lend,
    lent,
)

# --- lending ----------------------------------------------------------------------------------


def test_a_rich_budget_lends_more_than_was_asked_for() -> None:
    ledger = books(u1=6000)

    (answer,) = ledger.do(lend(1, exactly(1, 10), rule=LendRule(2, 2000, DAY)))

    assert answer == lent(((1000, 6000, False),))


def test_a_slice_is_bounded_but_never_below_the_need() -> None:
    need = AskFor("wallet:1", 0, 300, 300)

    assert slice_of(10_000_000, need, LendRule(2, 200, 0)).amount == 300
    assert slice_of(10_000_000, AskFor("wallet:1", 0, 1, 1), LendRule(2, 200, 0)).amount == 200
    assert slice_of(2400, need, LendRule(100, 2000, 0)).amount == 300


def test_a_poor_budget_lends_exactly_what_is_needed() -> None:
    ledger = books(u1=79)

    (answer,) = ledger.do(lend(1, exactly(1, 10)))

    assert answer == lent(((10, 79, True),))


def test_less_than_wanted_is_lent_down_to_the_least() -> None:
    ledger = books(u1=7)

    first, second = ledger.do(
        lend(1, AskFor("wallet:1", 0, 5, 50)), lend(2, AskFor("wallet:1", 0, 1, 1))
    )

    assert first == lent(((7, 7, True),))
    assert second == lent(((0, 0, True, Note.ELSEWHERE),))


def test_a_wallet_worth_one_hold_is_lent_once() -> None:
    ledger = books(u1=10)

    answers = ledger.do(*(lend(epoch, exactly(1, 10)) for epoch in (1, 2, 3)))

    assert [answer.chains[0][0].amount for answer in answers] == [10, 0, 0]  # type: ignore[union-attr]


def test_a_chain_is_granted_on_all_its_budgets_or_on_none() -> None:
    ledger = books(u1=100, t1=5)

    (answer,) = ledger.do(lend(1, exactly(1, 10), AskFor("token:1", 0, 10, 10)))

    assert answer == lent(((0, 100, False), (0, 5, True, Note.SHORT)))
    assert ledger.leases == {}


def test_chains_of_one_frame_share_what_is_free() -> None:
    ledger = books(u1=15)
    need = exactly(1, 10)

    (answer,) = ledger.do(Lend(1, ((need,), (need,)), RULE))

    assert answer == lent(((10, 15, True),), ((0, 5, True, Note.SHORT),))


def test_a_frozen_limit_lends_nothing_and_never_goes_negative() -> None:
    ledger = books(u1=100, t1=50)
    both = (exactly(1, 20), AskFor("token:1", 0, 20, 20))
    ledger.do(lend(1, *both))

    ledger.do(SetCap("token:1", 0, 5))
    (refused,) = ledger.do(lend(1, AskFor("token:1", 0, 1, 1)))
    (settled,) = ledger.do(Settle(1, call(20, hold=20, token=1, limited=True)))

    assert refused == lent(((0, 0, True, Note.SHORT),))
    assert settled == Settled(20, 0)
    assert ledger.budgets["token:1", 0].used == 20


def test_nonsense_is_refused_and_moves_nothing() -> None:
    ledger = books(u1=100)
    nonsense = [
        AskFor("wallet:1", 0, -5, 10),
        AskFor("wallet:1", 0, 10, 5),
        AskFor("wallet:1", 0, 1, -1),
        AskFor("wallet:9", 0, 1, 1),
        AskFor("wallet:1", 3, 1, 1),
        AskFor("wallet:1", 0, 2 * AMOUNT_NANO_MAX, 2 * AMOUNT_NANO_MAX),
    ]

    answers = ledger.do(*(lend(1, need) for need in nonsense))

    assert {answer.chains[0][0].amount for answer in answers} == {0}  # type: ignore[union-attr]
    assert ledger.leases == {}


def test_only_leases_of_others_are_called_elsewhere() -> None:
    ledger = books(u1=10)
    ledger.do(lend(1, exactly(1, 10)))

    own, others = ledger.do(lend(1, exactly(1, 1)), lend(2, exactly(1, 1)))

    assert own == lent(((0, 0, True, Note.SHORT),))
    assert others == lent(((0, 0, True, Note.ELSEWHERE),))


def test_only_the_window_of_today_and_the_last_one_lend() -> None:
    ledger = books(u1=100)
    ledger.do(SetCap("token:1/day", DAY, 50), SetCap("token:1/day", DAY - 2, 50))

    (yesterday,) = ledger.do(lend(1, exactly(1, 5), AskFor("token:1/day", DAY - 2, 5, 5)))
    (tomorrow,) = ledger.do(lend(1, AskFor("token:1/day", DAY + 1, 5, 5)))
    (today,) = ledger.do(lend(1, exactly(1, 5), AskFor("token:1/day", DAY, 5, 5)))

    assert [grant.note for grant in yesterday.chains[0]] == [Note.FINE, Note.OTHER_WINDOW]  # type: ignore[union-attr]
    assert tomorrow == lent(((0, 0, True, Note.OTHER_WINDOW),))
    assert all(grant.amount for grant in today.chains[0])  # type: ignore[union-attr]
    assert (1, "token:1/day", DAY - 2) not in ledger.leases


def test_an_answer_begun_before_midnight_may_grow_in_its_own_window() -> None:
    ledger = books(u1=100)
    ledger.do(SetCap("token:1/day", DAY - 1, 50))

    (answer,) = ledger.do(lend(1, exactly(1, 5), AskFor("token:1/day", DAY - 1, 5, 5)))

    assert all(grant.amount for grant in answer.chains[0])  # type: ignore[union-attr]


def test_each_period_has_its_own_number_of_the_window() -> None:
    ledger = books(u1=100)
    for period in Period:
        ledger.do(SetCap(f"token:1/{period}", window_of(period, DAY), 50))

    needs = [AskFor(f"token:1/{period}", window_of(period, DAY), 5, 5) for period in Period]
    (answer,) = ledger.do(lend(1, *needs))

    assert all(grant.amount for grant in answer.chains[0])  # type: ignore[union-attr]


def test_a_limit_of_calls_is_what_the_need_says_and_is_counted_in_the_books() -> None:
    ledger = books(u1=100)
    calls = concurrency_budget("token-1")

    first, second = ledger.do(
        lend(1, AskFor(calls, 0, 1, 2, cap=2)), lend(2, AskFor(calls, 0, 1, 1, cap=2))
    )
    (raised,) = ledger.do(lend(2, AskFor(calls, 0, 1, 1, cap=3)))

    assert first == lent(((2, 2, True),))
    assert second == lent(((0, 0, True, Note.ELSEWHERE),))
    assert raised == lent(((1, 1, True),))


# --- calls ------------------------------------------------------------------------------------


def test_a_free_call_counts_as_a_request_and_frees_its_place() -> None:
    ledger = books(u1=100)
    today, places = (requests_budget("token-1"), DAY), (concurrency_budget("token-1"), 0)
    ledger.do(lend(1, AskFor(*today, 1, 1, cap=5), AskFor(*places, 1, 1, cap=5)))

    chain = (("wallet:1", 0), today, places)
    answers = ledger.do(Settle(1, Ended("r", 1, 1, 1, 0, 0, chain)), Release(1))

    assert answers[0] == Settled(0, 0)
    assert ledger.budgets[today] == BudgetRow(*today, 5, 1, 0)
    assert ledger.budgets[places] == BudgetRow(*places, 5, 0, 0)


def test_requests_are_never_counted_above_their_limit() -> None:
    ledger = books(u1=100)
    today = (requests_budget("token-1"), DAY)
    ledger.do(lend(1, AskFor(*today, 1, 1, cap=1)))

    chain = (("wallet:1", 0), today)
    ledger.do(*(Settle(1, Ended(f"r{n}", 1, 1, 1, 9, 3, chain)) for n in range(3)))

    assert ledger.budgets[today] == BudgetRow(*today, 1, 1, 0)
    assert ledger.wallets["wallet:1"].balance_nano == 91


def test_a_charge_within_the_hold_leaves_the_rest_with_the_worker() -> None:
    ledger = books(u1=1000)
    ledger.do(lend(1, exactly(1, 100)))
    lent = ledger.leases[1, "wallet:1", 0]

    (answer,) = ledger.do(Settle(1, call(30, hold=100)))

    assert answer == Settled(30, 0)
    assert ledger.leases[1, "wallet:1", 0] == lent - 30
    assert ledger.folds[REVENUE] == 30


def test_what_exceeds_the_hold_is_taken_from_what_is_not_lent_to_others() -> None:
    ledger = books(u1=100)
    ledger.do(lend(1, exactly(1, 20)), lend(2, exactly(1, 70)))

    (answer,) = ledger.do(Settle(1, call(35, hold=20)))

    assert answer == Settled(30, 5)
    assert ledger.wallets["wallet:1"] == WalletRow("wallet:1", 70, 70, 0)
    assert ledger.folds[WRITEOFF] == -5
    assert ledger.folds[REVENUE] == 35


def test_what_exceeds_the_hold_is_not_taken_from_the_same_workers_other_holds() -> None:
    ledger = books(u1=40)
    ledger.do(lend(1, exactly(1, 20)), lend(1, exactly(1, 20)))

    (answer,) = ledger.do(Settle(1, call(30, hold=20)))

    assert answer == Settled(20, 10)
    assert ledger.leases[1, "wallet:1", 0] == 20


def test_what_exceeds_the_hold_leaves_the_lease_of_other_holds_alone() -> None:
    ledger = books(u1=100)
    ledger.do(lend(1, exactly(1, 20)), lend(1, exactly(1, 20)))

    (answer,) = ledger.do(Settle(1, call(30, hold=20)))

    assert answer == Settled(30, 0)
    assert ledger.leases[1, "wallet:1", 0] == 20


def test_what_a_limit_cannot_take_is_written_off_for_the_wallet_too() -> None:
    ledger = books(u1=1000, t1=50)
    ledger.do(lend(1, exactly(1, 40), AskFor("token:1", 0, 40, 40)))

    (answer,) = ledger.do(Settle(1, call(80, hold=40, token=1, limited=True)))

    assert answer == Settled(50, 30)
    assert ledger.budgets["token:1", 0].used == 50
    assert ledger.wallets["wallet:1"].balance_nano == 950


def test_a_worker_that_claims_a_hold_it_never_had_cannot_take_what_is_lent() -> None:
    ledger = books(u1=100)
    ledger.do(lend(2, exactly(1, 90)))

    (answer,) = ledger.do(Settle(1, call(60, hold=60)))

    assert answer == Settled(10, 50)
    assert ledger.leases[2, "wallet:1", 0] == 90


def test_nobody_pays_for_another_users_call() -> None:
    ledger = books(u1=100, u2=100)
    stolen = Ended("r", 1, 1, 0, 10, 10, (("wallet:2", 0),))

    ledger.do(Settle(1, stolen))

    assert ledger.wallets["wallet:1"].balance_nano == 90
    assert ledger.wallets["wallet:2"].balance_nano == 100


def test_a_call_of_a_user_without_a_wallet_is_written_off() -> None:
    ledger = books()

    (answer,) = ledger.do(Settle(1, call(10, hold=0, user=7)))

    assert answer == Settled(0, 10)


def test_a_token_counts_its_use_before_it_has_a_limit() -> None:
    ledger = books(u1=100)
    ledger.do(lend(1, exactly(1, 50)))

    ledger.do(Settle(1, call(30, hold=50, token=4)))
    ledger.do(SetCap("token:4", 0, 20))

    assert ledger.budgets["token:4", 0] == BudgetRow("token:4", 0, 20, 30, 0)


def test_one_call_is_charged_a_million_yuan_at_most() -> None:
    ledger = books(u1=100)

    (answer,) = ledger.do(Settle(1, call(10**19, hold=0)))

    assert answer == Settled(100, AMOUNT_NANO_MAX - 100)


def test_a_negative_charge_or_hold_moves_nothing_up() -> None:
    ledger = books(u1=100)
    ledger.do(lend(1, exactly(1, 50)))

    free, odd = ledger.do(Settle(1, call(-30, hold=50)), Settle(1, call(10, hold=-50)))

    assert free == Settled(0, 0)
    assert odd == Settled(10, 0)
    assert ledger.wallets["wallet:1"].balance_nano == 90


# --- returns ----------------------------------------------------------------------------------


def test_what_is_given_back_can_be_lent_again() -> None:
    ledger = books(u1=10)
    ledger.do(lend(1, exactly(1, 10)))

    ledger.do(GiveBack(1, "wallet:1", 0, 4))
    (answer,) = ledger.do(lend(2, exactly(1, 4)))

    assert answer == lent(((4, 4, True),))


def test_no_more_is_given_back_than_was_lent() -> None:
    ledger = books(u1=10)
    ledger.do(lend(1, exactly(1, 6)))

    ledger.do(GiveBack(1, "wallet:1", 0, 60), GiveBack(2, "wallet:1", 0, 5))
    ledger.do(GiveBack(1, "wallet:1", 0, -5))

    assert ledger.wallets["wallet:1"] == WalletRow("wallet:1", 10, 0, 0)


def test_release_returns_every_lease_of_that_epoch_alone() -> None:
    ledger = books(u1=100, t1=50)
    ledger.do(
        lend(1, exactly(1, 20), AskFor("token:1", 0, 20, 20)),
        lend(2, exactly(1, 30)),
    )

    ledger.do(Release(1))

    assert ledger.leases == {
        (1, "wallet:1", 0): 0,
        (1, "token:1", 0): 0,
        (2, "wallet:1", 0): 30,
    }


# --- people -----------------------------------------------------------------------------------


def test_staff_can_take_only_what_is_not_lent() -> None:
    ledger = books(u1=100)
    ledger.do(lend(1, exactly(1, 60)))

    (refused,) = ledger.do(debit(1, 41))
    (moved,) = ledger.do(debit(1, 40))

    assert refused == Refused(RefusalReason.NOT_ENOUGH_FREE, 40)
    assert moved == Moved(60)


def test_money_moves_between_one_wallet_and_one_system_account() -> None:
    ledger = books(u1=100, u2=100)
    kind = TransferKind.ADJUST

    answers = ledger.do(
        Move(1, "wallet:1", "wallet:2", 5, kind, "", "a", ""),
        Move(1, "cash:x", "suspense", 5, kind, "", "b", ""),
        Move(1, "nonsense", "wallet:1", 5, kind, "", "c", ""),
        Move(1, "cash:x", "wallet:9", 5, kind, "", "d", ""),
        Move(1, "cash:x", "wallet:1", 0, kind, "", "e", ""),
        Move(1, "cash:x", "wallet:1", AMOUNT_NANO_MAX + 1, kind, "", "f", ""),
    )

    assert all(isinstance(answer, Refused) for answer in answers)
    assert ledger.transfers == 2
