"""The table of the installation itself."""

from __future__ import annotations

import sqlalchemy as sa

from aipool.kit.db import Int64, metadata

#: One row: which history the books are of. It grows at every restore and never repeats:
#: two restores of one backup are two histories.
installation = sa.Table(
    "installation",
    metadata,
    sa.Column("id", Int64, primary_key=True, autoincrement=False),
    sa.Column("number", Int64, nullable=False),
    sa.CheckConstraint("id = 1", name="one_row"),
    sa.CheckConstraint("number >= 1", name="number"),
)
