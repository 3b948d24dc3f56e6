"""The log of calls is searched, and summed by day, by user and by upstream key; balances have a
history."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Int64, Text

revision = "0010"
down_revision = "0009"

_SUMS = (
    "calls",
    "errors",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "charged_nano",
    "written_off_nano",
    "cost_nano",
)
_BUCKETS = [f"{kind}_{number:02}" for kind in ("first", "whole") for number in range(24)]
_INDEXES: tuple[tuple[str, tuple[str, ...], str | None], ...] = (
    ("all", (), None),
    ("user", ("user_id",), None),
    ("token", ("token_id",), None),
    ("model", ("model",), None),
    ("group", ("group_id",), None),
    ("key", ("key_id",), None),
    ("status", ("status",), "status >= 400"),
    ("endpoint", ("endpoint",), "endpoint <> 'chat.completions'"),
    ("user_model", ("user_id", "model"), None),
    ("user_group", ("user_id", "group_id"), None),
    ("user_status", ("user_id", "status"), None),
    ("user_endpoint", ("user_id", "endpoint"), None),
)


def upgrade() -> None:
    months = op.get_bind().execute(sa.text("SELECT month FROM call_months")).scalars().all()
    for month in months:
        _extend(month)
    _make_sums()
    _fill_sums(list(months))
    op.create_table(
        "log_kept",
        sa.Column("id", Int64, primary_key=True, autoincrement=False),
        sa.Column("calls_from_ms", Int64, nullable=False, server_default="0"),
        sa.Column("hours_from", Int64, nullable=False, server_default="0"),
        sa.CheckConstraint("id = 1", name="one_row"),
    )
    op.create_index(op.f("ix_transfers_debit"), "transfers", ["debit", "seq"])
    for side in ("debit", "credit"):
        where = sa.text("kind <> 'usage'")
        op.create_index(
            op.f(f"ix_transfers_{side}_alone"),
            "transfers",
            [side, "seq"],
            sqlite_where=where,
            postgresql_where=where,
        )


def _extend(month: str) -> None:
    for column in (
        sa.Column("units", Text, nullable=False, server_default=""),
        sa.Column("cost_price_id", Int64, nullable=False, server_default="0"),
        sa.Column("cost_ppm", Int64, nullable=False, server_default="1000000"),
        sa.Column("origin", Text, nullable=False, server_default=""),
        sa.Column("calls", Int64, nullable=False, server_default="1"),
    ):
        op.add_column(f"calls_{month}", column)
    for name, columns, only in _INDEXES:
        where = None if only is None else sa.text(only)
        op.create_index(
            op.f(f"ix_calls_{month}_{name}"),
            f"calls_{month}",
            [*columns, "at_ms"],
            sqlite_where=where,
            postgresql_where=where,
        )


def _make_sums() -> None:
    for table, key, numbers in (
        ("usage_days", ("day", "user_id", "token_id", "group_id"), _SUMS),
        ("usage_totals", ("span", "kind", "at", "owner_id", "group_id"), _SUMS),
        ("latencies", ("span", "at", "user_id"), _BUCKETS),
    ):
        op.create_table(
            table,
            *(sa.Column(name, Int64, primary_key=True, autoincrement=False) for name in key),
            sa.Column("model", Text, primary_key=True),
            *(sa.Column(name, Int64, nullable=False) for name in numbers),
            sqlite_with_rowid=False,
        )


def _fill_sums(months: list[str]) -> None:
    """What the hours say, by day and in total; and what the calls say of upstream keys."""
    sums = ", ".join(f"CAST(sum({name}) AS BIGINT)" for name in _SUMS)

    def fill(table: str, key: str, source: str, by: str) -> None:
        op.execute(f"INSERT INTO {table} SELECT {key}, {sums} FROM {source} GROUP BY {by}")  # noqa: S608

    key = "user_id, token_id, group_id, model"
    fill("usage_days", f"hour / 24, {key}", "usage_hours", f"hour / 24, {key}")
    for span in (1, 24):
        at = f"hour / {span}"
        whole = f"{span}, 0, {at}, 0, group_id, model"
        fill("usage_totals", whole, "usage_hours", f"{at}, group_id, model")
        fill("usage_totals", f"{span}, 1, {at}, user_id, 0, ''", "usage_hours", f"{at}, user_id")
        at = f"at_ms / {3_600_000 * span}"
        for month in months:
            calls = (
                f"(SELECT at_ms, key_id, {', '.join(_SUMS[2:])}, calls, CASE WHEN status >= 400"  # noqa: S608
                f" OR error <> '' THEN calls ELSE 0 END AS errors FROM calls_{month}) AS of_month"
            )
            fill("usage_totals", f"{span}, 2, {at}, key_id, 0, ''", calls, f"{at}, key_id")
