"""The trail's tables. Rows are append-only by trigger, and a chain by their digests (rules)."""

from __future__ import annotations

import sqlalchemy as sa

from aipool.kit.db import Int64, Text, append_only, metadata

audit_entries = append_only(
    sa.Table(
        "audit_entries",
        metadata,
        sa.Column("id", Int64, primary_key=True),
        sa.Column("at_ms", Int64, nullable=False),
        sa.Column("actor", Text, nullable=False),
        sa.Column("action", Text, nullable=False),
        sa.Column("target", Text, nullable=False),
        sa.Column("before", sa.JSON(none_as_null=True)),
        sa.Column("after", sa.JSON(none_as_null=True)),
        sa.Column("role", Text, nullable=False, server_default=""),
        sa.Column("ip", Text, nullable=False, server_default=""),
        sa.Column("user_agent", Text, nullable=False, server_default=""),
        sa.Column("request_id", Text, nullable=False, server_default=""),
        sa.Column("previous", sa.LargeBinary(32)),
        sa.Column("digest", sa.LargeBinary(32)),
        sa.Index(None, "target", "id"),
        sa.Index(None, "actor", "id"),
        sa.Index(None, "action", "id"),
        sa.Index(None, "at_ms"),
    )
)

#: One row: the newest of the trail. Who writes into the trail has it locked, so the rows are in
#: one line whoever writes them; and it shows when the newest ones are missing.
audit_head = sa.Table(
    "audit_head",
    metadata,
    sa.Column("id", Int64, primary_key=True, autoincrement=False),
    sa.Column("entry_id", Int64, nullable=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.CheckConstraint("id = 1", name="one_row"),
)
