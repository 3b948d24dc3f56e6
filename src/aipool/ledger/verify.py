"""Re-derives the ledger from its transfers, on one moment of the database.

    L-01  every wallet is the fold of its transfers; all accounts together are zero
    L-02  no wallet was below its floor at any transfer, nor is now
    L-03  what is leased of a wallet or a limit is the sum of its leases, and fits
    L-07  nothing is lent to an epoch that is over
    L-09  `wallet_balance_after` is an unbroken chain
    L-10  a limit is above what is used and leased, or frozen
    T-01  transfers cannot be changed or removed; each is of a form that exists

Rows are streamed in the order of an index or of the database's own sorting, so memory
does not grow with the books. What joins money to calls is in calls.verify.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from sqlalchemy.engine import Connection

from aipool.kit.db import missing_guards
from aipool.ledger import store
from aipool.ledger.store import scan
from aipool.ledger.types import REVENUE, TransferKind, is_system_account, is_wallet


class Difference(NamedTuple):
    """A place where the books disagree with themselves.  check: the invariant's id."""

    check: str
    where: str
    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.check} {self.where}: expected {self.expected}, found {self.found}"


class Totals:
    """What was looked at, for the summary."""

    def __init__(self) -> None:
        self.wallets = 0
        self.wallets_nano = 0
        self.transfers = 0


def differences(connection: Connection, totals: Totals) -> Iterator[Difference]:
    """Every difference in the ledger; `connection` must see one moment throughout."""
    yield from _guards(connection)
    yield from _transfers(connection, totals)
    yield from _wallets(connection, totals)
    yield from _system_accounts(connection, totals)
    yield from _leases(connection)
    yield from _budgets(connection)


def _guards(connection: Connection) -> Iterator[Difference]:
    for statement in missing_guards(connection, "transfers"):
        yield Difference("T-01", "transfers", statement, "no such guard")


def _transfers(connection: Connection, totals: Totals) -> Iterator[Difference]:
    """The form of every transfer: which accounts a kind may join, and under which key."""
    for seq, transfer in scan.stream_transfers(connection):
        totals.transfers += 1
        sides = (transfer.debit, transfer.credit)
        wallets = sum(map(is_wallet, sides))
        where = f"transfer {seq}"
        for side in sides:
            if not is_wallet(side) and not is_system_account(side):
                yield Difference("T-01", where, "an account", side)
        if (transfer.wallet_balance_after is not None) != (wallets == 1) or wallets > 1:
            yield Difference("L-09", where, "one wallet and its balance", " → ".join(sides))
        match transfer.kind:
            case TransferKind.USAGE:
                fits = is_wallet(transfer.debit) and transfer.credit == REVENUE
            case TransferKind.WRITEOFF:
                fits = wallets == 0 and transfer.credit == REVENUE
            case _:
                fits = wallets == 1 and transfer.kind in set(TransferKind)
        if not fits:
            yield Difference("T-01", where, f"accounts of {transfer.kind}", " → ".join(sides))
        if transfer.kind in (TransferKind.USAGE, TransferKind.WRITEOFF):
            key = f"{transfer.kind}:{transfer.ref}"
            if transfer.idem_key != key:
                yield Difference("T-01", where, key, transfer.idem_key)


def _wallets(connection: Connection, totals: Totals) -> Iterator[Difference]:
    """Walks each wallet's transfers beside the wallets themselves, both by name."""
    rows = scan.stream_wallets(connection)
    wallet = next(rows, None)
    moves = scan.stream_wallet_moves(connection)
    move = next(moves, None)
    while wallet is not None or move is not None:
        name = min(one.account for one in (wallet, move) if one is not None)
        here = wallet if wallet is not None and wallet.account == name else None
        floor = here.floor_nano if here is not None else 0
        balance = 0
        while move is not None and move.account == name:
            balance += move.amount_nano
            if move.balance_after != balance:
                after = str(move.balance_after)
                yield Difference("L-09", f"{name} after transfer {move.seq}", str(balance), after)
            if balance < floor:
                where = f"{name} after transfer {move.seq}"
                yield Difference("L-02", where, f"at least {floor}", str(balance))
            move = next(moves, None)
        if here is None:
            yield Difference("L-01", name, "a wallet", "none")
            continue
        totals.wallets += 1
        totals.wallets_nano += here.balance_nano
        if here.balance_nano != balance:
            yield Difference("L-01", name, str(balance), str(here.balance_nano))
        if here.balance_nano - here.leased_nano < floor or here.leased_nano < 0:
            found = f"{here.balance_nano} with {here.leased_nano} leased"
            yield Difference("L-02", name, f"at least {floor} unleased", found)
        wallet = next(rows, None)


def _system_accounts(connection: Connection, totals: Totals) -> Iterator[Difference]:
    kept = store.checkpoints(connection)
    for seq in sorted({seq for seq, _ in kept.values()}):
        fold = store.system_movement(connection, 0, seq)
        for account, (at, balance) in kept.items():
            if at == seq and fold.get(account, 0) != balance:
                where = f"checkpoint of {account} at transfer {seq}"
                yield Difference("L-01", where, str(fold.get(account, 0)), str(balance))
    everything = store.system_movement(connection, 0, store.last_seq(connection))
    total = sum(everything.values()) + totals.wallets_nano
    if total:
        yield Difference("L-01", "all accounts together", "0", str(total))


def _leases(connection: Connection) -> Iterator[Difference]:
    for name, window, leased, lent in scan.leased_otherwise(connection):
        where = f"leased of {name}" + (f" in window {window}" if window else "")
        yield Difference("L-03", where, str(lent), str(leased))
    for epoch, name, remaining, state in scan.leases_of_no_open_epoch(connection):
        found = f"{remaining} of {name}"
        yield Difference("L-07", f"epoch {epoch:016x} ({state})", "no leases", found)


def _budgets(connection: Connection) -> Iterator[Difference]:
    own, used, windows_used = "", 0, 0
    for budget in scan.stream_budgets(connection):
        if budget.budget.startswith("token:"):
            name, _, window = budget.budget.partition("/")
            if not window or name != own:
                own, used, windows_used = name, 0 if window else budget.used, 0
            if window:
                windows_used += budget.used
                if windows_used > used:
                    limit = f"in all windows at most the {used} of its life"
                    yield Difference("L-10", budget.budget, limit, str(windows_used))
        over = budget.cap is not None and (budget.used + budget.leased > budget.cap)
        if over != budget.frozen or budget.used < 0 or budget.leased < 0:
            limit = f"at most {budget.cap}, or frozen"
            found = f"{budget.used} used, {budget.leased} leased"
            yield Difference("L-10", budget.budget, limit, found + " frozen" * budget.frozen)
