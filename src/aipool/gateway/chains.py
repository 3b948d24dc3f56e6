"""Which budgets a call of a token must fit, and which of their windows. Pure.

    wallet · token · token, this window        money
    requests of … today · concurrency of …     calls, of each bucket that has such a limit

A bucket is who shares a limit of calls: a user in a group (with all tokens of that user in
it), the group as a whole, or one token.
"""

from __future__ import annotations

from collections.abc import Iterator

from aipool.doors.snapshot import CallLimits, GroupView, TokenView
from aipool.ledger.rules import (
    LIFETIME,
    Period,
    concurrency_budget,
    period_of,
    requests_budget,
    window_of,
)


def buckets_of(view: TokenView, group: GroupView | None) -> Iterator[tuple[str, CallLimits]]:
    """Who shares a limit of calls with this token, and which limits."""
    if group is not None:
        yield f"group-{group.id}-user-{view.user_id}", group.each_user
        yield f"group-{group.id}", group.whole
    yield f"token-{view.id}", view.limits


def chain_of(view: TokenView, group: GroupView | None, day: int) -> list[tuple[str, int, int]]:
    """The budgets of a call as (budget, window, cap); cap is 0 for money.

    group: the token's, None when the catalogue does not have it.  day: days since
    1970-01-01, UTC.
    """
    chain = [(name, window_of(period_of(name), day), 0) for name in view.budgets]
    today = window_of(Period.DAY, day)
    for bucket, limits in buckets_of(view, group):
        if limits.requests_per_day:
            chain.append((requests_budget(bucket), today, limits.requests_per_day))
        if limits.concurrency:
            chain.append((concurrency_budget(bucket), LIFETIME, limits.concurrency))
    return chain
