"""The trail is a chain."""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec
import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Int64, Text, append_only_statements

revision = "0011"
down_revision = "0010"

_INDEXES = (("target", "id"), ("actor", "id"), ("action", "id"), ("at_ms",))


def upgrade() -> None:
    for name in ("role", "ip", "user_agent", "request_id"):
        op.add_column("audit_entries", sa.Column(name, Text, nullable=False, server_default=""))
    for name in ("previous", "digest"):
        op.add_column("audit_entries", sa.Column(name, sa.LargeBinary(32)))
    op.drop_index(op.f("ix_audit_entries_target"), "audit_entries")
    for columns in _INDEXES:
        name = f"ix_audit_entries_{'_'.join(columns)}"
        op.create_index(op.f(name), "audit_entries", list(columns))
    op.create_table(
        "audit_head",
        sa.Column("id", Int64, primary_key=True, autoincrement=False),
        sa.Column("entry_id", Int64, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    dialect = op.get_bind().dialect.name
    on = " ON audit_entries" if dialect == "postgresql" else ""
    acts = ("update", "delete", "truncate") if dialect == "postgresql" else ("update", "delete")
    for act in acts:
        op.execute(f"DROP TRIGGER audit_entries_no_{act}{on}")
    _chain_what_is_there()
    for statement in append_only_statements("audit_entries", dialect):
        op.execute(statement)


_entries = sa.table(
    "audit_entries",
    *(
        sa.column(name)
        for name in ("id", "at_ms", "actor", "action", "target", "previous", "digest")
    ),
    sa.column("before", sa.JSON),
    sa.column("after", sa.JSON),
)
_PAGE = 1000


def _chain_what_is_there() -> None:
    """As aipool.audit.rules does it; what was not noted then is empty."""
    connection = op.get_bind()
    encoder = msgspec.json.Encoder(order="sorted")
    last_id, digest = 0, bytes(32)
    columns = _entries.c
    update = (
        sa.update(_entries)
        .where(columns.id == sa.bindparam("row"))
        .values(previous=sa.bindparam("before_it"), digest=sa.bindparam("its"))
    )
    while True:
        query = sa.select(_entries).where(columns.id > last_id).order_by(columns.id).limit(_PAGE)
        rows = connection.execute(query).all()
        if not rows:
            break
        chained: list[dict[str, Any]] = []
        for row in rows:
            line = encoder.encode(
                [
                    row.id,
                    row.at_ms,
                    row.actor,
                    *("", "", "", ""),
                    row.action,
                    row.target,
                    row.before,
                    row.after,
                ]
            )
            before_it, digest = digest, hashlib.sha256(digest + line).digest()
            chained.append({"row": row.id, "before_it": before_it, "its": digest})
        connection.execute(update, chained)
        last_id = rows[-1].id
    head = sa.table("audit_head", *(sa.column(name) for name in ("id", "entry_id", "digest")))
    connection.execute(sa.insert(head).values(id=1, entry_id=last_id, digest=digest))
