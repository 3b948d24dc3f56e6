"""The sums of weeks: how far they are made (see calls.weeks)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.calls.store.again import days_of
from aipool.calls.store.sums import upsert
from aipool.calls.tables import SUMS, usage_totals, usage_weeks, weeks_summed
from aipool.calls.types import Span, Total, TotalOf, Used
from aipool.kit.bulk import NamedRows
from aipool.kit.db import Int64


class Progress(NamedTuple):
    """How far they are made: see tables.weeks_summed."""

    summed: int
    fixed: int


def progress(connection: Connection) -> Progress:
    """As of now."""
    row = connection.execute(sa.select(weeks_summed.c.summed, weeks_summed.c.fixed)).one()
    return Progress._make(row)


# Nobody begins to sum up a week between this look and the end of the transaction.
_FIXED = NamedRows(
    lambda ids: (
        sa.select(weeks_summed.c.fixed).where(weeks_summed.c.id.in_(ids)).with_for_update(read=True)
    ),
    Int64,
)


def fixed(connection: Connection) -> int:
    """Weeks from this one on take calls as they come; it stays so until the transaction ends."""
    ((found,),) = _FIXED.fetch(connection, [1])
    return int(found)


def put_progress(connection: Connection, wanted: Progress) -> None:
    """From now on."""
    connection.execute(sa.update(weeks_summed).values(**wanted._asdict()))


def finish(connection: Connection, week: int) -> bool:
    """This week has its sums now. False: meanwhile it was taken back."""
    there = (weeks_summed.c.summed == week, weeks_summed.c.fixed == week + 1)
    done = connection.execute(sa.update(weeks_summed).where(*there).values(summed=week + 1))
    return bool(done.rowcount)


_PUT_WEEKS, _PUT_TOTALS = (upsert(table, SUMS, "{new}") for table in (usage_weeks, usage_totals))


def put(connection: Connection, rows: Sequence[Used]) -> None:
    """What tokens did in a week."""
    _PUT_WEEKS.run(connection, rows)


def put_totals(connection: Connection, rows: Sequence[Total]) -> None:
    """Totals of a week."""
    _PUT_TOTALS.run(connection, rows)


def users_of(connection: Connection, week: int) -> list[int]:
    """Who called in this week."""
    table = usage_totals.c
    of_users = (table.span == Span.DAY, table.kind == TotalOf.USER, table.at.in_(days_of(week)))
    statement = sa.select(table.owner_id).where(*of_users).distinct().order_by(table.owner_id)
    return list(connection.execute(statement).scalars())
