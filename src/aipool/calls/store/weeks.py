"""The sums of weeks: how far they are made, and what they are made of (see calls.weeks)."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.calls.store import STREAMED
from aipool.calls.store.sums import whole_parts
from aipool.calls.tables import SUMS, usage_days, usage_totals, usage_weeks, weeks_summed
from aipool.calls.types import WEEK_DAYS, Span, Total, TotalOf, UsageWeek
from aipool.kit.bulk import BulkStatement, NamedRows
from aipool.kit.db import Int64, whole_sum


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


def _putting(table: sa.Table) -> BulkStatement:
    """Puts rows in the place of those with the same key."""
    names = [column.name for column in table.columns]
    key = [column.name for column in table.primary_key]
    return BulkStatement(
        sa.text(
            f"INSERT INTO {table.name} ({', '.join(names)})"  # noqa: S608
            f" VALUES ({', '.join(f':{name}' for name in names)})"
            f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET "
            + ", ".join(f"{name} = excluded.{name}" for name in SUMS)
        ),
        names,
    )


_PUT_WEEKS = _putting(usage_weeks)
_PUT_TOTALS = _putting(usage_totals)


def put(connection: Connection, rows: Sequence[UsageWeek]) -> None:
    """What tokens did in a week."""
    _PUT_WEEKS.run(connection, rows)


def put_totals(connection: Connection, rows: Sequence[Total]) -> None:
    """Totals of a week."""
    _PUT_TOTALS.run(connection, rows)


def users_of(connection: Connection, week: int) -> list[int]:
    """Who called in this week."""
    table = usage_totals.c
    statement = (
        sa.select(table.owner_id)
        .where(table.span == Span.DAY, table.kind == TotalOf.USER, table.at.in_(_days_of(week)))
        .distinct()
        .order_by(table.owner_id)
    )
    return list(connection.execute(statement).scalars())


def of_users(connection: Connection, week: int, user_ids: Collection[int]) -> list[UsageWeek]:
    """The sums of a week of these users, taken from its days."""
    days = usage_days.c
    # Each day by itself: the user stands behind it in the key.
    of_days = (days.day.in_(_days_of(week)), days.user_id.in_(user_ids))
    return list(_from_days(connection, of_days))


def totals_of(connection: Connection, week: int) -> list[Total]:
    """The totals of a week, taken from those of its days."""
    return [
        total
        for kind in TotalOf
        for total in _totals_from_days(connection, kind, (usage_totals.c.at.in_(_days_of(week)),))
    ]


def _days_of(week: int) -> range:
    return range(week * WEEK_DAYS, (week + 1) * WEEK_DAYS)


# --- the verifier -------------------------------------------------------------------------------


def stream(connection: Connection, summed: int) -> Iterator[UsageWeek]:
    """The sums of the weeks before this one, in the order of their key."""
    columns = [usage_weeks.c[name] for name in UsageWeek._fields]
    statement = sa.select(*columns).where(usage_weeks.c.week < summed).order_by(*columns[:5])
    for row in connection.execute(statement, execution_options=STREAMED):
        yield UsageWeek._make(row)


def stream_from_days(connection: Connection, summed: int) -> Iterator[UsageWeek]:
    """The same, taken from the days."""
    return _from_days(connection, (usage_days.c.day < summed * WEEK_DAYS,))


def stream_totals(connection: Connection, kind: TotalOf, summed: int) -> Iterator[Total]:
    """Totals of one kind, of the weeks before this one, in the order of their key."""
    table = usage_totals.c
    columns = [table[name] for name in Total._fields]
    of_weeks = (table.span == Span.WEEK, table.kind == kind, table.at < summed)
    statement = sa.select(*columns).where(*of_weeks).order_by(*columns[:6])
    for row in connection.execute(statement, execution_options=STREAMED):
        yield Total._make(row)


def stream_totals_from_days(connection: Connection, kind: TotalOf, summed: int) -> Iterator[Total]:
    """The same, taken from those of the days."""
    return _totals_from_days(connection, kind, (usage_totals.c.at < summed * WEEK_DAYS,))


def _from_days(
    connection: Connection, where: Iterable[sa.ColumnElement[bool]]
) -> Iterator[UsageWeek]:
    week = whole_parts(usage_days.c.day, WEEK_DAYS).label("week")
    key = [week, *(usage_days.c[name] for name in UsageWeek._fields[1:5])]
    taken = (whole_sum(usage_days.c[name]) for name in SUMS)
    statement = sa.select(*key, *taken).where(*where).group_by(*key).order_by(*key)
    for row in connection.execute(statement, execution_options=STREAMED):
        yield UsageWeek._make(row)


def _totals_from_days(
    connection: Connection, kind: TotalOf, where: Iterable[sa.ColumnElement[bool]]
) -> Iterator[Total]:
    table = usage_totals.c
    week = whole_parts(table.at, WEEK_DAYS).label("week")
    key = [week, *(table[name] for name in Total._fields[3:6])]
    taken = (whole_sum(table[name]) for name in SUMS)
    statement = (
        sa.select(*key, *taken)
        .where(table.span == Span.DAY, table.kind == kind, *where)
        .group_by(*key)
        .order_by(*key)
    )
    for row in connection.execute(statement, execution_options=STREAMED):
        yield Total._make((int(Span.WEEK), int(kind), *row))
