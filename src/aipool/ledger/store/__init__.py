"""Every SQL statement of the ledger.

Here is what decisions load and write, and what people look up; `scan` reads whole tables for those
who derive the books again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.kit.bulk import BulkStatement, NamedRows
from aipool.kit.db import DatabaseBusy, Int64
from aipool.ledger.tables import (
    ALONE,
    account_checkpoints,
    accounts,
    budgets,
    calendar,
    leases,
    streams,
    transfers,
    window_limits,
)
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

TRANSFER_COLUMNS = [transfers.c[name] for name in Transfer._fields]


class BooksBroken(Exception):
    """A statement met other rows than the decision was made on: a bug, nothing is written."""


# --- wallets --------------------------------------------------------------------------------

_LOAD_WALLETS = NamedRows(
    lambda names: (
        sa.select(
            accounts.c.account,
            accounts.c.balance_nano,
            accounts.c.leased_nano,
            accounts.c.floor_nano,
        )
        .where(accounts.c.account.in_(names))
        .order_by(accounts.c.account)
        .with_for_update()
    )
)


def load_wallets(connection: Connection, names: Collection[str]) -> dict[str, WalletRow]:
    """The wallets that exist among these, locked for this transaction."""
    return {row[0]: WalletRow._make(row) for row in _LOAD_WALLETS.fetch(connection, names)}


def open_wallet(connection: Connection, account: str) -> None:
    """Makes an empty wallet unless there is one."""
    connection.execute(
        sa.text("INSERT INTO accounts (account) VALUES (:account) ON CONFLICT DO NOTHING"),
        {"account": account},
    )


_CHANGE_WALLET = BulkStatement(
    sa.update(accounts)
    .values(
        balance_nano=accounts.c.balance_nano + sa.bindparam("balance_delta"),
        leased_nano=accounts.c.leased_nano + sa.bindparam("leased_delta"),
    )
    .where(accounts.c.account == sa.bindparam("name")),
    ("balance_delta", "leased_delta", "name"),
)


def change_wallets(connection: Connection, changes: Sequence[WalletChange]) -> None:
    """Moves balances relatively; the table's checks guard the floor."""
    if _CHANGE_WALLET.run(connection, changes) not in (None, len(changes)):
        raise BooksBroken("a wallet vanished")


def wallet(connection: Connection, account: str) -> Wallet | None:
    """A wallet as it is now."""
    row = connection.execute(
        sa.select(accounts.c.balance_nano, accounts.c.leased_nano).where(
            accounts.c.account == account
        )
    ).first()
    return Wallet(*row) if row else None


# --- transfers ------------------------------------------------------------------------------

_INSERT_TRANSFER = BulkStatement(sa.insert(transfers), Transfer._fields)


def insert_transfers(connection: Connection, rows: Sequence[Transfer]) -> None:
    """Books them in order. An idem_key that is there already fails the transaction."""
    _INSERT_TRANSFER.run(connection, rows)


def transfer_by_key(connection: Connection, idem_key: str) -> BookedTransfer | None:
    """The transfer of this fact, if it is booked."""
    row = connection.execute(
        sa.select(transfers.c.seq, *TRANSFER_COLUMNS).where(transfers.c.idem_key == idem_key)
    ).first()
    return BookedTransfer(row[0], Transfer(*row[1:])) if row else None


_KNOWN_KEYS = NamedRows(
    lambda names: sa.select(transfers.c.idem_key).where(transfers.c.idem_key.in_(names))
)


def known_keys(connection: Connection, keys: Collection[str]) -> set[str]:
    """Those of the keys that are booked."""
    return {row[0] for row in _KNOWN_KEYS.fetch(connection, keys)}


def wallet_transfers(
    connection: Connection, account: str, *, before_seq: int | None, limit: int, alone: bool = False
) -> list[BookedTransfer]:
    """A wallet's newest transfers first, below `before_seq`. alone: without what calls took.

    Each side is read from an index of its own; only what calls took leaves a wallet in masses.
    """
    found: list[BookedTransfer] = []
    for side, only_alone in ((transfers.c.debit, alone), (transfers.c.credit, True)):
        statement = (
            sa.select(transfers.c.seq, *TRANSFER_COLUMNS)
            .where(side == account)
            .order_by(transfers.c.seq.desc())
            .limit(limit)
        )
        if only_alone:
            statement = statement.where(sa.text(ALONE))
        if before_seq is not None:
            statement = statement.where(transfers.c.seq < before_seq)
        found += [
            BookedTransfer(row[0], Transfer(*row[1:])) for row in connection.execute(statement)
        ]
    return sorted(found, key=lambda booked: booked.seq, reverse=True)[:limit]


