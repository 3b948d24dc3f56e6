"""A session knows whether the password that opened it is too short for what its owner may do."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"


def upgrade() -> None:
    op.add_column(
        "sessions",
        sa.Column("password_is_short", sa.Boolean, nullable=False, server_default=sa.false()),
    )
