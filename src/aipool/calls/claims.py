"""A client that repeats a call under the same idempotency key is charged once.

A key belongs to the token that sent it, for a day, and to the body it was first sent with. A call
claims it before anything is held; a call that came to nothing lets it go, so that the client's
next try under it is made. Bodies and answers are not kept: a repeat of a call that was answered
is told which call that was, and what it cost.
"""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy.engine import Connection

from aipool.calls import service
from aipool.calls.store import claims as store
from aipool.calls.types import KeyAsked
from aipool.kit.db import Transaction
from aipool.ledger import service as ledger
from aipool.ledger.types import EpochState

#: The custom among payment interfaces.
KEPT_MS = 24 * 3_600_000
#: Rows that one transaction deletes.
_SWEPT_MAX = 1_000


@dataclass(frozen=True, slots=True)
class Owner:
    """The call that has a key. same_body: was it sent with what is sent now?
    charge_nano: what it cost, None = it is under way."""

    rid: str
    same_body: bool
    charge_nano: int | None


def claim(tx: Transaction, asked: KeyAsked, *, at_ms: int) -> Owner | None:
    """The call that has the key; None = nobody had, and now it is the one that asks."""
    owner = store.owner(tx.connection, asked.token_id, asked.key)
    if owner is not None and owner.at_ms > at_ms - KEPT_MS and owner.rid != asked.rid:
        same_body = owner.body == asked.body
        call = service.get(tx.connection, owner.rid)
        if call is not None and (call.status < 400 or call.charged_nano):
            return Owner(owner.rid, same_body, call.charged_nano)
        if call is None and _is_running(tx.connection, owner.epoch):
            return Owner(owner.rid, same_body, None)
    store.put(tx.connection, asked, at_ms=at_ms)
    return None


def unclaim(tx: Transaction, token_id: int, key: bytes, rid: str) -> None:
    """The call came to nothing: the key is nobody's, unless another call has it by now."""
    store.delete(tx.connection, token_id, key, rid)


def sweep(tx: Transaction, *, at_ms: int) -> int:
    """Forgets keys that are older than a day, some at a time; how many."""
    return store.delete_before(tx.connection, at_ms - KEPT_MS, _SWEPT_MAX)


def _is_running(connection: Connection, epoch: int) -> bool:
    found = ledger.find_epochs(connection, [epoch]).get(epoch)
    # What a frozen one did is not known before a person decides.
    return found is not None and found.state is not EpochState.CLOSED
