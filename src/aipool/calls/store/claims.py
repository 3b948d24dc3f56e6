"""The statements of idempotency keys."""

from __future__ import annotations

from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.calls.tables import idempotency_keys
from aipool.calls.types import KeyAsked


class Row(NamedTuple):
    """Who has a key."""

    body: bytes
    rid: str
    epoch: int
    at_ms: int


def owner(connection: Connection, token_id: int, key: bytes) -> Row | None:
    """Who has this key, and until the commit nobody else decides about it."""
    table = idempotency_keys.c
    row = connection.execute(
        sa.select(table.body, table.rid, table.epoch, table.at_ms)
        .where(table.token_id == token_id, table.key == key)
        .with_for_update()
    ).first()
    return Row(bytes(row.body), row.rid, row.epoch, row.at_ms) if row else None


_PUT = sa.text(
    "INSERT INTO idempotency_keys (token_id, key, body, rid, epoch, at_ms)"
    " VALUES (:token_id, :key, :body, :rid, :epoch, :at_ms)"
    " ON CONFLICT (token_id, key) DO UPDATE SET body = excluded.body, rid = excluded.rid,"
    " epoch = excluded.epoch, at_ms = excluded.at_ms"
)


def put(connection: Connection, asked: KeyAsked, *, at_ms: int) -> None:
    """The key is this call's."""
    connection.execute(
        _PUT,
        {
            "token_id": asked.token_id,
            "key": asked.key,
            "body": asked.body,
            "rid": asked.rid,
            "epoch": asked.epoch,
            "at_ms": at_ms,
        },
    )


def delete(connection: Connection, token_id: int, key: bytes, rid: str) -> None:
    """The key is nobody's, if it was this call's."""
    table = idempotency_keys
    connection.execute(
        sa.delete(table).where(table.c.token_id == token_id, table.c.key == key, table.c.rid == rid)
    )


def delete_before(connection: Connection, at_ms: int, most: int) -> int:
    """Deletes keys that are older, at most so many."""
    table = idempotency_keys
    old = sa.select(table.c.token_id, table.c.key).where(table.c.at_ms < at_ms).limit(most)
    rows = connection.execute(old).all()
    for token_id, key in rows:
        connection.execute(sa.delete(table).where(table.c.token_id == token_id, table.c.key == key))
    return len(rows)
