"""The list of a user's tokens: one statement, with how far their limits are used.

Which budget a token's limit is counted on, and in which window, `ledger.rules` says; here the same
is said in SQL, so that tokens can be found and sorted by what is left of them, and a page of them
costs two look-ups by primary key each. A page ends with its place (types.Place), and the next one
begins behind it: what comes and goes meanwhile moves nothing that was not looked at yet.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.api_tokens import rules
from aipool.api_tokens.store import COLUMNS, LIVE, token_of
from aipool.api_tokens.tables import api_tokens
from aipool.api_tokens.types import Asked, Place, Reset, Sort, Status, TokenListed
from aipool.groups.tables import granted
from aipool.kit.db import Int64
from aipool.ledger.rules import LIFETIME, window_of
from aipool.ledger.tables import budgets

#: What has no end, in the order of what has one.
_ENDLESS = 2**63 - 1

_own = budgets.alias("own")
_limit = budgets.alias("limit_budget")


def page(
    connection: Connection,
    user_id: int,
    asked: Asked,
    *,
    day: int,
    now_seconds: int,
    after: Place | None,
    limit: int,
) -> tuple[list[TokenListed], Place | None]:
    """Tokens of a user, and the place of the last one when others follow.

    day: the UTC day for the windows, in days since 1970-01-01.
    """
    key = _KEYS[asked.sort]
    place = key.desc() if asked.descending else key.asc()
    by_id = api_tokens.c.id.desc() if asked.descending else api_tokens.c.id.asc()
    query = (
        sa.select(*COLUMNS, _used, _used_total, _granted, key.label("key"))
        .select_from(_with_budgets)
        .where(*_conditions(user_id, asked))
    )
    if after is not None:
        query = query.where(_behind(key, after, descending=asked.descending))
    parameters = {**_windows(day), "now": now_seconds}
    rows = connection.execute(query.order_by(place, by_id).limit(limit + 1), parameters).all()
    shown = [_listed(row, day) for row in rows[:limit]]
    if len(rows) <= limit:
        return shown, None
    return shown, Place(rows[limit - 1].key, shown[-1].token.id)


def count(connection: Connection, user_id: int, asked: Asked, *, day: int, now_seconds: int) -> int:
    """How many tokens of a user are asked for."""
    query = (
        sa.select(sa.func.count())
        .select_from(_with_budgets if asked.status is not None else api_tokens)
        .where(*_conditions(user_id, asked))
    )
    parameters = {**_windows(day), "now": now_seconds} if asked.status is not None else {}
    return int(connection.execute(query, parameters).scalar_one())


def by_ids(
    connection: Connection, user_id: int, token_ids: Collection[int], *, day: int
) -> dict[int, TokenListed]:
    """Those of these tokens that are the user's."""
    query = (
        sa.select(*COLUMNS, _used, _used_total, _granted)
        .select_from(_with_budgets)
        .where(api_tokens.c.user_id == user_id, LIVE, api_tokens.c.id.in_(sorted(set(token_ids))))
    )
    rows = connection.execute(query, _windows(day))
    return {row.id: _listed(row, day) for row in rows}


def _conditions(user_id: int, asked: Asked) -> list[sa.ColumnElement[bool]]:
    conditions = [api_tokens.c.user_id == user_id, LIVE]
    if asked.text:
        conditions.append(
            sa.or_(
                *(
                    column.icontains(asked.text, autoescape=True)
                    for column in (api_tokens.c.name, api_tokens.c.description)
                ),
                api_tokens.c.last4.contains(asked.text, autoescape=True),
            )
        )
    if asked.group_id is not None:
        conditions.append(api_tokens.c.group_id == asked.group_id)
    if asked.enabled is not None:
        conditions.append(api_tokens.c.enabled == asked.enabled)
    if asked.status is not None:
        conditions.append(_status == asked.status.value)
    return conditions


def _behind(
    key: sa.ColumnElement[Any], after: Place, *, descending: bool
) -> sa.ColumnElement[bool]:
    if descending:
        further, next_id = key < after.key, api_tokens.c.id < after.token_id
    else:
        further, next_id = key > after.key, api_tokens.c.id > after.token_id
    return sa.or_(further, sa.and_(key == after.key, next_id))


