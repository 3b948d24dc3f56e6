"""Weeks that are over have sums of their own."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Int64, Text

revision = "0015"
down_revision = "0014"

_SUMS = (
    "calls",
    "errors",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "charged_nano",
    "written_off_nano",
    "cost_nano",
)


def upgrade() -> None:
    op.create_table(
        "usage_weeks",
        *(
            sa.Column(name, Int64, primary_key=True, autoincrement=False)
            for name in ("week", "user_id", "token_id", "group_id")
        ),
        sa.Column("model", Text, primary_key=True),
        *(sa.Column(name, Int64, nullable=False) for name in _SUMS),
        sqlite_with_rowid=False,
    )
    progress = op.create_table(
        "weeks_summed",
        sa.Column("id", Int64, primary_key=True, autoincrement=False),
        sa.Column("summed", Int64, nullable=False, server_default="0"),
        sa.Column("fixed", Int64, nullable=False, server_default="0"),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.bulk_insert(progress, [{"id": 1}])
