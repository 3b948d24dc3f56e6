"""The trail's statements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.audit.tables import audit_entries
from aipool.audit.types import Entry


def insert_entry(
    connection: Connection,
    *,
    at_ms: int,
    actor: str,
    action: str,
    target: str,
    before: Mapping[str, Any] | None,
    after: Mapping[str, Any] | None,
) -> None:
    """One row of the trail."""
    connection.execute(
        sa.insert(audit_entries).values(
            at_ms=at_ms, actor=actor, action=action, target=target, before=before, after=after
        )
    )


def entries(
    connection: Connection, target: str, *, limit: int, before_id: int | None
) -> list[Entry]:
    """What was done to this target, newest first."""
    query = sa.select(audit_entries).where(audit_entries.c.target == target)
    if before_id is not None:
        query = query.where(audit_entries.c.id < before_id)
    query = query.order_by(audit_entries.c.id.desc()).limit(limit)
    return [
        Entry(row.id, row.at_ms, row.actor, row.action, row.target, row.before, row.after)
        for row in connection.execute(query).all()
    ]


def newest_at_ms(connection: Connection) -> int | None:
    """When the last thing was done."""
    query = sa.select(audit_entries.c.at_ms).order_by(audit_entries.c.id.desc()).limit(1)
    return connection.execute(query).scalar()
