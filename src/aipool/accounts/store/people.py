"""The statements about accounts and the set-up link, one function each."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.accounts.tables import setup_links, users
from aipool.accounts.types import Role, Status, User, UserId

#: What a `User` is made of.
USER_COLUMNS = (
    users.c.id,
    users.c.phone,
    users.c.role,
    users.c.status,
    users.c.created_at_ms,
    users.c.name,
    users.c.email,
    users.c.locale,
    users.c.phone_verified_at_ms,
    users.c.email_verified_at_ms,
    users.c.terms_version,
    users.c.terms_at_ms,
    users.c.totp_confirmed_at_ms,
    users.c.last_login_at_ms,
    users.c.low_balance_nano,
    users.c.note,
    users.c.privacy_version,
)


def insert_user(
    connection: Connection,
    *,
    phone: str,
    password_hash: str,
    role: Role,
    status: Status = Status.ACTIVE,
    at_ms: int,
    **more: Any,
) -> User:
    """A new account. more: further columns."""
    row = connection.execute(
        sa.insert(users)
        .values(
            phone=phone or None,
            password_hash=password_hash,
            role=role,
            status=status,
            created_at_ms=at_ms,
            **more,
        )
        .returning(*USER_COLUMNS)
    ).one()
    return user_of(row)


def user_by_phone(connection: Connection, phone: str) -> User | None:
    """The account with this number (E.164)."""
    return _one(connection, users.c.phone == phone)


def user_by_email(connection: Connection, email: str) -> User | None:
    """The account with this address (lower case)."""
    return _one(connection, users.c.email == email)


def user_by_id(connection: Connection, user_id: int) -> User | None:
    """The account with this id."""
    return _one(connection, users.c.id == user_id)


def users_by_ids(connection: Connection, user_ids: Collection[int]) -> dict[int, User]:
    """The accounts among these ids, by id."""
    query = sa.select(*USER_COLUMNS).where(users.c.id.in_(sorted(set(user_ids))))
    return {row.id: user_of(row) for row in connection.execute(query)}


def ids_with_role(
    connection: Connection, user_ids: Collection[int], roles: Collection[Role]
) -> frozenset[int]:
    """Those of these accounts that have one of the roles."""
    query = sa.select(users.c.id).where(users.c.id.in_(sorted(set(user_ids))))
    return frozenset(connection.execute(query.where(users.c.role.in_(sorted(roles)))).scalars())


def list_users(connection: Connection, *, after_id: int, limit: int) -> list[User]:
    """Accounts in the order they were made, from the one after `after_id` on."""
    query = sa.select(*USER_COLUMNS).where(users.c.id > after_id)
    return [user_of(row) for row in connection.execute(query.order_by(users.c.id).limit(limit))]


def active_roots(connection: Connection) -> int:
    """How many root accounts may be used."""
    query = sa.select(sa.func.count()).where(
        users.c.role == Role.ROOT, users.c.status == Status.ACTIVE
    )
    return int(connection.execute(query).scalar_one())


def root_exists(connection: Connection) -> bool:
    """Is there a root account?"""
    query = sa.select(sa.exists().where(users.c.role == Role.ROOT))
    return bool(connection.execute(query).scalar())


def password_hash_of(connection: Connection, user_id: int) -> str:
    """The stored hash of an existing account."""
    query = sa.select(users.c.password_hash).where(users.c.id == user_id)
    return str(connection.execute(query).scalar_one())


def totp_of(connection: Connection, user_id: int) -> tuple[str, int]:
    """The sealed secret of an existing account, "" = none, and the step that was last used."""
    query = sa.select(users.c.totp_secret, users.c.totp_step).where(users.c.id == user_id)
    row = connection.execute(query).one()
    return row.totp_secret, row.totp_step


def use_totp_step(connection: Connection, user_id: int, step: int) -> bool:
    """Notes that a code of this step was used. False: it, or a later one, was used before."""
    done = connection.execute(
        sa.update(users)
        .where(users.c.id == user_id, users.c.totp_step < step)
        .values(totp_step=step)
    )
    return done.rowcount == 1


def update_user(connection: Connection, user_id: int, **columns: Any) -> None:
    """Other values of these columns from now on."""
    connection.execute(sa.update(users).where(users.c.id == user_id).values(**columns))


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


def user_of(row: Any) -> User:
    """The account that a row with USER_COLUMNS tells of."""
    return User(
        UserId(row.id),
        row.phone or "",
        Role(row.role),
        Status(row.status),
        row.created_at_ms,
        row.name,
        row.email or "",
        row.locale,
        row.phone_verified_at_ms,
        row.email_verified_at_ms,
        row.terms_version,
        row.terms_at_ms,
        row.totp_confirmed_at_ms is not None,
        row.last_login_at_ms,
        row.low_balance_nano,
        row.note,
        row.privacy_version,
    )


def _one(connection: Connection, condition: sa.ColumnElement[bool]) -> User | None:
    row = connection.execute(sa.select(*USER_COLUMNS).where(condition)).one_or_none()
    return user_of(row) if row else None


def told_of_low_balance(connection: Connection, user_ids: Collection[int]) -> set[int]:
    """Those of the accounts whose owners were told, and whose balances have been low since."""
    query = sa.select(users.c.id).where(users.c.id.in_(sorted(user_ids)), users.c.low_balance_told)
    return set(connection.execute(query).scalars())
