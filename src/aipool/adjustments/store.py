"""Every SQL statement on adjustments that wait for a second administrator."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Row

from aipool.adjustments.tables import asked_adjustments
from aipool.adjustments.types import Asked, State

_COLUMNS = [asked_adjustments.c[field.name] for field in fields(Asked)]


def insert(connection: Connection, **values: object) -> int:
    """A new one; its id."""
    made = connection.execute(sa.insert(asked_adjustments).values(**values))
    (found,) = made.inserted_primary_key or (0,)
    return int(found)


def by_id(connection: Connection, asked_id: int) -> Asked | None:
    """One of them."""
    return _one(connection, asked_adjustments.c.id == asked_id)


def by_key(connection: Connection, asked_by: str, key: str) -> Asked | None:
    """The one that was asked for under a key."""
    table = asked_adjustments.c
    return _one(connection, sa.and_(table.asked_by == asked_by, table.key == key))


def page(
    connection: Connection,
    *,
    waiting_since_ms: int | None,
    before_id: int | None,
    limit: int,
) -> list[Asked]:
    """The newest first. waiting_since_ms: only those that wait, and were asked for after it."""
    table = asked_adjustments.c
    statement = sa.select(*_COLUMNS).order_by(table.id.desc()).limit(limit)
    if waiting_since_ms is not None:
        statement = statement.where(
            table.state == State.WAITING, table.asked_at_ms > waiting_since_ms
        )
    if before_id is not None:
        statement = statement.where(table.id < before_id)
    return [_asked(row) for row in connection.execute(statement)]


def decide(
    connection: Connection, asked_id: int, state: State, *, decided_by: str, at_ms: int
) -> bool:
    """Writes down what was decided. False: it does not wait any more."""
    table = asked_adjustments.c
    done = connection.execute(
        sa.update(asked_adjustments)
        .where(table.id == asked_id, table.state == State.WAITING)
        .values(state=state, decided_by=decided_by, decided_at_ms=at_ms)
    )
    return bool(done.rowcount)


def _one(connection: Connection, where: sa.ColumnElement[bool]) -> Asked | None:
    row = connection.execute(sa.select(*_COLUMNS).where(where)).one_or_none()
    return None if row is None else _asked(row)


def _asked(row: Row[Any]) -> Asked:
    values = dict(row._mapping)
    return Asked(**{**values, "state": State(values["state"])})
