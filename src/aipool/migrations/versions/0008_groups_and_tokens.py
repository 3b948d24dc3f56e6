"""Groups are granted, tokens are rotated."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Int64, Text

revision = "0008"
down_revision = "0007"

_GROUP_LIMITS = ("rpm", "tpm", "requests_per_day", "concurrency")


def upgrade() -> None:
    _groups()
    _grants()
    _tokens()


# --- groups -----------------------------------------------------------------------------------


def _groups() -> None:
    """Groups can be deleted: their names are free again, and their ids are not."""
    if op.get_bind().dialect.name == "sqlite":
        _number_groups_once()
    else:
        op.drop_constraint("uq_groups_name", "groups")
        for added in _new_group_columns():
            op.add_column("groups", added)
    op.execute("UPDATE groups SET is_default = TRUE WHERE name = 'default'")
    for name, column, condition in (
        ("ix_groups_name_live", "name", "deleted_at_ms IS NULL"),
        ("ix_groups_default", "is_default", "is_default"),
    ):
        op.create_index(
            name,
            "groups",
            [column],
            unique=True,
            sqlite_where=sa.text(condition),
            postgresql_where=sa.text(condition),
        )


def _new_group_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("description", Text, nullable=False, server_default=""),
        sa.Column("is_default", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("deleted_at_ms", Int64),
    ]


def _number_groups_once() -> None:
    """SQLite gives no id twice to a table that is made so, and no table can be made so later;
    nor can a column that was unique stop being it."""
    # What refers to a group finds it again before the end.
    op.execute("PRAGMA defer_foreign_keys = ON")
    op.execute("CREATE TEMPORARY TABLE groups_before AS SELECT * FROM groups")
    op.drop_table("groups")
    limits = [f"{prefix}{name}" for prefix in ("", "whole_") for name in _GROUP_LIMITS]
    op.create_table(
        "groups",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("name", Text, nullable=False),
        sa.Column("multiplier_ppm", Int64, nullable=False),
        sa.Column("models", sa.JSON),
        sa.Column("created_at_ms", Int64, nullable=False),
        *(sa.Column(name, Int64, sa.CheckConstraint(f"{name} > 0", name=name)) for name in limits),
        *_new_group_columns(),
        sa.CheckConstraint("multiplier_ppm BETWEEN 0 AND 100000000", name="multiplier_ppm"),
        sqlite_autoincrement=True,
    )
    old = sa.table(
        "groups_before",
        *(
            sa.column(name)
            for name in ("id", "name", "multiplier_ppm", "models", "created_at_ms", *limits)
        ),
    )
    new = sa.table("groups", *(sa.column(column.name) for column in old.c))
    op.execute(sa.insert(new).from_select([column.name for column in old.c], sa.select(old)))
    op.execute("DROP TABLE groups_before")


def _grants() -> None:
    """Who has tokens of a group goes on calling with them."""
    op.create_table(
        "user_groups",
        sa.Column(
            "user_id", Int64, sa.ForeignKey("users.id"), primary_key=True, autoincrement=False
        ),
        sa.Column(
            "group_id", Int64, sa.ForeignKey("groups.id"), primary_key=True, autoincrement=False
        ),
        sa.Column("granted_at_ms", Int64, nullable=False),
        sa.Column("actor", Text, nullable=False),
    )
    op.create_index(op.f("ix_user_groups_group_id"), "user_groups", ["group_id"])
    op.execute(
        "INSERT INTO user_groups (user_id, group_id, granted_at_ms, actor)"
        " SELECT user_id, group_id, min(created_at_ms), 'migration' FROM api_tokens"
        " WHERE deleted_at_ms IS NULL GROUP BY user_id, group_id"
    )


# --- tokens -----------------------------------------------------------------------------------


def _tokens() -> None:
    """Secrets may stand in for a token's own."""
    for column in (
        sa.Column("description", Text, nullable=False, server_default=""),
        sa.Column("playground_allowed", sa.Boolean, nullable=False, server_default=sa.true()),
    ):
        op.add_column("api_tokens", column)
    op.create_table(
        "token_stand_ins",
        sa.Column("digest", sa.LargeBinary(32), primary_key=True),
        sa.Column("token_id", Int64, sa.ForeignKey("api_tokens.id"), nullable=False),
        sa.Column("session_id", Int64, nullable=False),
        sa.Column("until", Int64, nullable=False),
        sa.Column("created_at_ms", Int64, nullable=False),
    )
    for name in ("token_id", "session_id", "until"):
        op.create_index(op.f(f"ix_token_stand_ins_{name}"), "token_stand_ins", [name])
