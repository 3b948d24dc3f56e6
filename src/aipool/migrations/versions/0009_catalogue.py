"""What models are, prices with extras and with what they were made from, and their history;
what was moved in from elsewhere."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aipool.kit.db import Int64, Text

revision = "0009"
down_revision = "0008"


def upgrade() -> None:
    for name in ("extras", "quote"):
        op.add_column("prices", sa.Column(name, Text, nullable=False, server_default=""))
    if op.get_bind().dialect.name == "sqlite":
        _number_models_once()
    else:
        for column in _new_columns():
            op.add_column("models", column)
    # A price of 0 that is there was written as one.
    op.execute(_FREE)
    op.create_table(
        "model_prices",
        sa.Column(
            "model_id", Int64, sa.ForeignKey("models.id", ondelete="CASCADE"), primary_key=True
        ),
        sa.Column("price_id", Int64, sa.ForeignKey("prices.id"), primary_key=True),
        sa.Column("at_ms", Int64, nullable=False),
        sa.Column("actor", Text, nullable=False),
    )
    op.execute(
        "INSERT INTO model_prices (model_id, price_id, at_ms, actor)"
        " SELECT models.id, prices.id, prices.created_at_ms, '' FROM models"
        " JOIN prices ON prices.id = models.price_id"
    )
    _moved()


def _moved() -> None:
    op.create_table(
        "moved_in",
        sa.Column("kind", Text, primary_key=True),
        sa.Column("their_id", Text, primary_key=True),
        sa.Column("our_id", Int64, nullable=False),
        sa.Column("at_ms", Int64, nullable=False),
    )


def _new_columns() -> list[sa.Column[object]]:
    return [
        sa.Column("free", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("price_locked", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("maker", Text, nullable=False, server_default=""),
        sa.Column("about", Text, nullable=False, server_default=""),
    ]


def _number_models_once() -> None:
    """Models can be deleted now, and the trail names them: SQLite gives no id twice to a table
    that is made so, and no table can be made so later."""
    # What refers to a model finds it again before the end.
    op.execute("PRAGMA defer_foreign_keys = ON")
    op.execute("CREATE TEMPORARY TABLE models_before AS SELECT * FROM models")
    op.drop_table("models")
    op.create_table(
        "models",
        sa.Column("id", Int64, primary_key=True),
        sa.Column("name", Text, nullable=False, unique=True),
        sa.Column("kind", Text, nullable=False),
        sa.Column("context_tokens", Int64, nullable=False),
        sa.Column("max_output_tokens", Int64, nullable=False),
        sa.Column("enabled", sa.Boolean, nullable=False),
        sa.Column("price_id", Int64, sa.ForeignKey("prices.id"), nullable=False),
        sa.Column("created_at_ms", Int64, nullable=False),
        sa.Column("hidden_reasoning", sa.Boolean, nullable=False, server_default=sa.false()),
        sa.Column("timeouts", sa.JSON, nullable=False, server_default="{}"),
        *_new_columns(),
        sqlite_autoincrement=True,
    )
    columns = (
        "id, name, kind, context_tokens, max_output_tokens, enabled, price_id, created_at_ms,"
        " hidden_reasoning, timeouts"
    )
    op.execute(f"INSERT INTO models ({columns}) SELECT {columns} FROM models_before")  # noqa: S608
    op.execute("DROP TABLE models_before")


_FREE = (
    "UPDATE models SET free = TRUE WHERE EXISTS (SELECT 1 FROM prices WHERE prices.id = price_id"
    " AND (input_nano = 0 OR output_nano = 0))"
)
