"""The pure core beside a model that moves money one nano at a time."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import NamedTuple

from hypothesis import given, settings
from hypothesis import strategies as st

from aipool.kit.money import AMOUNT_NANO_MAX
from aipool.ledger.core import decide, slice_of
from aipool.ledger.types import (
    REVENUE,
    WRITEOFF,
    Answer,
    BudgetRow,
    Command,
    GiveBack,
    Grant,
    Lend,
    Lent,
    Move,
    Moved,
    RefusalReason,
    Refused,
    Release,
    Rows,
    SetCap,
    Settle,
    Settled,
    SliceRule,
    TransferKind,
    WalletRow,
    is_wallet,
    wallet_account,
)

RULE = SliceRule(active_workers=2, slice_max_nano=200)


class AskFor(NamedTuple):
    budget: str
    window: int
    least_nano: int
    want_nano: int


class Ended(NamedTuple):
    rid: str
    at_ms: int
    user_id: int
    token_id: int
    hold_nano: int
    charge_nano: int
    budgets: tuple[tuple[str, int], ...]


@dataclass
class Ledger:
    """Books in memory: loads rows and writes effects, as the store does."""

    wallets: dict[str, WalletRow] = field(default_factory=dict)
    budgets: dict[tuple[str, int], BudgetRow] = field(default_factory=dict)
    leases: dict[tuple[int, str, int], int] = field(default_factory=dict)
    folds: dict[str, int] = field(default_factory=dict)
    transfers: int = 0

    def do(self, *commands: Command) -> tuple[Answer, ...]:
        rows = Rows(dict(self.wallets), dict(self.budgets), dict(self.leases))
        effects = decide(rows, commands)
        assert rows == Rows(self.wallets, self.budgets, self.leases)
        for transfer in effects.transfers:
            assert 1 <= transfer.amount_nano <= AMOUNT_NANO_MAX
            self._fold(transfer.credit, transfer.amount_nano)
            self._fold(transfer.debit, -transfer.amount_nano)
            sides = [side for side in (transfer.debit, transfer.credit) if is_wallet(side)]
            after = self.folds[sides[0]] if sides else None
            assert transfer.wallet_balance_after == after
        self.transfers += len(effects.transfers)
        for change in effects.wallets:
            old = self.wallets[change.account]
            self.wallets[change.account] = WalletRow(
                old.account,
                old.balance_nano + change.balance_nano,
                old.leased_nano + change.leased_nano,
                old.floor_nano,
            )
        for budget in effects.budgets:
            over = (
                budget.cap_nano is not None
                and budget.used_nano + budget.leased_nano > budget.cap_nano
            )
            assert budget.frozen == over
            self.budgets[budget.budget, budget.window] = BudgetRow(*budget[:5])
        for lease in effects.leases:
            self.leases[lease.epoch, lease.budget, lease.window] = lease.remaining_nano
        self.check()
        return effects.answers

    def _fold(self, account: str, amount: int) -> None:
        self.folds[account] = self.folds.get(account, 0) + amount

    def check(self) -> None:
        assert sum(self.folds.values()) == 0
        for name, wallet in self.wallets.items():
            assert wallet.balance_nano == self.folds.get(name, 0)
            assert wallet.balance_nano - wallet.leased_nano >= wallet.floor_nano
            assert wallet.leased_nano == self._lent(name)
        for (name, _), budget in self.budgets.items():
            assert budget.used_nano >= 0
            assert budget.leased_nano == self._lent(name)
        assert all(remaining >= 0 for remaining in self.leases.values())

    def _lent(self, name: str) -> int:
        return sum(left for (_, budget, _), left in self.leases.items() if budget == name)


def books(**balances: int) -> Ledger:
    """Wallets by user (`u1=100`) and limits by token (`t1=50`; -1 = counted only)."""
    ledger = Ledger()
    for name, amount in balances.items():
        if name.startswith("u"):
            account = f"wallet:{name[1:]}"
            ledger.wallets[account] = WalletRow(account, 0, 0, 0)
            if amount:
                ledger.do(credit(int(name[1:]), amount))
        else:
            ledger.do(SetCap(f"token:{name[1:]}", 0, None if amount < 0 else amount))
    return ledger


def credit(user: int, amount: int) -> Move:
    account = wallet_account(user)
    return Move(1, "cash:test", account, amount, TransferKind.CREDIT, "", f"c{user}", "test")


def debit(user: int, amount: int) -> Move:
    account = wallet_account(user)
    return Move(1, account, "adjust:test", amount, TransferKind.ADJUST, "", "d", "test")


def lend(epoch: int, *needs: AskFor, rule: SliceRule = RULE) -> Lend:
    return Lend(epoch, (needs,), rule)


def lent(*chains: tuple[tuple[int, int, bool], ...]) -> Lent:
    """An answer, each grant as (amount, free before, low)."""
    return Lent(tuple(tuple(Grant(*grant) for grant in chain) for chain in chains))


def exactly(user: int, amount: int) -> AskFor:
    return AskFor(f"wallet:{user}", 0, amount, amount)


def call(charge: int, *, hold: int, user: int = 1, token: int = 0, limited: bool = False) -> Ended:
    budgets: tuple[tuple[str, int], ...] = ((f"wallet:{user}", 0),)
    if limited:
        budgets += ((f"token:{token}", 0),)
    return Ended(f"req_{charge}_{hold}", 1, user, token, hold, charge, budgets)


# --- lending ----------------------------------------------------------------------------------


def test_a_rich_budget_lends_more_than_was_asked_for() -> None:
    ledger = books(u1=6000)

    (answer,) = ledger.do(lend(1, exactly(1, 10), rule=SliceRule(2, 2000)))

    assert answer == lent(((1000, 6000, False),))


def test_a_slice_is_bounded_but_never_below_the_need() -> None:
    need = AskFor("wallet:1", 0, 300, 300)

    assert slice_of(10_000_000, need, SliceRule(2, 200)).amount_nano == 300
    assert slice_of(10_000_000, AskFor("wallet:1", 0, 1, 1), SliceRule(2, 200)).amount_nano == 200
    assert slice_of(2400, need, SliceRule(100, 2000)).amount_nano == 300


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
    assert second == lent(((0, 0, True),))


def test_a_wallet_worth_one_hold_is_lent_once() -> None:
    ledger = books(u1=10)

    answers = ledger.do(*(lend(epoch, exactly(1, 10)) for epoch in (1, 2, 3)))

    assert [answer.chains[0][0].amount_nano for answer in answers] == [10, 0, 0]  # type: ignore[union-attr]


def test_a_chain_is_granted_on_all_its_budgets_or_on_none() -> None:
    ledger = books(u1=100, t1=5)

    (answer,) = ledger.do(lend(1, exactly(1, 10), AskFor("token:1", 0, 10, 10)))

    assert answer == lent(((0, 100, False), (0, 5, True)))
    assert ledger.leases == {}


def test_chains_of_one_frame_share_what_is_free() -> None:
    ledger = books(u1=15)
    need = exactly(1, 10)

    (answer,) = ledger.do(Lend(1, ((need,), (need,)), RULE))

    assert answer == lent(((10, 15, True),), ((0, 5, True),))


def test_a_frozen_limit_lends_nothing_and_never_goes_negative() -> None:
    ledger = books(u1=100, t1=50)
    both = (exactly(1, 20), AskFor("token:1", 0, 20, 20))
    ledger.do(lend(1, *both))

    ledger.do(SetCap("token:1", 0, 5))
    (refused,) = ledger.do(lend(1, AskFor("token:1", 0, 1, 1)))
    (settled,) = ledger.do(Settle(1, call(20, hold=20, token=1, limited=True)))

    assert refused == lent(((0, 0, True),))
    assert settled == Settled(20, 0)
    assert ledger.budgets["token:1", 0].used_nano == 20


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

    assert {answer.chains[0][0].amount_nano for answer in answers} == {0}  # type: ignore[union-attr]
    assert ledger.leases == {}


# --- calls ------------------------------------------------------------------------------------


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
    assert ledger.budgets["token:1", 0].used_nano == 50
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


# --- everything together ----------------------------------------------------------------------


def _settle_nano_by_nano(ledger: Ledger, epoch: int, ended: Ended) -> Settled:
    """What `Settle` must answer, found by paying one nano after another."""
    account = wallet_account(ended.user_id)
    chain = list(dict.fromkeys([*ended.budgets, (account, 0)]))
    wallet = ledger.wallets.get(account)
    if wallet is None:
        return Settled(0, max(ended.charge_nano, 0))
    left: list[list[int]] = []
    for name, window in chain:
        lease = min(ledger.leases.get((epoch, name, window), 0), max(ended.hold_nano, 0))
        if name == account:
            free = wallet.balance_nano - wallet.leased_nano - wallet.floor_nano
        elif (name, window) in ledger.budgets:
            limit = ledger.budgets[name, window]
            cap = limit.cap_nano if limit.cap_nano is not None else 10**9
            free = max(0, cap - limit.used_nano - limit.leased_nano)
        else:
            continue
        left.append([lease, free])
    paid = 0
    while paid < ended.charge_nano and all(lease + free > 0 for lease, free in left):
        for purse in left:
            purse[0 if purse[0] > 0 else 1] -= 1
        paid += 1
    return Settled(paid, max(ended.charge_nano, 0) - paid)


def _leased_to(ledger: Ledger, epoch: int, ended: Ended) -> int:
    return ledger.leases.get((epoch, wallet_account(ended.user_id), 0), 0)


_users = st.integers(1, 2)
_tokens = st.integers(0, 2)
_epochs = st.integers(1, 2)
_amounts = st.integers(-1, 60)


@st.composite
def _commands(draw: st.DrawFn) -> Command:
    user, token, epoch = draw(_users), draw(_tokens), draw(_epochs)
    wallet, limit = f"wallet:{user}", f"token:{token}"
    match draw(st.integers(0, 9)):
        case 0:
            return credit(user, draw(st.integers(1, 500)))
        case 1:
            return debit(user, draw(st.integers(1, 100)))
        case 2:
            return SetCap(limit, 0, draw(st.none() | st.integers(0, 200))) if token else Release(0)
        case 3:
            return GiveBack(epoch, draw(st.sampled_from([wallet, limit])), 0, draw(_amounts))
        case 4:
            return Release(epoch)
        case 5 | 6:
            least, want = draw(_amounts), draw(_amounts)
            names = [wallet, limit] if token and draw(st.booleans()) else [wallet]
            needs = tuple(AskFor(name, 0, least, want) for name in names)
            return Lend(epoch, (needs,), RULE)
        case _:
            limited = bool(token) and draw(st.booleans())
            return Settle(
                epoch,
                call(draw(_amounts), hold=draw(_amounts), user=user, token=token, limited=limited),
            )


@settings(max_examples=150, deadline=None)
@given(st.lists(_commands(), max_size=40))
def test_whatever_happens_the_books_agree_with_the_nano_by_nano_model(
    commands: list[Command],
) -> None:
    ledger = books(u1=300, u2=40)
    for command in commands:
        free = {
            name: wallet.balance_nano - wallet.leased_nano
            for name, wallet in ledger.wallets.items()
        }
        if isinstance(command, Settle):
            assert isinstance(command.call, Ended)
            wanted = _settle_nano_by_nano(ledger, command.epoch, command.call)
            within = min(max(command.call.hold_nano, 0), wanted.charged_nano)
            leased = _leased_to(ledger, command.epoch, command.call)

        (answer,) = ledger.do(command)

        if isinstance(command, Settle):
            assert isinstance(command.call, Ended)
            assert answer == wanted
            left = _leased_to(ledger, command.epoch, command.call)
            assert leased - left == min(leased, within)
        if isinstance(command, Lend) and isinstance(answer, Lent):
            _check_grant(command, answer, free)


def _check_grant(command: Lend, answer: Lent, free: dict[str, int]) -> None:
    needs, grants = command.chains[0], answer.chains[0]
    granted = [grant.amount_nano > 0 for grant in grants]
    assert all(granted) or not any(granted) or any(need.want_nano == 0 for need in needs)
    for need, grant in zip(needs, grants, strict=True):
        if is_wallet(need.budget):
            assert grant.free_nano == free[need.budget]
        assert grant.amount_nano <= grant.free_nano
        if grant.amount_nano and grant.low:
            assert need.least_nano <= grant.amount_nano <= need.want_nano
        elif grant.amount_nano:
            assert grant.free_nano >= 8 * need.want_nano
            assert need.want_nano <= grant.amount_nano
            assert grant.amount_nano <= max(need.want_nano, RULE.slice_max_nano)


@settings(max_examples=100, deadline=None)
@given(st.lists(_commands(), max_size=25), st.integers(1, 25))
def test_a_batch_does_what_its_commands_do_one_by_one(commands: list[Command], cut: int) -> None:
    one_by_one, together = books(u1=300, u2=40), books(u1=300, u2=40)

    answers: list[Answer] = []
    for command in commands:
        answers += one_by_one.do(command)
    batched: list[Answer] = []
    for part in _cut(commands, cut):
        batched += together.do(*part)

    assert batched == answers
    assert together.wallets == one_by_one.wallets
    assert together.folds == one_by_one.folds
    assert {k: v for k, v in together.leases.items() if v} == {
        k: v for k, v in one_by_one.leases.items() if v
    }
    assert together.budgets == one_by_one.budgets


def _cut(commands: list[Command], size: int) -> Iterable[list[Command]]:
    return (commands[start : start + size] for start in range(0, len(commands), size))
