"""The log of calls over HTTP: everybody's own, and all of it for operators.

A call of somebody else is answered exactly as one that is not there. What stands in other slices,
such as the name of a token, is asked of `named`, which looks for the numbers on one page.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Depends, Path
from sqlalchemy.engine import Connection

from aipool.accounts.callers import Asking
from aipool.accounts.types import User
from aipool.audit.desk import AskedId, Desk
from aipool.calls import service
from aipool.calls.rules import cursor_of, place_of
from aipool.calls.schemas import (
    BillShown,
    CallForOperators,
    CallsForOperators,
    CallShown,
    CallsListed,
    Cursor,
    Names,
    PageLimit,
    Text,
    asked,
    bill_shown,
    call_for_operators,
    call_shown,
)
from aipool.calls.types import CallRow, Search

#: What the numbers on a page are called. User: an operator, who sees more; None = whose they are.
Naming = Callable[[Connection, Sequence[CallRow], User | None], Names]
#: The search of an operator, in which whom they are not told of is nobody.
Narrowing = Callable[[Connection, User, Search], Search]

Asked = Annotated[Search, Depends(asked)]
Rid = Annotated[str, Path(max_length=100)]


def asked_by_operators(
    search: Asked,
    user: AskedId = None,
    vendor: AskedId = None,
    key: AskedId = None,
    upstream_request_id: Text = "",
) -> Search:
    """What operators may look for besides."""
    return replace(
        search,
        user_id=user,
        vendor_id=vendor,
        key_id=key,
        upstream_request_id=upstream_request_id.replace("\0", "") or None,
    )


AskedByOperators = Annotated[Search, Depends(asked_by_operators)]


def routes(desk: Desk, named: Naming, narrowed: Narrowing) -> APIRouter:
    """Pages, one call, and its bill."""
    router = APIRouter(prefix="/api")
    _add_own(router, desk, named)
    _add_all(router, desk, named, narrowed)
    return router


def _add_own(router: APIRouter, desk: Desk, named: Naming) -> None:
    @router.get("/calls")
    def list_calls(
        caller: Asking, search: Asked, limit: PageLimit = 50, cursor: Cursor = ""
    ) -> CallsListed:
        """The caller's calls. Filters beside a time range, a token, a model, a group, a status, a
        call type or an id need a time range of at most seven days."""
        search = replace(search, user_id=caller.user.id)
        with desk.database.read() as connection:
            page = _page(connection, search, limit, cursor)
            names = named(connection, page.rows, None)
        return CallsListed(
            items=[call_shown(call, names) for call in page.rows], next_cursor=_next(page)
        )

    @router.get("/calls/{request_id}")
    def show_call(caller: Asking, request_id: Rid) -> CallShown:
        """One of the caller's calls."""
        with desk.database.read() as connection:
            call = service.find(connection, request_id, user_id=caller.user.id)
            return call_shown(call, named(connection, [call], None))

    @router.get("/calls/{request_id}/price")
    def show_price(caller: Asking, request_id: Rid) -> BillShown:
        """What the call costs and why, worked out again to the last unit."""
        with desk.database.read() as connection:
            call = service.find(connection, request_id, user_id=caller.user.id)
            return bill_shown(call, service.bill_of(connection, call))


def _add_all(router: APIRouter, desk: Desk, named: Naming, narrowed: Narrowing) -> None:
    @router.get("/admin/calls")
    def list_all(
        caller: Asking, search: AskedByOperators, limit: PageLimit = 50, cursor: Cursor = ""
    ) -> CallsForOperators:
        """Everybody's calls, with what they cost us. Filters beside a time range, a user, a token,
        a model, a group, a key, a status, a call type or an id need a range of at most seven
        days."""
        with desk.database.read() as connection:
            search = narrowed(connection, caller.user, search)
            page = _page(connection, search, limit, cursor)
            names = named(connection, page.rows, caller.user)
        return CallsForOperators(
            items=[call_for_operators(call, names) for call in page.rows], next_cursor=_next(page)
        )

    @router.get("/admin/calls/{request_id}")
    def show_one(caller: Asking, request_id: Rid) -> CallForOperators:
        """One call with every try."""
        with desk.database.read() as connection:
            call = service.find(connection, request_id)
            return call_for_operators(call, named(connection, [call], caller.user))

    @router.get("/admin/calls/{request_id}/price")
    def show_price_of(request_id: Rid) -> BillShown:
        """What the call costs and why, worked out again to the last unit."""
        with desk.database.read() as connection:
            call = service.find(connection, request_id)
            return bill_shown(call, service.bill_of(connection, call))


def _page(connection: Connection, search: Search, limit: int, cursor: str) -> service.Page:
    before = place_of(cursor) if cursor else None
    return service.page(connection, search, before=before, limit=limit)


def _next(page: service.Page) -> str | None:
    return cursor_of(page.next) if page.next else None
