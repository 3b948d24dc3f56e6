"""A code is good for whoever asked for it. Those that were asked for before have no handle: they
still count against the limits, and prove nothing any more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0012"


def upgrade() -> None:
    op.add_column("verification_codes", sa.Column("handle_digest", sa.LargeBinary(32)))
    op.create_index(
        op.f("ix_verification_codes_handle_digest"),
        "verification_codes",
        ["handle_digest"],
        unique=True,
    )
