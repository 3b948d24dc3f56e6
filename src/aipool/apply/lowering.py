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
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from aipool.accounts import service as accounts
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import ApiToken, TokenTerms
from aipool.apply.entries import Document
from aipool.groups import service as groups
from aipool.groups.types import CallLimits, Group
from aipool.ledger import service as ledger
from aipool.ledger.rules import Unit, unit_of
from aipool.ledger.types import EpochState

Key = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Lowered:
    """What a change lowers.

    money: budgets as (budget, window).  buckets: whose calls, by name, or (True) by the
    beginning of their names.
    """

    money: tuple[Key, ...] = ()
    buckets: tuple[tuple[str, bool], ...] = ()

    def __add__(self, other: Lowered) -> Lowered:
        return Lowered(self.money + other.money, self.buckets + other.buckets)

    def keys(self, connection: Connection) -> list[Key]:
        """The budgets to collect: those of money, and of calls what is lent just now."""
        return [*self.money, *_leased_calls(connection, self.buckets)]


def by_token(connection: Connection, token: ApiToken, terms: TokenTerms, now_ms: int) -> Lowered:
    """What a token's new terms would lower."""
    money = api_tokens.lowered_budgets(token, terms, api_tokens.current_day(connection, now_ms))
    lowers = _lowers(token.limits, terms.limits)
    return Lowered(tuple(money), ((f"token-{token.id}", False),) if lowers else ())


def by_group(group: Group, each_user: CallLimits, whole: CallLimits) -> Lowered:
    """What a group's new limits would lower."""
    name = f"group-{group.id}"
    buckets: list[tuple[str, bool]] = []
    if _lowers(group.whole, whole):
        buckets.append((name, False))
    if _lowers(group.each_user, each_user):
        buckets.append((f"{name}-user-", True))
    return Lowered(buckets=tuple(buckets))


def by_document(connection: Connection, document: Document, now_ms: int) -> Lowered:
    """What a whole file would lower."""
    found = Lowered()
    for entry in document.groups:
        group = groups.find_group(connection, entry.name)
        if group is not None:
            found += by_group(group, entry.each_user, entry.whole)
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


def _leased_calls(connection: Connection, buckets: tuple[tuple[str, bool], ...]) -> Iterator[Key]:
    """What is lent of the calls of these buckets."""
    if not buckets:
        return
    for stream in ledger.epochs_in(connection, EpochState.OPEN):
        for budget, window in ledger.leases_of(connection, stream.epoch):
            if unit_of(budget) is Unit.MONEY:
                continue
            named = budget.partition(":")[2].partition("/")[0]
            if any(
                named == bucket or (begins and named.startswith(bucket))
                for bucket, begins in buckets
            ):
                yield budget, window
