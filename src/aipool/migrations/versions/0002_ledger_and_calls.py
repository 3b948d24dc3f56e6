"""Wallets, transfers, budgets, leases, the epochs of the workers, and the log of calls."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Int64, Text, append_only_statements

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    _money()
    _workers()
    _calls()
    for statement in append_only_statements("transfers", op.get_bind().dialect.name):
        op.execute(statement)


def _money() -> None:
    op.create_table(
        "accounts",
        sa.Column("account", Text, primary_key=True),
        sa.Column("balance_nano", Int64, nullable=False, server_default="0"),
        sa.Column("leased_nano", Int64, nullable=False, server_default="0"),
        sa.Column("floor_nano", Int64, nullable=False, server_default="0"),
        sa.CheckConstraint("leased_nano >= 0", name="leased"),
        sa.CheckConstraint("balance_nano - leased_nano >= floor_nano", name="floor"),
    )
    op.create_table(
        "account_checkpoints",
        sa.Column("account", Text, primary_key=True),
        sa.Column("seq", Int64, nullable=False),
        sa.Column("balance_nano", Int64, nullable=False),
    )
    op.create_table(
        "transfers",
        sa.Column("seq", Int64, primary_key=True),
        sa.Column("at_ms", Int64, nullable=False),
        sa.Column("debit", Text, nullable=False),
        sa.Column("credit", Text, nullable=False),
        sa.Column("amount_nano", Int64, nullable=False),
        sa.Column("kind", Text, nullable=False),
        sa.Column("ref", Text, nullable=False),
        sa.Column("idem_key", Text, nullable=False, unique=True),
        sa.Column("wallet_balance_after", Int64),
        sa.Column("actor", Text, nullable=False),
        sa.CheckConstraint("amount_nano BETWEEN 1 AND 1000000000000000", name="amount"),
        sa.CheckConstraint("debit <> credit", name="two_accounts"),
    )
    op.create_table(
        "budgets",
        sa.Column("budget", Text, primary_key=True),
        sa.Column("window_no", Int64, primary_key=True, server_default="0"),
        sa.Column("cap_nano", Int64),
        sa.Column("used_nano", Int64, nullable=False, server_default="0"),
        sa.Column("leased_nano", Int64, nullable=False, server_default="0"),
        sa.Column("frozen", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.CheckConstraint("used_nano >= 0", name="used"),
        sa.CheckConstraint("leased_nano >= 0", name="leased"),
        sa.CheckConstraint(
            "cap_nano IS NULL OR used_nano + leased_nano <= cap_nano OR frozen", name="cap"
        ),
    )


def _workers() -> None:
    op.create_table(
        "streams",
        sa.Column("epoch", Int64, primary_key=True, autoincrement=False),
        sa.Column("worker", Int64, nullable=False),
        sa.Column("pid", Int64, nullable=False),
        sa.Column("high_water", Int64, nullable=False, server_default="0"),
        sa.Column("last_request", Int64, nullable=False, server_default="0"),
        sa.Column("last_reply", sa.LargeBinary, nullable=False),
        sa.Column("state", Text, nullable=False),
        sa.Column("opened_at_ms", Int64, nullable=False),
        sa.Column("closed_at_ms", Int64),
        sa.CheckConstraint("state IN ('open', 'frozen', 'closed')", name="state"),
        sa.CheckConstraint("high_water >= 0", name="high_water"),
    )
    op.create_index(op.f("ix_streams_state"), "streams", ["state"])
    op.create_table(
        "leases",
        sa.Column("epoch", Int64, primary_key=True, autoincrement=False),
        sa.Column("budget", Text, primary_key=True),
        sa.Column("window_no", Int64, primary_key=True, server_default="0"),
        sa.Column("remaining_nano", Int64, nullable=False),
        sa.CheckConstraint("remaining_nano >= 0", name="remaining"),
        sqlite_with_rowid=False,
    )


def _calls() -> None:
    op.create_table("call_months", sa.Column("month", Text, primary_key=True))
    op.create_table(
        "usage_hours",
        *(
            sa.Column(name, Int64, primary_key=True, autoincrement=False)
            for name in ("hour", "user_id", "token_id", "group_id")
        ),
        sa.Column("model", Text, primary_key=True),
        *(
            sa.Column(name, Int64, nullable=False)
            for name in (
                "calls",
                "errors",
                "input_tokens",
                "cached_tokens",
                "output_tokens",
                "charged_nano",
                "written_off_nano",
                "cost_nano",
            )
        ),
        sqlite_with_rowid=False,
    )
