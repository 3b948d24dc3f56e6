"""People, groups, the catalogue, the pool, API tokens and the trail."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Int64, Text, append_only_statements

revision = "0001"
down_revision = None


def upgrade() -> None:
    _people()
    _catalogue()
    _tokens()
    for table in ("audit_entries", "prices"):
        for statement in append_only_statements(table, op.get_bind().dialect.name):
            op.execute(statement)


def _people() -> None:
    op.create_table(
        "revision",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("number", Int64, nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.create_table(
        "audit_entries",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("at_ms", Int64, nullable=False),
        sa.Column("actor", Text, nullable=False),
        sa.Column("action", Text, nullable=False),
        sa.Column("target", Text, nullable=False),
        sa.Column("before", sa.JSON),
        sa.Column("after", sa.JSON),
    )
    op.create_index(op.f("ix_audit_entries_target"), "audit_entries", ["target"])
    op.create_table(
        "users",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("phone", Text, nullable=False, unique=True),
        sa.Column("password_hash", Text, nullable=False),
        sa.Column("role", Text, nullable=False),
        sa.Column("status", Text, nullable=False),
        sa.Column("created_at_ms", Int64, nullable=False),
        sa.CheckConstraint("role IN ('user', 'admin', 'root')", name="role"),
        sa.CheckConstraint("status IN ('active', 'disabled')", name="status"),
    )
    op.create_table(
        "access_tokens",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("user_id", Int64, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("digest", sa.LargeBinary(32), nullable=False, unique=True),
        sa.Column("created_at_ms", Int64, nullable=False),
    )
    op.create_table(
        "setup_links",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("digest", sa.LargeBinary(32), nullable=False),
        sa.Column("issued_at_ms", Int64, nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
    )


def _catalogue() -> None:
    op.create_table(
        "groups",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("name", Text, nullable=False, unique=True),
        sa.Column("multiplier_ppm", Int64, nullable=False),
        sa.Column("models", sa.JSON),
        sa.Column("created_at_ms", Int64, nullable=False),
        sa.CheckConstraint("multiplier_ppm BETWEEN 0 AND 100000000", name="multiplier_ppm"),
    )
    op.create_table(
        "prices",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("input_nano", Int64, nullable=False),
        sa.Column("cached_input_nano", Int64, nullable=False),
        sa.Column("output_nano", Int64, nullable=False),
        sa.Column("created_at_ms", Int64, nullable=False),
        *(
            sa.CheckConstraint(f"{unit}_nano BETWEEN 0 AND 1000000000000000", name=f"{unit}_nano")
            for unit in ("input", "cached_input", "output")
        ),
    )
    op.create_table(
        "models",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("name", Text, nullable=False, unique=True),
        sa.Column("kind", Text, nullable=False),
        sa.Column("context_tokens", Int64, nullable=False),
        sa.Column("max_output_tokens", Int64, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("price_id", Int64, sa.ForeignKey("prices.id"), nullable=False),
        sa.Column("created_at_ms", Int64, nullable=False),
    )
    op.create_table(
        "vendors",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("name", Text, nullable=False, unique=True),
        sa.Column("type", Text, nullable=False),
        sa.Column("base_url", Text, nullable=False),
        sa.Column("created_at_ms", Int64, nullable=False),
    )
    op.create_table(
        "upstream_keys",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("vendor_id", Int64, sa.ForeignKey("vendors.id"), nullable=False),
        sa.Column("name", Text, nullable=False),
        sa.Column("position", sa.Integer, nullable=False),
        sa.Column("is_default", sa.Boolean, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("sealed_secret", Text, nullable=False),
        sa.Column("last4", Text, nullable=False),
        sa.Column("proxy_url", Text, nullable=False),
        sa.Column("config", sa.JSON, nullable=False),
        sa.Column("created_at_ms", Int64, nullable=False),
        sa.UniqueConstraint("vendor_id", "name"),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "routes",
        sa.Column("model_id", Int64, sa.ForeignKey("models.id"), primary_key=True),
        sa.Column("position", sa.Integer, primary_key=True),
        sa.Column("vendor_id", Int64, sa.ForeignKey("vendors.id"), nullable=False),
        sa.Column("upstream_model", Text, nullable=False),
        sa.Column("cost_price_id", Int64, sa.ForeignKey("prices.id"), nullable=False),
        sa.Column("groups", sa.JSON, nullable=False),
    )


def _tokens() -> None:
    op.create_table(
        "api_tokens",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("user_id", Int64, sa.ForeignKey("users.id"), nullable=False),
        sa.Column("group_id", Int64, sa.ForeignKey("groups.id"), nullable=False),
        sa.Column("name", Text, nullable=False),
        sa.Column("digest", sa.LargeBinary(32), unique=True),
        sa.Column("last4", Text, nullable=False),
        sa.Column("models", sa.JSON),
        sa.Column("ips", sa.JSON, nullable=False),
        sa.Column("expires_at", Int64, nullable=False),
        sa.Column("limit_nano", Int64),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("created_at_ms", Int64, nullable=False),
        sa.Column("deleted_at_ms", Int64),
        sa.CheckConstraint("limit_nano >= 0", name="limit_nano"),
        sa.CheckConstraint("(digest IS NULL) = (deleted_at_ms IS NOT NULL)", name="deleted"),
    )
    op.create_index(
        "ix_api_tokens_user_id_name_live",
        "api_tokens",
        ["user_id", "name"],
        unique=True,
        sqlite_where=sa.text("deleted_at_ms IS NULL"),
        postgresql_where=sa.text("deleted_at_ms IS NULL"),
    )
