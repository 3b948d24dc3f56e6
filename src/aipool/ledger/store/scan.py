"""Whole tables of the ledger, a few rows at a time: the books are larger than memory.

Nothing here locks or writes, so it may read beside a running platform.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.kit.db import Int64, whole_sum
from aipool.ledger.rules import DAY_MS
from aipool.ledger.store import TRANSFER_COLUMNS
from aipool.ledger.tables import accounts, budgets, leases, streams, transfers
from aipool.ledger.types import (
    WALLET,
    BookedTransfer,
    Budget,
    EpochState,
    Transfer,
    TransferKind,
    WalletRow,
)

_STREAMED = {"yield_per": 1000}


class WalletMove(NamedTuple):
    """A transfer as one wallet sees it. amount_nano: what it adds, negative when it takes."""

    account: str
    seq: int
    amount_nano: int
    balance_after: int | None


def stream_transfers(connection: Connection) -> Iterator[BookedTransfer]:
    """All transfers in the order they were booked."""
    statement = sa.select(transfers.c.seq, *TRANSFER_COLUMNS).order_by(transfers.c.seq)
    for row in connection.execute(statement, execution_options=_STREAMED):
        yield BookedTransfer(row[0], Transfer._make(row[1:]))


def stream_wallets(connection: Connection) -> Iterator[WalletRow]:
    """All wallets by name."""
    statement = sa.select(
        accounts.c.account, accounts.c.balance_nano, accounts.c.leased_nano, accounts.c.floor_nano
    ).order_by(accounts.c.account)
    for row in connection.execute(statement, execution_options=_STREAMED):
        yield WalletRow._make(row)


def stream_wallet_moves(connection: Connection) -> Iterator[WalletMove]:
    """All movements of all wallets, by wallet and then by time."""
    after = transfers.c.wallet_balance_after
    taken, given = (
        sa.select(side.label("account"), transfers.c.seq, amount.label("amount"), after).where(
            side.like("wallet:%")
        )
        for side, amount in (
            (transfers.c.debit, -transfers.c.amount_nano),
            (transfers.c.credit, transfers.c.amount_nano),
        )
    )
    statement = sa.union_all(taken, given).order_by("account", "seq")
    for row in connection.execute(statement, execution_options=_STREAMED):
        yield WalletMove._make(row)


def stream_budgets(connection: Connection) -> Iterator[Budget]:
    """All limits beside the wallets."""
    table = budgets
    statement = sa.select(
        table.c.budget, table.c.cap, table.c.used, table.c.leased, table.c.frozen
    ).order_by(table.c.budget, table.c.window_no)
    for row in connection.execute(statement, execution_options=_STREAMED):
        yield Budget._make(row)


def leased_otherwise(connection: Connection) -> Iterator[tuple[str, int, int, int]]:
    """Wallets and limits whose leased column is not the sum of their leases, as (name,
    window, column, sum); also leases of what does not exist, with a column of -1."""
    lent = (
        sa.select(leases.c.budget, leases.c.window_no, whole_sum(leases.c.remaining).label("lent"))
        .group_by(leases.c.budget, leases.c.window_no)
        .subquery()
    )
    lenders = sa.union_all(
        sa.select(
            accounts.c.account.label("name"),
            sa.literal(0).label("window_no"),
            accounts.c.leased_nano.label("leased"),
        ),
        sa.select(budgets.c.budget, budgets.c.window_no, budgets.c.leased),
    ).subquery()
    same = sa.and_(lenders.c.name == lent.c.budget, lenders.c.window_no == lent.c.window_no)
    total = sa.func.coalesce(lent.c.lent, 0)
    wrong = (
        sa.select(lenders.c.name, lenders.c.window_no, lenders.c.leased, total)
        .select_from(lenders.outerjoin(lent, same))
        .where(lenders.c.leased != total)
    )
    unknown = (
        sa.select(lent.c.budget, lent.c.window_no, sa.literal(-1), lent.c.lent)
        .select_from(lent.outerjoin(lenders, same))
        .where(lenders.c.name.is_(None))
    )
    for statement in (wrong, unknown):
        for row in connection.execute(statement, execution_options=_STREAMED):
            yield row[0], row[1], row[2], row[3]


def leases_of_no_open_epoch(connection: Connection) -> Iterator[tuple[int, str, int, str]]:
    """Leases of epochs that are closed or unknown, as (epoch, budget, nano, state)."""
    statement = (
        sa.select(
            leases.c.epoch,
            leases.c.budget,
            leases.c.remaining,
            sa.func.coalesce(streams.c.state, "unknown"),
        )
        .select_from(leases.outerjoin(streams, leases.c.epoch == streams.c.epoch))
        .where(sa.func.coalesce(streams.c.state, "closed") == EpochState.CLOSED.value)
    )
    for row in connection.execute(statement, execution_options=_STREAMED):
        yield row[0], row[1], row[2], row[3]


def stream_charges(
    connection: Connection, kind: TransferKind
) -> Iterator[tuple[str, str, int, int]]:
    """The transfers of calls of one kind by rid, as (rid, account debited, nano, at_ms)."""
    prefix = f"{kind.value}:"
    key = transfers.c.idem_key
    statement = (
        sa.select(key, transfers.c.debit, transfers.c.amount_nano, transfers.c.at_ms)
        # ";" follows ":", so this is the range of the prefix in the index.
        .where(key >= prefix, key < f"{kind.value};")
        .order_by(key)
    )
    for row in connection.execute(statement, execution_options=_STREAMED):
        yield row[0].removeprefix(prefix), row[1], row[2], row[3]


def used_by_tokens(connection: Connection) -> Iterator[tuple[str, int]]:
    """Every token's counted use over its life, as (budget, nano), by name."""
    statement = (
        sa.select(budgets.c.budget, budgets.c.used)
        .where(budgets.c.budget.like("token:%"), budgets.c.budget.not_like("%/%"))
        .order_by(budgets.c.budget)
    )
    for row in connection.execute(statement, execution_options=_STREAMED):
        yield row[0], row[1]


def charged_by_day(connection: Connection) -> Iterator[tuple[tuple[int, int], int]]:
    """What calls took from each wallet on each UTC day, by (day, user)."""
    day = sa.cast(transfers.c.at_ms, Int64).op("/")(sa.literal_column(str(DAY_MS))).label("day")
    # Written out: PostgreSQL takes two parameters for two expressions.
    rest: sa.ColumnElement[int] = sa.literal_column(str(len(WALLET) + 1))
    user_id = sa.cast(sa.func.substr(transfers.c.debit, rest), Int64).label("user_id")
    statement = (
        sa.select(day, user_id, whole_sum(transfers.c.amount_nano))
        .where(transfers.c.kind == TransferKind.USAGE.value)
        .group_by(day, user_id)
        .order_by(day, user_id)
    )
    for row in connection.execute(statement, execution_options=_STREAMED):
        yield (row[0], row[1]), row[2]
