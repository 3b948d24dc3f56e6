"""The roll-ups as they stand, and taken again from what they are sums of.

    hours       the calls
    days        the hours
    weeks       the days
    totals      the sums by token; those of upstream keys the calls, those of weeks those of days
    latencies   the calls

For the verifier, which compares the two, and for whoever makes them. Everything comes in the order
of its key, from a time on and before another (None = to the end), in whole spans.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.calls.latency import BOUNDS_MS, BUCKETS, LATENCY_COLUMNS
from aipool.calls.store import STREAMED, months
from aipool.calls.summing import EVERYBODY
from aipool.calls.tables import SUMS, USAGE, calls_table, latencies, usage_days, usage_totals
from aipool.calls.types import FAILURES_FROM, HOUR_MS, WEEK_DAYS, Span, Total, TotalOf, Used
from aipool.kit.db import Int64, Text, whole_sum

Rows = Iterator[tuple[Any, ...]]

#: What the sums of a span are sums of.
_FINER = {Span.DAY: Span.HOUR, Span.WEEK: Span.DAY}

# --- by token and model -------------------------------------------------------------------------


def used(
    connection: Connection, span: Span, start: int = 0, stop: int | None = None
) -> Iterator[Used]:
    """What tokens did."""
    columns = list(USAGE[span].columns)
    rows = sa.select(*columns).where(*_between(columns[0], start, stop))
    return map(Used._make, _streamed(connection, rows.order_by(*columns[:5])))


def used_again(
    connection: Connection, span: Span, start: int = 0, stop: int | None = None
) -> Iterator[Used]:
    """The same, taken again."""
    if span is Span.HOUR:
        calls = _calls_by_hour(connection, start)
        rows = None if calls is None else sa.select(calls.c.hour.label("at"), calls)
    else:
        rows = _by_finer(span, start, stop)
    return iter(()) if rows is None else map(Used._make, _summed(connection, rows, _BY_TOKEN))


def used_in_week(connection: Connection, week: int, user_ids: Collection[int]) -> list[Used]:
    """What the tokens of these users did in a week, taken from its days."""
    # Each day by itself: the user stands behind it in the key.
    rows = _by_finer(Span.WEEK, week, week + 1).where(
        usage_days.c.day.in_(days_of(week)), usage_days.c.user_id.in_(user_ids)
    )
    return list(map(Used._make, _summed(connection, rows, _BY_TOKEN)))


_BY_TOKEN = Used._fields[:5]


def _by_finer(span: Span, start: int, stop: int | None) -> sa.Select[Any]:
    finer = _FINER[span]
    part = span // finer
    at, *others = USAGE[finer].columns
    within = _between(at, start * part, None if stop is None else stop * part)
    return sa.select(_whole(at, part).label("at"), *others).where(*within)


def days_of(week: int) -> range:
    """The seven days of a week."""
    return range(week * WEEK_DAYS, (week + 1) * WEEK_DAYS)


# --- totals -------------------------------------------------------------------------------------


def totals(
    connection: Connection, span: Span, kind: TotalOf, start: int = 0, stop: int | None = None
) -> Iterator[Total]:
    """Totals of one kind."""
    table = usage_totals.c
    columns = [table[name] for name in Total._fields]
    of_these = (table.span == span, table.kind == kind, *_between(table.at, start, stop))
    rows = sa.select(*columns).where(*of_these).order_by(*columns[:6])
    return map(Total._make, _streamed(connection, rows))


def totals_again(
    connection: Connection, span: Span, kind: TotalOf, start: int = 0, stop: int | None = None
) -> Iterator[Total]:
    """The same, taken again."""
    if span is Span.WEEK:
        rows = _of_days(kind, start, stop)
    elif kind is TotalOf.KEY:
        calls = _calls_by_hour(connection, start * span)
        if calls is None:
            return
        rows = _named(calls.c, _whole(calls.c.hour, span), owner=calls.c.key_id)
    else:
        used = USAGE[span].c
        at = next(iter(used))
        owner = used.user_id if kind is TotalOf.USER else None
        rows = _named(used, at, owner=owner).where(*_between(at, start, stop))
    for row in _summed(connection, rows, Total._fields[2:6]):
        yield Total._make((int(span), int(kind), *row))


def _named(
    source: sa.sql.base.ReadOnlyColumnCollection[str, Any],
    at: sa.ColumnElement[int],
    *,
    owner: sa.ColumnElement[int] | None,
) -> sa.Select[Any]:
    """Rows as totals name them: of an owner, or of everybody by group and model."""
    nothing, nowhere = sa.literal(0, Int64), sa.literal("", Text)
    return sa.select(
        at.label("at"),
        (nothing if owner is None else owner).label("owner_id"),
        (source.group_id if owner is None else nothing).label("group_id"),
        (source.model if owner is None else nowhere).label("model"),
        *(source[name] for name in SUMS),
    )


def _of_days(kind: TotalOf, start: int, stop: int | None) -> sa.Select[Any]:
    table = usage_totals.c
    days = _between(table.at, start * WEEK_DAYS, None if stop is None else stop * WEEK_DAYS)
    return sa.select(
        _whole(table.at, WEEK_DAYS).label("at"),
        *(table[name] for name in ("owner_id", "group_id", "model", *SUMS)),
    ).where(table.span == Span.DAY, table.kind == kind, *days)


# --- how long it took ---------------------------------------------------------------------------


def histograms(connection: Connection, span: Span, start: int) -> Rows:
    """(at, user, model, counts …)"""
    table = latencies.c
    columns = [table[name] for name in (*_BY_MODEL, *LATENCY_COLUMNS)]
    rows = sa.select(*columns).where(table.span == span, table.at >= start)
    return map(tuple, _streamed(connection, rows.order_by(*columns[:3])))


def histograms_again(connection: Connection, span: Span, start: int) -> Rows:
    """The same, taken from the calls."""
    calls = _calls_by_hour(connection, start * span)
    if calls is None:
        return iter(())
    at = _whole(calls.c.hour, span).label("at")
    of_user, of_all = (
        sa.select(at, user.label("user_id"), model.label("model"), *_buckets_of(calls)).where(
            calls.c.errors == 0
        )
        for user, model in (
            (calls.c.user_id, sa.literal("", Text)),
            (sa.literal(EVERYBODY, Int64), calls.c.model),
        )
    )
    rows = sa.union_all(of_user, of_all)
    return map(tuple, _summed(connection, rows, _BY_MODEL, LATENCY_COLUMNS))


_BY_MODEL = ("at", "user_id", "model")


def first_histogram(connection: Connection) -> int | None:
    """The oldest hour that has one."""
    table = latencies.c
    return connection.execute(
        sa.select(sa.func.min(table.at)).where(table.span == Span.HOUR)
    ).scalar()


def _buckets_of(calls: sa.Subquery) -> list[sa.ColumnElement[int]]:
    """How often a call is in each bucket."""
    found: list[sa.ColumnElement[int]] = []
    for kind, took in (("first", calls.c.first_token_ms), ("whole", calls.c.duration_ms)):
        for number in range(BUCKETS):
            inside = [took >= (BOUNDS_MS[number - 1] if number else 0)]
            if number < len(BOUNDS_MS):
                inside.append(took < BOUNDS_MS[number])
            is_there = sa.case((sa.and_(*inside), calls.c["calls"]), else_=0)
            found.append(is_there.label(f"{kind}_{number:02}"))
    return found


# --- what money is compared with ----------------------------------------------------------------


def used_by_tokens(connection: Connection) -> Rows:
    """What each token's calls cost its user, by the name of its budget."""
    name = sa.literal("token:", Text) + sa.cast(usage_days.c.token_id, sa.Text)
    spent = whole_sum(usage_days.c.charged_nano)
    rows = (
        sa.select(name.label("budget"), spent)
        .where(usage_days.c.token_id != 0)
        .group_by("budget")
        .having(spent > 0)
        .order_by("budget")
    )
    yield from _streamed(connection, rows)


