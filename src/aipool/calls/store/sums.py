"""The roll-ups: how they grow, how they are read, and how they are taken from the calls again."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.calls.latency import BOUNDS_MS, BUCKETS, LATENCY_COLUMNS
from aipool.calls.store import STREAMED, months
from aipool.calls.summing import EVERYBODY, Additions
from aipool.calls.tables import (
    SUMS,
    calls_table,
    latencies,
    usage_days,
    usage_hours,
    usage_totals,
    usage_weeks,
)
from aipool.calls.types import (
    DAY_HOURS,
    FAILURES_FROM,
    HOUR_MS,
    Span,
    Sums,
    Total,
    TotalOf,
    UsageDay,
    UsageHour,
)
from aipool.kit.bulk import BulkStatement
from aipool.kit.db import Int64, Text, whole_sum


def _adding(table: sa.Table, sums: Sequence[str]) -> BulkStatement:
    """Adds rows to those with the same key."""
    names = [column.name for column in table.columns]
    key = [column.name for column in table.primary_key]
    return BulkStatement(
        sa.text(
            f"INSERT INTO {table.name} ({', '.join(names)})"  # noqa: S608
            f" VALUES ({', '.join(f':{name}' for name in names)})"
            f" ON CONFLICT ({', '.join(key)}) DO UPDATE SET "
            + ", ".join(f"{name} = {table.name}.{name} + excluded.{name}" for name in sums)
        ),
        names,
    )


_ADD_HOURS = _adding(usage_hours, SUMS)
_ADD_DAYS = _adding(usage_days, SUMS)
_ADD_TOTALS = _adding(usage_totals, SUMS)
_ADD_LATENCIES = _adding(latencies, LATENCY_COLUMNS)


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


_USAGE = {Span.HOUR: usage_hours, Span.DAY: usage_days, Span.WEEK: usage_weeks}


def usage_of(
    connection: Connection, stretches: Stretches, user_id: int
) -> dict[tuple[int, str], Sums]:
    """A user's sums over a time, by token and model."""
    parts = []
    for span, ats in stretches:
        table = _USAGE[span]
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


# --- the verifier -------------------------------------------------------------------------------


def stream_hours(connection: Connection, from_hour: int) -> Iterator[UsageHour]:
    """The hourly sums from an hour on, in the order of their key."""
    columns = [usage_hours.c[name] for name in UsageHour._fields]
    statement = sa.select(*columns).where(usage_hours.c.hour >= from_hour).order_by(*columns[:5])
    for row in connection.execute(statement, execution_options=STREAMED):
        yield UsageHour._make(row)


def stream_hours_of_calls(connection: Connection, from_hour: int) -> Iterator[UsageHour]:
    """The same sums, taken from the calls themselves."""
    rows = _calls_by_hour(connection, from_hour)
    if rows is None:
        return
    key = [rows.c[name] for name in UsageHour._fields[:5]]
    statement = sa.select(*key, *(whole_sum(rows.c[name]) for name in SUMS))
    statement = statement.group_by(*key).order_by(*key)
    for row in connection.execute(statement, execution_options=STREAMED):
        yield UsageHour._make(row)


def stream_days(connection: Connection, from_day: int) -> Iterator[UsageDay]:
    """The daily sums from a day on, in the order of their key."""
    columns = [usage_days.c[name] for name in UsageDay._fields]
    statement = sa.select(*columns).where(usage_days.c.day >= from_day).order_by(*columns[:5])
    for row in connection.execute(statement, execution_options=STREAMED):
        yield UsageDay._make(row)


def stream_days_of_hours(connection: Connection, from_day: int) -> Iterator[UsageDay]:
    """The same sums, taken from the hours."""
    day = whole_parts(usage_hours.c.hour, DAY_HOURS).label("day")
    key = [day, *(usage_hours.c[name] for name in UsageDay._fields[1:5])]
    statement = (
        sa.select(*key, *_sums_of(usage_hours))
        .where(usage_hours.c.hour >= from_day * DAY_HOURS)
        .group_by(*key)
        .order_by(*key)
    )
    for row in connection.execute(statement, execution_options=STREAMED):
        yield UsageDay._make(row)


def stream_totals(
    connection: Connection, span: Span, kind: TotalOf, from_at: int
) -> Iterator[Total]:
    """Totals of one kind from a time on, in the order of their key."""
    columns = [usage_totals.c[name] for name in Total._fields]
    statement = (
        sa.select(*columns)
        .where(
            usage_totals.c.span == span,
            usage_totals.c.kind == kind,
            usage_totals.c.at >= from_at,
        )
        .order_by(*columns[:6])
    )
    for row in connection.execute(statement, execution_options=STREAMED):
        yield Total._make(row)


def stream_totals_again(
    connection: Connection, span: Span, kind: TotalOf, from_at: int
) -> Iterator[Total]:
    """The same, taken from the sums by token; those of upstream keys from the calls."""
    if kind is TotalOf.KEY:
        rows = _calls_by_hour(connection, from_at * span)
        if rows is None:
            return
        source, at = rows.c, whole_parts(rows.c.hour, span)
    else:
        table = usage_hours if span is Span.HOUR else usage_days
        source, at = table.c, table.c[table.primary_key.columns.keys()[0]]
    at = at.label("at")
    nothing, nowhere = sa.literal(0, Int64), sa.literal("", Text)
    owner: sa.ColumnElement[Any] = nothing
    if kind is not TotalOf.EVERYBODY:
        owner = source.key_id if kind is TotalOf.KEY else source.user_id
    whole = kind is TotalOf.EVERYBODY
    parts = [
        at,
        owner.label("owner_id"),
        (source.group_id if whole else nothing).label("group_id"),
        (source.model if whole else nowhere).label("model"),
    ]
    named = sa.select(*parts, *(source[name] for name in SUMS)).where(at >= from_at).subquery()
    key = [named.c[name] for name in Total._fields[2:6]]
    statement = sa.select(*key, *(whole_sum(named.c[name]) for name in SUMS))
    statement = statement.group_by(*key).order_by(*key)
    for row in connection.execute(statement, execution_options=STREAMED):
        yield Total._make((span, kind, *row))


