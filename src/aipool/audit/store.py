"""The trail's statements."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.audit.tables import audit_entries


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


def newest_at_ms(connection: Connection) -> int | None:
    """When the last thing was done."""
    query = sa.select(audit_entries.c.at_ms).order_by(audit_entries.c.id.desc()).limit(1)
    return connection.execute(query).scalar()
