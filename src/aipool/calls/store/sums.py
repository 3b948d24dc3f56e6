"""The roll-ups: how they grow, and how they are read. `again` takes them from the calls again."""

from __future__ import annotations

from collections.abc import Collection, Sequence

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.calls.latency import LATENCY_COLUMNS
from aipool.calls.summing import EVERYBODY, Additions
from aipool.calls.tables import SUMS, USAGE, latencies, usage_days, usage_hours, usage_totals
from aipool.calls.types import Span, Sums, TotalOf
from aipool.kit.bulk import BulkStatement
from aipool.kit.db import whole_sum


def upsert(table: sa.Table, sums: Sequence[str], value: str) -> BulkStatement:
    """Writes rows. value: what becomes of a sum where there is a row with the same key, of {old}
    and {new}."""
    names = [column.name for column in table.columns]
    key = [column.name for column in table.primary_key]
    return BulkStatement(
        sa.text(
            f"INSERT INTO {table.name} ({', '.join(names)})"  # noqa: S608
            f" VALUES ({', '.join(f':{name}' for name in names)})"
            f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET "
            + ", ".join(
                f"{name} = " + value.format(old=f"{table.name}.{name}", new=f"excluded.{name}")
                for name in sums
            )
        ),
        names,
    )


_ADDED = "{old} + {new}"
_ADD_HOURS = upsert(usage_hours, SUMS, _ADDED)
_ADD_DAYS = upsert(usage_days, SUMS, _ADDED)
_ADD_TOTALS = upsert(usage_totals, SUMS, _ADDED)
_ADD_LATENCIES = upsert(latencies, LATENCY_COLUMNS, _ADDED)


def add(connection: Connection, additions: Additions) -> None:
    """One statement a table."""
    _ADD_HOURS.run(connection, additions.hours)
    _ADD_DAYS.run(connection, additions.days)
    _ADD_TOTALS.run(connection, additions.totals)
    _ADD_LATENCIES.run(connection, additions.latencies)


# --- reading ------------------------------------------------------------------------------------

#: A time, as stretches whose sums are there: of hours, or of days and of weeks among them.
Stretches = Sequence[tuple[Span, range]]


def totals(
    connection: Connection, span: Span, kind: TotalOf, ats: range, owner_id: int = EVERYBODY
) -> dict[int, Sums]:
    """The sums of one owner by time."""
    table = usage_totals.c
    found = connection.execute(
        sa.select(table.at, *_sums_of(usage_totals))
        .where(
            table.span == span,
            table.kind == kind,
            table.at.in_(ats),
            table.owner_id == owner_id,
        )
        .group_by(table.at)
    )
    return {row[0]: Sums._make(row[1:]) for row in found}


def by_group_and_model(connection: Connection, stretches: Stretches) -> dict[tuple[int, str], Sums]:
    """Everybody's sums over a time."""
    rows = _totals_in(stretches, TotalOf.EVERYBODY, ("group_id", "model", *SUMS))
    by = (rows.c.group_id, rows.c.model)
    found = connection.execute(sa.select(*by, *_sums_of(rows)).group_by(*by))
    return {(row[0], row[1]): Sums._make(row[2:]) for row in found}


def dearest(connection: Connection, stretches: Stretches, kind: TotalOf, limit: int) -> list[int]:
    """The owners that were charged most over a time, then those that called most."""
    # Nothing but what decides: all owners are sorted for it, and the rest of their sums would
    # be sorted with them.
    decides = ("charged_nano", "calls")
    rows = _totals_in(stretches, kind, ("owner_id", *decides))
    owner = rows.c.owner_id
    most = [whole_sum(rows.c[name]).desc() for name in decides]
    found = connection.execute(sa.select(owner).group_by(owner).order_by(*most, owner).limit(limit))
    return list(found.scalars())


def totals_of(
    connection: Connection, stretches: Stretches, kind: TotalOf, owner_ids: Collection[int]
) -> dict[int, Sums]:
    """The sums of each of these owners over a time."""
    rows = _totals_in(stretches, kind, ("owner_id", *SUMS), owner_ids)
    owner = rows.c.owner_id
    found = connection.execute(sa.select(owner, *_sums_of(rows)).group_by(owner))
    return {row[0]: Sums._make(row[1:]) for row in found}


