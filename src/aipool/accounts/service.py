"""Use cases of accounts: people, their status and role, and what they say of themselves.

Coming in is in `entry`, what people do with their own account in `oneself`, sessions in `sessions`,
second factors in `totp`, codes in `codes`.

Refusals (kit.errors):
    invalid_phone, invalid_email, invalid_name, password_too_short, password_too_long,
    password_too_weak, password_too_common, malformed_note                     422
    user_exists, last_root                                                     409
    user_unknown                                                               404
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from sqlalchemy.engine import Connection

from aipool.accounts import rules
from aipool.accounts.sessions import (
    SessionsEnd,
    end_access_tokens,
    end_sessions,
    ended_tokens,
    untold,
)
from aipool.accounts.store import people as store
from aipool.accounts.store import sessions as session_rows
from aipool.accounts.store import ways as way_store
from aipool.accounts.types import Role, Status, User
from aipool.audit.service import record, search
from aipool.audit.types import Act, Wanted
from aipool.kit import digests
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, NotFound

#: Rows of the trail that are read at a time.
_PAGE = 500

#: An administrator's link, from when it is made.
RESET_LINK_MS = 24 * 3600 * 1000


# --- who there is -----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Details:
    """What a new account begins with beside its number and its password."""

    name: str = ""
    email: str = ""
    locale: str = ""
    phone_verified: bool = False
    email_verified: bool = False
    terms_version: str = ""
    privacy_version: str = ""


NO_DETAILS = Details()


def create_user(
    tx: Transaction,
    act: Act,
    *,
    phone: str,
    password_hash: str,
    role: Role = Role.USER,
    status: Status = Status.ACTIVE,
    details: Details = NO_DETAILS,
) -> User:
    """A new account. phone: canonical, "" = it has none yet.  password_hash: of a password that
    was checked."""
    if phone:
        make_room(tx, act, "phone", phone, is_verified=details.phone_verified)
    if details.email:
        make_room(tx, act, "email", details.email, is_verified=details.email_verified)
    user = store.insert_user(
        tx.connection,
        phone=phone,
        password_hash=password_hash,
        role=role,
        status=status,
        at_ms=act.at_ms,
        name=details.name,
        email=details.email or None,
        locale=details.locale,
        phone_verified_at_ms=act.at_ms if details.phone_verified else None,
        email_verified_at_ms=act.at_ms if details.email and details.email_verified else None,
        terms_version=details.terms_version,
        privacy_version=details.privacy_version,
        terms_at_ms=act.at_ms if details.terms_version or details.privacy_version else None,
    )
    after: dict[str, object] = {"phone": phone, "role": role}
    if status is not Status.ACTIVE:
        after["status"] = status
    if details.terms_version or details.privacy_version:
        after |= {
            "terms_version": details.terms_version,
            "privacy_version": details.privacy_version,
        }
    record(tx, act, "user.create", target(user), after=after)
    return user


def find_user(connection: Connection, phone: str) -> User | None:
    """The account a person means by this number, however it is written."""
    return store.user_by_phone(connection, rules.canonical_phone(phone))


def get_user(connection: Connection, phone: str) -> User:
    """Like find_user; raises NotFound when there is none."""
    user = find_user(connection, phone)
    if user is None:
        raise NotFound(
            "user_unknown", f"there is no user {phone}", field="user", params={"user": phone}
        )
    return user


def user_by_id(connection: Connection, user_id: int) -> User:
    """The account with this id; raises NotFound when there is none."""
    user = store.user_by_id(connection, user_id)
    if user is None:
        raise NotFound(
            "user_unknown", f"there is no user {user_id}", field="user", params={"user": user_id}
        )
    return user


def users_by_ids(connection: Connection, user_ids: Collection[int]) -> dict[int, User]:
    """The accounts among these ids, by id."""
    return store.users_by_ids(connection, user_ids)


def sees_everybody(operator: User) -> bool:
    """May they administer whoever there is?"""
    return all(rules.may_administer(operator.role, role) for role in Role)


def masked_among(
    connection: Connection, operator: User, user_ids: Collection[int]
) -> frozenset[int]:
    """Those of these accounts that the operator may not administer, oneself excepted: who they are
    is not told to the operator."""
    roles = [role for role in Role if not rules.may_administer(operator.role, role)]
    if not roles or not user_ids:
        return frozenset()
    return store.ids_with_role(connection, user_ids, roles) - {operator.id}


def user_by_login(connection: Connection, login: rules.Login) -> User | None:
    """The account that a person means by what they wrote to log in."""
    if login.email:
        return store.user_by_email(connection, login.email)
    return store.user_by_phone(connection, login.phone) if login.phone else None


def list_users(connection: Connection, *, after_id: int = 0, limit: int = 1000) -> list[User]:
    """Accounts in the order they were made."""
    return store.list_users(connection, after_id=after_id, limit=limit)


def password_hash_of(connection: Connection, user: User) -> str:
    """The stored hash, to compare a password with."""
    return store.password_hash_of(connection, user.id)


def note_login(tx: Transaction, act: Act, user: User) -> User:
    """The person logged in. Understood in the trail by the session."""
    store.update_user(tx.connection, user.id, last_login_at_ms=act.at_ms)
    return user_by_id(tx.connection, user.id)


# --- what operators change --------------------------------------------------------------------


def set_status(
    tx: Transaction, act: Act, user: User, status: Status, ended: SessionsEnd = untold
) -> bool:
    """Disables or enables the account and with it every API token of it, and lets in whoever
    waited for approval. Ends every session. True = changed."""
    if user.status is status:
        return False
    if status is not Status.ACTIVE:
        _keep_a_root(tx.connection, user)
    store.update_user(tx.connection, user.id, status=status)
    end_sessions(tx, user.id, ended=ended)
    # A user may have any number of tokens; workers fetch again those that are called.
    tx.changes.note_everything()
    verb = "enable" if status is Status.ACTIVE else "disable"
    record(
        tx,
        act,
        f"user.{'approve' if user.status is Status.PENDING and verb == 'enable' else verb}",
        target(user),
        before={"status": user.status},
        after={"status": status},
    )
    return True


def approve(tx: Transaction, act: Act, user: User) -> bool:
    """Lets in whoever waited for it. True = changed; False = nobody waited."""
    return user.status is Status.PENDING and set_status(tx, act, user, Status.ACTIVE)


def set_role(
    tx: Transaction, act: Act, user: User, role: Role, ended: SessionsEnd = untold
) -> bool:
    """Another role from now on; ends every session, and every access token, which was given for
    what the person was. True = changed."""
    if user.role is role:
        return False
    _keep_a_root(tx.connection, user)
    store.update_user(tx.connection, user.id, role=role)
    end_access_tokens(tx, user.id)
    end_sessions(tx, user.id, ended=ended)
    record(tx, act, "user.set_role", target(user), before={"role": user.role}, after={"role": role})
    return True


def set_note(tx: Transaction, act: Act, user: User, note: str) -> bool:
    """What operators note about a person. True = changed."""
    checked = rules.checked_note(note)
    if checked == user.note:
        return False
    store.update_user(tx.connection, user.id, note=checked)
    record(
        tx, act, "user.set_note", target(user), before={"note": user.note}, after={"note": checked}
    )
    return True


def issue_reset_link(
    tx: Transaction, act: Act, pepper: bytes, user: User, *, life_ms: int = RESET_LINK_MS
) -> str:
    """The secret of a link with which the person chooses a new password, once. It takes the
    place of one that was issued before."""
    secret = digests.generate(digests.RESET_PREFIX)
    way_store.replace_reset_link(
        tx.connection,
        user.id,
        digest=digests.digest(pepper, secret.encode()),
        expires_at_ms=act.at_ms + life_ms,
    )
    record(tx, act, "user.issue_reset_link", target(user))
    return secret


def _keep_a_root(connection: Connection, user: User) -> None:
    is_the_last = (
        user.role is Role.ROOT
        and user.status is Status.ACTIVE
        and store.active_roots(connection) == 1
    )
    if is_the_last:
        raise Conflict("last_root", "somebody must stay who may do everything")


# --- what people change of themselves ---------------------------------------------------------


def set_password(
    tx: Transaction,
    act: Act,
    user: User,
    *,
    password_hash: str,
    but_session: int = 0,
    ended: SessionsEnd = untold,
) -> None:
    """Another password from now on. Ends every session but that one, and a reset link.

    but_session: of the owner, who showed the password there was: of the access tokens, the
    sensitive ones end.  0 = it was reset, and all of them end.
    """
    store.update_user(tx.connection, user.id, password_hash=password_hash)
    way_store.delete_reset_link(tx.connection, user.id)
    end_sessions(tx, user.id, but=but_session, ended=ended)
    session_rows.update_session(tx.connection, but_session, password_is_short=False)
    count = end_access_tokens(tx, user.id, only_sensitive=but_session != 0)
    record(tx, act, "user.set_password", target(user), before=ended_tokens(count))


def set_profile(tx: Transaction, act: Act, user: User, **fields: Any) -> User:
    """Other values of some of name, locale and low_balance_nano."""
    changed = {name: value for name, value in fields.items() if getattr(user, name) != value}
    if not changed:
        return user
    store.update_user(tx.connection, user.id, **changed)
    before = {name: getattr(user, name) for name in changed}
    record(tx, act, "user.update", target(user), before=before, after=changed)
    return user_by_id(tx.connection, user.id)


def told_of_low_balance(connection: Connection, user_ids: Collection[int]) -> set[int]:
    """Those of the accounts whose owners know that the balance is low."""
    return store.told_of_low_balance(connection, user_ids)


def note_low_balance(tx: Transaction, user_id: int, *, told: bool) -> None:
    """The owner was told, or the balance is not low any more. Nothing for the trail: nobody did
    it."""
    store.update_user(tx.connection, user_id, low_balance_told=told)


def agree(
    tx: Transaction, act: Act, user: User, *, terms_version: str, privacy_version: str
) -> None:
    """The person agrees to these versions of the terms and of the privacy notice."""
    agreed = {"terms_version": terms_version, "privacy_version": privacy_version}
    store.update_user(tx.connection, user.id, **agreed, terms_at_ms=act.at_ms)
    record(tx, act, "user.agree", target(user), after=agreed)


def set_phone(tx: Transaction, act: Act, user: User, phone: str, *, is_verified: bool) -> None:
    """Another number from now on, or the same one, proved. phone: canonical."""
    make_room(tx, act, "phone", phone, is_verified=is_verified, but=user)
    verified_at_ms = act.at_ms if is_verified else None
    if phone == user.phone and not is_verified:
        verified_at_ms = user.phone_verified_at_ms
    store.update_user(tx.connection, user.id, phone=phone, phone_verified_at_ms=verified_at_ms)
    record(
        tx,
        act,
        "user.set_phone",
        target(user),
        before={"phone": user.phone},
        after={"phone": phone, "verified": is_verified},
    )


def set_email(tx: Transaction, act: Act, user: User, email: str, *, is_verified: bool) -> None:
    """Another address from now on, or the same one, proved. email: canonical; "" = none."""
    if email:
        make_room(tx, act, "email", email, is_verified=is_verified, but=user)
    verified_at_ms = act.at_ms if email and is_verified else None
    if email == user.email and not is_verified:
        verified_at_ms = user.email_verified_at_ms
    store.update_user(
        tx.connection, user.id, email=email or None, email_verified_at_ms=verified_at_ms
    )
    record(
        tx,
        act,
        "user.set_email",
        target(user),
        before={"email": user.email},
        after={"email": email, "verified": is_verified},
    )


def make_room(
    tx: Transaction,
    act: Act,
    field: str,
    address: str,
    *,
    is_verified: bool,
    but: User | None = None,
) -> None:
    """Raises Conflict when the number or the address is another's.

    Who has proved to own it takes it from an account that never did. That account keeps
    everything else and must choose another. Not from an operator's: theirs was typed in by hand
    by whoever runs the place.
    """
    if field == "phone":
        other = store.user_by_phone(tx.connection, address)
    else:
        other = store.user_by_email(tx.connection, address)
    if other is None or (but is not None and other.id == but.id):
        return
    proved = other.phone_verified_at_ms if field == "phone" else other.email_verified_at_ms
    if not is_verified or proved is not None or other.role is not Role.USER:
        raise Conflict(
            "user_exists",
            f"there is a user {address} already",
            field=field,
            params={"address": address},
        )
    store.update_user(tx.connection, other.id, **{field: None})
    record(tx, act, f"user.lose_{field}", target(other), before={field: address})


def former_holders(connection: Connection, phone: str) -> list[User]:
    """Whose number this was before they took another or lost it, as the trail tells."""
    ids = set()
    for action in ("user.set_phone", "user.lose_phone"):
        before_id = None
        while rows := search(connection, Wanted(action=action), limit=_PAGE, before_id=before_id):
            before_id = rows[-1].id
            ids |= {
                int(row.target.partition(":")[2])
                for row in rows
                if (row.before or {}).get("phone") == phone != (row.after or {}).get("phone")
            }
    found = users_by_ids(connection, ids)
    return [found[user_id] for user_id in sorted(found)]


def target(user: User) -> str:
    """How the trail names an account."""
    return f"user:{user.id}"
