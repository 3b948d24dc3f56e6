"""Every SQL statement of the call log."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cache

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.calls.tables import call_months, calls_table, key_hours, usage_hours
from aipool.calls.types import HOUR_MS, CallRow, CheckedCall, KeyHour, KeyStats, UsageHour
from aipool.kit.bulk import BulkStatement, NamedRows
from aipool.kit.db import Int64, Text, whole_sum


def months(connection: Connection) -> list[str]:
    """The months that have a table, newest first."""
    statement = sa.select(call_months.c.month).order_by(call_months.c.month.desc())
    return list(connection.execute(statement).scalars())


_MONTHS_NAMED = NamedRows(
    lambda names: sa.select(call_months.c.month).where(call_months.c.month.in_(names))
)


def months_among(connection: Connection, months: Collection[str]) -> set[str]:
    """Those of the months that have a table."""
    return {row[0] for row in _MONTHS_NAMED.fetch(connection, months)}


def open_month(connection: Connection, month: str) -> None:
    """Makes the table of a month, unless another writer has just made it."""
    added = connection.execute(
        sa.text("INSERT INTO call_months (month) VALUES (:month) ON CONFLICT DO NOTHING"),
        {"month": month},
    )
    if added.rowcount:
        calls_table(month).create(connection, checkfirst=False)


@cache
def _insert_call(month: str) -> BulkStatement:
    return BulkStatement(sa.insert(calls_table(month)), CallRow._fields)


def insert_calls(connection: Connection, month: str, rows: Sequence[CallRow]) -> None:
    """Writes rows of one month. A rid that is there already fails the transaction."""
    _insert_call(month).run(connection, rows)


_SUMS = UsageHour._fields[5:]
_ADD_USAGE = BulkStatement(
    sa.text(
        f"INSERT INTO usage_hours ({', '.join(UsageHour._fields)})"  # noqa: S608
        f" VALUES ({', '.join(f':{name}' for name in UsageHour._fields)})"
        " ON CONFLICT (hour, user_id, token_id, group_id, model) DO UPDATE SET "
        + ", ".join(f"{name} = usage_hours.{name} + excluded.{name}" for name in _SUMS)
    ),
    UsageHour._fields,
)


def add_usage(connection: Connection, rows: Sequence[UsageHour]) -> None:
    """Adds to the hourly sums."""
    _ADD_USAGE.run(connection, rows)


_KEY_SUMS = KeyHour._fields[2:7]
_NEWER = "excluded.last_error_at_ms >= key_hours.last_error_at_ms"
_ADD_KEY_HOURS = BulkStatement(
    sa.text(
        f"INSERT INTO key_hours ({', '.join(KeyHour._fields)})"  # noqa: S608
        f" VALUES ({', '.join(f':{name}' for name in KeyHour._fields)})"
        " ON CONFLICT (key_id, hour) DO UPDATE SET "
        + ", ".join(f"{name} = key_hours.{name} + excluded.{name}" for name in _KEY_SUMS)
        + ", last_at_ms = CASE WHEN excluded.last_at_ms > key_hours.last_at_ms"
        " THEN excluded.last_at_ms ELSE key_hours.last_at_ms END, "
        + ", ".join(
            f"{name} = CASE WHEN {_NEWER} THEN excluded.{name} ELSE key_hours.{name} END"
            for name in ("last_error", "last_error_at_ms")
        )
    ),
    KeyHour._fields,
)


def add_key_hours(connection: Connection, rows: Sequence[KeyHour]) -> None:
    """Adds to the hourly sums of upstream keys."""
    _ADD_KEY_HOURS.run(connection, rows)


def key_stats(
    connection: Connection, first_hour: int, key_ids: Collection[int] | None
) -> dict[int, KeyStats]:
    """The sums of each key, beside them those from `first_hour` on."""
    hours = key_hours.c
    late = [
        sa.case((hours.hour >= first_hour, one), else_=0) for one in (hours.tries, hours.failures)
    ]
    of_each = sa.select(
        hours.key_id,
        *(whole_sum(hours[name]).label(name) for name in _KEY_SUMS),
        whole_sum(late[0]).label("day_tries"),
        whole_sum(late[1]).label("day_failures"),
        sa.func.max(hours.last_at_ms).label("last_at_ms"),
        sa.func.max(hours.last_error_at_ms).label("last_error_at_ms"),
    ).group_by(hours.key_id)
    if key_ids is not None:
        of_each = of_each.where(hours.key_id.in_(sorted(key_ids)))
    sums = of_each.subquery()
    error = (
        sa.select(hours.last_error)
        .where(
            hours.key_id == sums.c.key_id,
            hours.last_error_at_ms == sums.c.last_error_at_ms,
            sums.c.last_error_at_ms != 0,
        )
        .limit(1)
        .scalar_subquery()
    )
    columns = [error if name == "last_error" else sums.c[name] for name in KeyStats._fields]
    rows = connection.execute(sa.select(sums.c.key_id, *columns))
    return {row[0]: KeyStats._make((*row[1:9], row[9] or "", row[10])) for row in rows}


def stream_key_hours(connection: Connection) -> Iterator[KeyHour]:
    """The hourly sums of upstream keys in the order of their key."""
    columns = [key_hours.c[name] for name in KeyHour._fields]
    statement = sa.select(*columns).order_by(*columns[:2])
    for row in connection.execute(statement, execution_options=_STREAMED):
        yield KeyHour._make(row)


def first_key_hour(connection: Connection) -> int | None:
    """The oldest hour that has sums of upstream keys."""
    return connection.execute(sa.select(sa.func.min(key_hours.c.hour))).scalar()


def get(connection: Connection, month: str, rid: str) -> CallRow | None:
    """One call of a month that has a table."""
    table = calls_table(month)
    row = connection.execute(_select(table).where(table.c.rid == rid)).first()
    return CallRow._make(row) if row else None


def recent(
    connection: Connection,
    month: str,
    *,
    user_id: int | None,
    token_id: int | None,
    before_rid: str | None,
    limit: int,
) -> list[CallRow]:
    """Calls of a month, newest first, older than `before_rid`."""
    table = calls_table(month)
    statement = _select(table).order_by(table.c.rid.desc()).limit(limit)
    if user_id is not None:
        statement = statement.where(table.c.user_id == user_id)
    if token_id is not None:
        statement = statement.where(table.c.token_id == token_id)
    if before_rid is not None:
        statement = statement.where(table.c.rid < before_rid)
    return [CallRow._make(row) for row in connection.execute(statement)]


@cache
def _known_rids(month: str) -> NamedRows:
    table = calls_table(month)
    return NamedRows(lambda names: sa.select(table.c.rid).where(table.c.rid.in_(names)))


def known(connection: Connection, month: str, rids: Collection[str]) -> set[str]:
    """Those of the ids that have a row."""
    return {row[0] for row in _known_rids(month).fetch(connection, rids)}


_STREAMED = {"yield_per": 1000}


def stream_calls(connection: Connection) -> Iterator[CheckedCall]:
    """All calls in the order of rid, across the months."""
    tables = [calls_table(month) for month in months(connection)]
    if not tables:
        return
    selects = [sa.select(*(table.c[name] for name in CheckedCall._fields)) for table in tables]
    statement = sa.union_all(*selects).order_by("rid")
    for row in connection.execute(statement, execution_options=_STREAMED):
        yield CheckedCall._make(row)


def stream_usage(connection: Connection) -> Iterator[UsageHour]:
    """The hourly sums in the order of their key."""
    columns = [usage_hours.c[name] for name in UsageHour._fields]
    statement = sa.select(*columns).order_by(*columns[:5])
    for row in connection.execute(statement, execution_options=_STREAMED):
        yield UsageHour._make(row)


def stream_usage_of_calls(connection: Connection) -> Iterator[UsageHour]:
    """The same sums, taken from the calls themselves."""
    tables = [calls_table(month) for month in months(connection)]
    if not tables:
        return
    parts = []
    for table in tables:
        call = table.c
        # A whole number of hours: both databases divide integers downwards here.
        hour = sa.cast(call.at_ms, Int64).op("/")(sa.literal_column(str(HOUR_MS)))
        failed = sa.case((sa.or_(call.status >= 400, call.error != ""), call["calls"]), else_=0)
        parts.append(
            sa.select(
                hour.label("hour"),
                call.user_id,
                call.token_id,
                call.group_id,
                call.model,
                call["calls"].label("calls"),
                failed.label("errors"),
                *(call[name] for name in UsageHour._fields[7:]),
            )
        )
    rows = sa.union_all(*parts).subquery()
    key = [rows.c[name] for name in UsageHour._fields[:5]]
    sums = [whole_sum(rows.c[name]) for name in UsageHour._fields[5:]]
    statement = sa.select(*key, *sums).group_by(*key).order_by(*key)
    for row in connection.execute(statement, execution_options=_STREAMED):
        yield UsageHour._make(row)


def used_by_tokens(connection: Connection) -> Iterator[tuple[str, int]]:
    """What each token's calls cost its user, by the name of its budget."""
    name = sa.literal("token:", Text) + sa.cast(usage_hours.c.token_id, sa.Text)
    used = whole_sum(usage_hours.c.charged_nano)
    statement = (
        sa.select(name.label("budget"), used)
        .where(usage_hours.c.token_id != 0)
        .group_by("budget")
        .having(used > 0)
        .order_by("budget")
    )
    for row in connection.execute(statement, execution_options=_STREAMED):
        yield row[0], row[1]


def _select(table: sa.Table) -> sa.Select[tuple[object, ...]]:
    return sa.select(*(table.c[name] for name in CallRow._fields))
