"""The statements of what was said in calls."""

from __future__ import annotations

from collections.abc import Collection
from typing import NamedTuple

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.calls.tables import call_contents
from aipool.calls.types import Said


class Row(NamedTuple):
    """What is stored of a call."""

    token_id: int
    expires_at_ms: int
    sealed_request: str
    request_cut: bool
    sealed_answer: str
    answer_cut: bool


_INSERT = sa.text(
    "INSERT INTO call_contents (rid, token_id, user_id, expires_at_ms, sealed_request,"
    " request_cut, sealed_answer, answer_cut) VALUES (:rid, :token_id, :user_id, :expires_at_ms,"
    " :sealed_request, :request_cut, :sealed_answer, :answer_cut) ON CONFLICT DO NOTHING"
)


def insert(connection: Connection, said: Said, *, sealed_request: str, sealed_answer: str) -> None:
    """Keeps it, unless it is kept already."""
    connection.execute(
        _INSERT,
        {
            "rid": said.rid,
            "token_id": said.token_id,
            "user_id": said.user_id,
            "expires_at_ms": said.expires_at_ms,
            "sealed_request": sealed_request,
            "request_cut": said.request_cut,
            "sealed_answer": sealed_answer,
            "answer_cut": said.answer_cut,
        },
    )


def get(connection: Connection, rid: str, *, user_id: int) -> Row | None:
    """What is kept of this user's call."""
    columns = [call_contents.c[name] for name in Row._fields]
    row = connection.execute(
        sa.select(*columns).where(call_contents.c.rid == rid, call_contents.c.user_id == user_id)
    ).first()
    return Row._make(row) if row else None


def delete(connection: Connection, rid: str, *, user_id: int) -> bool:
    """Deletes what is kept of this user's call."""
    table = call_contents
    gone = connection.execute(
        sa.delete(table).where(table.c.rid == rid, table.c.user_id == user_id)
    )
    return bool(gone.rowcount)


def any_expired(connection: Connection, now_ms: int) -> bool:
    """Is anything over?"""
    query = sa.select(call_contents.c.rid).where(call_contents.c.expires_at_ms <= now_ms).limit(1)
    return connection.execute(query).first() is not None


def delete_expired(connection: Connection, now_ms: int, most: int) -> int:
    """Deletes what is over, at most so many."""
    table = call_contents
    over = sa.select(table.c.rid).where(table.c.expires_at_ms <= now_ms).limit(most)
    rids = list(connection.execute(over).scalars())
    if rids:
        connection.execute(sa.delete(table).where(table.c.rid.in_(rids)))
    return len(rids)


def tokens(connection: Connection) -> set[int]:
    """The tokens of which something is kept."""
    return set(connection.execute(sa.select(call_contents.c.token_id).distinct()).scalars())


def delete_of_tokens(connection: Connection, token_ids: Collection[int]) -> None:
    """Deletes all that is kept of these tokens."""
    table = call_contents
    connection.execute(sa.delete(table).where(table.c.token_id.in_(sorted(token_ids))))
