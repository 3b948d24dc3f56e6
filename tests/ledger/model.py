"""Books in memory for the pure core, and short words for what is asked of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aipool.kit.money import AMOUNT_NANO_MAX
from aipool.ledger.core import decide
from aipool.ledger.types import (
    Answer,
    BudgetRow,
    Command,
    Grant,
    Lend,
    LendRule,
    Lent,
    Move,
    Note,
    Rows,
    SetCap,
    TransferKind,
    WalletRow,
    is_wallet,
    wallet_account,
)

DAY = 20_000
RULE = LendRule(active_workers=2, slice_max_nano=200, day=DAY)


class AskFor(NamedTuple):
    budget: str
    window: int
    least: int
    want: int
    cap: int = 0


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
            over = budget.cap is not None and budget.used + budget.leased > budget.cap
            assert budget.frozen == over
            self.budgets[budget.budget, budget.window] = BudgetRow(*budget[:5])
        for lease in effects.leases:
            self.leases[lease.epoch, lease.budget, lease.window] = lease.remaining
        self.check()
        return effects.answers

    def _fold(self, account: str, amount: int) -> None:
        self.folds[account] = self.folds.get(account, 0) + amount

    def check(self) -> None:
        assert sum(self.folds.values()) == 0
        for name, wallet in self.wallets.items():
            assert wallet.balance_nano == self.folds.get(name, 0)
            assert wallet.balance_nano - wallet.leased_nano >= wallet.floor_nano
            assert wallet.leased_nano == self._lent(name, 0)
        for (name, window), budget in self.budgets.items():
            assert budget.used >= 0
            assert budget.leased == self._lent(name, window)
        assert all(remaining >= 0 for remaining in self.leases.values())

    def _lent(self, name: str, window: int) -> int:
        return sum(left for (_, *key), left in self.leases.items() if key == [name, window])


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


def lend(epoch: int, *needs: AskFor, rule: LendRule = RULE) -> Lend:
    return Lend(epoch, (needs,), rule)


def lent(*chains: tuple[tuple[Any, ...], ...]) -> Lent:
    """An answer, each grant as (amount, free before, low) with its note, if it has one."""
    return Lent(
        tuple(tuple(Grant(*(*grant, Note.FINE)[:4]) for grant in chain) for chain in chains)
    )


def exactly(user: int, amount: int) -> AskFor:
    return AskFor(f"wallet:{user}", 0, amount, amount)


def call(charge: int, *, hold: int, user: int = 1, token: int = 0, limited: bool = False) -> Ended:
    budgets: tuple[tuple[str, int], ...] = ((f"wallet:{user}", 0),)
    if limited:
        budgets += ((f"token:{token}", 0),)
    return Ended(f"req_{charge}_{hold}", 1, user, token, hold, charge, budgets)