def charged_by_day(connection: Connection) -> Iterator[tuple[tuple[int, int], int]]:
    """What each user was charged each UTC day, by (day, user)."""
    charged = whole_sum(usage_days.c.charged_nano)
    key = (usage_days.c.day, usage_days.c.user_id)
    rows = sa.select(*key, charged).group_by(*key).having(charged > 0).order_by(*key)
    for day, user_id, amount in _streamed(connection, rows):
        yield (day, user_id), amount


# --- inside -------------------------------------------------------------------------------------


def _summed(
    connection: Connection,
    rows: sa.Select[Any] | sa.CompoundSelect[Any],
    key: Sequence[str],
    sums: Sequence[str] = SUMS,
) -> Rows:
    """The sums of rows by their key, in its order."""
    named = rows.subquery().c
    by = [named[name] for name in key]
    summed = sa.select(*by, *(whole_sum(named[name]) for name in sums))
    return _streamed(connection, summed.group_by(*by).order_by(*by))


def _streamed(connection: Connection, rows: sa.Executable) -> Rows:
    yield from connection.execute(rows, execution_options=STREAMED)


def _between(
    at: sa.ColumnElement[int], start: int, stop: int | None
) -> list[sa.ColumnElement[bool]]:
    return [at >= start] if stop is None else [at >= start, at < stop]


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
                _whole(call.at_ms, HOUR_MS).label("hour"),
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


def _whole(column: sa.ColumnElement[int], part: int) -> sa.ColumnElement[int]:
    """How many whole parts: both databases divide integers downwards here."""
    return sa.cast(column, Int64).op("/")(sa.literal_column(str(int(part))))
