"""People for administrators: who there is, what they have, and what is done to their accounts.

An administrator sees and changes users; administrators and root accounts are the root account's
business (security S-04), and to anybody else they are not there: the answer is that of a missing
id. Money moves by an adjustment alone (control.adjusting), once per key.

Refusals (kit.errors):
    not_allowed                                                         403
    user_unknown                                                        404
    adjustment_out_of_range, invalid_amount, malformed_reason           422
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

from fastapi import APIRouter, Header, Query
from fastapi.responses import Response
from sqlalchemy.engine import Connection
from starlette.requests import Request

from aipool.accounts import passwords, rules, sessions, totp
from aipool.accounts import service as accounts
from aipool.accounts.callers import Asking, Caller
from aipool.accounts.service import RESET_LINK_MS, Details
from aipool.accounts.types import Role, Status, User
from aipool.adjustments.types import Asked as AskedAdjustment
from aipool.apply.credit import adjustment_nano
from aipool.audit.desk import LATER, Acting, AskedId, Desk, Id
from aipool.audit.types import Act
from aipool.control import newcomers, pages, people_list
from aipool.control.adjusting import Recall, adjust_or_ask
from aipool.control.newcomers import sessions_end
from aipool.control.people_list import Asked, Sort
from aipool.control.people_schemas import (
    AdjustmentSent,
    AdjustmentShown,
    AskedShown,
    LinkShown,
    SessionsEnded,
    UserChange,
    UserForAdmins,
    UserMade,
    UserSent,
    UsersShown,
    adjustment_shown,
    user_shown,
)
from aipool.control.second_eyes import asked_shown
from aipool.groups import service as groups
from aipool.kit import digests
from aipool.kit.clock import iso_ms
from aipool.kit.db import Transaction
from aipool.kit.errors import Forbidden, Invalid, NotFound
from aipool.kit.money import MoneyError
from aipool.ledger.service import wallet_balance
from aipool.site.service import Site
from aipool.site.types import ADJUST_ALONE_MAX, BASE_URL

_Limit = Annotated[int, Query(ge=1, le=100)]
_Search = Annotated[str, Query(max_length=100, description="Part of number, address or name; id.")]
_Cursor = Annotated[str, Query(max_length=people_list.CURSOR_CHARACTERS_MAX)]
_Key = Annotated[
    str,
    Header(
        alias="Idempotency-Key",
        min_length=1,
        max_length=200,
        pattern=r"^[\x21-\x7e]+$",
        description="Made up by whoever asks: what was done under it is not done again.",
    ),
]


def routes(desk: Desk, pepper: bytes, site: Site, recall: Recall) -> APIRouter:
    """The list of users, one user, and what is done to them."""
    router = APIRouter(prefix="/api/admin/users")
    _add_lists(router, desk)
    _add_changes(router, desk, pepper, site)
    _add_ways_in(router, desk, pepper, site)
    _add_money(router, desk, site, recall)
    return router


def _add_lists(router: APIRouter, desk: Desk) -> None:
    @router.get("")
    def list_users(
        caller: Asking,
        q: _Search = "",
        role: Role | None = None,
        status: Status | None = None,
        group: AskedId = None,
        sort: Sort = Sort.CREATED,
        descending: bool = True,
        limit: _Limit = 50,
        cursor: _Cursor = "",
    ) -> UsersShown:
        """The users that the caller administers; a group filters by whom it is granted to."""
        visible = frozenset(one for one in Role if rules.may_administer(caller.user.role, one))
        roles = visible if role is None else visible & {role}
        asked = Asked(roles, q.strip(), status, group, sort, descending)
        with desk.database.read() as connection:
            rows, after = people_list.page(connection, asked, cursor=cursor, limit=limit)
            total = people_list.count(connection, asked)
            found = accounts.users_by_ids(connection, [row.user_id for row in rows])
            named = groups.granted_to(connection, [row.user_id for row in rows])
            all_groups = groups.list_groups(connection)
        items = [
            user_shown(
                found[row.user_id],
                balance_nano=row.balance_nano,
                tokens_count=row.tokens_count,
                named=named.get(row.user_id, frozenset()),
                groups=all_groups,
            )
            for row in rows
        ]
        return UsersShown(items=items, next_cursor=after, total=total)

    @router.get("/{user_id}")
    def show_user(user_id: Id, caller: Asking) -> UserForAdmins:
        """One user."""
        with desk.database.read() as connection:
            return _shown(connection, user_for(connection, caller, user_id))


def _add_changes(router: APIRouter, desk: Desk, pepper: bytes, site: Site) -> None:
    @router.post("", status_code=201, response_model=UserMade, responses=LATER)
    def create_user(sent: UserSent, caller: Asking, act: Acting, request: Request) -> Response:
        """A new account. Without a password, the answer has the link to choose one."""
        role = Role(sent.role)
        if role is not Role.USER:
            _refuse_all_but_root(caller)
        phone = rules.canonical_phone(sent.phone)
        password = digests.generate("") if sent.password is None else _checked(sent, role, phone)
        email = rules.canonical_email(sent.email) if sent.email else ""
        details = Details(name=rules.display_name(sent.name), email=email)
        password_hash = passwords.hash_password(password)
        link = None
        with desk.database.write() as tx:
            user = accounts.create_user(
                tx, act, phone=phone, password_hash=password_hash, role=role, details=details
            )
            newcomers.hooks().opened(tx, act, user)
            if sent.note:
                accounts.set_note(tx, act, user, sent.note)
            if sent.group_ids:
                groups.set_grants(tx, act, user.id, _names(tx.connection, sent.group_ids))
            if sent.password is None:
                link = _link(tx, act, pepper, site, user, request)
            user = accounts.user_by_id(tx.connection, user.id)
            shown = _shown(tx.connection, user)
        return desk.done(tx, UserMade(**shown.model_dump(), reset_link=link), 201)

    @router.patch("/{user_id}", response_model=UserForAdmins, responses=LATER)
    def change_user(user_id: Id, sent: UserChange, caller: Asking, act: Acting) -> Response:
        """Name, number, address, note, groups, whether the account may be used, and (root) what
        it may do."""
        given = sent.model_fields_set
        with desk.database.write() as tx:
            user = user_for(tx.connection, caller, user_id)
            if "role" in given and Role(sent.role) is not user.role:
                _refuse_all_but_root(caller)
                accounts.set_role(tx, act, user, Role(sent.role), sessions_end)
            if "name" in given:
                accounts.set_profile(tx, act, user, name=rules.display_name(sent.name))
            _set_reach(tx, act, user, sent)
            if "note" in given:
                accounts.set_note(tx, act, user, sent.note)
            if "group_ids" in given:
                groups.set_grants(tx, act, user.id, _names(tx.connection, sent.group_ids))
            if "status" in given:
                accounts.set_status(tx, act, user, Status(sent.status), sessions_end)
            shown = _shown(tx.connection, accounts.user_by_id(tx.connection, user_id))
        return desk.done(tx, shown)

    @router.post("/{user_id}/approve", response_model=UserForAdmins, responses=LATER)
    def approve_user(user_id: Id, caller: Asking, act: Acting) -> Response:
        """Lets in somebody who waits for it."""
        with desk.database.write() as tx:
            user = user_for(tx.connection, caller, user_id)
            accounts.approve(tx, act, user)
            shown = _shown(tx.connection, accounts.user_by_id(tx.connection, user_id))
        return desk.done(tx, shown)


def _add_ways_in(router: APIRouter, desk: Desk, pepper: bytes, site: Site) -> None:
    @router.post("/{user_id}/reset-totp", response_model=UserForAdmins, responses=LATER)
    def reset_totp(user_id: Id, caller: Asking, act: Acting) -> Response:
        """Switches the second factor off, for who lost device and paper; ends the sessions and
        the access tokens."""
        with desk.database.write() as tx:
            user = user_for(tx.connection, caller, user_id)
            totp.switch_off(tx, act, user, ended=sessions_end)
            shown = _shown(tx.connection, accounts.user_by_id(tx.connection, user_id))
        return desk.done(tx, shown)

    @router.post("/{user_id}/reset-link", status_code=201, response_model=LinkShown)
    def make_reset_link(user_id: Id, caller: Asking, act: Acting, request: Request) -> Response:
        """A link with which the person chooses a new password, once; shown this once."""
        with desk.database.write() as tx:
            user = user_for(tx.connection, caller, user_id)
            link = _link(tx, act, pepper, site, user, request)
        return desk.done(tx, link, 201)

    @router.delete("/{user_id}/sessions", response_model=SessionsEnded, responses=LATER)
    def end_sessions(user_id: Id, caller: Asking, act: Acting) -> Response:
        """Logs the person out everywhere, and ends their access tokens."""
        with desk.database.write() as tx:
            user = user_for(tx.connection, caller, user_id)
            ended, tokens_ended = sessions.end_all(tx, act, user, sessions_end)
        return desk.done(tx, SessionsEnded(ended=ended, access_tokens_ended=tokens_ended))


def _add_money(router: APIRouter, desk: Desk, site: Site, recall: Recall) -> None:
    @router.post(
        "/{user_id}/adjust", response_model=AdjustmentShown, responses={202: {"model": AskedShown}}
    )
    def adjust_balance(
        user_id: Id, sent: AdjustmentSent, caller: Asking, act: Acting, key: _Key
    ) -> Response:
        """Adds to a balance or takes away from it. Only money that no running call holds can be
        taken away. 202: nothing has moved yet; another administrator must agree."""
        amount_nano = _amount_nano(sent.amount)
        reason = _reason(sent.reason)
        with desk.database.read() as connection:
            user = user_for(connection, caller, user_id)
            alone_max_nano = site.value(connection, ADJUST_ALONE_MAX)
        adjusted = adjust_or_ask(
            desk.database,
            recall,
            act,
            user,
            amount_nano=amount_nano,
            reason=reason,
            key=key,
            alone_max_nano=alone_max_nano,
        )
        if isinstance(adjusted, AskedAdjustment):
            with desk.database.read() as connection:
                (waits,) = asked_shown(connection, caller.user, [adjusted], act.at_ms)
            return desk.done(None, waits, 202)
        return desk.done(None, adjustment_shown(adjusted, user))


def user_for(connection: Connection, caller: Caller, user_id: int) -> User:
    """The user, if the caller administers such people; raises NotFound as for a missing one."""
    user = accounts.user_by_id(connection, user_id)
    if not rules.may_administer(caller.user.role, user.role):
        raise NotFound(
            "user_unknown", f"there is no user {user_id}", field="user", params={"user": user_id}
        )
    return user


# --- what is sent -----------------------------------------------------------------------------


def _refuse_all_but_root(caller: Caller) -> None:
    if caller.user.role is not Role.ROOT:
        raise Forbidden(
            "not_allowed", "only the root account says what others may do", field="role"
        )


def _checked(sent: UserSent, role: Role, phone: str) -> str:
    assert sent.password is not None
    password = sent.password.get_secret_value()
    rules.check_password(password, role, phone)
    return password


def _set_reach(tx: Transaction, act: Act, user: User, sent: UserChange) -> None:
    """How the user is named and reached, as far as it becomes other. Nobody proved it."""
    given = sent.model_fields_set
    if "phone" in given:
        phone = rules.canonical_phone(sent.phone)
        if phone != user.phone:
            accounts.set_phone(tx, act, user, phone, is_verified=False)
    if "email" in given:
        email = rules.canonical_email(sent.email) if sent.email.strip() else ""
        if email != user.email:
            accounts.set_email(tx, act, user, email, is_verified=False)


def _names(connection: Connection, group_ids: Sequence[int]) -> list[str]:
    return [groups.group_by_id(connection, group_id).name for group_id in group_ids]


def _amount_nano(text: str) -> int:
    try:
        return adjustment_nano(text)
    except MoneyError as problem:
        raise Invalid(
            "invalid_amount", str(problem), field="amount", params=problem.params
        ) from None
    except Invalid as problem:
        raise Invalid(
            problem.code, problem.message, field="amount", params=problem.params
        ) from None


def _reason(text: str) -> str:
    kept = text.strip()
    if not kept or not kept.isprintable():
        raise Invalid("malformed_reason", "a reason is one line of text", field="reason")
    return kept


# --- what is shown ----------------------------------------------------------------------------


def _shown(connection: Connection, user: User) -> UserForAdmins:
    wallet = wallet_balance(connection, user.id)
    return user_shown(
        user,
        balance_nano=wallet.balance_nano if wallet else 0,
        tokens_count=people_list.tokens_of(connection, [user.id]).get(user.id, 0),
        named=groups.granted_to(connection, [user.id]).get(user.id, frozenset()),
        groups=groups.list_groups(connection),
    )


def _link(
    tx: Transaction, act: Act, pepper: bytes, site: Site, user: User, request: Request
) -> LinkShown:
    """The secret stands behind the `#`, so no server, proxy or log sees it in an address."""
    secret = accounts.issue_reset_link(tx, act, pepper, user)
    address = site.value(tx.connection, BASE_URL) or pages.base_url(request)
    return LinkShown(
        link=f"{address.rstrip('/')}/reset#{secret}",
        secret=secret,
        expires_at=iso_ms(act.at_ms + RESET_LINK_MS),
    )
