"""The trail's statements."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.audit.rules import BEGINNING, digest_of
from aipool.audit.tables import audit_entries, audit_head
from aipool.audit.types import Entry, Note, Wanted

#: Named as Entry's fields are.
_COLUMNS = (
    audit_entries.c.id,
    audit_entries.c.at_ms,
    audit_entries.c.actor,
    audit_entries.c.action,
    audit_entries.c.target,
    audit_entries.c.before,
    audit_entries.c.after,
    audit_entries.c.role,
    audit_entries.c.ip,
    audit_entries.c.user_agent,
    audit_entries.c.request_id,
    audit_entries.c.previous,
    audit_entries.c.digest,
)


def append(connection: Connection, notes: Sequence[Note]) -> None:
    """The trail goes on with these, in their order. Locks its head until the commit."""
    last_id, digest = _locked_head(connection)
    rows = []
    for note in notes:
        last_id += 1
        entry = _entry_of(last_id, note, digest)
        digest = entry.digest
        rows.append({column.name: getattr(entry, column.name) for column in _COLUMNS})
    connection.execute(sa.insert(audit_entries), rows)
    connection.execute(sa.update(audit_head).values(entry_id=last_id, digest=digest))


def head(connection: Connection) -> tuple[int, bytes]:
    """The id and the digest of the newest row, as it was noted when it was written."""
    row = connection.execute(sa.select(audit_head.c.entry_id, audit_head.c.digest)).one_or_none()
    return (row.entry_id, bytes(row.digest)) if row else (0, BEGINNING)


def page(
    connection: Connection,
    wanted: Wanted,
    *,
    limit: int,
    before_id: int | None = None,
    after_id: int | None = None,
) -> list[Entry]:
    """Rows newest first; oldest first from `after_id` on when that is given."""
    query = sa.select(*_COLUMNS).where(*_conditions(wanted)).limit(limit)
    if after_id is not None:
        query = query.where(audit_entries.c.id > after_id).order_by(audit_entries.c.id)
    else:
        query = query.order_by(audit_entries.c.id.desc())
    if before_id is not None:
        query = query.where(audit_entries.c.id < before_id)
    return [_entry(row) for row in connection.execute(query).all()]


def newest_at_ms(connection: Connection) -> int | None:
    """When the last thing was done."""
    query = sa.select(audit_entries.c.at_ms).order_by(audit_entries.c.id.desc()).limit(1)
    return connection.execute(query).scalar()


def _locked_head(connection: Connection) -> tuple[int, bytes]:
    columns = (audit_head.c.entry_id, audit_head.c.digest)
    row = connection.execute(sa.select(*columns).with_for_update()).one_or_none()
    if row is not None:
        return row.entry_id, bytes(row.digest)
    connection.execute(sa.insert(audit_head).values(id=1, entry_id=0, digest=BEGINNING))
    return 0, BEGINNING


def _entry_of(entry_id: int, note: Note, previous: bytes) -> Entry:
    act = note.act
    entry = Entry(
        entry_id,
        act.at_ms,
        act.actor,
        note.action,
        note.target,
        note.before,
        note.after,
        act.role,
        act.ip,
        act.user_agent,
        act.request_id,
        previous,
    )
    return replace(entry, digest=digest_of(entry))


def _entry(row: Any) -> Entry:
    fields = row._mapping
    bytes_of = {name: bytes(fields[name] or b"") for name in ("previous", "digest")}
    return Entry(**{**fields, **bytes_of})


def _conditions(wanted: Wanted) -> list[sa.ColumnElement[bool]]:
    table = audit_entries.c
    found: list[sa.ColumnElement[bool]] = []
    if wanted.actor:
        found.append(table.actor == wanted.actor)
    if "." in wanted.action:
        found.append(table.action == wanted.action)
    elif wanted.action:
        # "/" is the character after ".": the range is exactly what begins so.
        found += [table.action >= f"{wanted.action}.", table.action < f"{wanted.action}/"]
    if wanted.target:
        found.append(table.target == wanted.target)
    if wanted.since_ms is not None:
        found.append(table.at_ms >= wanted.since_ms)
    if wanted.until_ms is not None:
        found.append(table.at_ms < wanted.until_ms)
    return found
