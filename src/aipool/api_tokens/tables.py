"""Tables of API tokens.

A deleted token keeps its row, without its digest: the records of its calls name it, its
name is free again, and nothing presented can match it.

Secrets that stand in for a token's own for a while are apart: the one before the last rotation in
its grace, and playground keys. No digest is in both tables.
"""

from __future__ import annotations

import sqlalchemy as sa

from aipool.groups.tables import call_limit_columns
from aipool.kit.db import Int64, Text, metadata

api_tokens = sa.Table(
    "api_tokens",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("user_id", Int64, sa.ForeignKey("users.id"), nullable=False),
    sa.Column("group_id", Int64, sa.ForeignKey("groups.id"), nullable=False),
    sa.Column("name", Text, nullable=False),
    sa.Column("digest", sa.LargeBinary(32), unique=True),
    sa.Column("last4", Text, nullable=False),
    # Names of models, or NULL for all of the group.
    sa.Column("models", sa.JSON(none_as_null=True)),
    sa.Column("ips", sa.JSON, nullable=False),
    sa.Column("expires_at", Int64, nullable=False),
    sa.Column("limit_nano", Int64),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("created_at_ms", Int64, nullable=False),
    sa.Column("deleted_at_ms", Int64),
    sa.Column(
        "reset",
        Text,
        sa.CheckConstraint("reset IN ('none', 'daily', 'weekly', 'monthly')", name="reset"),
        nullable=False,
        server_default="none",
    ),
    sa.Column("total_nano", Int64, sa.CheckConstraint("total_nano >= 0", name="total_nano")),
    # How often the limit was begun anew because its reset type was changed.
    sa.Column("limit_no", Int64, nullable=False, server_default="0"),
    *call_limit_columns(),
    sa.Column("description", Text, nullable=False, server_default=""),
    sa.Column("playground_allowed", sa.Boolean, nullable=False, server_default=sa.true()),
    sa.Column("content_days", Int64, nullable=False, server_default="0"),
    sa.CheckConstraint("limit_nano >= 0", name="limit_nano"),
    sa.CheckConstraint("(digest IS NULL) = (deleted_at_ms IS NOT NULL)", name="deleted"),
)

sa.Index(
    "ix_api_tokens_user_id_name_live",
    api_tokens.c.user_id,
    api_tokens.c.name,
    unique=True,
    sqlite_where=api_tokens.c.deleted_at_ms.is_(None),
    postgresql_where=api_tokens.c.deleted_at_ms.is_(None),
)

token_stand_ins = sa.Table(
    "token_stand_ins",
    metadata,
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("token_id", Int64, sa.ForeignKey("api_tokens.id"), nullable=False),
    # Whose playground key it is; 0 = a secret that was the token's own.
    sa.Column("session_id", Int64, nullable=False),
    # Unix seconds.
    sa.Column("until", Int64, nullable=False),
    sa.Column("created_at_ms", Int64, nullable=False),
    sa.Index("ix_token_stand_ins_token_id", "token_id"),
    sa.Index("ix_token_stand_ins_session_id", "session_id"),
    sa.Index("ix_token_stand_ins_until", "until"),
)

# Digests of secrets whose owners ended them, by deleting the token or rotating it: whoever has one,
# in a file from which tokens are made say, does not bring it back.
ended_secrets = sa.Table(
    "ended_secrets",
    metadata,
    sa.Column("digest", sa.LargeBinary(32), primary_key=True),
    sa.Column("ended_at_ms", Int64, nullable=False),
)
