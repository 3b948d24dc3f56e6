"""The tables of the ledger.

`transfers` is append-only: triggers refuse UPDATE and DELETE whoever asks. The checks on
the other tables hold at every commit, whatever the program does.
"""

from __future__ import annotations

import sqlalchemy as sa

from aipool.kit.db import Int64, Text, append_only, metadata
from aipool.kit.money import AMOUNT_NANO_MAX

#: What is shown by itself in a wallet's history: everything but what calls took.
ALONE = "kind <> 'usage'"

accounts = sa.Table(
    "accounts",
    metadata,
    sa.Column("account", Text, primary_key=True),
    sa.Column("balance_nano", Int64, nullable=False, server_default="0"),
    sa.Column("leased_nano", Int64, nullable=False, server_default="0"),
    sa.Column("floor_nano", Int64, nullable=False, server_default="0"),
    sa.CheckConstraint("leased_nano >= 0", name="leased"),
    sa.CheckConstraint("balance_nano - leased_nano >= floor_nano", name="floor"),
)

account_checkpoints = sa.Table(
    "account_checkpoints",
    metadata,
    sa.Column("account", Text, primary_key=True),
    sa.Column("seq", Int64, nullable=False),
    sa.Column("balance_nano", Int64, nullable=False),
)

transfers = append_only(
    sa.Table(
        "transfers",
        metadata,
        sa.Column("seq", Int64, primary_key=True, autoincrement=True),
        sa.Column("at_ms", Int64, nullable=False),
        sa.Column("debit", Text, nullable=False),
        sa.Column("credit", Text, nullable=False),
        sa.Column("amount_nano", Int64, nullable=False),
        sa.Column("kind", Text, nullable=False),
        sa.Column("ref", Text, nullable=False),
        sa.Column("idem_key", Text, nullable=False, unique=True),
        sa.Column("wallet_balance_after", Int64),
        sa.Column("actor", Text, nullable=False),
        sa.CheckConstraint(f"amount_nano BETWEEN 1 AND {AMOUNT_NANO_MAX}", name="amount"),
        sa.CheckConstraint("debit <> credit", name="two_accounts"),
        # A wallet's history: all that calls took, and whatever else happened to it.
        sa.Index("ix_transfers_debit", "debit", "seq"),
        *(
            sa.Index(
                f"ix_transfers_{side}_alone",
                side,
                "seq",
                sqlite_where=sa.text(ALONE),
                postgresql_where=sa.text(ALONE),
            )
            for side in ("debit", "credit")
        ),
    )
)

budgets = sa.Table(
    "budgets",
    metadata,
    sa.Column("budget", Text, primary_key=True),
    sa.Column("window_no", Int64, primary_key=True, server_default="0"),
    sa.Column("cap", Int64),
    sa.Column("used", Int64, nullable=False, server_default="0"),
    sa.Column("leased", Int64, nullable=False, server_default="0"),
    sa.Column("frozen", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint("used >= 0", name="used"),
    sa.CheckConstraint("leased >= 0", name="leased"),
    sa.CheckConstraint("cap IS NULL OR used + leased <= cap OR frozen", name="cap"),
)

#: What each new window of a budget begins with; a window's row is made when it is first used.
window_limits = sa.Table(
    "window_limits",
    metadata,
    sa.Column("budget", Text, primary_key=True),
    sa.Column("cap", Int64, nullable=False),
    sa.CheckConstraint("cap >= 0", name="cap"),
)

#: One row: the UTC day it is for the windows. It never goes back, and `frozen` keeps it
#: where it is until a person has looked at the clock.
calendar = sa.Table(
    "calendar",
    metadata,
    sa.Column("id", Int64, primary_key=True, autoincrement=False),
    sa.Column("day", Int64, nullable=False),
    sa.Column("frozen", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.CheckConstraint("id = 1", name="one_row"),
)

leases = sa.Table(
    "leases",
    metadata,
    sa.Column("epoch", Int64, primary_key=True, autoincrement=False),
    sa.Column("budget", Text, primary_key=True),
    sa.Column("window_no", Int64, primary_key=True, server_default="0"),
    sa.Column("remaining", Int64, nullable=False),
    sa.CheckConstraint("remaining >= 0", name="remaining"),
    sqlite_with_rowid=False,
)

streams = sa.Table(
    "streams",
    metadata,
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
    sa.Index("ix_streams_state", "state"),
)
