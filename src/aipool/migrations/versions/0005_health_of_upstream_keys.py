"""Upstream keys are configured, expire, and have a health; models have timeouts of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Int64, Text

revision = "0005"
down_revision = "0004"


def upgrade() -> None:
    op.add_column("vendors", sa.Column("ordering", Text, nullable=False, server_default="priority"))
    for name in ("concurrency", "order_version"):
        op.add_column("vendors", sa.Column(name, Int64, nullable=False, server_default="0"))
    op.add_column("vendors", sa.Column("low_balance", Text, nullable=False, server_default=""))
    _number_vendors_once()
    for name, default in (("expires_at", "0"), ("generation", "1"), ("edited_at_ms", "0")):
        op.add_column(
            "upstream_keys", sa.Column(name, Int64, nullable=False, server_default=default)
        )
    _move_proxies()
    op.add_column("models", sa.Column("timeouts", sa.JSON, nullable=False, server_default="{}"))
    op.create_table(
        "key_health",
        sa.Column(
            "key_id", Int64, sa.ForeignKey("upstream_keys.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("model", Text, primary_key=True),
        sa.Column("generation", Int64, nullable=False),
        sa.Column("step", Int64, nullable=False),
        sa.Column("health", Text, nullable=False),
        sa.Column("until_ms", Int64, nullable=False),
        sa.Column("since_ms", Int64, nullable=False),
        sa.Column("why", Text, nullable=False),
    )
    op.create_table(
        "failure_keywords",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("vendor_type", Text, nullable=False),
        sa.Column("phrase", Text, nullable=False),
        sa.Column("action", Text, nullable=False),
        sa.Column("created_at_ms", Int64, nullable=False),
        sa.UniqueConstraint("vendor_type", "phrase"),
    )
    op.create_table(
        "key_hours",
        sa.Column("key_id", Int64, primary_key=True),
        sa.Column("hour", Int64, primary_key=True),
        sa.Column("tries", Int64, nullable=False),
        sa.Column("failures", Int64, nullable=False),
        sa.Column("input_tokens", Int64, nullable=False),
        sa.Column("output_tokens", Int64, nullable=False),
        sa.Column("cost_nano", Int64, nullable=False),
        sa.Column("last_at_ms", Int64, nullable=False),
        sa.Column("last_error", Text, nullable=False),
        sa.Column("last_error_at_ms", Int64, nullable=False),
    )


def _number_vendors_once() -> None:
    """Vendors can be deleted now, and the records of old calls name them: SQLite gives no id
    twice to a table that is made so, and no table can be made so later."""
    connection = op.get_bind()
    if connection.dialect.name != "sqlite":
        return
    # What refers to a vendor finds it again before the end.
    op.execute("PRAGMA defer_foreign_keys = ON")
    op.execute("CREATE TEMPORARY TABLE vendors_before AS SELECT * FROM vendors")
    op.drop_table("vendors")
    op.create_table(
        "vendors",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("name", Text, nullable=False, unique=True),
        sa.Column("type", Text, nullable=False),
        sa.Column("base_url", Text, nullable=False),
        sa.Column("created_at_ms", Int64, nullable=False),
        sa.Column("ordering", Text, nullable=False, server_default="priority"),
        sa.Column("concurrency", Int64, nullable=False, server_default="0"),
        sa.Column("order_version", Int64, nullable=False, server_default="0"),
        sa.Column("low_balance", Text, nullable=False, server_default=""),
        sqlite_autoincrement=True,
    )
    op.execute(
        "INSERT INTO vendors (id, name, type, base_url, created_at_ms)"
        " SELECT id, name, type, base_url, created_at_ms FROM vendors_before"
    )
    op.execute("DROP TABLE vendors_before")


def _move_proxies() -> None:
    """A key's proxy becomes a part of its configuration."""
    keys = sa.table(
        "upstream_keys",
        sa.column("id", Int64),
        sa.column("proxy_url", Text),
        sa.column("config", sa.JSON),
        sa.column("edited_at_ms", Int64),
        sa.column("created_at_ms", Int64),
    )
    connection = op.get_bind()
    for key_id, proxy_url in connection.execute(
        sa.select(keys.c.id, keys.c.proxy_url).where(keys.c.proxy_url != "")
    ).all():
        connection.execute(
            sa.update(keys).where(keys.c.id == key_id).values(config={"proxy": proxy_url})
        )
    connection.execute(sa.update(keys).values(edited_at_ms=keys.c.created_at_ms))
    op.drop_column("upstream_keys", "proxy_url")
