"""The statements of API tokens, one function each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.accounts.tables import users
from aipool.accounts.types import Status
from aipool.api_tokens.tables import api_tokens, ended_secrets, token_stand_ins
from aipool.api_tokens.types import (
    ApiToken,
    Reset,
    StandIn,
    TokenId,
    TokenTerms,
    TokenWithOwner,
)
from aipool.catalog.tables import models
from aipool.groups.tables import granted
from aipool.groups.types import CallLimits
from aipool.kit.db import Int64

COLUMNS = (
    api_tokens.c.id,
    api_tokens.c.user_id,
    api_tokens.c.group_id,
    api_tokens.c.name,
    api_tokens.c.models,
    api_tokens.c.ips,
    api_tokens.c.expires_at,
    api_tokens.c.limit_nano,
    api_tokens.c.enabled,
    api_tokens.c.last4,
    api_tokens.c.created_at_ms,
    api_tokens.c.reset,
    api_tokens.c.total_nano,
    api_tokens.c.limit_no,
    api_tokens.c.description,
    api_tokens.c.playground_allowed,
    api_tokens.c.content_days,
    *(api_tokens.c[field.name] for field in fields(CallLimits)),
)
LIVE = api_tokens.c.deleted_at_ms.is_(None)


def insert_token(
    connection: Connection,
    *,
    user_id: int,
    terms: TokenTerms,
    digest: bytes,
    last4: str,
    at_ms: int,
) -> ApiToken:
    """A new, enabled token."""
    row = connection.execute(
        sa.insert(api_tokens)
        .values(
            user_id=user_id,
            digest=digest,
            last4=last4,
            enabled=True,
            created_at_ms=at_ms,
            **_values(terms),
        )
        .returning(*COLUMNS)
    ).one()
    return token_of(row)


def update_terms(connection: Connection, token_id: int, terms: TokenTerms) -> None:
    """Other terms from now on; the secret stays."""
    connection.execute(
        sa.update(api_tokens).where(api_tokens.c.id == token_id).values(**_values(terms))
    )


def begin_limit_anew(connection: Connection, token_id: int) -> None:
    """The limit counts from nothing, on a budget of its own."""
    connection.execute(
        sa.update(api_tokens)
        .where(api_tokens.c.id == token_id)
        .values(limit_no=api_tokens.c.limit_no + 1)
    )


def update_secret(connection: Connection, token_id: int, *, digest: bytes, last4: str) -> None:
    """Another secret from now on."""
    connection.execute(
        sa.update(api_tokens).where(api_tokens.c.id == token_id).values(digest=digest, last4=last4)
    )


def update_enabled(connection: Connection, token_id: int, *, enabled: bool) -> None:
    """To be accepted or not, from now on."""
    connection.execute(
        sa.update(api_tokens).where(api_tokens.c.id == token_id).values(enabled=enabled)
    )


def mark_deleted(connection: Connection, token_id: int, *, at_ms: int) -> None:
    """Gone for good: nothing matches it any more."""
    connection.execute(
        sa.update(api_tokens)
        .where(api_tokens.c.id == token_id)
        .values(digest=None, enabled=False, deleted_at_ms=at_ms)
    )


def token_by_name(connection: Connection, user_id: int, name: str) -> ApiToken | None:
    """The user's token of this name."""
    query = sa.select(*COLUMNS).where(
        api_tokens.c.user_id == user_id, api_tokens.c.name == name, LIVE
    )
    row = connection.execute(query).one_or_none()
    return token_of(row) if row else None


def token_by_id(connection: Connection, token_id: int) -> ApiToken | None:
    """The token with this id, unless it was deleted."""
    query = sa.select(*COLUMNS).where(api_tokens.c.id == token_id, LIVE)
    row = connection.execute(query).one_or_none()
    return token_of(row) if row else None


def digest_of(connection: Connection, token_id: int) -> bytes:
    """The digest of an existing token's own secret."""
    query = sa.select(api_tokens.c.digest).where(api_tokens.c.id == token_id)
    return bytes(connection.execute(query).scalar_one() or b"")


def digests_of(connection: Connection, token_id: int) -> list[bytes]:
    """The digests of everything that an existing token is known by."""
    own = sa.select(api_tokens.c.digest).where(api_tokens.c.id == token_id)
    others = sa.select(token_stand_ins.c.digest).where(token_stand_ins.c.token_id == token_id)
    found = connection.execute(own.union_all(others)).scalars()
    return [bytes(digest) for digest in found if digest is not None]


