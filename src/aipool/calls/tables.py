"""The tables of the call log.

Call rows live in one table a month, named `calls_YYYYMM`, made when its first row comes
and dropped whole when its time is over. `call_months` says which there are.
"""

from __future__ import annotations

from functools import cache

import sqlalchemy as sa

from aipool.kit.db import Int64, Text, metadata

call_months = sa.Table(
    "call_months",
    metadata,
    sa.Column("month", Text, primary_key=True),
)

usage_hours = sa.Table(
    "usage_hours",
    metadata,
    sa.Column("hour", Int64, primary_key=True, autoincrement=False),
    sa.Column("user_id", Int64, primary_key=True, autoincrement=False),
    sa.Column("token_id", Int64, primary_key=True, autoincrement=False),
    sa.Column("group_id", Int64, primary_key=True, autoincrement=False),
    sa.Column("model", Text, primary_key=True),
    sa.Column("calls", Int64, nullable=False),
    sa.Column("errors", Int64, nullable=False),
    sa.Column("input_tokens", Int64, nullable=False),
    sa.Column("cached_tokens", Int64, nullable=False),
    sa.Column("output_tokens", Int64, nullable=False),
    sa.Column("charged_nano", Int64, nullable=False),
    sa.Column("written_off_nano", Int64, nullable=False),
    sa.Column("cost_nano", Int64, nullable=False),
    sqlite_with_rowid=False,
)

# Apart from the others: which of these tables exist is data, not schema.
_monthly = sa.MetaData(naming_convention=metadata.naming_convention)


@cache
def calls_table(month: str) -> sa.Table:
    """The table of one month; `month` is YYYYMM."""
    return sa.Table(
        f"calls_{month}",
        _monthly,
        sa.Column("rid", Text, nullable=False, unique=True),
        sa.Column("at_ms", Int64, nullable=False),
        sa.Column("duration_ms", Int64, nullable=False),
        sa.Column("first_token_ms", Int64, nullable=False),
        sa.Column("user_id", Int64, nullable=False),
        sa.Column("token_id", Int64, nullable=False),
        sa.Column("group_id", Int64, nullable=False),
        sa.Column("model", Text, nullable=False),
        sa.Column("endpoint", Text, nullable=False),
        sa.Column("stream", sa.Boolean, nullable=False),
        sa.Column("status", Int64, nullable=False),
        sa.Column("error", Text, nullable=False),
        sa.Column("input_tokens", Int64, nullable=False),
        sa.Column("cached_tokens", Int64, nullable=False),
        sa.Column("output_tokens", Int64, nullable=False),
        sa.Column("reasoning_tokens", Int64, nullable=False),
        sa.Column("usage_source", Int64, nullable=False),
        sa.Column("price_id", Int64, nullable=False),
        sa.Column("multiplier_ppm", Int64, nullable=False),
        sa.Column("hold_nano", Int64, nullable=False),
        sa.Column("charged_nano", Int64, nullable=False),
        sa.Column("written_off_nano", Int64, nullable=False),
        sa.Column("cost_nano", Int64, nullable=False),
        sa.Column("vendor_id", Int64, nullable=False),
        sa.Column("key_id", Int64, nullable=False),
        sa.Column("upstream_model", Text, nullable=False),
        sa.Column("upstream_request_id", Text, nullable=False),
        sa.Column("attempts", Text, nullable=False),
        sa.Column("ip", Text, nullable=False),
        sa.Column("user_agent", Text, nullable=False),
        sa.Column("recovered", sa.Boolean, nullable=False),
        sa.Column("units", Text, nullable=False, server_default=""),
        sa.Column("cost_price_id", Int64, nullable=False, server_default="0"),
        sa.Column("cost_ppm", Int64, nullable=False, server_default="1000000"),
        sa.Column("origin", Text, nullable=False, server_default=""),
        sa.Column("calls", Int64, nullable=False, server_default="1"),
        sa.CheckConstraint("charged_nano >= 0", name="charged"),
        sa.CheckConstraint("written_off_nano >= 0", name="written_off"),
    )


#: What became of the tries at one upstream key in one hour. hour: unix time in whole hours.
#: A call is one try at each key it asked; tokens and cost are those of the key that answered.
key_hours = sa.Table(
    "key_hours",
    metadata,
    sa.Column("key_id", Int64, primary_key=True),
    sa.Column("hour", Int64, primary_key=True),
    sa.Column("tries", Int64, nullable=False),
    sa.Column("failures", Int64, nullable=False),
    sa.Column("input_tokens", Int64, nullable=False),
    sa.Column("output_tokens", Int64, nullable=False),
    sa.Column("cost_nano", Int64, nullable=False),
    sa.Column("last_at_ms", Int64, nullable=False),
    sa.Column("last_error", Text, nullable=False),
    sa.Column("last_error_at_ms", Int64, nullable=False),
)
