"""The secret of a token that was deleted or rotated does not come back."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Int64

revision = "0017"
down_revision = "0016"


def upgrade() -> None:
    op.create_table(
        "ended_secrets",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("ended_at_ms", Int64, nullable=False),
    )
