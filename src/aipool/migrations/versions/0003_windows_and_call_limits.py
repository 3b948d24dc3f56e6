"""Budgets count calls too, limits begin anew each period, and calls have limits of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Int64, Text

revision = "0003"
down_revision = "0002"

_CALL_LIMITS = ("rpm", "tpm", "requests_per_day", "concurrency")


def upgrade() -> None:
    for column in ("cap", "used", "leased"):
        op.execute(f"ALTER TABLE budgets RENAME COLUMN {column}_nano TO {column}")
    op.execute("ALTER TABLE leases RENAME COLUMN remaining_nano TO remaining")
    op.create_table(
        "window_limits",
        sa.Column("budget", Text, primary_key=True),
        sa.Column("cap", Int64, nullable=False),
        sa.CheckConstraint("cap >= 0", name="cap"),
    )
    op.create_table(
        "calendar",
        sa.Column("id", Int64, primary_key=True, autoincrement=False),
        sa.Column("day", Int64, nullable=False),
        sa.Column("frozen", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    _columns("groups", *_CALL_LIMITS, *(f"whole_{name}" for name in _CALL_LIMITS))
    op.add_column(
        "api_tokens",
        sa.Column(
            "reset",
            Text,
            sa.CheckConstraint("reset IN ('none', 'daily', 'weekly', 'monthly')", name="reset"),
            nullable=False,
            server_default="none",
        ),
    )
    op.add_column(
        "api_tokens",
        sa.Column("total_nano", Int64, sa.CheckConstraint("total_nano >= 0", name="total_nano")),
    )
    op.add_column("api_tokens", sa.Column("limit_no", Int64, nullable=False, server_default="0"))
    _columns("api_tokens", *_CALL_LIMITS)
    op.add_column(
        "models",
        sa.Column("hidden_reasoning", sa.Boolean, nullable=False, server_default=sa.false()),
    )


def _columns(table: str, *names: str) -> None:
    """Counts that are NULL, no limit, or positive."""
    for name in names:
        check = sa.CheckConstraint(f"{name} > 0", name=name)
        op.add_column(table, sa.Column(name, Int64, check))
