"""API tokens over HTTP: everybody's own, and what operators may do with those of others.

A token of somebody else is answered for like one that does not exist.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Annotated, Any, Literal, NamedTuple

from fastapi import APIRouter, Depends, Query
from fastapi.responses import Response
from sqlalchemy.engine import Connection

from aipool.accounts import service as accounts
from aipool.accounts import sessions
from aipool.accounts.callers import Asking, Caller
from aipool.accounts.types import User
from aipool.api_tokens import rules, service
from aipool.api_tokens.cursors import CURSOR_CHARACTERS_MAX, cursor_of, place_of
from aipool.api_tokens.permission import permission_of
from aipool.api_tokens.schemas import (
    BulkResult,
    BulkSent,
    BulkShown,
    NotInForce,
    PermissionShown,
    PlaygroundKey,
    RotateSent,
    TermsSent,
    TokenChange,
    TokenMade,
    TokenSent,
    TokenShown,
    TokensListed,
    permission_shown,
    playground_key_shown,
    terms_with,
    token_shown,
)
from aipool.api_tokens.types import ApiToken, Asked, Sort, Status, TokenListed, TokenTerms
from aipool.audit.desk import Acting, AskedId, Desk, Id, NeededId
from aipool.audit.types import Act
from aipool.groups import service as groups
from aipool.groups.types import Group
from aipool.kit.clock import now_ms
from aipool.kit.db import Transaction
from aipool.kit.errors import BusinessError, Invalid, NotFound

#: When each of these tokens was called last, in unix milliseconds; the log of calls knows.
LastUsed = Callable[[Connection, Collection[int]], Mapping[int, int]]
#: What has the workers give back what a token's new terms would take away; called before and
#: after they are in force.
Lowering = Callable[[ApiToken, TokenTerms, int], Callable[[], None]]

_PAGE_MAX = 100
_SEARCH_CHARACTERS_MAX = 100

_Limit = Annotated[int, Query(ge=1, le=_PAGE_MAX)]
_Cursor = Annotated[str | None, Query(max_length=CURSOR_CHARACTERS_MAX)]
_Text = Annotated[
    str | None,
    Query(
        min_length=2,
        max_length=_SEARCH_CHARACTERS_MAX,
        description="In the name, the description, or the end of the key.",
    ),
]
_Order = Annotated[
    Literal["asc", "desc"] | None,
    Query(description="Left out: names from A on, what expires first; of all else the most first."),
]
_SOON: dict[int | str, dict[str, Any]] = {202: {"model": NotInForce}}
_RISING = frozenset({Sort.NAME, Sort.EXPIRES})


class Page(NamedTuple):
    """A page of tokens that is asked for. cursor: after which, None = from the first on."""

    asked: Asked
    limit: int
    cursor: str | None


def asked_page(
    q: _Text = None,
    status: Status | None = None,
    group: AskedId = None,
    enabled: bool | None = None,
    sort: Sort = Sort.CREATED,
    order: _Order = None,
    limit: _Limit = 50,
    cursor: _Cursor = None,
) -> Page:
    """Which tokens, in which order, from where on."""
    if q is not None and not q.isprintable():
        raise Invalid("invalid_search", "a search has no control characters", field="q")
    descending = sort not in _RISING if order is None else order == "desc"
    asked = Asked(q or "", status, group, enabled, sort, descending)
    return Page(asked, limit, cursor)


_AskedPage = Annotated[Page, Depends(asked_page)]


def routes(desk: Desk, pepper: bytes, last_used: LastUsed, lowering: Lowering) -> APIRouter:
    """The tokens of the caller, and under /admin those of others."""
    router = APIRouter(prefix="/api")
    _add_many(router, desk, last_used)
    _add_one(router, desk, pepper, last_used, lowering)
    _add_secrets(router, desk, pepper, last_used)
    _add_operators(router, desk, last_used)
    return router


def _add_many(router: APIRouter, desk: Desk, last_used: LastUsed) -> None:
    @router.get("/tokens")
    def list_tokens(caller: Asking, page: _AskedPage) -> TokensListed:
        """The caller's tokens, with how far their limits are used."""
        with desk.database.read() as connection:
            return _listed(connection, caller.user.id, page, last_used)

    @router.post("/tokens/bulk", response_model=BulkShown, responses=_SOON)
    def change_tokens(sent: BulkSent, caller: Asking, act: Acting) -> Response:
        """One action for many tokens; what cannot be done to one stops no other."""
        with desk.database.write() as tx:
            results = [
                _one_of_many(tx, act, caller.user.id, token_id, sent.action)
                for token_id in dict.fromkeys(sent.ids)
            ]
        return desk.done(tx, BulkShown(results=results))

    @router.post("/tokens/preview")
    def preview_terms(sent: TermsSent, caller: Asking) -> PermissionShown:
        """What a token of these terms could do."""
        at_ms = now_ms()
        with desk.database.read() as connection:
            group = service.find_group(connection, caller.user.id, sent.group_id)
            base = TokenTerms("", group.id if group is not None else 0)
            given = sent.given()
            given.pop("name", None)
            terms = terms_with(given, base, at_ms // 1000)
            if group is not None:
                service.check_models(connection, terms, group)
            standing, status = service.standing_of_new(connection, terms, now_ms=at_ms)
            permission = permission_of(
                connection, caller.user, terms, group, standing=standing, status=status
            )
        return permission_shown(permission)


def _add_one(
    router: APIRouter, desk: Desk, pepper: bytes, last_used: LastUsed, lowering: Lowering
) -> None:
    @router.get("/tokens/{token_id}")
    def show_token(token_id: Id, caller: Asking) -> TokenShown:
        """A token of the caller's."""
        with desk.database.read() as connection:
            return _one_shown(connection, caller.user.id, token_id, last_used)

    @router.patch("/tokens/{token_id}", response_model=TokenShown, responses=_SOON)
    def change_token(token_id: Id, sent: TokenChange, caller: Asking, act: Acting) -> Response:
        """Changes what is sent of a token; its key stays. Another amount keeps what the window has
        used, another reset type begins a new window."""
        given = sent.given()
        user_id, now_seconds = caller.user.id, act.at_ms // 1000
        with desk.database.read() as connection:
            token = service.own_token(connection, user_id, token_id)
        give_back = lowering(token, terms_with(given, token.terms, now_seconds), act.at_ms)
        give_back()
        with desk.database.write() as tx:
            token = service.own_token(tx.connection, user_id, token_id)
            group_id = given.get("group_id", token.group_id)
            group = service.rechosen_group(tx, act, token, group_id)
            base = token.terms if group is None else _in_group(token.terms, group)
            terms = terms_with(given, base, now_seconds)
            service.check_models(tx.connection, terms, group, token)
            service.change_token(tx, act, pepper, token, terms)
            shown = _one_shown(tx.connection, user_id, token_id, last_used)
        give_back()
        return desk.done(tx, shown)

    @router.delete("/tokens/{token_id}", status_code=204, responses=_SOON)
    def delete_token(token_id: Id, caller: Asking, act: Acting) -> Response:
        """Ends a token at once and for good; the records of its calls stay."""
        with desk.database.write() as tx:
            service.delete_token(
                tx, act, service.own_token(tx.connection, caller.user.id, token_id)
            )
        return desk.done(tx)

    @router.post("/tokens/{token_id}/enable", response_model=TokenShown, responses=_SOON)
    def enable_token(token_id: Id, caller: Asking, act: Acting) -> Response:
        """Accepts calls with a token again."""
        return _switched(desk, act, caller.user.id, token_id, last_used, enabled=True)

    @router.post("/tokens/{token_id}/disable", response_model=TokenShown, responses=_SOON)
    def disable_token(token_id: Id, caller: Asking, act: Acting) -> Response:
        """Refuses calls with a token from now on."""
        return _switched(desk, act, caller.user.id, token_id, last_used, enabled=False)

    @router.get("/tokens/{token_id}/preview")
    def preview_token(token_id: Id, caller: Asking) -> PermissionShown:
        """What a token can do now, and why it cannot."""
        at_ms = now_ms()
        with desk.database.read() as connection:
            listed = _one(connection, caller.user.id, token_id, at_ms)
            token, stands = listed.token, listed.standing
            group = _groups_by_id(connection).get(token.group_id)
            status = rules.status(
                token, stands, group_granted=listed.group_granted, now_seconds=at_ms // 1000
            )
            permission = permission_of(
                connection, caller.user, token.terms, group, standing=stands, status=status
            )
        return permission_shown(permission)


def _add_secrets(router: APIRouter, desk: Desk, pepper: bytes, last_used: LastUsed) -> None:
    @router.post("/tokens", status_code=201, response_model=TokenMade, responses=_SOON)
    def create_token(sent: TokenSent, caller: Asking, act: Acting) -> Response:
        """A new token. Its key is in this answer and in no other."""
        user = caller.user
        with desk.database.write() as tx:
            group = service.chosen_group(tx, act, user.id, sent.group_id)
            terms = terms_with(sent.given(), TokenTerms("", group.id), act.at_ms // 1000)
            service.check_models(tx.connection, terms, group)
            token, secret = service.create_token(tx, act, pepper, user, terms)
            shown = _with_secret(tx.connection, user.id, token.id, secret, last_used)
        return desk.done(tx, shown, 201)

    @router.post("/tokens/{token_id}/rotate", response_model=TokenMade, responses=_SOON)
    def rotate_token(
        token_id: Id, caller: Asking, act: Acting, sent: RotateSent = RotateSent()
    ) -> Response:
        """Another key for a token, in this answer and in no other."""
        user_id = caller.user.id
        with desk.database.write() as tx:
            token = service.own_token(tx.connection, user_id, token_id)
            _, secret = service.rotate_token(
                tx, act, pepper, token, grace_seconds=sent.grace_seconds
            )
            shown = _with_secret(tx.connection, user_id, token_id, secret, last_used)
        return desk.done(tx, shown)

    @router.post(
        "/tokens/{token_id}/playground-key",
        status_code=201,
        response_model=PlaygroundKey,
        responses=_SOON,
    )
    def make_playground_key(token_id: Id, caller: Asking, act: Acting) -> Response:
        """A key for the playground of this session: it is the token for 15 minutes, wherever its
        owner is logged in, and ends with the session or the token."""
        with desk.database.write() as tx:
            token = service.own_token(tx.connection, caller.user.id, token_id)
            # It may have ended since the door was passed, and would then end no key.
            session = sessions.session_of(tx.connection, caller)
            made = service.make_playground_key(
                tx, act, pepper, token, 0 if session is None else session.id
            )
        return desk.done(tx, playground_key_shown(*made), 201)


def _add_operators(router: APIRouter, desk: Desk, last_used: LastUsed) -> None:
    @router.get("/admin/tokens")
    def list_all_tokens(caller: Asking, user_id: NeededId, page: _AskedPage) -> TokensListed:
        """The tokens of a user."""
        with desk.database.read() as connection:
            owner = accounts.user_by_id(connection, user_id)
            if not _may_administer(caller, owner):
                raise NotFound(
                    "user_unknown",
                    f"there is no user {user_id}",
                    field="user",
                    params={"user": user_id},
                )
            return _listed(connection, owner.id, page, last_used)

    @router.post("/admin/tokens/{token_id}/enable", response_model=TokenShown, responses=_SOON)
    def enable_any_token(token_id: Id, caller: Asking, act: Acting) -> Response:
        """Accepts calls with a user's token again."""
        owner_id = _owner_for(desk, caller, token_id)
        return _switched(desk, act, owner_id, token_id, last_used, enabled=True)

    @router.post("/admin/tokens/{token_id}/disable", response_model=TokenShown, responses=_SOON)
    def disable_any_token(token_id: Id, caller: Asking, act: Acting) -> Response:
        """Refuses calls with a user's token from now on."""
        owner_id = _owner_for(desk, caller, token_id)
        return _switched(desk, act, owner_id, token_id, last_used, enabled=False)

    @router.delete("/admin/tokens/{token_id}", status_code=204, responses=_SOON)
    def delete_any_token(token_id: Id, caller: Asking, act: Acting) -> Response:
        """Ends a user's token at once and for good; the records of its calls stay."""
        owner_id = _owner_for(desk, caller, token_id)
        with desk.database.write() as tx:
            service.delete_token(tx, act, service.own_token(tx.connection, owner_id, token_id))
        return desk.done(tx)


# --- one token --------------------------------------------------------------------------------


def _switched(
    desk: Desk, act: Act, user_id: int, token_id: int, last_used: LastUsed, *, enabled: bool
) -> Response:
    with desk.database.write() as tx:
        token = service.own_token(tx.connection, user_id, token_id)
        service.set_enabled(tx, act, token, enabled=enabled)
        shown = _one_shown(tx.connection, user_id, token_id, last_used)
    return desk.done(tx, shown)


def _one_of_many(
    tx: Transaction,
    act: Act,
    user_id: int,
    token_id: int,
    action: Literal["enable", "disable", "delete"],
) -> BulkResult:
    try:
        token = service.own_token(tx.connection, user_id, token_id)
    except BusinessError as problem:
        return BulkResult(id=token_id, ok=False, code=problem.code, detail=problem.message)
    if action == "delete":
        service.delete_token(tx, act, token)
    else:
        service.set_enabled(tx, act, token, enabled=action == "enable")
    return BulkResult(id=token_id, ok=True)


def _owner_for(desk: Desk, caller: Caller, token_id: int) -> int:
    """Whose token this is, if the operator may do something about it."""
    with desk.database.read() as connection:
        token = service.get_token(connection, token_id)
        owner = accounts.user_by_id(connection, token.user_id)
    if not _may_administer(caller, owner):
        raise NotFound(
            "token_unknown", f"there is no token {token_id}", field="token", params={"id": token_id}
        )
    return owner.id


def _may_administer(caller: Caller, owner: User) -> bool:
    return owner.id == caller.user.id or rules.may_administer(caller.user.role, owner.role)


def _in_group(terms: TokenTerms, group: Group) -> TokenTerms:
    return terms if terms.group_id == group.id else replace(terms, group_id=group.id)


# --- what is shown ----------------------------------------------------------------------------


def _listed(connection: Connection, user_id: int, page: Page, last_used: LastUsed) -> TokensListed:
    at_ms = now_ms()
    asked, limit, cursor = page
    after = None if cursor is None else place_of(cursor, asked)
    found, end = service.own_tokens(
        connection, user_id, asked, now_ms=at_ms, after=after, limit=limit
    )
    return TokensListed(
        items=_shown(connection, found, at_ms, last_used),
        next_cursor=None if end is None else cursor_of(end, asked),
        total=service.count_own(connection, user_id, asked, now_ms=at_ms),
    )


def _shown(
    connection: Connection, found: Sequence[TokenListed], at_ms: int, last_used: LastUsed
) -> list[TokenShown]:
    by_id = _groups_by_id(connection)
    former: dict[int, str] = {}
    if any(listed.token.group_id not in by_id for listed in found):
        former = groups.group_names(connection)
    on_sale = service.names_on_sale(connection)
    used = last_used(connection, [listed.token.id for listed in found])
    shown = []
    for listed in found:
        group = by_id.get(listed.token.group_id)
        shown.append(
            token_shown(
                listed,
                group=group,
                former_group=former.get(listed.token.group_id, ""),
                models_count=rules.models_count(listed.token, group, on_sale),
                last_used_ms=used.get(listed.token.id),
                now_seconds=at_ms // 1000,
            )
        )
    return shown


def _one(connection: Connection, user_id: int, token_id: int, at_ms: int) -> TokenListed:
    found = service.own_by_ids(connection, user_id, [token_id], now_ms=at_ms)
    if token_id not in found:
        raise NotFound(
            "token_unknown", f"there is no token {token_id}", field="token", params={"id": token_id}
        )
    return found[token_id]


def _one_shown(
    connection: Connection, user_id: int, token_id: int, last_used: LastUsed
) -> TokenShown:
    at_ms = now_ms()
    (shown,) = _shown(connection, [_one(connection, user_id, token_id, at_ms)], at_ms, last_used)
    return shown


def _with_secret(
    connection: Connection, user_id: int, token_id: int, secret: str, last_used: LastUsed
) -> TokenMade:
    shown = _one_shown(connection, user_id, token_id, last_used)
    return TokenMade(**shown.model_dump(), secret=secret)


def _groups_by_id(connection: Connection) -> dict[int, Group]:
    return {group.id: group for group in groups.list_groups(connection)}
