"""How the log lets go of what is old: in small bites, so that the books never wait long.

A month that is over goes whole: on PostgreSQL by one statement, on SQLite, where dropping a table
takes a look at each of its pages, index by index, then row by row, and the empty table last.
"""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.calls.tables import (
    INDEXED,
    call_months,
    calls_table,
    index_name,
    latencies,
    log_kept,
    usage_hours,
    usage_totals,
)
from aipool.calls.types import Kept, Span, TotalOf

_DROP_WAIT_MS = 200


def kept(connection: Connection) -> Kept:
    """From when on the log has what."""
    row = connection.execute(sa.select(log_kept.c.calls_from_ms, log_kept.c.hours_from)).first()
    return Kept._make(row) if row else Kept()


def put_kept(connection: Connection, wanted: Kept) -> None:
    """What is older is let go from now on: nobody finds it any more."""
    connection.execute(sa.delete(log_kept))
    connection.execute(sa.insert(log_kept).values(id=1, **wanted._asdict()))


def drop_index(connection: Connection, month: str) -> bool:
    """Drops one of the indexes of a month's table. False = there are none left."""
    there = {index["name"] for index in sa.inspect(connection).get_indexes(f"calls_{month}")}
    for path in INDEXED:
        name = index_name(month, path)
        if name in there:
            connection.exec_driver_sql(f"DROP INDEX {name}")
            return True
    return False


def delete_calls(connection: Connection, month: str, before_ms: int, limit: int) -> int:
    """Deletes so many of the oldest calls of a month that arrived before; how many it were."""
    table = calls_table(month)
    oldest = (
        sa.select(table.c.rid).where(table.c.at_ms < before_ms).order_by(table.c.at_ms).limit(limit)
    )
    return connection.execute(sa.delete(table).where(table.c.rid.in_(oldest))).rowcount


def delete_some(connection: Connection, month: str, limit: int) -> int:
    """Deletes so many calls of a month, whichever; how many it were."""
    table = calls_table(month)
    some = sa.select(table.c.rid).limit(limit)
    return connection.execute(sa.delete(table).where(table.c.rid.in_(some))).rowcount


def drop_month(connection: Connection, month: str) -> None:
    """Drops a month's table. Raises DatabaseBusy where somebody reads in it, as a backup does for
    long: who comes behind a drop that waits, waits too."""
    if connection.dialect.name == "postgresql":
        connection.exec_driver_sql(f"SET LOCAL lock_timeout = {_DROP_WAIT_MS}")
    connection.execute(sa.delete(call_months).where(call_months.c.month == month))
    calls_table(month).drop(connection, checkfirst=True)


def delete_hours(connection: Connection, before: int, limit: int) -> int:
    """Deletes hourly sums from before this hour, the oldest first, until so many rows are gone;
    how many it were. An hour goes whole."""
    deleted = 0
    totals, times = usage_totals.c, latencies.c
    for table, at, of in (
        (usage_hours, usage_hours.c.hour, sa.true()),
        *(
            (usage_totals, totals.at, sa.and_(totals.span == Span.HOUR, totals.kind == kind))
            for kind in TotalOf
        ),
        (latencies, times.at, times.span == Span.HOUR),
    ):
        while deleted < limit:
            first = connection.execute(sa.select(sa.func.min(at)).where(of)).scalar()
            if first is None or first >= before:
                break
            deleted += connection.execute(sa.delete(table).where(of, at == first)).rowcount
    return deleted
