"""Use cases of accounts.

Refusals (kit.errors):
    invalid_phone, password_too_short, password_too_long, password_too_weak    422
    user_exists                                                                409
    user_unknown                                                               404
"""

from __future__ import annotations

from sqlalchemy.engine import Connection

from aipool.accounts import rules, store
from aipool.accounts.types import Role, Status, User
from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, NotFound


def create_user(
    tx: Transaction, act: Act, *, phone: str, password_hash: str, role: Role = Role.USER
) -> User:
    """A new account. phone: canonical.  password_hash: of a password that was checked."""
    if store.user_by_phone(tx.connection, phone) is not None:
        raise Conflict("user_exists", f"there is a user {phone} already", field="phone")
    user = store.insert_user(
        tx.connection, phone=phone, password_hash=password_hash, role=role, at_ms=act.at_ms
    )
    record(tx, act, "user.create", target(user), after={"phone": phone, "role": role})
    return user


def set_password(tx: Transaction, act: Act, user: User, *, password_hash: str) -> None:
    """Another password from now on."""
    store.update_password(tx.connection, user.id, password_hash)
    record(tx, act, "user.set_password", target(user))


def set_status(tx: Transaction, act: Act, user: User, status: Status) -> bool:
    """Disables or enables the account and with it every API token of it. True = changed."""
    if user.status is status:
        return False
    store.update_status(tx.connection, user.id, status)
    # A user may have any number of tokens; workers fetch again those that are called.
    tx.changes.note_everything()
    record(
        tx,
        act,
        f"user.{'enable' if status is Status.ACTIVE else 'disable'}",
        target(user),
        before={"status": user.status},
        after={"status": status},
    )
    return True


def find_user(connection: Connection, phone: str) -> User | None:
    """The account a person means by this number, however it is written."""
    return store.user_by_phone(connection, rules.canonical_phone(phone))


def get_user(connection: Connection, phone: str) -> User:
    """Like find_user; raises NotFound when there is none."""
    user = find_user(connection, phone)
    if user is None:
        raise NotFound("user_unknown", f"there is no user {phone}", field="user")
    return user


def user_by_id(connection: Connection, user_id: int) -> User:
    """The account with this id; raises NotFound when there is none."""
    user = store.user_by_id(connection, user_id)
    if user is None:
        raise NotFound("user_unknown", f"there is no user {user_id}", field="user")
    return user


def list_users(connection: Connection, *, after_id: int = 0, limit: int = 1000) -> list[User]:
    """Accounts in the order they were made."""
    return store.list_users(connection, after_id=after_id, limit=limit)


def password_hash_of(connection: Connection, user: User) -> str:
    """The stored hash, to compare a password with."""
    return store.password_hash_of(connection, user.id)


def target(user: User) -> str:
    """How the trail names an account."""
    return f"user:{user.id}"
