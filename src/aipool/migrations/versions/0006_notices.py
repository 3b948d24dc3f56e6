"""People are told of what happened, over channels."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Int64, Text

revision = "0006"
down_revision = "0005"


def upgrade() -> None:
    op.create_table(
        "notice_channels",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("name", Text, nullable=False, unique=True),
        sa.Column("kind", Text, nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("sealed_secret", Text, nullable=False),
        sa.Column("events", sa.JSON, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("created_at_ms", Int64, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "notices",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("at_ms", Int64, nullable=False),
        sa.Column("event", Text, nullable=False),
        sa.Column("target", Text, nullable=False),
        sa.Column("subject", Text, nullable=False),
        sa.Column("text", Text, nullable=False),
        sa.Column("fields", sa.JSON, nullable=False),
        sqlite_autoincrement=True,
    )
    op.create_index(op.f("ix_notices_target_event_at_ms"), "notices", ["target", "event", "at_ms"])
    op.create_table(
        "notice_deliveries",
        sa.Column(
            "notice_id", Int64, sa.ForeignKey("notices.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column(
            "channel_id",
            Int64,
            sa.ForeignKey("notice_channels.id", ondelete="CASCADE"),
            primary_key=True,
        ),
        sa.Column("state", Text, nullable=False),
        sa.Column("tries", Int64, nullable=False),
        sa.Column("next_at_ms", Int64, nullable=False),
        sa.Column("last_error", Text, nullable=False),
        sa.Column("sent_at_ms", Int64),
        sa.CheckConstraint("state IN ('pending', 'sent', 'failed')", name="state"),
    )
    op.create_index(
        op.f("ix_notice_deliveries_channel_id_state_next_at_ms"),
        "notice_deliveries",
        ["channel_id", "state", "next_at_ms"],
    )
