"""Tables of accounts."""

from __future__ import annotations

import sqlalchemy as sa

from aipool.kit.db import Int64, Text, metadata

users = sa.Table(
    "users",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("phone", Text, nullable=False, unique=True),
    sa.Column("password_hash", Text, nullable=False),
    sa.Column("role", Text, nullable=False),
    sa.Column("status", Text, nullable=False),
    sa.Column("created_at_ms", Int64, nullable=False),
    sa.CheckConstraint("role IN ('user', 'admin', 'root')", name="role"),
    sa.CheckConstraint("status IN ('active', 'disabled')", name="status"),
)

#: Secrets with which a person, rather than a program, speaks to the platform.
access_tokens = sa.Table(
    "access_tokens",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("user_id", Int64, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
    sa.Column("created_at_ms", Int64, nullable=False),
)

#: The one-time way in while there is no administrator: at most one row.
setup_links = sa.Table(
    "setup_links",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("digest", sa.LargeBinary(32), nullable=False),
    sa.Column("issued_at_ms", Int64, nullable=False),
    sa.CheckConstraint("id = 1", name="one_row"),
)
