"""Tables of the catalogue.

A price is a version: its row never changes, so a call that names it can be rated again
at any time. A model or a route points at the version in force.
"""

from __future__ import annotations

import sqlalchemy as sa

from aipool.kit.db import Int64, Text, append_only, metadata
from aipool.kit.money import PRICE_NANO_MAX

prices = append_only(
    sa.Table(
        "prices",
        metadata,
        sa.Column("id", Int64, primary_key=True),
        sa.Column("input_nano", Int64, nullable=False),
        sa.Column("cached_input_nano", Int64, nullable=False),
        sa.Column("output_nano", Int64, nullable=False),
        sa.Column("created_at_ms", Int64, nullable=False),
        # rating.types.Extras as JSON, "" = there are none.
        sa.Column("extras", Text, nullable=False, server_default=""),
        # catalog.types.Quote as JSON, "" = typed in CNY.
        sa.Column("quote", Text, nullable=False, server_default=""),
        *(
            sa.CheckConstraint(f"{unit}_nano BETWEEN 0 AND {PRICE_NANO_MAX}", name=f"{unit}_nano")
            for unit in ("input", "cached_input", "output")
        ),
    )
)

models = sa.Table(
    "models",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("name", Text, nullable=False, unique=True),
    sa.Column("kind", Text, nullable=False),
    sa.Column("context_tokens", Int64, nullable=False),
    sa.Column("max_output_tokens", Int64, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("price_id", Int64, sa.ForeignKey("prices.id"), nullable=False),
    sa.Column("created_at_ms", Int64, nullable=False),
    sa.Column("hidden_reasoning", sa.Boolean, nullable=False, server_default=sa.false()),
    # vendors.types.Timeouts, {} = as set for the installation.
    sa.Column("timeouts", sa.JSON, nullable=False, server_default="{}"),
    sa.Column("free", sa.Boolean, nullable=False, server_default=sa.false()),
    sa.Column("price_locked", sa.Boolean, nullable=False, server_default=sa.false()),
    # catalog.types.About as JSON, "" = nothing was said. Read by people, never for a publication.
    sa.Column("maker", Text, nullable=False, server_default=""),
    sa.Column("about", Text, nullable=False, server_default=""),
    # A model can be deleted, and the trail names it by a number that is given once.
    sqlite_autoincrement=True,
)

#: Every sale price a model has had, newest last.
model_prices = sa.Table(
    "model_prices",
    metadata,
    sa.Column("model_id", Int64, sa.ForeignKey("models.id", ondelete="CASCADE"), primary_key=True),
    sa.Column("price_id", Int64, sa.ForeignKey("prices.id"), primary_key=True),
    sa.Column("at_ms", Int64, nullable=False),
    sa.Column("actor", Text, nullable=False),
)

routes = sa.Table(
    "routes",
    metadata,
    sa.Column("model_id", Int64, sa.ForeignKey("models.id"), primary_key=True),
    sa.Column("position", sa.Integer, primary_key=True),
    # The vendors belong to a slice above this one, so they are named, not imported.
    sa.Column("vendor_id", Int64, sa.ForeignKey("vendors.id"), nullable=False),
    sa.Column("upstream_model", Text, nullable=False),
    sa.Column("cost_price_id", Int64, sa.ForeignKey("prices.id"), nullable=False),
    sa.Column("groups", sa.JSON, nullable=False),
)
