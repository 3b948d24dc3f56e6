"""Pages of a month's calls, newest first.

The statement names the one index it is to walk, by what it leaves bare: every other condition is
written so that no index can serve it (`_looked_at`). So the plan does not depend on what a database
guesses of ten million rows.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.calls.rules import path_of, statuses_of
from aipool.calls.store import select_calls
from aipool.calls.tables import INDEXED, ONLY, calls_table
from aipool.calls.types import (
    CLIENT_LEFT,
    DAY_MS,
    FAILURES_FROM,
    CallRow,
    Outcomes,
    Path,
    Place,
    Search,
)
from aipool.kit.db import Deadline

#: More statuses than any log has.
_STATUSES_MAX = 64


def page(
    connection: Connection,
    month: str,
    search: Search,
    *,
    before: Place | None,
    limit: int,
    deadline: Deadline | None,
) -> list[CallRow]:
    """Calls of a month that are older than `before`. deadline: None = it may take as long as it
    takes. Raises TookTooLong."""
    if not _can_have(connection, month, search):
        return []
    path = path_of(search)
    if path not in (Path.STATUS, Path.USER_STATUS):
        statement = statement_of(month, search, path, None, before, limit)
        return _rows(connection, statement, deadline)
    # One walk for each status; together they are in order again.
    found: list[CallRow] = []
    with _over(deadline, connection):
        wanted = statuses_of(search, list(_statuses(connection, month, search)))
    for status in wanted:
        statement = statement_of(month, search, path, status, before, limit)
        found += _rows(connection, statement, deadline)
    found.sort(key=lambda call: (call.at_ms, call.rid), reverse=True)
    return found[:limit]


def _rows(
    connection: Connection, statement: sa.Select[Any], deadline: Deadline | None
) -> list[CallRow]:
    with _over(deadline, connection):
        return [CallRow._make(row) for row in connection.execute(statement)]


def _over(deadline: Deadline | None, connection: Connection) -> AbstractContextManager[None]:
    return nullcontext() if deadline is None else deadline.over(connection)


def _can_have(connection: Connection, month: str, search: Search) -> bool:
    """Is the token the user's, by the newest of its calls? It is one user's for ever. A walk over
    all calls of somebody else's would take a time that tells how many there are."""
    if search.user_id is None or search.token_id is None:
        return True
    table = calls_table(month)
    newest = sa.select(table.c.user_id).where(table.c.token_id == search.token_id)
    newest = newest.order_by(table.c.at_ms.desc()).limit(1)
    return connection.execute(newest).scalar() == search.user_id


def _statuses(connection: Connection, month: str, search: Search) -> Iterator[int]:
    """The statuses that are there: of a user, or those of failures; one step in the index each."""
    table = calls_table(month)
    column = table.c.status
    smallest = sa.select(sa.func.min(column))
    if search.user_id is not None:
        smallest = smallest.where(table.c.user_id == search.user_id)
        last = -1
    else:
        smallest = smallest.where(sa.text(ONLY[Path.STATUS]))
        last = FAILURES_FROM - 1
    for _ in range(_STATUSES_MAX):
        found = connection.execute(smallest.where(column > last)).scalar()
        if found is None:
            return
        last = int(found)
        yield last


def statement_of(
    month: str,
    search: Search,
    path: Path,
    status: int | None,
    before: Place | None,
    limit: int,
) -> sa.Select[Any]:
    """What reads a page through one index. status: of a walk that is of one of them."""
    table = calls_table(month)
    at = table.c.at_ms
    statement = select_calls(table).order_by(at.desc(), table.c.rid.desc()).limit(limit)
    wanted: dict[str, Any] = {
        name: value
        for name in ("user_id", "token_id", "model", "group_id", "key_id", "endpoint", "status")
        if (value := getattr(search, name)) is not None
    }
    if status is not None:
        wanted["status"] = status
    for name in INDEXED[path]:
        statement = statement.where(table.c[name] == wanted.pop(name))
    if path in ONLY:
        statement = statement.where(sa.text(ONLY[path]))
    for name, value in wanted.items():
        statement = statement.where(_looked_at(table.c[name]) == value)
    if search.outcome is not None and status is None:
        statement = statement.where(_in_class(table, search.outcome))
    for name in ("vendor_id", "stream", "error", "origin", "upstream_request_id"):
        value = getattr(search, name)
        if value is not None:
            statement = statement.where(table.c[name] == value)
    if search.charged:
        statement = statement.where(table.c.charged_nano > 0)
    if search.from_ms is not None:
        statement = statement.where(at >= search.from_ms)
    if search.to_ms is not None:
        statement = statement.where(at < search.to_ms)
    if before is not None:
        older = sa.or_(at < before.at_ms, _looked_at(table.c.rid) < before.rid)
        statement = statement.where(at <= before.at_ms, older)
    return statement


def newest_charged(
    connection: Connection,
    month: str,
    user_id: int,
    groups: Collection[tuple[int, int]],
    from_ms: int,
    ended_by_ms: int | None,
) -> dict[tuple[int, int], Place]:
    """Of each (day, token) that lies in a month, the newest call from `from_ms` on that its user
    was charged for, and that had ended by then. One statement, and in it one step in the token's
    index each."""
    ended = "" if ended_by_ms is None else " AND one.at_ms + one.duration_ms <= :ended_by_ms"
    wanted = ", ".join(
        f"({day}, {token_id}, {max(from_ms, day * DAY_MS)}, {(day + 1) * DAY_MS})"
        for day, token_id in groups
    )
    found = connection.execute(
        sa.text(
            f"WITH wanted (day, token_id, from_ms, to_ms) AS (VALUES {wanted})"  # noqa: S608
            # Both of it in one value, which is all that stands in one place of a row.
            " SELECT day, token_id, (SELECT CAST(one.at_ms AS TEXT) || '.' || one.rid"
            f" FROM {calls_table(month).name} AS one"
            " WHERE one.token_id = wanted.token_id AND one.at_ms >= wanted.from_ms"
            " AND one.at_ms < wanted.to_ms AND one.user_id + 0 = :user_id"
            f" AND one.charged_nano > 0{ended} ORDER BY one.at_ms DESC, one.rid DESC LIMIT 1)"
            " FROM wanted"
        ),
        {"user_id": user_id} | ({} if ended_by_ms is None else {"ended_by_ms": ended_by_ms}),
    )
    newest = {}
    for day, token_id, written in found:
        if written is not None:
            at_ms, _, rid = written.partition(".")
            newest[day, token_id] = Place(int(at_ms), rid)
    return newest


def _in_class(table: sa.Table, outcome: Outcomes) -> sa.ColumnElement[bool]:
    least, above = outcome.bounds
    status = _looked_at(table.c.status)
    inside = sa.and_(status >= least, status < above)
    return inside if outcome is Outcomes.CLIENT_LEFT else sa.and_(inside, status != CLIENT_LEFT)


def _looked_at(column: sa.Column[Any]) -> sa.ColumnElement[Any]:
    """The column's value, out of every index's sight."""
    if isinstance(column.type, sa.Text):
        return column.op("||")(sa.literal_column("''"))
    return column.op("+")(sa.literal_column("0"))
