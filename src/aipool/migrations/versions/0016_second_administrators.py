"""Adjustments above what one administrator may move alone wait for a second one."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Int64, Text

revision = "0016"
down_revision = "0015"


def upgrade() -> None:
    op.create_table(
        "asked_adjustments",
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
