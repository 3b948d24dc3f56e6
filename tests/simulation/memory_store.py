"""The statements of ledger.store and of the call log, on books in memory.

The same names, arguments and answers; `books.record`, `ledger.service` and recovery run on
them unchanged.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace

from aipool.calls.types import CallRow, KeyHour
from aipool.kit.db import DatabaseBusy
from aipool.ledger.store import BooksBroken
from aipool.ledger.types import (
    BookedTransfer,
    Budget,
    BudgetChange,
    BudgetRow,
    EpochState,
    LeaseRow,
    StreamRow,
    Transfer,
    Wallet,
    WalletChange,
    WalletRow,
)
from tests.simulation.memory import (
    MemoryConnection,
    MemoryTransaction,
    check_budget,
    check_transfer,
    refused,
)

# --- wallets and transfers ------------------------------------------------------------------


def load_wallets(connection: MemoryConnection, names: Collection[str]) -> dict[str, WalletRow]:
    found: dict[str, WalletRow] = {}
    for name in names:
        row = connection.rows.get(("wallets", name)) or connection.books.wallets.get(name)
        if row is not None:
            connection.locked.add(("wallets", name))
            delta = connection.deltas.get(name)
            found[name] = row if delta is None else _moved(row, delta)
    return found


def _moved(row: WalletRow, delta: tuple[int, int]) -> WalletRow:
    return row._replace(
        balance_nano=row.balance_nano + delta[0], leased_nano=row.leased_nano + delta[1]
    )


def open_wallet(connection: MemoryConnection, account: str) -> None:
    if account not in connection.books.wallets:
        connection.rows["wallets", account] = WalletRow(account, 0, 0, 0)


def change_wallets(connection: MemoryConnection, changes: Sequence[WalletChange]) -> None:
    connection.before_write()
    for balance, leased, account in changes:
        before = connection.deltas.get(account, (0, 0))
        connection.deltas[account] = before[0] + balance, before[1] + leased


def wallet(connection: MemoryConnection, account: str) -> Wallet | None:
    row = connection.books.wallets.get(account)
    return None if row is None else Wallet(row.balance_nano, row.leased_nano)


def insert_transfers(connection: MemoryConnection, rows: Sequence[Transfer]) -> None:
    connection.before_write()
    for row in rows:
        check_transfer(row)
        if any(row.idem_key == other.idem_key for other in connection.transfers):
            raise refused(f"{row.idem_key} twice")
        connection.transfers.append(row)


def transfer_by_key(connection: MemoryConnection, idem_key: str) -> BookedTransfer | None:
    index = connection.books.keys.get(idem_key)
    return None if index is None else BookedTransfer(index, connection.books.transfers[index])


def known_keys(connection: MemoryConnection, keys: Collection[str]) -> set[str]:
    return {key for key in keys if key in connection.books.keys}


# --- budgets --------------------------------------------------------------------------------


def load_budgets(
    connection: MemoryConnection, keys: Collection[tuple[str, int]]
) -> dict[tuple[str, int], BudgetRow]:
    found: dict[tuple[str, int], BudgetRow] = {}
    for key in keys:
        row = connection.rows.get(("budgets", key)) or connection.books.budgets.get(key)
        if row is not None:
            connection.locked.add(("budgets", key))
            found[key] = BudgetRow._make(row[:5])
    return found


def put_budgets(connection: MemoryConnection, changes: Sequence[BudgetChange]) -> None:
    connection.before_write()
    for change in changes:
        check_budget(change)
        connection.rows["budgets", (change.budget, change.window)] = change


def add_budgets(connection: MemoryConnection, changes: Sequence[BudgetChange]) -> None:
    connection.before_write()
    for change in changes:
        if (change.budget, change.window) in connection.books.budgets:
            raise DatabaseBusy("another process began the same limit at the same moment")
    put_budgets(connection, changes)


def budget(connection: MemoryConnection, name: str, window: int) -> Budget | None:
    key = name, window
    row = connection.rows.get(("budgets", key)) or connection.books.budgets.get(key)
    return None if row is None else Budget(name, row.cap, row.used, row.leased, row.frozen)


def load_window_limits(connection: MemoryConnection, names: Collection[str]) -> dict[str, int]:
    found: dict[str, int] = {}
    for name in names:
        cap = connection.rows.get(("limits", name), connection.books.limits.get(name))
        if cap is not None:
            connection.locked.add(("limits", name))
            found[name] = cap
    return found


def put_window_limit(connection: MemoryConnection, budget: str, cap: int) -> None:
    connection.rows["limits", budget] = cap


def newest_window(connection: MemoryConnection, budget: str) -> int | None:
    windows = [window for name, window in connection.books.budgets if name == budget]
    return max(windows, default=None)


# --- leases ---------------------------------------------------------------------------------


def load_leases(
    connection: MemoryConnection, epoch: int, names: Collection[str]
) -> dict[tuple[int, str, int], int]:
    return {key: left for key, left in leases_of(connection, epoch).items() if key[1] in names}


def leases_of(connection: MemoryConnection, epoch: int) -> dict[tuple[int, str, int], int]:
    there = connection.books.leases.get(epoch, {})
    found = {(epoch, *key): left for key, left in there.items()}
    for (table, key), left in connection.rows.items():
        if table == "leases" and key[0] == epoch:
            if left:
                found[key] = left
            else:
                found.pop(key, None)
    return found


def put_leases(connection: MemoryConnection, rows: Iterable[LeaseRow]) -> None:
    connection.before_write()
    for epoch, budget, window, remaining in rows:
        if remaining < 0:
            raise refused(f"a lease of {remaining}")
        connection.rows["leases", (epoch, budget, window)] = remaining


# --- streams and the calendar ---------------------------------------------------------------


def find_streams(connection: MemoryConnection, epochs: Collection[int]) -> dict[int, StreamRow]:
    found: dict[int, StreamRow] = {}
    for epoch in epochs:
        row = connection.rows.get(("streams", epoch)) or connection.books.streams.get(epoch)
        if row is not None:
            found[epoch] = row
    return found


def load_streams(connection: MemoryConnection, epochs: Collection[int]) -> dict[int, StreamRow]:
    connection.locked.update(("streams", epoch) for epoch in epochs)
    return find_streams(connection, epochs)


def streams_in(connection: MemoryConnection, state: EpochState) -> list[StreamRow]:
    return [row for row in connection.books.streams.values() if row.state is state]


def open_streams_count(connection: MemoryConnection) -> int:
    return len(streams_in(connection, EpochState.OPEN))


def insert_stream(
    connection: MemoryConnection, epoch: int, *, worker: int, pid: int, at_ms: int
) -> None:
    row = StreamRow(epoch, worker, pid, 0, 0, b"", EpochState.OPEN)
    connection.rows["streams", epoch] = row


def advance_streams(connection: MemoryConnection, marks: Sequence[tuple[int, int]]) -> None:
    for high_water, epoch in marks:
        row = _open_stream(connection, epoch)
        connection.rows["streams", epoch] = replace(row, high_water=high_water)


def keep_replies(connection: MemoryConnection, replies: Sequence[tuple[int, bytes, int]]) -> None:
    for number, reply, epoch in replies:
        row = _open_stream(connection, epoch)
        connection.rows["streams", epoch] = replace(row, last_request=number, last_reply=reply)


def end_stream(connection: MemoryConnection, epoch: int, state: EpochState, at_ms: int) -> None:
    row = find_streams(connection, [epoch]).get(epoch)
    if row is None or row.state is EpochState.CLOSED:
        raise BooksBroken("an epoch ended twice")
    connection.rows["streams", epoch] = replace(row, state=state, last_reply=b"")


def _open_stream(connection: MemoryConnection, epoch: int) -> StreamRow:
    row = find_streams(connection, [epoch]).get(epoch)
    if row is None or row.state is not EpochState.OPEN:
        raise BooksBroken("an epoch is not open")
    return row


def load_calendar(connection: MemoryConnection) -> tuple[int, bool] | None:
    return connection.books.calendar


def put_calendar(connection: MemoryConnection, day: int, *, frozen: bool) -> None:
    kept = connection.books.calendar
    connection.rows["calendar", 1] = (max(day, kept[0]) if kept else day, frozen)


class CallLog:
    """calls.service, as far as the books use it."""

    @staticmethod
    def record(
        tx: MemoryTransaction, rows: Iterable[CallRow], _key_hours: Sequence[KeyHour] = ()
    ) -> None:
        for row in rows:
            if row.rid in tx.connection.calls:
                raise refused(f"{row.rid} twice")
            tx.connection.calls[row.rid] = row

    @staticmethod
    def known(connection: MemoryConnection, rids: Collection[str]) -> set[str]:
        return {rid for rid in rids if rid in connection.books.calls}
