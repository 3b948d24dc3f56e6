"""The table of adjustments that wait, or waited, for a second administrator."""

from __future__ import annotations

import sqlalchemy as sa

from aipool.kit.db import Int64, Text, metadata

asked_adjustments = sa.Table(
    "asked_adjustments",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("user_id", Int64, nullable=False),
    sa.Column("amount_nano", Int64, nullable=False),
    sa.Column("reason", Text, nullable=False),
    sa.Column("asked_by", Text, nullable=False),
    sa.Column("key", Text, nullable=False),
    sa.Column("asked_at_ms", Int64, nullable=False),
    sa.Column("state", Text, nullable=False, server_default="waiting"),
    sa.Column("decided_by", Text, nullable=False, server_default=""),
    sa.Column("decided_at_ms", Int64),
    sa.CheckConstraint("amount_nano <> 0", name="amount"),
    sa.UniqueConstraint("asked_by", "key"),
)