def _listed(row: Any, day: int) -> TokenListed:
    token = token_of(row[: len(COLUMNS)])
    used = row.used if token.limit_nano is not None else None
    standing = rules.standing(token, used=used, used_total=row.used_total, day=day)
    return TokenListed(token, standing, bool(row.group_granted))


def _windows(day: int) -> dict[str, int]:
    """The window of each reset type on a day, by the name of its parameter."""
    return {reset.value: window_of(reset.period, day) for reset in Reset if reset.period}


# --- the same as ledger.rules, in SQL ---------------------------------------------------------

_OWN_BUDGET = sa.literal("token:") + sa.cast(api_tokens.c.id, sa.Text)
_NUMBER = sa.literal("#") + sa.cast(api_tokens.c.limit_no, sa.Text)


def _limit_budget() -> sa.ColumnElement[str]:
    """See ledger.rules.token_limit_budget."""
    named = sa.case(
        {
            reset.value: _OWN_BUDGET + sa.literal(f"/{reset.period.value}")
            for reset in Reset
            if reset.period
        },
        value=api_tokens.c.reset,
        else_=_OWN_BUDGET + sa.literal("/life"),
    )
    begun_once = api_tokens.c.limit_no == 0
    return sa.case(
        (sa.and_(begun_once, api_tokens.c.reset == Reset.NONE.value), _OWN_BUDGET),
        (begun_once, named),
        else_=named + _NUMBER,
    )


_window = sa.case(
    {reset.value: sa.bindparam(reset.value, type_=Int64) for reset in Reset if reset.period},
    value=api_tokens.c.reset,
    else_=sa.literal(LIFETIME, Int64),
)
_with_budgets = api_tokens.outerjoin(
    _own, sa.and_(_own.c.budget == _OWN_BUDGET, _own.c.window_no == LIFETIME)
).outerjoin(_limit, sa.and_(_limit.c.budget == _limit_budget(), _limit.c.window_no == _window))

_used = sa.func.coalesce(_limit.c.used, 0).label("used")
_used_total = sa.func.coalesce(_own.c.used, 0).label("used_total")
_granted = granted(api_tokens.c.user_id, api_tokens.c.group_id).label("group_granted")

#: What is left in the window, and in all; NULL = without limit.
_room = api_tokens.c.limit_nano - sa.func.coalesce(_limit.c.used, 0)
_room_total = api_tokens.c.total_nano - sa.func.coalesce(_own.c.used, 0)
_left = sa.case(
    (_room.is_(None), sa.func.coalesce(_room_total, _ENDLESS)),
    (_room_total.is_(None), _room),
    (_room < _room_total, _room),
    else_=_room_total,
)
_status = sa.case(
    (sa.not_(api_tokens.c.enabled), Status.DISABLED.value),
    (sa.not_(granted(api_tokens.c.user_id, api_tokens.c.group_id)), Status.GROUP_NOT_GRANTED.value),
    (
        sa.and_(
            api_tokens.c.expires_at != 0,
            api_tokens.c.expires_at <= sa.bindparam("now", type_=Int64),
        ),
        Status.EXPIRED.value,
    ),
    (_left <= 0, Status.EXHAUSTED.value),
    else_=Status.ACTIVE.value,
)

_KEYS: dict[Sort, sa.ColumnElement[Any]] = {
    Sort.CREATED: api_tokens.c.id,
    Sort.NAME: api_tokens.c.name,
    Sort.EXPIRES: sa.func.coalesce(sa.func.nullif(api_tokens.c.expires_at, 0), _ENDLESS),
    Sort.LIMIT: sa.func.coalesce(api_tokens.c.limit_nano, _ENDLESS),
    # What of it is shown: without a limit, what was used in all.
    Sort.USED: sa.case(
        (api_tokens.c.limit_nano.is_(None), sa.func.coalesce(_own.c.used, 0)),
        else_=sa.func.coalesce(_limit.c.used, 0),
    ),
    Sort.USED_TOTAL: sa.func.coalesce(_own.c.used, 0),
    Sort.REMAINING: sa.case((_left < 0, 0), else_=_left),
}