def stream_latencies(connection: Connection, span: Span, from_at: int) -> Iterator[tuple[Any, ...]]:
    """The histograms from a time on, in the order of their key: (at, user, model, counts …)."""
    columns = [latencies.c[name] for name in ("at", "user_id", "model", *LATENCY_COLUMNS)]
    statement = (
        sa.select(*columns)
        .where(latencies.c.span == span, latencies.c.at >= from_at)
        .order_by(*columns[:3])
    )
    for row in connection.execute(statement, execution_options=STREAMED):
        yield tuple(row)


def first_latency(connection: Connection) -> int | None:
    """The oldest hour that has histograms."""
    table = latencies.c
    return connection.execute(
        sa.select(sa.func.min(table.at)).where(table.span == Span.HOUR)
    ).scalar()


def stream_latencies_of_calls(
    connection: Connection, span: Span, from_at: int
) -> Iterator[tuple[Any, ...]]:
    """The same, taken from the calls themselves."""
    rows = _calls_by_hour(connection, from_at * span)
    if rows is None:
        return
    at = whole_parts(rows.c.hour, span)
    of_user = sa.select(
        at.label("at"),
        rows.c.user_id.label("user_id"),
        sa.literal("", Text).label("model"),
        *_buckets_of(rows),
    ).where(rows.c.errors == 0)
    of_all = sa.select(
        at.label("at"),
        sa.literal(EVERYBODY, Int64).label("user_id"),
        rows.c.model.label("model"),
        *_buckets_of(rows),
    ).where(rows.c.errors == 0)
    named = sa.union_all(of_user, of_all).subquery()
    key = [named.c[name] for name in ("at", "user_id", "model")]
    counts = [whole_sum(named.c[name]) for name in LATENCY_COLUMNS]
    statement = sa.select(*key, *counts).where(named.c.at >= from_at).group_by(*key).order_by(*key)
    for row in connection.execute(statement, execution_options=STREAMED):
        yield tuple(row)


def _buckets_of(rows: sa.Subquery) -> list[sa.ColumnElement[int]]:
    """How often a call is in each bucket."""
    found: list[sa.ColumnElement[int]] = []
    for kind, took in (("first", rows.c.first_token_ms), ("whole", rows.c.duration_ms)):
        for number in range(BUCKETS):
            inside = [took >= (BOUNDS_MS[number - 1] if number else 0)]
            if number < len(BOUNDS_MS):
                inside.append(took < BOUNDS_MS[number])
            is_there = sa.case((sa.and_(*inside), rows.c["calls"]), else_=0)
            found.append(is_there.label(f"{kind}_{number:02}"))
    return found


def _calls_by_hour(connection: Connection, from_hour: int) -> sa.Subquery | None:
    """The calls of every month from an hour on, in the words of the sums."""
    parts = []
    for month in months(connection):
        call = calls_table(month).c
        failed = sa.case(
            (sa.or_(call.status >= FAILURES_FROM, call.error != ""), call["calls"]), else_=0
        )
        parts.append(
            sa.select(
                whole_parts(call.at_ms, HOUR_MS).label("hour"),
                call.user_id,
                call.token_id,
                call.group_id,
                call.key_id,
                call.model,
                call.first_token_ms,
                call.duration_ms,
                call["calls"].label("calls"),
                failed.label("errors"),
                *(call[name] for name in SUMS[2:]),
            ).where(call.at_ms >= from_hour * HOUR_MS)
        )
    return sa.union_all(*parts).subquery() if parts else None


def whole_parts(column: sa.ColumnElement[int], part: int) -> sa.ColumnElement[int]:
    """How many whole parts: both databases divide integers downwards here."""
    return sa.cast(column, Int64).op("/")(sa.literal_column(str(int(part))))


def used_by_tokens(connection: Connection) -> Iterator[tuple[str, int]]:
    """What each token's calls cost its user, by the name of its budget."""
    name = sa.literal("token:", Text) + sa.cast(usage_days.c.token_id, sa.Text)
    used = whole_sum(usage_days.c.charged_nano)
    statement = (
        sa.select(name.label("budget"), used)
        .where(usage_days.c.token_id != 0)
        .group_by("budget")
        .having(used > 0)
        .order_by("budget")
    )
    for row in connection.execute(statement, execution_options=STREAMED):
        yield row[0], row[1]


def charged_by_day(connection: Connection) -> Iterator[tuple[tuple[int, int], int]]:
    """What each user was charged each UTC day, by (day, user)."""
    charged = whole_sum(usage_days.c.charged_nano)
    key = (usage_days.c.day, usage_days.c.user_id)
    statement = sa.select(*key, charged).group_by(*key).having(charged > 0).order_by(*key)
    for row in connection.execute(statement, execution_options=STREAMED):
        yield (row[0], row[1]), row[2]
