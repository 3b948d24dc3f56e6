"""Writing and reading the trail."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sqlalchemy.engine import Connection

from aipool.audit import store
from aipool.audit.types import Act, Entry
from aipool.kit.db import Transaction

_SECRET_FIELDS = frozenset({"password_hash", "digest", "sealed_secret"})


def record(
    tx: Transaction,
    act: Act,
    action: str,
    target: str,
    *,
    before: Mapping[str, Any] | None = None,
    after: Mapping[str, Any] | None = None,
) -> None:
    """Notes a change in its own transaction.

    action: verb and noun, "user.create".  target: what it was done to, "user:7".
    before, after: the record's fields; passwords, digests and sealed secrets are left out.
    """
    store.insert_entry(
        tx.connection,
        at_ms=act.at_ms,
        actor=act.actor,
        action=action,
        target=target,
        before=_without_secrets(before),
        after=_without_secrets(after),
    )


def entries(
    connection: Connection, target: str, *, limit: int = 50, before_id: int | None = None
) -> list[Entry]:
    """What was done to this target ("key:7"), newest first. before_id: only older ones."""
    return store.entries(connection, target, limit=limit, before_id=before_id)


def newest_at_ms(connection: Connection) -> int | None:
    """When the last thing was done, in unix milliseconds; None when nothing was."""
    return store.newest_at_ms(connection)


def _without_secrets(fields: Mapping[str, Any] | None) -> dict[str, Any] | None:
    if fields is None:
        return None
    return {name: value for name, value in fields.items() if name not in _SECRET_FIELDS}
