"""What models are, and prices with extras."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Text

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    op.add_column("prices", sa.Column("extras", Text, nullable=False, server_default=""))
