"""Tables of groups.

A deleted group keeps its row, and its id is not given again: the records of calls name it.
The default group is granted to everybody without a row in `user_groups`.
"""

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
    sa.Column("name", Text, nullable=False),
    sa.Column("multiplier_ppm", Int64, nullable=False),
    # Names of models, or NULL for every model.
    sa.Column("models", sa.JSON(none_as_null=True)),
    sa.Column("created_at_ms", Int64, nullable=False),
    *call_limit_columns(),
    *call_limit_columns("whole_"),
    sa.Column("description", Text, nullable=False, server_default=""),
    sa.Column("is_default", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("deleted_at_ms", Int64),
    sa.CheckConstraint(f"multiplier_ppm BETWEEN 0 AND {MULTIPLIER_PPM_MAX}", name="multiplier_ppm"),
    sqlite_autoincrement=True,
)

for _index, _column, _condition in (
    ("ix_groups_name_live", groups.c.name, "deleted_at_ms IS NULL"),
    ("ix_groups_default", groups.c.is_default, "is_default"),
):
    sa.Index(
        _index,
        _column,
        unique=True,
        sqlite_where=sa.text(_condition),
        postgresql_where=sa.text(_condition),
    )

user_groups = sa.Table(
    "user_groups",
    metadata,
    sa.Column("user_id", Int64, sa.ForeignKey("users.id"), primary_key=True, autoincrement=False),
    sa.Column("group_id", Int64, sa.ForeignKey("groups.id"), primary_key=True, autoincrement=False),
    sa.Column("granted_at_ms", Int64, nullable=False),
    sa.Column("actor", Text, nullable=False),
    sa.Index(None, "group_id"),
)


def granted(user_id: sa.ColumnElement[int], group_id: sa.ColumnElement[int]) -> sa.Exists:
    """Is this group granted to this user: for the statements of whoever needs it beside other
    columns, such as the look-up of an API token. Two look-ups by primary key."""
    # Whatever is around it: the user and the group are those of the row that is looked at.
    named = (
        sa.exists()
        .where(user_groups.c.user_id == user_id, user_groups.c.group_id == group_id)
        .correlate_except(user_groups)
    )
    return (
        sa.exists()
        .where(
            groups.c.id == group_id,
            groups.c.deleted_at_ms.is_(None),
            sa.or_(groups.c.is_default, named),
        )
        .correlate_except(groups)
    )