def _totals_in(
    stretches: Stretches,
    kind: TotalOf,
    names: Sequence[str],
    owner_ids: Collection[int] | None = None,
) -> sa.Subquery:
    """These columns of the totals over a time, of everyone or of these owners."""
    table = usage_totals.c
    parts = []
    for span, ats in stretches:
        where = [table.span == span, table.kind == kind]
        if owner_ids is None:
            where += [table.at >= ats.start, table.at < ats.stop]
        else:
            # Each time by itself: the owner stands behind it in the key.
            where += [table.at.in_(ats), table.owner_id.in_(owner_ids)]
        parts.append(sa.select(*(table[name] for name in names)).where(*where))
    return sa.union_all(*parts).subquery()


def usage_of(
    connection: Connection, stretches: Stretches, user_id: int
) -> dict[tuple[int, str], Sums]:
    """A user's sums over a time, by token and model."""
    parts = []
    for span, ats in stretches:
        table = USAGE[span]
        at = table.c[table.primary_key.columns.keys()[0]]
        columns = (table.c[name] for name in ("token_id", "model", *SUMS))
        # Each time by itself: the user stands behind it in the key.
        parts.append(sa.select(*columns).where(at.in_(ats), table.c.user_id == user_id))
    rows = sa.union_all(*parts).subquery()
    by = (rows.c.token_id, rows.c.model)
    found = connection.execute(sa.select(*by, *_sums_of(rows)).group_by(*by))
    return {(row[0], row[1]): Sums._make(row[2:]) for row in found}


def latencies_of(connection: Connection, span: Span, ats: range, user_id: int) -> list[int]:
    """The counts of all buckets of a user, or of everybody."""
    table = latencies.c
    counts = [sa.func.coalesce(whole_sum(table[name]), 0) for name in LATENCY_COLUMNS]
    found = connection.execute(
        sa.select(*counts).where(table.span == span, table.at.in_(ats), table.user_id == user_id)
    )
    return list(found.one())


def charged_days(
    connection: Connection, user_id: int, days: list[int]
) -> list[tuple[int, int, Sums]]:
    """What a user's tokens were charged on these days, by day and token, both from the largest
    down."""
    table = usage_days.c
    statement = (
        sa.select(table.day, table.token_id, *_sums_of(usage_days))
        .where(table.day.in_(days), table.user_id == user_id)
        .group_by(table.day, table.token_id)
        .having(sa.func.sum(table.charged_nano) > 0)
        .order_by(table.day.desc(), table.token_id.desc())
    )
    return [(row[0], row[1], Sums._make(row[2:])) for row in connection.execute(statement)]


def used_days(connection: Connection, user_id: int, days: range, limit: int) -> list[int]:
    """The newest of these days on which a user was charged."""
    table = usage_totals.c
    statement = (
        sa.select(table.at)
        .where(
            table.span == Span.DAY,
            table.kind == TotalOf.USER,
            table.at.in_(days),
            table.owner_id == user_id,
            table.charged_nano > 0,
        )
        .order_by(table.at.desc())
        .limit(limit)
    )
    return list(connection.execute(statement).scalars())


def days_kept(connection: Connection) -> range:
    """From the oldest to the newest day that has sums; empty when none has."""
    table = usage_totals.c
    of_users = (table.span == Span.DAY, table.kind == TotalOf.USER)
    # One at a time each is a look at one end of the key; together they would be a walk.
    oldest = connection.execute(sa.select(sa.func.min(table.at)).where(*of_users)).scalar()
    newest = connection.execute(sa.select(sa.func.max(table.at)).where(*of_users)).scalar()
    return range(0) if oldest is None or newest is None else range(oldest, newest + 1)


def _sums_of(table: sa.FromClause) -> list[sa.ColumnElement[int]]:
    return [whole_sum(table.c[name]) for name in SUMS]
