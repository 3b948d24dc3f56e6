"""Tables of groups."""

from __future__ import annotations

import sqlalchemy as sa

from aipool.kit.db import Int64, metadata
from aipool.kit.money import MULTIPLIER_PPM_MAX

groups = sa.Table(
    "groups",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("name", sa.Text, nullable=False, unique=True),
    sa.Column("multiplier_ppm", Int64, nullable=False),
    # Names of models, or NULL for every model.
    sa.Column("models", sa.JSON(none_as_null=True)),
    sa.Column("created_at_ms", Int64, nullable=False),
    sa.CheckConstraint(f"multiplier_ppm BETWEEN 0 AND {MULTIPLIER_PPM_MAX}", name="multiplier_ppm"),
)
