"""The number of the installation, which grows at every restore of a backup."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Int64

revision = "0004"
down_revision = "0003"


def upgrade() -> None:
    installation = op.create_table(
        "installation",
        sa.Column("id", Int64, primary_key=True, autoincrement=False),
        sa.Column("number", Int64, nullable=False),
        sa.CheckConstraint("id = 1", name="one_row"),
        sa.CheckConstraint("number >= 1", name="number"),
    )
    op.bulk_insert(installation, [{"id": 1, "number": 1}])
