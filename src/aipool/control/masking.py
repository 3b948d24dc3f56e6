"""Whom operators are not told of: nobody reads who their equals and those above them are, what they
call with and from where (security S-04); only root reads everybody.

The log of calls, the dashboards and the trail have every row all the same, with its numbers and
its ids, because they are the platform's. Of a row of somebody whom the operator may not administer
(accounts.rules.may_administer), oneself excepted, the names of the user and of the token, the
address and the browser are left out, in the trail also the values. What is looked for by such a
user or by a token of theirs is not found.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sqlalchemy.engine import Connection

from aipool.accounts import service as accounts
from aipool.accounts.types import User
from aipool.api_tokens import service as api_tokens
from aipool.audit.types import Entry, Wanted
from aipool.calls.types import Search

#: An id that nobody and nothing has.
_NO_ID = -1
#: Of any length, a number would be more than a database can look for.
_ID = re.compile(r"[0-9]{1,18}")
_NOBODY = f"user:{_NO_ID}"


def is_masked_token(connection: Connection, operator: User, token_id: int) -> bool:
    """Is it of somebody of whom this operator is not told?"""
    owners = api_tokens.owners(connection, [token_id])
    return bool(accounts.masked_among(connection, operator, owners.values()))


def narrowed(connection: Connection, operator: User, search: Search) -> Search:
    """The search, in which whom the operator is not told of is nobody."""
    if search.user_id is not None and accounts.masked_among(connection, operator, [search.user_id]):
        search = replace(search, user_id=_NO_ID)
    if search.token_id is not None and is_masked_token(connection, operator, search.token_id):
        search = replace(search, token_id=_NO_ID)
    return search


# --- the trail ------------------------------------------------------------------------------------


def wanted_by(connection: Connection, operator: User, wanted: Wanted) -> Wanted:
    """What is looked for, in which whom the operator is not told of is nobody."""
    masked = _masked_names(connection, operator, [wanted.actor, wanted.target])
    return replace(
        wanted,
        actor=_NOBODY if wanted.actor in masked else wanted.actor,
        target=_NOBODY if wanted.target in masked else wanted.target,
    )


def masked_entries(
    connection: Connection, operator: User, entries: Sequence[Entry]
) -> tuple[list[Entry], frozenset[str]]:
    """The rows as this operator reads them, and which actors and targets they are not told of.

    Without the digests for who is not told everything: what a row is without could be found out
    by trying what it may be, since its digest and all that follow it are taken of it.
    """
    if accounts.sees_everybody(operator):
        return list(entries), frozenset()
    names = [name for entry in entries for name in (entry.actor, entry.target)]
    masked = _masked_names(connection, operator, names)
    me = accounts.target(operator)
    return [_masked(entry, masked, me) for entry in entries], masked


def _masked(entry: Entry, masked: Collection[str], me: str) -> Entry:
    entry = replace(entry, previous=b"", digest=b"")
    if entry.actor not in masked and entry.target not in masked:
        return entry
    if entry.actor != me:
        entry = replace(entry, ip="", user_agent="")
    return replace(entry, before=_unsaid(entry.before), after=_unsaid(entry.after))


def _unsaid(fields: Mapping[str, Any] | None) -> dict[str, None] | None:
    return None if fields is None else dict.fromkeys(fields)


def _masked_names(connection: Connection, operator: User, names: Iterable[str]) -> frozenset[str]:
    """Which of these actors and targets ("user:7", "token:12") are, or belong to, such people."""
    if accounts.sees_everybody(operator):
        return frozenset()
    found = {name: name.partition(":") for name in names}
    numbers = {
        name: (kind, int(number))
        for name, (kind, _, number) in found.items()
        if kind in ("user", "token") and _ID.fullmatch(number)
    }
    tokens = {number for kind, number in numbers.values() if kind == "token"}
    owners = api_tokens.owners(connection, tokens)
    people = {
        name: number if kind == "user" else owners.get(number, _NO_ID)
        for name, (kind, number) in numbers.items()
    }
    masked = accounts.masked_among(connection, operator, people.values())
    return frozenset(name for name, user_id in people.items() if user_id in masked)
