"""The statements of moving in."""

from __future__ import annotations

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.kit.errors import Conflict
from aipool.moving.tables import moved_in


def ids_of(connection: Connection, kind: str) -> dict[str, int]:
    """Our ids of what was moved in, by theirs."""
    query = sa.select(moved_in.c.their_id, moved_in.c.our_id).where(moved_in.c.kind == kind)
    return {row.their_id: row.our_id for row in connection.execute(query)}


def id_of(connection: Connection, kind: str, their_id: str) -> int | None:
    """Our id of what was moved in; None = it was not."""
    there = sa.select(moved_in.c.our_id).where(
        moved_in.c.kind == kind, moved_in.c.their_id == their_id
    )
    return connection.execute(there).scalar()


def remember(connection: Connection, kind: str, their_id: str, our_id: int, at_ms: int) -> None:
    """This of theirs is that of ours from now on. Raises Conflict where it is another's: a dump
    may have a number twice."""
    if id_of(connection, kind, their_id) is not None:
        raise Conflict("row_repeated", f"{kind} {their_id} stands twice in the dump")
    values = {"kind": kind, "their_id": their_id, "our_id": our_id, "at_ms": at_ms}
    connection.execute(sa.insert(moved_in).values(values))
