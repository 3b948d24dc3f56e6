"""The log of calls is searched, and summed by day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Int64, Text

revision = "0010"
down_revision = "0009"


def upgrade() -> None:
    months = op.get_bind().execute(sa.text("SELECT month FROM call_months")).scalars().all()
    for month in months:
        for column in (
            sa.Column("units", Text, nullable=False, server_default=""),
            sa.Column("cost_price_id", Int64, nullable=False, server_default="0"),
            sa.Column("cost_ppm", Int64, nullable=False, server_default="1000000"),
            sa.Column("origin", Text, nullable=False, server_default=""),
            sa.Column("calls", Int64, nullable=False, server_default="1"),
        ):
            op.add_column(f"calls_{month}", column)