_BY_KEYS = NamedRows(
    lambda names: sa.select(transfers.c.idem_key, transfers.c.wallet_balance_after).where(
        transfers.c.idem_key.in_(names)
    )
)


def balances_after(connection: Connection, keys: Collection[str]) -> dict[str, int | None]:
    """What was on the wallet after each of these facts, of those that are booked."""
    return {row[0]: row[1] for row in _BY_KEYS.fetch(connection, keys)}


# --- system accounts ------------------------------------------------------------------------


def lock_transfers(connection: Connection) -> None:
    """Waits until nobody is writing transfers, and lets nobody begin."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql("LOCK TABLE transfers IN SHARE MODE")


def last_seq(connection: Connection) -> int:
    """The number of the newest transfer, 0 without any."""
    return int(connection.execute(sa.select(sa.func.max(transfers.c.seq))).scalar() or 0)


def checkpoints(connection: Connection) -> dict[str, tuple[int, int]]:
    """Each system account's checkpoint as (seq, balance_nano)."""
    table = account_checkpoints
    rows = connection.execute(sa.select(table.c.account, table.c.seq, table.c.balance_nano))
    return {account: (seq, balance) for account, seq, balance in rows}


def put_checkpoints(connection: Connection, seq: int, balances: dict[str, int]) -> None:
    """Replaces all checkpoints."""
    connection.execute(sa.delete(account_checkpoints))
    if balances:
        connection.execute(
            sa.insert(account_checkpoints),
            [
                {"account": account, "seq": seq, "balance_nano": balance}
                for account, balance in sorted(balances.items())
            ],
        )


def system_movement(connection: Connection, after_seq: int, to_seq: int) -> dict[str, int]:
    """Credits less debits of every account that is no wallet, in (after_seq, to_seq]."""
    movement: dict[str, int] = {}
    between = sa.and_(transfers.c.seq > after_seq, transfers.c.seq <= to_seq)
    for column, sign in ((transfers.c.credit, 1), (transfers.c.debit, -1)):
        sums = (
            sa.select(column, sa.func.sum(transfers.c.amount_nano))
            .where(between, column.not_like("wallet:%"))
            .group_by(column)
        )
        for account, amount in connection.execute(sums):
            movement[account] = movement.get(account, 0) + sign * int(amount)
    return movement


def wallets_total(connection: Connection) -> int:
    """The sum of all wallets."""
    return int(connection.execute(sa.select(sa.func.sum(accounts.c.balance_nano))).scalar() or 0)


# --- budgets --------------------------------------------------------------------------------

_LOAD_BUDGETS = NamedRows(
    lambda names: (
        sa.select(
            budgets.c.budget,
            budgets.c.window_no,
            budgets.c.cap,
            budgets.c.used,
            budgets.c.leased,
        )
        .where(budgets.c.window_no == sa.bindparam("window", 0, Int64), budgets.c.budget.in_(names))
        .order_by(budgets.c.budget)
        .with_for_update()
    )
)


def load_budgets(
    connection: Connection, keys: Collection[tuple[str, int]]
) -> dict[tuple[str, int], BudgetRow]:
    """The budgets that exist among these, locked for this transaction."""
    found: dict[tuple[str, int], BudgetRow] = {}
    for window in sorted({window for _, window in keys}):
        names = [name for name, of in keys if of == window]
        for row in _LOAD_BUDGETS.fetch(connection, names, window):
            found[row[0], window] = BudgetRow._make(row)
    return found


_WINDOW_LIMITS = NamedRows(
    lambda names: (
        sa.select(window_limits.c.budget, window_limits.c.cap)
        .where(window_limits.c.budget.in_(names))
        .order_by(window_limits.c.budget)
        .with_for_update(read=True)
    )
)


def load_window_limits(connection: Connection, names: Collection[str]) -> dict[str, int]:
    """What each new window of these budgets begins with, until this transaction ends."""
    return {row[0]: row[1] for row in _WINDOW_LIMITS.fetch(connection, names)}


def put_window_limit(connection: Connection, budget: str, cap: int) -> None:
    """What each window of this budget begins with from now on."""
    connection.execute(
        sa.text(
            "INSERT INTO window_limits (budget, cap) VALUES (:budget, :cap)"
            " ON CONFLICT (budget) DO UPDATE SET cap = excluded.cap"
        ),
        {"budget": budget, "cap": cap},
    )


def newest_window(connection: Connection, budget: str) -> int | None:
    """The number of the newest window of this budget that was used."""
    newest = sa.select(sa.func.max(budgets.c.window_no)).where(budgets.c.budget == budget)
    number = connection.execute(newest).scalar()
    return None if number is None else int(number)


