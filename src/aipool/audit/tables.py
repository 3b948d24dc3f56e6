"""The trail's table. Append-only by trigger."""

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
        sa.Index(None, "target"),
    )
)
