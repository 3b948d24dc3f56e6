"""Tables of notices."""

from __future__ import annotations

import sqlalchemy as sa

from aipool.kit.db import Int64, Text, metadata

notice_channels = sa.Table(
    "notice_channels",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("name", Text, nullable=False, unique=True),
    sa.Column("kind", Text, nullable=False),
    # What may be shown: a host, or a mail server with its addresses.
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("sealed_secret", Text, nullable=False),
    # Names of events, empty = all.
    sa.Column("events", sa.JSON, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("created_at_ms", Int64, nullable=False),
    # A secret is sealed for the id of its channel, which is never given again.
    sqlite_autoincrement=True,
)

notices = sa.Table(
    "notices",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("at_ms", Int64, nullable=False),
    sa.Column("event", Text, nullable=False),
    sa.Column("target", Text, nullable=False),
    sa.Column("subject", Text, nullable=False),
    sa.Column("text", Text, nullable=False),
    sa.Column("fields", sa.JSON, nullable=False),
    sa.Index(None, "target", "event", "at_ms"),
    # The number is in every message: receivers know a repeated one by it.
    sqlite_autoincrement=True,
)

notice_deliveries = sa.Table(
    "notice_deliveries",
    metadata,
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
    sa.Index(None, "channel_id", "state", "next_at_ms"),
)