_ADD = (
    "INSERT INTO budgets (budget, window_no, cap, used, leased, frozen)"
    " VALUES (:budget, :window, :cap, :used, :leased, :frozen)"
)
_ADD_BUDGET = sa.text(f"{_ADD} ON CONFLICT DO NOTHING")
_PUT_BUDGET = BulkStatement(
    sa.text(
        f"{_ADD} ON CONFLICT (budget, window_no) DO UPDATE SET cap = excluded.cap,"
        " used = excluded.used, leased = excluded.leased,"
        " frozen = excluded.frozen"
    ),
    ("budget", "window", "cap", "used", "leased", "frozen"),
)


def put_budgets(connection: Connection, changes: Sequence[BudgetChange]) -> None:
    """Writes budgets that are there as they shall be."""
    _PUT_BUDGET.run(connection, changes)


def add_budgets(connection: Connection, changes: Sequence[BudgetChange]) -> None:
    """Writes budgets that were not there, in the order of their keys.

    Raises DatabaseBusy when one is there by now: the decision must be taken again.
    """
    for change in changes:
        added = connection.execute(_ADD_BUDGET, change._asdict())
        if not added.rowcount:
            raise DatabaseBusy("another process began the same limit at the same moment")


def budget(connection: Connection, name: str, window: int) -> Budget | None:
    """A budget as it is now."""
    table = budgets
    row = connection.execute(
        sa.select(table.c.budget, table.c.cap, table.c.used, table.c.leased, table.c.frozen).where(
            table.c.budget == name, table.c.window_no == window
        )
    ).first()
    return Budget(*row) if row else None


def some_windows(
    connection: Connection, after: tuple[str, int], limit: int
) -> list[tuple[str, int]]:
    """Windows of limits in the order of their key, behind this one; lifetimes are left out."""
    table = budgets.c
    name, number = after
    statement = (
        sa.select(table.budget, table.window_no)
        .where(
            table.budget >= name,
            sa.or_(table.budget > name, table.window_no > number),
            table.window_no != 0,
        )
        .order_by(table.budget, table.window_no)
        .limit(limit)
    )
    return [(row[0], row[1]) for row in connection.execute(statement)]


_DELETE_WINDOW = BulkStatement(
    sa.text("DELETE FROM budgets WHERE budget = :budget AND window_no = :window AND leased = 0"),
    ("budget", "window"),
)


def delete_windows(connection: Connection, keys: Sequence[tuple[str, int]]) -> None:
    """Deletes windows of which nothing is lent."""
    _DELETE_WINDOW.run(connection, sorted(keys))


# --- leases ---------------------------------------------------------------------------------

_LOAD_LEASES = NamedRows(
    lambda names: sa.select(leases.c.budget, leases.c.window_no, leases.c.remaining).where(
        leases.c.epoch == sa.bindparam("epoch", 0, Int64), leases.c.budget.in_(names)
    )
)


def load_leases(
    connection: Connection, epoch: int, names: Collection[str]
) -> dict[tuple[int, str, int], int]:
    """What an epoch has of these budgets, in whatever window."""
    return {
        (epoch, name, window): remaining
        for name, window, remaining in _LOAD_LEASES.fetch(connection, names, epoch)
    }


def leases_of(connection: Connection, epoch: int) -> dict[tuple[int, str, int], int]:
    """Everything an epoch has."""
    rows = connection.execute(
        sa.select(leases.c.budget, leases.c.window_no, leases.c.remaining).where(
            leases.c.epoch == epoch
        )
    )
    return {(epoch, name, window): remaining for name, window, remaining in rows}


_PUT_LEASE = BulkStatement(
    sa.text(
        "INSERT INTO leases (epoch, budget, window_no, remaining)"
        " VALUES (:epoch, :budget, :window, :remaining)"
        " ON CONFLICT (epoch, budget, window_no)"
        " DO UPDATE SET remaining = excluded.remaining"
    ),
    ("epoch", "budget", "window", "remaining"),
)

_DROP_LEASE = BulkStatement(
    sa.text("DELETE FROM leases WHERE epoch = :epoch AND budget = :budget AND window_no = :window"),
    ("epoch", "budget", "window"),
)


def put_leases(connection: Connection, rows: Iterable[LeaseRow]) -> None:
    """Writes leases as they shall be; one with nothing left is removed."""
    kept: list[LeaseRow] = []
    empty: list[tuple[int, str, int]] = []
    for row in rows:
        if row.remaining:
            kept.append(row)
        else:
            empty.append((row.epoch, row.budget, row.window))
    _PUT_LEASE.run(connection, kept)
    _DROP_LEASE.run(connection, empty)


# --- the calendar ---------------------------------------------------------------------------


