"""When API tokens were called last: what the list of tokens asks the log of calls."""

from __future__ import annotations

from collections.abc import Collection

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.api_tokens.tables import api_tokens
from aipool.calls.rules import month_of
from aipool.calls.service import kept_from_ms
from aipool.calls.tables import call_months, calls_table
from aipool.calls.types import HOUR_MS


def last_used(connection: Connection, token_ids: Collection[int]) -> dict[int, int]:
    """The arrival of the newest call of each of these tokens, in unix milliseconds; those whose
    calls the log does not have are left out.

    One statement a month, the newest first, until every token is found: in each the end of an
    index is looked at, once a token.
    """
    found: dict[int, int] = {}
    missing = sorted(set(token_ids))
    # A month that is being let go loses its indexes first: nothing is looked for in it any more.
    first = month_of(kept_from_ms(connection) // HOUR_MS)
    months = sa.select(call_months.c.month).where(call_months.c.month >= first)
    months = months.order_by(call_months.c.month.desc())
    for month in connection.execute(months).scalars().all():
        if not missing:
            break
        calls = calls_table(month)
        newest = (
            sa.select(sa.func.max(calls.c.at_ms))
            .where(calls.c.token_id == api_tokens.c.id)
            .correlate(api_tokens)
            .scalar_subquery()
        )
        rows = connection.execute(
            sa.select(api_tokens.c.id, newest).where(api_tokens.c.id.in_(missing))
        )
        found |= {token_id: int(at_ms) for token_id, at_ms in rows if at_ms is not None}
        missing = [token_id for token_id in missing if token_id not in found]
    return found
