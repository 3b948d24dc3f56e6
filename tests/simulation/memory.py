"""The books in memory: rows in dicts, and transactions that are seen whole or not at all.

Stands where kit.db stands. A transaction buffers what it writes; a commit applies it in one
go after looking at the constraints that the real tables have. Rows that are loaded to be
decided on are locked, as a real database locks them: when another transaction has written
one of them in between, the commit says DatabaseBusy and whoever writes begins anew, which is
what waiting for the lock comes to.

    interrupt     called once a transaction, after it has loaded and before it writes: here
                  another authority may write
    failing       raised at the next commit instead of committing
    watch         called after each commit with what it wrote
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from aipool.calls.types import CallRow
from aipool.kit.db import DatabaseBusy
from aipool.kit.money import AMOUNT_NANO_MAX
from aipool.ledger.types import BudgetChange, StreamRow, Transfer, WalletRow

#: (table, key), as locks and buffered rows are kept.
Place = tuple[str, Any]


class MemoryBooks:
    """One database. The tables are public: invariants read them as they are."""

    def __init__(self) -> None:
        self.wallets: dict[str, WalletRow] = {}
        self.budgets: dict[tuple[str, int], BudgetChange] = {}
        self.leases: dict[int, dict[tuple[str, int], int]] = {}
        self.streams: dict[int, StreamRow] = {}
        self.limits: dict[str, int] = {}
        self.calendar: tuple[int, bool] | None = None
        self.transfers: list[Transfer] = []
        self.keys: dict[str, int] = {}
        self.calls: dict[str, CallRow] = {}
        self.commits = 0
        self.interrupt: Callable[[], None] | None = None
        self.failing: Exception | None = None
        self.watch: Callable[[MemoryConnection], None] = lambda _: None
        self._written_at: dict[Place, int] = {}

    def refresh(self) -> None:
        """The tables are always as they are."""

    @contextmanager
    def read(self, *, patient: bool = False) -> Iterator[MemoryConnection]:
        """What is committed."""
        yield MemoryConnection(self)

    @contextmanager
    def write(self, *, patient: bool = False) -> Iterator[MemoryTransaction]:
        """A transaction: committed at the end, forgotten on an exception."""
        transaction = MemoryTransaction(MemoryConnection(self))
        yield transaction
        self._commit(transaction.connection)

    def _commit(self, tx: MemoryConnection) -> None:
        tx.before_write()
        if self.failing is not None:
            error, self.failing = self.failing, None
            raise error
        if self.commits != tx.began:
            self._refuse_conflict(tx)
        moved = {name: self._moved(tx, name) for name in tx.deltas}
        for transfer in tx.transfers:
            if transfer.idem_key in self.keys:
                raise refused(f"{transfer.idem_key} is booked already")
        for rid in tx.calls:
            if rid in self.calls:
                raise refused(f"{rid} is recorded already")
        self._apply(tx, moved)
        self.watch(tx)

    def _refuse_conflict(self, tx: MemoryConnection) -> None:
        for place in tx.locked:
            if self._written_at.get(place, 0) > tx.began:
                raise DatabaseBusy("another transaction wrote a row of this decision")

    def _moved(self, tx: MemoryConnection, name: str) -> WalletRow:
        """A wallet as it is now, which need not be as it was loaded, and what is added."""
        balance, leased = tx.deltas[name]
        row: WalletRow = self.wallets.get(name) or tx.rows["wallets", name]
        row = row._replace(
            balance_nano=row.balance_nano + balance, leased_nano=row.leased_nano + leased
        )
        if row.leased_nano < 0 or row.balance_nano - row.leased_nano < row.floor_nano:
            raise refused(f"{row} breaks a check")
        return row

    def _apply(self, tx: MemoryConnection, moved: dict[str, WalletRow]) -> None:
        self.commits = at = self.commits + 1
        written = self._written_at
        for place, row in tx.rows.items():
            table, key = place
            written[place] = at
            if table == "leases":
                epoch, budget, window = key
                of = self.leases.setdefault(epoch, {})
                if row:
                    of[budget, window] = row
                else:
                    of.pop((budget, window), None)
            elif table == "calendar":
                self.calendar = row
            else:
                getattr(self, table)[key] = row
        for name, wallet in moved.items():
            self.wallets[name] = wallet
            written["wallets", name] = at
        for transfer in tx.transfers:
            self.keys[transfer.idem_key] = len(self.transfers)
            self.transfers.append(transfer)
        self.calls.update(tx.calls)


class MemoryConnection:
    """What a transaction sees: its own rows over the committed ones."""

    __slots__ = ("began", "books", "calls", "deltas", "locked", "rows", "told", "transfers")

    def __init__(self, books: MemoryBooks) -> None:
        self.books = books
        self.began = books.commits
        self.locked: set[Place] = set()
        self.rows: dict[Place, Any] = {}
        self.deltas: dict[str, tuple[int, int]] = {}
        self.transfers: list[Transfer] = []
        self.calls: dict[str, CallRow] = {}
        self.told = False

    def before_write(self) -> None:
        """Everything is loaded and decided; now is when others may come in between."""
        if not self.told:
            self.told = True
            interrupt, self.books.interrupt = self.books.interrupt, None
            if interrupt is not None:
                interrupt()


class MemoryTransaction:
    """As kit.db.Transaction."""

    __slots__ = ("connection",)

    def __init__(self, connection: MemoryConnection) -> None:
        self.connection = connection


def refused(why: str) -> Exception:
    """What a real database raises when a constraint is not kept."""
    return sa.exc.IntegrityError(why, None, Exception(why))


def check_budget(row: BudgetChange) -> None:
    """The constraints of the table."""
    over = row.cap is not None and row.used + row.leased > row.cap
    if row.used < 0 or row.leased < 0 or (over and not row.frozen):
        raise refused(f"{row} breaks a check")


def check_transfer(row: Transfer) -> None:
    """The constraints of the table."""
    if not 1 <= row.amount_nano <= AMOUNT_NANO_MAX or row.debit == row.credit:
        raise refused(f"{row} breaks a check")