def secrets_of(connection: Connection, token_id: int) -> list[bytes]:
    """The same without playground keys."""
    table = token_stand_ins.c
    own = sa.select(api_tokens.c.digest).where(api_tokens.c.id == token_id)
    before = sa.select(table.digest).where(table.token_id == token_id, table.session_id == 0)
    found = connection.execute(own.union_all(before)).scalars()
    return [bytes(digest) for digest in found if digest is not None]


def digest_is_taken(connection: Connection, digest: bytes) -> bool:
    """Is a token known by this digest?"""
    own = sa.exists().where(api_tokens.c.digest == digest)
    other = sa.exists().where(token_stand_ins.c.digest == digest)
    return bool(connection.execute(sa.select(sa.or_(own, other))).scalar())


def end_secret(connection: Connection, digest: bytes, *, at_ms: int) -> None:
    """From this moment on it works never again; what was said of it before does not count."""
    connection.execute(
        sa.text(
            "INSERT INTO ended_secrets (digest, ended_at_ms) VALUES (:digest, :at_ms)"
            " ON CONFLICT (digest) DO UPDATE SET ended_at_ms = excluded.ended_at_ms"
        ),
        {"digest": digest, "at_ms": at_ms},
    )


def is_ended(connection: Connection, digest: bytes, *, at_ms: int) -> bool:
    """Is it of a secret that its owner ended by now?"""
    table = ended_secrets.c
    there = sa.exists().where(table.digest == digest, table.ended_at_ms <= at_ms)
    return bool(connection.execute(sa.select(there)).scalar())


def live_count(connection: Connection, user_id: int) -> int:
    """How many tokens a user has."""
    count = sa.select(sa.func.count()).where(api_tokens.c.user_id == user_id, LIVE)
    return int(connection.execute(count).scalar_one())


def counts_by_group(connection: Connection) -> dict[int, int]:
    """How many tokens there are in each group that has any."""
    count = sa.select(api_tokens.c.group_id, sa.func.count()).where(LIVE)
    rows = connection.execute(count.group_by(api_tokens.c.group_id))
    return {group_id: int(number) for group_id, number in rows}


def move_group(connection: Connection, group_id: int, heir_id: int) -> int:
    """Every token of a group that its owner still has is one of another; how many they were."""
    moved = connection.execute(
        sa.update(api_tokens)
        .where(
            api_tokens.c.group_id == group_id,
            LIVE,
            granted(api_tokens.c.user_id, api_tokens.c.group_id),
        )
        .values(group_id=heir_id)
    )
    return int(moved.rowcount)


def list_tokens(
    connection: Connection, *, user_id: int | None, after_id: int, limit: int
) -> list[ApiToken]:
    """Tokens (of a user, or of all) in the order they were made, after `after_id`."""
    query = sa.select(*COLUMNS).where(LIVE, api_tokens.c.id > after_id)
    if user_id is not None:
        query = query.where(api_tokens.c.user_id == user_id)
    return [
        token_of(row) for row in connection.execute(query.order_by(api_tokens.c.id).limit(limit))
    ]


_DIGEST = sa.bindparam("digest", type_=sa.LargeBinary(32))
#: Whose is a digest: a token's own, or one that stands in for it. Both by index.
_PRESENTED = sa.union_all(
    sa.select(
        api_tokens.c.id.label("token_id"),
        sa.literal_column("0", Int64).label("until"),
        sa.literal_column("0", Int64).label("session_id"),
    ).where(api_tokens.c.digest == _DIGEST),
    sa.select(
        token_stand_ins.c.token_id, token_stand_ins.c.until, token_stand_ins.c.session_id
    ).where(token_stand_ins.c.digest == _DIGEST),
).subquery("presented")
_WITH_OWNER = (
    sa.select(
        *COLUMNS,
        users.c.status.label("user_status"),
        granted(api_tokens.c.user_id, api_tokens.c.group_id).label("group_granted"),
        _PRESENTED.c.until,
        _PRESENTED.c.session_id,
    )
    .select_from(_PRESENTED)
    .join(api_tokens, api_tokens.c.id == _PRESENTED.c.token_id)
    .join(users, users.c.id == api_tokens.c.user_id)
    .where(LIVE)
)


def token_by_digest(connection: Connection, digest: bytes) -> TokenWithOwner | None:
    """The token with this digest, and what of its owner matters to a call."""
    row = connection.execute(_WITH_OWNER, {"digest": digest}).one_or_none()
    if row is None:
        return None
    return TokenWithOwner(
        token_of(row[: len(COLUMNS)]),
        row.user_status == Status.ACTIVE,
        bool(row.group_granted),
        int(row.until),
        int(row.session_id),
    )


