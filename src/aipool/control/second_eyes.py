"""Adjustments that wait for a second administrator, over HTTP.

Whoever asked may take it back, and cannot agree to it, nor can whoever gets the money; anybody else
who administers the account may do either. Who an operator's equals are is not told here either
(control.masking): of them there is an id and no name.

Refusals (kit.errors):
    second_administrator_needed                       403
    adjustment_unknown                                404
    adjustment_refused, adjustment_decided            409
"""

from __future__ import annotations

from collections.abc import Sequence

from fastapi import APIRouter
from sqlalchemy.engine import Connection

from aipool.accounts import rules
from aipool.accounts import service as accounts
from aipool.accounts.callers import Asking, Caller
from aipool.accounts.types import Status, User
from aipool.adjustments import service as adjustments
from aipool.adjustments.types import Asked
from aipool.audit.desk import Acting, AskedId, Desk, Id, Limit
from aipool.control.adjusting import Recall, agree
from aipool.control.people_schemas import (
    AdjustmentShown,
    AllAskedShown,
    AskedShown,
    PersonShown,
    adjustment_shown,
)
from aipool.kit.clock import iso_ms
from aipool.kit.errors import Forbidden
from aipool.kit.money import format_cny


def routes(desk: Desk, recall: Recall) -> APIRouter:
    """Everything under /api/admin/adjustments."""
    router = APIRouter(prefix="/api/admin/adjustments")

    @router.get("")
    def list_adjustments(
        caller: Asking, act: Acting, waiting: bool = True, limit: Limit = 50, cursor: AskedId = None
    ) -> AllAskedShown:
        """Those that wait, or (`waiting=false`) all. Of accounts that the caller administers: a
        page may hold fewer than were asked for."""
        with desk.database.read() as connection:
            found = adjustments.page(
                connection, at_ms=act.at_ms, only_waiting=waiting, before_id=cursor, limit=limit + 1
            )
            items = asked_shown(connection, caller.user, found[:limit], act.at_ms)
        more = str(found[limit - 1].id) if len(found) > limit else None
        return AllAskedShown(items=items, next_cursor=more)

    @router.post("/{adjustment_id}/agree")
    def agree_to_it(adjustment_id: Id, caller: Asking, act: Acting) -> AdjustmentShown:
        """Moves the money that another administrator wants moved."""
        with desk.database.read() as connection:
            asked, user = _asked_for(connection, caller, adjustment_id)
            asker = accounts.user_by_id(connection, _id_of(asked.asked_by))
        is_first = caller.user.id in (asker.id, user.id)
        if is_first or asker.status is not Status.ACTIVE or not _administers(asker, user):
            raise Forbidden(
                "second_administrator_needed",
                "an administrator who did not ask for this and gets nothing of it must agree, and "
                "whoever asked must be one still",
            )
        return adjustment_shown(agree(desk.database, recall, act, user, asked), user)

    @router.post("/{adjustment_id}/decline")
    def decline_it(adjustment_id: Id, caller: Asking, act: Acting) -> AskedShown:
        """It will not be; by whoever asked: it is taken back."""
        with desk.database.write() as tx:
            asked, _ = _asked_for(tx.connection, caller, adjustment_id)
            declined = adjustments.decline(tx, act, asked)
            (shown,) = asked_shown(tx.connection, caller.user, [declined], act.at_ms)
        return shown

    return router


def asked_shown(
    connection: Connection, operator: User, asked: Sequence[Asked], at_ms: int
) -> list[AskedShown]:
    """Those of accounts that the operator administers."""
    of = {one.user_id for one in asked}
    names = {one.asked_by for one in asked} | {one.decided_by for one in asked if one.decided_by}
    people = accounts.users_by_ids(connection, of | set(map(_id_of, names)))
    hidden = accounts.masked_among(connection, operator, people)

    def shown(user_id: int) -> PersonShown:
        label = None if user_id in hidden else people[user_id].label
        return PersonShown(id=user_id, label=label)

    return [
        AskedShown(
            id=one.id,
            state=one.state_at(at_ms),
            user=shown(one.user_id),
            amount=format_cny(one.amount_nano),
            reason=one.reason,
            asked_by=shown(_id_of(one.asked_by)),
            is_mine=_id_of(one.asked_by) == operator.id,
            asked_at=iso_ms(one.asked_at_ms),
            expires_at=iso_ms(one.expires_at_ms),
            decided_by=shown(_id_of(one.decided_by)) if one.decided_by else None,
            decided_at=None if one.decided_at_ms is None else iso_ms(one.decided_at_ms),
        )
        for one in asked
        if _administers(operator, people[one.user_id])
    ]


def _asked_for(connection: Connection, caller: Caller, asked_id: int) -> tuple[Asked, User]:
    """It, and whom it is for. Raises NotFound also for an account of somebody else's business."""
    asked = adjustments.find(connection, asked_id)
    user = accounts.user_by_id(connection, asked.user_id)
    if not _administers(caller.user, user):
        raise adjustments.unknown(asked_id)
    return asked, user


def _administers(operator: User, user: User) -> bool:
    return rules.may_administer(operator.role, user.role)


def _id_of(actor: str) -> int:
    return int(actor.removeprefix("user:"))
