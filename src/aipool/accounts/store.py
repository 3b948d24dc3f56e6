"""The statements of accounts, one function each."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.accounts.tables import access_tokens, setup_links, users
from aipool.accounts.types import Role, Status, User, UserId

_USER_COLUMNS = (users.c.id, users.c.phone, users.c.role, users.c.status, users.c.created_at_ms)


def insert_user(
    connection: Connection, *, phone: str, password_hash: str, role: Role, at_ms: int
) -> User:
    """A new, active account."""
    row = connection.execute(
        sa.insert(users)
        .values(
            phone=phone,
            password_hash=password_hash,
            role=role,
            status=Status.ACTIVE,
            created_at_ms=at_ms,
        )
        .returning(*_USER_COLUMNS)
    ).one()
    return _user(row)


def user_by_phone(connection: Connection, phone: str) -> User | None:
    """The account with this number (E.164)."""
    row = connection.execute(sa.select(*_USER_COLUMNS).where(users.c.phone == phone)).one_or_none()
    return _user(row) if row else None


def user_by_id(connection: Connection, user_id: int) -> User | None:
    """The account with this id."""
    row = connection.execute(sa.select(*_USER_COLUMNS).where(users.c.id == user_id)).one_or_none()
    return _user(row) if row else None


def list_users(connection: Connection, *, after_id: int, limit: int) -> list[User]:
    """Accounts in the order they were made, from the one after `after_id` on."""
    query = sa.select(*_USER_COLUMNS).where(users.c.id > after_id)
    return [_user(row) for row in connection.execute(query.order_by(users.c.id).limit(limit))]


def root_exists(connection: Connection) -> bool:
    """Is there a root account?"""
    query = sa.select(sa.exists().where(users.c.role == Role.ROOT))
    return bool(connection.execute(query).scalar())


def password_hash_of(connection: Connection, user_id: int) -> str:
    """The stored hash of an existing account."""
    query = sa.select(users.c.password_hash).where(users.c.id == user_id)
    return str(connection.execute(query).scalar_one())


def update_password(connection: Connection, user_id: int, password_hash: str) -> None:
    """Another password from now on."""
    connection.execute(
        sa.update(users).where(users.c.id == user_id).values(password_hash=password_hash)
    )


def update_status(connection: Connection, user_id: int, status: Status) -> None:
    """Another status from now on."""
    connection.execute(sa.update(users).where(users.c.id == user_id).values(status=status))


def insert_access_token(connection: Connection, *, user_id: int, digest: bytes, at_ms: int) -> None:
    """A person's access token, by its digest."""
    connection.execute(
        sa.insert(access_tokens).values(user_id=user_id, digest=digest, created_at_ms=at_ms)
    )


def user_of_access_token(connection: Connection, digest: bytes) -> User | None:
    """Whose access token this is."""
    query = (
        sa.select(*_USER_COLUMNS)
        .join_from(users, access_tokens)
        .where(access_tokens.c.digest == digest)
    )
    row = connection.execute(query).one_or_none()
    return _user(row) if row else None


def replace_setup_link(connection: Connection, *, digest: bytes, at_ms: int) -> None:
    """The one valid set-up link is this one."""
    delete_setup_link(connection)
    connection.execute(sa.insert(setup_links).values(id=1, digest=digest, issued_at_ms=at_ms))


def delete_setup_link(connection: Connection) -> None:
    """No set-up link is valid."""
    connection.execute(sa.delete(setup_links))


def setup_link_digest(connection: Connection) -> bytes | None:
    """The digest of the valid set-up link."""
    digest = connection.execute(sa.select(setup_links.c.digest)).scalar()
    return bytes(digest) if digest is not None else None


def _user(row: Any) -> User:
    return User(UserId(row.id), row.phone, Role(row.role), Status(row.status), row.created_at_ms)
