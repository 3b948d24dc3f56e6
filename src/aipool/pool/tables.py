"""Tables of the pool."""

from __future__ import annotations

import sqlalchemy as sa

from aipool.kit.db import Int64, Text, metadata

vendors = sa.Table(
    "vendors",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("name", Text, nullable=False, unique=True),
    sa.Column("type", Text, nullable=False),
    sa.Column("base_url", Text, nullable=False),
    sa.Column("ordering", Text, nullable=False, server_default="priority"),
    # The most calls in flight over all its keys, 0 = any number.
    sa.Column("concurrency", Int64, nullable=False, server_default="0"),
    # Below which balance of a key people are told, a decimal number in its currency; "" = never.
    sa.Column("low_balance", Text, nullable=False, server_default=""),
    # Counts up whenever the order of its keys changes, or which keys there are.
    sa.Column("order_version", Int64, nullable=False, server_default="0"),
    sa.Column("created_at_ms", Int64, nullable=False),
    # As with keys: the records of old calls name it.
    sqlite_autoincrement=True,
)

upstream_keys = sa.Table(
    "upstream_keys",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("vendor_id", Int64, sa.ForeignKey("vendors.id"), nullable=False),
    sa.Column("name", Text, nullable=False),
    sa.Column("position", sa.Integer, nullable=False),
    sa.Column("is_default", sa.Boolean, nullable=False),
    sa.Column("enabled", sa.Boolean, nullable=False),
    sa.Column("sealed_secret", Text, nullable=False),
    sa.Column("last4", Text, nullable=False),
    # vendors.types.KeySettings, without what has its default.
    sa.Column("config", sa.JSON, nullable=False),
    # Unix seconds, 0 = never.
    sa.Column("expires_at", Int64, nullable=False, server_default="0"),
    # Counts up whenever a person does what makes void what calls had shown of it (pool.health).
    sa.Column("generation", Int64, nullable=False, server_default="1"),
    sa.Column("edited_at_ms", Int64, nullable=False, server_default="0"),
    sa.Column("created_at_ms", Int64, nullable=False),
    sa.UniqueConstraint("vendor_id", "name"),
    # The id of a deleted key is never given again: the records of old calls name it.
    sqlite_autoincrement=True,
)

#: pool.health.Lane, written by the ledger process only. A row of an older generation than its
#: key's says nothing.
key_health = sa.Table(
    "key_health",
    metadata,
    sa.Column(
        "key_id", Int64, sa.ForeignKey("upstream_keys.id", ondelete="CASCADE"), primary_key=True
    ),
    sa.Column("model", Text, primary_key=True),
    sa.Column("generation", Int64, nullable=False),
    sa.Column("step", Int64, nullable=False),
    sa.Column("health", Text, nullable=False),
    # Unix milliseconds, 0 = not by itself.
    sa.Column("until_ms", Int64, nullable=False),
    sa.Column("since_ms", Int64, nullable=False),
    sa.Column("why", Text, nullable=False),
)

#: vendors.types.Keyword: what the operator adds to the tables of failures.
failure_keywords = sa.Table(
    "failure_keywords",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    # "" = of every type.
    sa.Column("vendor_type", Text, nullable=False),
    sa.Column("phrase", Text, nullable=False),
    sa.Column("action", Text, nullable=False),
    sa.Column("created_at_ms", Int64, nullable=False),
    sa.UniqueConstraint("vendor_type", "phrase"),
)
