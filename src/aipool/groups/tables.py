"""Tables of groups."""

from __future__ import annotations

import sqlalchemy as sa

from aipool.kit.db import Int64, Text, metadata
from aipool.kit.money import MULTIPLIER_PPM_MAX


def call_limit_columns(prefix: str = "") -> list[sa.Column[int]]:
    """Limits of calls: NULL = none. A limit of zero is refused where it enters."""
    return [
        sa.Column(
            f"{prefix}{name}", Int64, sa.CheckConstraint(f"{prefix}{name} > 0", name=prefix + name)
        )
        for name in ("rpm", "tpm", "requests_per_day", "concurrency")
    ]


groups = sa.Table(
    "groups",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("name", Text, nullable=False, unique=True),
    sa.Column("multiplier_ppm", Int64, nullable=False),
    # Names of models, or NULL for every model.
    sa.Column("models", sa.JSON(none_as_null=True)),
    sa.Column("created_at_ms", Int64, nullable=False),
    *call_limit_columns(),
    *call_limit_columns("whole_"),
    sa.CheckConstraint(f"multiplier_ppm BETWEEN 0 AND {MULTIPLIER_PPM_MAX}", name="multiplier_ppm"),
)
