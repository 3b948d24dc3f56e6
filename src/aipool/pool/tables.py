"""Tables of the pool."""

from __future__ import annotations

import sqlalchemy as sa

from aipool.kit.db import Int64, Text, metadata

vendors = sa.Table(
    "vendors",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("name", Text, nullable=False, unique=True),
    sa.Column("type", Text, nullable=False),
    sa.Column("base_url", Text, nullable=False),
    sa.Column("created_at_ms", Int64, nullable=False),
)

upstream_keys = sa.Table(
    "upstream_keys",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("vendor_id", Int64, sa.ForeignKey("vendors.id"), nullable=False),
    sa.Column("name", Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("is_default", sa.Boolean, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("sealed_secret", Text, nullable=False),
    sa.Column("last4", Text, nullable=False),
    sa.Column("proxy_url", Text, nullable=False),
    # What a vendor needs to know besides the secret; {} for all of today's.
    sa.Column("config", sa.JSON, nullable=False),
    sa.Column("created_at_ms", Int64, nullable=False),
    sa.UniqueConstraint("vendor_id", "name"),
    # The id of a deleted key is never given again: the records of old calls name it.
    sqlite_autoincrement=True,
)
