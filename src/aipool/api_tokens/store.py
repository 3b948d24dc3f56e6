"""The statements of API tokens, one function each."""

from __future__ import annotations

from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.accounts.tables import users
from aipool.accounts.types import Status
from aipool.api_tokens.tables import api_tokens
from aipool.api_tokens.types import ApiToken, Reset, TokenId, TokenTerms, TokenWithOwner
from aipool.groups.types import CallLimits

_COLUMNS = (
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
    *(api_tokens.c[field.name] for field in fields(CallLimits)),
)
_LIVE = api_tokens.c.deleted_at_ms.is_(None)


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
        .returning(*_COLUMNS)
    ).one()
    return _token(row)


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
    query = sa.select(*_COLUMNS).where(
        api_tokens.c.user_id == user_id, api_tokens.c.name == name, _LIVE
    )
    row = connection.execute(query).one_or_none()
    return _token(row) if row else None


def token_by_id(connection: Connection, token_id: int) -> ApiToken | None:
    """The token with this id, unless it was deleted."""
    query = sa.select(*_COLUMNS).where(api_tokens.c.id == token_id, _LIVE)
    row = connection.execute(query).one_or_none()
    return _token(row) if row else None


def digest_of(connection: Connection, token_id: int) -> bytes:
    """The digest of an existing token."""
    query = sa.select(api_tokens.c.digest).where(api_tokens.c.id == token_id)
    return bytes(connection.execute(query).scalar_one() or b"")


def digest_is_taken(connection: Connection, digest: bytes) -> bool:
    """Does a token with this digest exist?"""
    query = sa.select(sa.exists().where(api_tokens.c.digest == digest))
    return bool(connection.execute(query).scalar())


def list_tokens(
    connection: Connection, *, user_id: int | None, after_id: int, limit: int
) -> list[ApiToken]:
    """Tokens (of a user, or of all) in the order they were made, after `after_id`."""
    query = sa.select(*_COLUMNS).where(_LIVE, api_tokens.c.id > after_id)
    if user_id is not None:
        query = query.where(api_tokens.c.user_id == user_id)
    return [_token(row) for row in connection.execute(query.order_by(api_tokens.c.id).limit(limit))]


_WITH_OWNER = (
    sa.select(*_COLUMNS, users.c.status.label("user_status"))
    .join_from(api_tokens, users)
    .where(api_tokens.c.digest == sa.bindparam("digest"))
)


def token_by_digest(connection: Connection, digest: bytes) -> TokenWithOwner | None:
    """The token with this digest and whether its owner's account is active."""
    row = connection.execute(_WITH_OWNER, {"digest": digest}).one_or_none()
    if row is None:
        return None
    return TokenWithOwner(_token(row[: len(_COLUMNS)]), row.user_status == Status.ACTIVE)


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
        **asdict(terms.limits),
    }


def _token(row: Any) -> ApiToken:
    token_id, user_id, group_id, name, models, ips, *others = row
    expires_at, limit_nano, enabled, last4, created_at_ms, *others = others
    reset, total_nano, limit_no, *limits = others
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
    )
