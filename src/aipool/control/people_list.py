"""The list of users for administrators: one statement over accounts, wallets, tokens and grants, so
that it can be sorted by any of them. A page ends with its place, as opaque text; the next one
begins behind it, whatever comes and goes meanwhile.

Refusals (kit.errors):
    invalid_cursor, search_too_short, invalid_search    422
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.accounts.tables import users
from aipool.accounts.types import Role, Status
from aipool.api_tokens.tables import api_tokens
from aipool.groups.tables import granted
from aipool.kit.errors import Invalid
from aipool.ledger.tables import accounts as wallets

#: A search looks at every row: one character would find them all.
SEARCH_CHARACTERS_MIN = 2
CURSOR_CHARACTERS_MAX = 1000
_INT64_MAX = 2**63 - 1


class Sort(StrEnum):
    """What the list is sorted by."""

    CREATED = "created"
    BALANCE = "balance"
    LAST_LOGIN = "last_login"
    NAME = "name"


@dataclass(frozen=True, slots=True)
class Asked:
    """Which users, and in which order. text: a part of the number, the address or the name, or
    the whole id.  roles: only these.  group_id: to whom this group is granted."""

    roles: frozenset[Role]
    text: str = ""
    status: Status | None = None
    group_id: int | None = None
    sort: Sort = Sort.CREATED
    descending: bool = True


@dataclass(frozen=True, slots=True)
class Row:
    """A user of the list. balance_nano: 0 also for somebody who never had a wallet."""

    user_id: int
    balance_nano: int
    tokens_count: int


def page(
    connection: Connection, asked: Asked, *, cursor: str, limit: int
) -> tuple[list[Row], str | None]:
    """A page of users, and the cursor of the next one. Raises Invalid for what is none."""
    key = _KEYS[asked.sort]
    query = (
        sa.select(users.c.id, _balance, _tokens, key.label("key"))
        .select_from(_with_wallets)
        .where(*_conditions(asked))
    )
    if cursor:
        query = query.where(_behind(key, asked, _place(cursor, asked)))
    order = (key, users.c.id)
    ordered = [column.desc() if asked.descending else column.asc() for column in order]
    rows = connection.execute(query.order_by(*ordered).limit(limit + 1)).all()
    found = [Row(row.id, row.balance, row.tokens) for row in rows[:limit]]
    last = rows[limit - 1] if len(rows) > limit else None
    return found, _cursor(asked, last.key, last.id) if last is not None else None


def count(connection: Connection, asked: Asked) -> int:
    """How many users are asked for."""
    query = sa.select(sa.func.count()).select_from(users).where(*_conditions(asked))
    return int(connection.execute(query).scalar_one())


def tokens_of(connection: Connection, user_ids: Collection[int]) -> dict[int, int]:
    """How many API tokens each of these users has, if any."""
    query = (
        sa.select(api_tokens.c.user_id, sa.func.count())
        .where(api_tokens.c.user_id.in_(sorted(user_ids)), api_tokens.c.deleted_at_ms.is_(None))
        .group_by(api_tokens.c.user_id)
    )
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def _conditions(asked: Asked) -> list[sa.ColumnElement[bool]]:
    conditions: list[sa.ColumnElement[bool]] = [users.c.role.in_(sorted(asked.roles))]
    if asked.text:
        conditions.append(_matches(asked.text))
    if asked.status is not None:
        conditions.append(users.c.status == asked.status)
    if asked.group_id is not None:
        conditions.append(granted(users.c.id, sa.literal(asked.group_id)))
    return conditions


def _matches(text: str) -> sa.ColumnElement[bool]:
    if len(text) < SEARCH_CHARACTERS_MIN:
        raise Invalid(
            "search_too_short",
            f"search for at least {SEARCH_CHARACTERS_MIN} characters",
            field="q",
            params={"least": SEARCH_CHARACTERS_MIN},
        )
    # Nobody is called so, and PostgreSQL takes no text with a NUL to look for.
    if not text.isprintable():
        raise Invalid("invalid_search", "a search has no control characters", field="q")
    found: list[sa.ColumnElement[bool]] = [
        column.icontains(text, autoescape=True)
        for column in (users.c.phone, users.c.email, users.c.name)
    ]
    if text.isascii() and text.isdecimal() and int(text) <= _INT64_MAX:
        found.append(users.c.id == int(text))
    return sa.or_(*found)


# --- where a page ends ------------------------------------------------------------------------


def _behind(
    key: sa.ColumnElement[Any], asked: Asked, place: tuple[Any, int]
) -> sa.ColumnElement[bool]:
    at, user_id = place
    if asked.descending:
        return sa.or_(key < at, sa.and_(key == at, users.c.id < user_id))
    return sa.or_(key > at, sa.and_(key == at, users.c.id > user_id))


def _cursor(asked: Asked, key: Any, user_id: int) -> str:
    written = msgspec.json.encode([asked.sort, asked.descending, key, user_id])
    return base64.urlsafe_b64encode(written).rstrip(b"=").decode("ascii")


def _place(cursor: str, asked: Asked) -> tuple[Any, int]:
    """What _cursor has written; raises Invalid for anything else, and for another order."""
    padded = cursor + "=" * (-len(cursor) % 4)
    try:
        written = base64.b64decode(padded.encode("ascii"), b"-_", validate=True)
        sort, descending, key, user_id = msgspec.json.decode(written)
    except (ValueError, TypeError, binascii.Error, msgspec.MsgspecError):
        raise _invalid() from None
    is_key = isinstance(key, str) if asked.sort is Sort.NAME else _is_whole(key)
    if not is_key or not _is_whole(user_id) or (sort, descending) != (asked.sort, asked.descending):
        raise _invalid()
    return key, user_id


def _is_whole(value: object) -> bool:
    return type(value) is int and -_INT64_MAX <= value <= _INT64_MAX


def _invalid() -> Invalid:
    return Invalid(
        "invalid_cursor", "this is no cursor of this list: begin at its first page", field="cursor"
    )


# --- across slices ----------------------------------------------------------------------------

_WALLET = sa.literal("wallet:") + sa.cast(users.c.id, sa.Text)
_with_wallets = users.outerjoin(wallets, wallets.c.account == _WALLET)
_balance = sa.func.coalesce(wallets.c.balance_nano, 0).label("balance")
_tokens = (
    sa.select(sa.func.count())
    .where(api_tokens.c.user_id == users.c.id, api_tokens.c.deleted_at_ms.is_(None))
    .scalar_subquery()
    .label("tokens")
)

_KEYS: dict[Sort, sa.ColumnElement[Any]] = {
    Sort.CREATED: users.c.id,
    Sort.BALANCE: sa.func.coalesce(wallets.c.balance_nano, 0),
    Sort.LAST_LOGIN: sa.func.coalesce(users.c.last_login_at_ms, 0),
    Sort.NAME: users.c.name,
}