def load_calendar(connection: Connection) -> tuple[int, bool] | None:
    """The day it is for the windows, and whether it is frozen; None before the first."""
    row = connection.execute(
        sa.select(calendar.c.day, calendar.c.frozen).where(calendar.c.id == 1)
    ).first()
    return (int(row[0]), bool(row[1])) if row else None


def put_calendar(connection: Connection, day: int, *, frozen: bool) -> None:
    """Moves the day on; it never goes back, whoever else moved it meanwhile."""
    connection.execute(
        sa.text(
            "INSERT INTO calendar (id, day, frozen) VALUES (1, :day, :frozen)"
            " ON CONFLICT (id) DO UPDATE SET frozen = excluded.frozen,"
            " day = CASE WHEN calendar.day < excluded.day THEN excluded.day ELSE calendar.day END"
        ),
        {"day": day, "frozen": frozen},
    )


# --- streams --------------------------------------------------------------------------------

_STREAM = sa.select(
    streams.c.epoch,
    streams.c.worker,
    streams.c.pid,
    streams.c.high_water,
    streams.c.last_request,
    streams.c.last_reply,
    streams.c.state,
)
_STREAMS_NAMED = NamedRows(lambda names: _STREAM.where(streams.c.epoch.in_(names)), Int64)
_STREAMS_LOCKED = NamedRows(
    lambda names: (
        _STREAM.where(streams.c.epoch.in_(names)).order_by(streams.c.epoch).with_for_update()
    ),
    Int64,
)


def load_streams(connection: Connection, epochs: Collection[int]) -> dict[int, StreamRow]:
    """The epochs that exist among these, locked for this transaction."""
    return {row[0]: _stream(row) for row in _STREAMS_LOCKED.fetch(connection, epochs)}


def find_streams(connection: Connection, epochs: Collection[int]) -> dict[int, StreamRow]:
    """The epochs that exist among these."""
    return {row[0]: _stream(row) for row in _STREAMS_NAMED.fetch(connection, epochs)}


def streams_in(connection: Connection, state: EpochState) -> list[StreamRow]:
    """All epochs in a state, oldest first."""
    statement = _STREAM.where(streams.c.state == state.value).order_by(streams.c.opened_at_ms)
    return [_stream(row) for row in connection.execute(statement)]


def open_streams_count(connection: Connection) -> int:
    """How many epochs share the budgets."""
    statement = sa.select(sa.func.count()).select_from(streams).where(streams.c.state == _OPEN)
    return int(connection.execute(statement).scalar_one())


def insert_stream(connection: Connection, epoch: int, *, worker: int, pid: int, at_ms: int) -> None:
    """Registers a new epoch."""
    connection.execute(
        sa.insert(streams).values(
            epoch=epoch, worker=worker, pid=pid, last_reply=b"", state=_OPEN, opened_at_ms=at_ms
        )
    )


_ADVANCE = BulkStatement(
    sa.text("UPDATE streams SET high_water = :high_water WHERE epoch = :epoch AND state = 'open'"),
    ("high_water", "epoch"),
)
_KEEP_REPLY = BulkStatement(
    sa.text(
        "UPDATE streams SET last_request = :number, last_reply = :reply"
        " WHERE epoch = :epoch AND state = 'open'"
    ),
    ("number", "reply", "epoch"),
)


def advance_streams(connection: Connection, marks: Sequence[tuple[int, int]]) -> None:
    """Sets high-water marks: (position, epoch)."""
    if _ADVANCE.run(connection, marks) not in (None, len(marks)):
        raise BooksBroken("an epoch is not open")


def keep_replies(connection: Connection, replies: Sequence[tuple[int, bytes, int]]) -> None:
    """Keeps the newest answer of each epoch: (number, reply, epoch)."""
    if _KEEP_REPLY.run(connection, replies) not in (None, len(replies)):
        raise BooksBroken("an epoch is not open")


def end_stream(connection: Connection, epoch: int, state: EpochState, at_ms: int) -> None:
    """An open epoch is over: closed, or frozen until a person decides."""
    ended = connection.execute(
        sa.update(streams)
        .values(state=state.value, closed_at_ms=at_ms, last_reply=b"")
        .where(streams.c.epoch == epoch, streams.c.state != EpochState.CLOSED.value)
    )
    if ended.rowcount != 1:
        raise BooksBroken("an epoch ended twice")


_OPEN = EpochState.OPEN.value


def _stream(row: Sequence[Any]) -> StreamRow:
    epoch, worker, pid, high_water, last_request, last_reply, state = row
    return StreamRow(
        epoch, worker, pid, high_water, last_request, bytes(last_reply), EpochState(state)
    )
