"""Adjustments that one administrator asks for and another one agrees to.

    ask · of_key · find · page · decide · decline

Nothing moves here: whoever agrees books it, in the transaction that calls `decide`
(control.adjusting).

Refusals (kit.errors):
    adjustment_unknown                                404
    adjustment_decided, idempotency_key_reused        409
"""

from __future__ import annotations

from sqlalchemy.engine import Connection

from aipool.accounts.service import target
from aipool.accounts.types import User
from aipool.adjustments import store
from aipool.adjustments.types import WAIT_MS, Asked, State
from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, NotFound
from aipool.kit.money import format_cny


def ask(tx: Transaction, act: Act, user: User, *, amount_nano: int, reason: str, key: str) -> Asked:
    """It waits for somebody else now, once per actor and key."""
    there = of_key(tx.connection, act, user.id, amount_nano=amount_nano, reason=reason, key=key)
    if there is not None:
        return there
    asked_id = store.insert(
        tx.connection,
        user_id=user.id,
        amount_nano=amount_nano,
        reason=reason,
        asked_by=act.actor,
        key=key,
        asked_at_ms=act.at_ms,
    )
    change = {"id": asked_id, "amount": format_cny(amount_nano), "reason": reason}
    record(tx, act, "user.ask_adjust", target(user), after=change)
    return find(tx.connection, asked_id)


def of_key(
    connection: Connection, act: Act, user_id: int, *, amount_nano: int, reason: str, key: str
) -> Asked | None:
    """What the actor asked for under this key; None = nothing. Raises Conflict when that was
    something else."""
    there = store.by_key(connection, act.actor, key)
    if there is not None and (there.user_id, there.amount_nano, there.reason) != (
        user_id,
        amount_nano,
        reason,
    ):
        raise key_reused()
    return there


def find(connection: Connection, asked_id: int) -> Asked:
    """One of them. Raises NotFound."""
    found = store.by_id(connection, asked_id)
    if found is None:
        raise unknown(asked_id)
    return found


def page(
    connection: Connection,
    *,
    at_ms: int,
    only_waiting: bool,
    before_id: int | None = None,
    limit: int,
) -> list[Asked]:
    """The newest first. only_waiting: those that can be decided at this moment."""
    since_ms = at_ms - WAIT_MS if only_waiting else None
    return store.page(connection, waiting_since_ms=since_ms, before_id=before_id, limit=limit)


def decide(tx: Transaction, act: Act, asked: Asked, state: State) -> Asked:
    """Somebody agreed, or declined. Raises Conflict when it waits no more."""
    is_late = asked.state_at(act.at_ms) is State.EXPIRED
    if is_late or not store.decide(
        tx.connection, asked.id, state, decided_by=act.actor, at_ms=act.at_ms
    ):
        now = State.EXPIRED if is_late else find(tx.connection, asked.id).state
        raise Conflict(
            "adjustment_decided",
            f"this adjustment does not wait any more: it is {now}",
            params={"state": now.value},
        )
    return find(tx.connection, asked.id)


def decline(tx: Transaction, act: Act, asked: Asked) -> Asked:
    """It will not be. Raises Conflict when it waits no more."""
    declined = decide(tx, act, asked, State.DECLINED)
    change = {"id": asked.id, "amount": format_cny(asked.amount_nano), "reason": asked.reason}
    record(tx, act, "user.decline_adjust", f"user:{asked.user_id}", after=change)
    return declined


def unknown(asked_id: int) -> NotFound:
    """There is none, or none that concerns whoever asks."""
    return NotFound(
        "adjustment_unknown",
        f"there is no adjustment {asked_id} that waits or waited",
        params={"id": asked_id},
    )


def key_reused() -> Conflict:
    """The key stands for something else already."""
    return Conflict(
        "idempotency_key_reused", "this key was used for another adjustment: take a new one"
    )
