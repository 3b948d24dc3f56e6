"""The statements about sessions and access tokens, one function each."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.accounts.store.people import USER_COLUMNS, user_of
from aipool.accounts.tables import access_tokens, sessions, users
from aipool.accounts.types import AccessToken, AccessTokenId, Session, SessionId, User, UserId

_SESSION_COLUMNS = tuple(
    sessions.c[name]
    for name in (
        "id",
        "user_id",
        "created_at_ms",
        "seen_at_ms",
        "expires_at_ms",
        "idle_ms",
        "stepped_up_until_ms",
        "ip",
        "user_agent",
        "password_is_short",
    )
)
_TOKEN_COLUMNS = tuple(
    access_tokens.c[name]
    for name in (
        "id",
        "user_id",
        "name",
        "last4",
        "read_only",
        "is_sensitive",
        "created_at_ms",
        "expires_at_ms",
        "last_used_at_ms",
    )
)


# --- sessions ---------------------------------------------------------------------------------


def insert_session(connection: Connection, *, digest: bytes, **columns: Any) -> Session:
    """A new session."""
    insert = sa.insert(sessions).values(digest=digest, **columns).returning(*_SESSION_COLUMNS)
    return _session(connection.execute(insert).one())


def session_by_digest(connection: Connection, digest: bytes) -> tuple[Session, User] | None:
    """The session with this secret, over or not, and whose it is."""
    row = _with_user(connection, _SESSION_COLUMNS, sessions.c.digest == digest)
    return (_session(row[0]), row[1]) if row else None


def sessions_of(connection: Connection, user_id: int) -> list[Session]:
    """A person's sessions, over or not, the newest first."""
    query = sa.select(*_SESSION_COLUMNS).where(sessions.c.user_id == user_id)
    return [_session(row) for row in connection.execute(query.order_by(sessions.c.id.desc()))]


def update_session(connection: Connection, session_id: int, **columns: Any) -> None:
    """Other values of these columns from now on."""
    connection.execute(sa.update(sessions).where(sessions.c.id == session_id).values(**columns))


def delete_sessions(connection: Connection, session_ids: list[SessionId]) -> None:
    """These are over."""
    connection.execute(sa.delete(sessions).where(sessions.c.id.in_(session_ids)))


def expired_sessions(connection: Connection, at_ms: int, limit: int) -> list[SessionId]:
    """Some of those whose time is up, whoever's."""
    query = sa.select(sessions.c.id).where(sessions.c.expires_at_ms <= at_ms).limit(limit)
    return [SessionId(row.id) for row in connection.execute(query)]


# --- access tokens ----------------------------------------------------------------------------


def insert_access_token(connection: Connection, *, digest: bytes, **columns: Any) -> AccessToken:
    """A person's access token, by its digest."""
    insert = sa.insert(access_tokens).values(digest=digest, **columns).returning(*_TOKEN_COLUMNS)
    return _token(connection.execute(insert).one())


def access_token_by_digest(
    connection: Connection, digest: bytes
) -> tuple[AccessToken, User] | None:
    """The access token with this secret, expired or not, and whose it is."""
    row = _with_user(connection, _TOKEN_COLUMNS, access_tokens.c.digest == digest)
    return (_token(row[0]), row[1]) if row else None


def access_tokens_of(connection: Connection, user_id: int) -> list[AccessToken]:
    """A person's access tokens, in the order they were made."""
    query = sa.select(*_TOKEN_COLUMNS).where(access_tokens.c.user_id == user_id)
    return [_token(row) for row in connection.execute(query.order_by(access_tokens.c.id))]


def note_use(connection: Connection, access_token_id: int, at_ms: int) -> None:
    """The access token was used."""
    connection.execute(
        sa.update(access_tokens)
        .where(access_tokens.c.id == access_token_id)
        .values(last_used_at_ms=at_ms)
    )


def delete_access_token(connection: Connection, access_token_id: int) -> None:
    """It opens nothing any more."""
    connection.execute(sa.delete(access_tokens).where(access_tokens.c.id == access_token_id))


def _with_user(
    connection: Connection,
    columns: tuple[sa.Column[Any], ...],
    condition: sa.ColumnElement[bool],
) -> tuple[Any, User] | None:
    """A row and the person it belongs to: two statements, as their columns are named alike."""
    query = sa.select(*columns).where(condition)
    row = connection.execute(query).one_or_none()
    if row is None:
        return None
    of_user = sa.select(*USER_COLUMNS).where(users.c.id == row.user_id)
    return row, user_of(connection.execute(of_user).one())


def _session(row: Any) -> Session:
    return Session(SessionId(row.id), UserId(row.user_id), *row[2:])


def _token(row: Any) -> AccessToken:
    return AccessToken(AccessTokenId(row.id), UserId(row.user_id), *row[2:])


def delete_access_tokens_of(
    connection: Connection, user_id: int, *, only_sensitive: bool = False
) -> int:
    """The person has none any more, or none of the sensitive; how many there were."""
    delete = sa.delete(access_tokens).where(access_tokens.c.user_id == user_id)
    if only_sensitive:
        delete = delete.where(access_tokens.c.is_sensitive)
    return connection.execute(delete).rowcount
