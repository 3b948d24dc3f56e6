"""Which budgets a change would lower, so that workers can be told to give back first.

Whoever lowers a limit collects these budgets (doors.announce.collect) before the
transaction, so that what lies unused at a worker is not spent above the new limit; and
once more after it, for what was lent in between.

Calls of a day and calls in flight are lent to workers too. How many a bucket may make is
not a column of its budget, so only what is lent can be asked for; the names of buckets are
those of gateway.chains.
"""

from __future__ import annotations

from collections.abc import Iterator

from sqlalchemy.engine import Connection

from aipool.accounts import service as accounts
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import ApiToken, TokenTerms
from aipool.apply.document import Document
from aipool.groups import service as groups
from aipool.groups.types import CallLimits, Group
from aipool.ledger import service as ledger
from aipool.ledger.rules import Unit, unit_of
from aipool.ledger.types import EpochState

Key = tuple[str, int]


def by_token(connection: Connection, token: ApiToken, terms: TokenTerms, now_ms: int) -> list[Key]:
    """The budgets, as (budget, window), that a token's new terms would lower."""
    found = api_tokens.lowered_budgets(token, terms, api_tokens.current_day(connection, now_ms))
    if _lowers(token.limits, terms.limits):
        found += _leased_calls(connection, f"token-{token.id}")
    return found


def by_group(
    connection: Connection, group: Group, each_user: CallLimits, whole: CallLimits
) -> list[Key]:
    """Those that a group's new limits would lower."""
    name = f"group-{group.id}"
    found: list[Key] = []
    if _lowers(group.whole, whole):
        found += _leased_calls(connection, name)
    if _lowers(group.each_user, each_user):
        found += _leased_calls(connection, f"{name}-user-", begins=True)
    return found


def by_document(connection: Connection, document: Document, now_ms: int) -> list[Key]:
    """Those that a whole file would lower."""
    found: list[Key] = []
    for entry in document.groups:
        group = groups.find_group(connection, entry.name)
        if group is not None:
            found += by_group(connection, group, entry.each_user, entry.whole)
    for wanted in document.tokens:
        user = accounts.find_user(connection, wanted.phone)
        token = api_tokens.find_token(connection, user, wanted.name) if user else None
        if token is not None:
            found += by_token(connection, token, wanted.terms(token.group_id), now_ms)
    return found


def _lowers(before: CallLimits, after: CallLimits) -> bool:
    """Is one of the limits that are lent to workers lower than it was?"""
    pairs = (
        (before.requests_per_day, after.requests_per_day),
        (before.concurrency, after.concurrency),
    )
    return any(was is not None and now is not None and now < was for was, now in pairs)


def _leased_calls(connection: Connection, bucket: str, *, begins: bool = False) -> Iterator[Key]:
    """What is lent of the calls of a bucket, or of all whose names begin so."""
    for stream in ledger.epochs_in(connection, EpochState.OPEN):
        for budget, window in ledger.leases_of(connection, stream.epoch):
            if unit_of(budget) is Unit.MONEY:
                continue
            named = budget.partition(":")[2].partition("/")[0]
            if named == bucket or (begins and named.startswith(bucket)):
                yield budget, window
