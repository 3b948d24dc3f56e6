"""The tables of the call log.

Call rows live in one table a month, named `calls_YYYYMM`, made when its first row comes
and dropped whole when its time is over. `call_months` says which there are.

A page of calls is read from one index of its month, newest first, whatever it is a page of: each
index ends with the time. Those of failures and of what is no chat are partial, because what is
left out of them is found soon by walking (`calls.rules` says which index serves what).
"""

from __future__ import annotations

from functools import cache

import sqlalchemy as sa

from aipool.calls.latency import LATENCY_COLUMNS
from aipool.calls.types import COMMON_ENDPOINT, FAILURES_FROM, Path, Span
from aipool.kit.db import Int64, Text, metadata

call_months = sa.Table(
    "call_months",
    metadata,
    sa.Column("month", Text, primary_key=True),
)

SUMS = (
    "calls",
    "errors",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "charged_nano",
    "written_off_nano",
    "cost_nano",
)


def _key(name: str) -> sa.Column[int]:
    return sa.Column(name, Int64, primary_key=True, autoincrement=False)


def _number(name: str) -> sa.Column[int]:
    return sa.Column(name, Int64, nullable=False)


#: What one token did with one model in one hour (types.Used). hour: unix time in whole hours.
usage_hours = sa.Table(
    "usage_hours",
    metadata,
    *map(_key, ("hour", "user_id", "token_id", "group_id")),
    sa.Column("model", Text, primary_key=True),
    *map(_number, SUMS),
    sqlite_with_rowid=False,
)

#: The same by UTC day. day: unix time in whole days. These rows stay when the hours go.
usage_days = sa.Table(
    "usage_days",
    metadata,
    *map(_key, ("day", "user_id", "token_id", "group_id")),
    sa.Column("model", Text, primary_key=True),
    *map(_number, SUMS),
    sqlite_with_rowid=False,
)

#: The same by week, of weeks that are over: see store.weeks. week: unix time in whole weeks.
usage_weeks = sa.Table(
    "usage_weeks",
    metadata,
    *map(_key, ("week", "user_id", "token_id", "group_id")),
    sa.Column("model", Text, primary_key=True),
    *map(_number, SUMS),
    sqlite_with_rowid=False,
)

USAGE = {Span.HOUR: usage_hours, Span.DAY: usage_days, Span.WEEK: usage_weeks}

#: One row. Weeks before `summed` have their sums; those before `fixed` have them, or are being
#: summed, and a call of one of them takes both back to it.
weeks_summed = sa.Table(
    "weeks_summed",
    metadata,
    sa.Column("id", Int64, primary_key=True, autoincrement=False),
    sa.Column("summed", Int64, nullable=False, server_default="0"),
    sa.Column("fixed", Int64, nullable=False, server_default="0"),
    sa.CheckConstraint("id = 1", name="one_row"),
)

#: The same of everybody, of a user, and of an upstream key: see types.Total.
usage_totals = sa.Table(
    "usage_totals",
    metadata,
    *map(_key, ("span", "kind", "at", "owner_id", "group_id")),
    sa.Column("model", Text, primary_key=True),
    *map(_number, SUMS),
    sqlite_with_rowid=False,
)

#: How many calls took how long: see calls.latency. user_id: 0 = everybody, by model; a user's
#: own rows have no model.
latencies = sa.Table(
    "latencies",
    metadata,
    *map(_key, ("span", "at", "user_id")),
    sa.Column("model", Text, primary_key=True),
    *(sa.Column(name, Int64, nullable=False) for name in LATENCY_COLUMNS),
    sqlite_with_rowid=False,
)

#: One row: from when on the log has its calls, and its hours. What is older was let go, or is
#: being let go.
log_kept = sa.Table(
    "log_kept",
    metadata,
    sa.Column("id", Int64, primary_key=True, autoincrement=False),
    sa.Column("calls_from_ms", Int64, nullable=False, server_default="0"),
    sa.Column("hours_from", Int64, nullable=False, server_default="0"),
    sa.CheckConstraint("id = 1", name="one_row"),
)


#: What an index of a month begins with; at its end stands the time.
INDEXED: dict[Path, tuple[str, ...]] = {
    Path.ALL: (),
    Path.USER: ("user_id",),
    Path.TOKEN: ("token_id",),
    Path.MODEL: ("model",),
    Path.GROUP: ("group_id",),
    Path.KEY: ("key_id",),
    Path.STATUS: ("status",),
    Path.ENDPOINT: ("endpoint",),
    Path.USER_MODEL: ("user_id", "model"),
    Path.USER_GROUP: ("user_id", "group_id"),
    Path.USER_STATUS: ("user_id", "status"),
    Path.USER_ENDPOINT: ("user_id", "endpoint"),
}
#: Of a partial one, the rows that are in it.
ONLY = {
    Path.STATUS: f"status >= {FAILURES_FROM}",
    Path.ENDPOINT: f"endpoint <> '{COMMON_ENDPOINT}'",
}


def index_name(month: str, path: Path) -> str:
    """The name of an index of a month's table."""
    return f"ix_calls_{month}_{path.value}"


def _index(month: str, path: Path) -> sa.Index:
    only = ONLY.get(path)
    where = None if only is None else sa.text(only)
    return sa.Index(
        index_name(month, path),
        *INDEXED[path],
        "at_ms",
        sqlite_where=where,
        postgresql_where=where,
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
        *(_index(month, path) for path in INDEXED),
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


#: Which call has a client's idempotency key. key, body: SHA-256 of what was sent.
#: epoch: of the worker that makes the call; when it is over and the log has no call, there is none.
idempotency_keys = sa.Table(
    "idempotency_keys",
    metadata,
    sa.Column("token_id", Int64, primary_key=True, autoincrement=False),
    sa.Column("key", sa.LargeBinary(32), primary_key=True),
    sa.Column("body", sa.LargeBinary(32), nullable=False),
    sa.Column("rid", Text, nullable=False),
    sa.Column("epoch", Int64, nullable=False),
    sa.Column("at_ms", Int64, nullable=False),
    sa.Index(None, "at_ms"),
)


#: What was said in calls whose tokens' owners want it kept. The texts are sealed.
call_contents = sa.Table(
    "call_contents",
    metadata,
    sa.Column("rid", Text, primary_key=True),
    sa.Column("token_id", Int64, nullable=False),
    sa.Column("user_id", Int64, nullable=False),
    sa.Column("expires_at_ms", Int64, nullable=False),
    sa.Column("sealed_request", Text, nullable=False),
    sa.Column("request_cut", sa.Boolean, nullable=False),
    sa.Column("sealed_answer", Text, nullable=False),
    sa.Column("answer_cut", sa.Boolean, nullable=False),
    sa.Index(None, "expires_at_ms"),
    sa.Index(None, "token_id"),
)
