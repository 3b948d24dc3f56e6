"""Every SQL statement of the call log.

Here is what the books write, and one call by its id; `sums` keeps the roll-ups, `pages` searches,
`keeping` lets go of what is old.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from functools import cache

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.calls.tables import call_months, calls_table, key_hours
from aipool.calls.types import CallRow, CheckedCall, KeyHour, KeyStats
from aipool.kit.bulk import BulkStatement, NamedRows
from aipool.kit.db import whole_sum


def months(connection: Connection) -> list[str]:
    """The months that have a table, newest first."""
    statement = sa.select(call_months.c.month).order_by(call_months.c.month.desc())
    return list(connection.execute(statement).scalars())


# On PostgreSQL nobody lets go of a month between this look and the end of the transaction.
_MONTHS_NAMED = NamedRows(
    lambda names: (
        sa.select(call_months.c.month)
        .where(call_months.c.month.in_(names))
        .with_for_update(read=True, key_share=True)
    )
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
    for row in connection.execute(statement, execution_options=STREAMED):
        yield KeyHour._make(row)


def first_key_hour(connection: Connection) -> int | None:
    """The oldest hour that has sums of upstream keys."""
    return connection.execute(sa.select(sa.func.min(key_hours.c.hour))).scalar()


def get(connection: Connection, month: str, rid: str) -> CallRow | None:
    """One call of a month that has a table."""
    table = calls_table(month)
    row = connection.execute(select_calls(table).where(table.c.rid == rid)).first()
    return CallRow._make(row) if row else None


@cache
def _known_rids(month: str) -> NamedRows:
    table = calls_table(month)
    return NamedRows(lambda names: sa.select(table.c.rid).where(table.c.rid.in_(names)))


def known(connection: Connection, month: str, rids: Collection[str]) -> set[str]:
    """Those of the ids that have a row."""
    return {row[0] for row in _known_rids(month).fetch(connection, rids)}


#: Rows are fetched so many at a time.
STREAMED = {"yield_per": 1000}


def stream_calls(connection: Connection) -> Iterator[CheckedCall]:
    """All calls in the order of rid, across the months."""
    tables = [calls_table(month) for month in months(connection)]
    if not tables:
        return
    selects = [sa.select(*(table.c[name] for name in CheckedCall._fields)) for table in tables]
    statement = sa.union_all(*selects).order_by("rid")
    for row in connection.execute(statement, execution_options=STREAMED):
        yield CheckedCall._make(row)


def select_calls(table: sa.Table) -> sa.Select[tuple[object, ...]]:
    """Whole rows."""
    return sa.select(*(table.c[name] for name in CallRow._fields))