# --- secrets that stand in --------------------------------------------------------------------


def insert_stand_in(connection: Connection, stand_in: StandIn, *, at_ms: int) -> None:
    """A secret that is known beside the token's own."""
    connection.execute(sa.insert(token_stand_ins).values(**stand_in._asdict(), created_at_ms=at_ms))


def drop_old_secrets(connection: Connection, token_id: int) -> None:
    """No secret that was the token's own is known any more."""
    _drop(connection, token_stand_ins.c.token_id == token_id, token_stand_ins.c.session_id == 0)


def drop_playground_keys(connection: Connection, token_id: int) -> None:
    """No playground key of the token is known any more."""
    _drop(connection, token_stand_ins.c.token_id == token_id, token_stand_ins.c.session_id != 0)


def drop_playground_keys_of_session(connection: Connection, session_id: int) -> list[bytes]:
    """No playground key of the session is known any more; the digests they had."""
    gone = sa.delete(token_stand_ins).where(token_stand_ins.c.session_id == session_id)
    found = connection.execute(gone.returning(token_stand_ins.c.digest)).scalars()
    return [bytes(digest) for digest in found]


def drop_oldest_playground_keys(
    connection: Connection, token_id: int, session_id: int, *, keep: int
) -> list[bytes]:
    """Only the newest playground keys of a token stay with a session; the digests of the rest."""
    newest = (
        sa.select(token_stand_ins.c.digest)
        .where(token_stand_ins.c.token_id == token_id, token_stand_ins.c.session_id == session_id)
        .order_by(token_stand_ins.c.until.desc(), token_stand_ins.c.digest)
        .offset(keep)
        .limit(1000)
    )
    older = [bytes(digest) for digest in connection.execute(newest).scalars()]
    if older:
        _drop(connection, token_stand_ins.c.digest.in_(older))
    return older


def drop_ended(connection: Connection, before: int) -> None:
    """Forgets what ended before this moment, in unix seconds."""
    _drop(connection, token_stand_ins.c.until < before)


def _drop(connection: Connection, *conditions: sa.ColumnElement[bool]) -> None:
    connection.execute(sa.delete(token_stand_ins).where(*conditions))


# --- the models of others ---------------------------------------------------------------------


def names_on_sale(connection: Connection) -> frozenset[str]:
    """The names of the models that are on sale, to whomever."""
    return frozenset(connection.execute(sa.select(models.c.name).where(models.c.enabled)).scalars())


def _values(terms: TokenTerms) -> dict[str, Any]:
    return {
        "name": terms.name,
        "group_id": terms.group_id,
        "models": None if terms.models is None else list(terms.models),
        "ips": list(terms.ips),
        "expires_at": terms.expires_at,
        "limit_nano": terms.limit_nano,
        "reset": terms.reset.value,
        "total_nano": terms.total_nano,
        "description": terms.description,
        "playground_allowed": terms.playground_allowed,
        "content_days": terms.content_days,
        **asdict(terms.limits),
    }


def token_of(row: Any) -> ApiToken:
    """A row of COLUMNS."""
    token_id, user_id, group_id, name, models, ips, *others = row
    expires_at, limit_nano, enabled, last4, created_at_ms, *others = others
    reset, total_nano, limit_no, description, playground_allowed, content_days, *limits = others
    return ApiToken(
        TokenId(token_id),
        user_id,
        group_id,
        name,
        None if models is None else tuple(models),
        tuple(ips),
        expires_at,
        limit_nano,
        enabled,
        last4,
        created_at_ms,
        Reset(reset),
        total_nano,
        limit_no,
        CallLimits(*limits),
        description,
        playground_allowed,
        content_days,
    )


def owners(connection: Connection, token_ids: Collection[int]) -> dict[int, int]:
    """Whose tokens these are, also of deleted ones."""
    query = sa.select(api_tokens.c.id, api_tokens.c.user_id).where(
        api_tokens.c.id.in_(sorted(token_ids))
    )
    return {row[0]: row[1] for row in connection.execute(query)}


def keeping_content(connection: Connection, token_ids: Collection[int]) -> set[int]:
    """Those of the tokens that are there and keep what is said."""
    query = sa.select(api_tokens.c.id).where(
        api_tokens.c.id.in_(sorted(token_ids)),
        api_tokens.c.content_days > 0,
        api_tokens.c.deleted_at_ms.is_(None),
    )
    return set(connection.execute(query).scalars())
