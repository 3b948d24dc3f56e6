"""The table of settings that an operator set. What is not in it has its default."""

from __future__ import annotations

import sqlalchemy as sa

from aipool.kit.db import Int64, Text, metadata

site_settings = sa.Table(
    "site_settings",
    metadata,
    sa.Column("name", Text, primary_key=True),
    sa.Column("value", sa.JSON, nullable=False),
    sa.Column("sealed", sa.Boolean, nullable=False),
    sa.Column("at_ms", Int64, nullable=False),
    sa.Column("actor", Text, nullable=False),
)
