"""A call may be repeated under its client's key; what was said may be kept for its owner, who is
told once of a low balance."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Int64, Text

revision = "0012"
down_revision = "0011"


def upgrade() -> None:
    op.create_table(
        "idempotency_keys",
        sa.Column("token_id", Int64, primary_key=True, autoincrement=False),
        sa.Column("key", sa.LargeBinary(32), primary_key=True),
        sa.Column("body", sa.LargeBinary(32), nullable=False),
        sa.Column("rid", Text, nullable=False),
        sa.Column("epoch", Int64, nullable=False),
        sa.Column("at_ms", Int64, nullable=False),
    )
    op.create_index(op.f("ix_idempotency_keys_at_ms"), "idempotency_keys", ["at_ms"])
    op.add_column(
        "api_tokens", sa.Column("content_days", Int64, nullable=False, server_default="0")
    )
    op.add_column(
        "users",
        sa.Column("low_balance_told", sa.Boolean, nullable=False, server_default=sa.false()),
    )
    op.create_table(
        "call_contents",
        sa.Column("rid", Text, primary_key=True),
        sa.Column("token_id", Int64, nullable=False),
        sa.Column("user_id", Int64, nullable=False),
        sa.Column("expires_at_ms", Int64, nullable=False),
        sa.Column("sealed_request", Text, nullable=False),
        sa.Column("request_cut", sa.Boolean, nullable=False),
        sa.Column("sealed_answer", Text, nullable=False),
        sa.Column("answer_cut", sa.Boolean, nullable=False),
    )
    op.create_index(op.f("ix_call_contents_expires_at_ms"), "call_contents", ["expires_at_ms"])
    op.create_index(op.f("ix_call_contents_token_id"), "call_contents", ["token_id"])
