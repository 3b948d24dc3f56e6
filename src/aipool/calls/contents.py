"""What was said in calls whose tokens' owners want it kept: sealed, for them alone, some days."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from sqlalchemy.engine import Connection

from aipool.calls.store import contents as store
from aipool.calls.types import Said
from aipool.kit.db import Transaction
from aipool.kit.sealing import Keyring

#: Rows that one transaction deletes.
_SWEPT_MAX = 500


def keep(tx: Transaction, keyring: Keyring, said: Iterable[Said]) -> None:
    """Stores them, each once."""
    for one in said:
        record = f"call_content:{one.rid}"
        store.insert(
            tx.connection,
            one,
            sealed_request=keyring.seal(one.request, record, "request"),
            sealed_answer=keyring.seal(one.answer, record, "answer"),
        )


def get(
    connection: Connection, keyring: Keyring, rid: str, *, user_id: int, now_ms: int
) -> Said | None:
    """What was said in a call of this user's; None when it was not kept, or not for so long."""
    row = store.get(connection, rid, user_id=user_id)
    if row is None or row.expires_at_ms <= now_ms:
        return None
    record = f"call_content:{rid}"
    return Said(
        rid,
        row.token_id,
        user_id,
        row.expires_at_ms,
        keyring.open(row.sealed_request, record, "request"),
        row.request_cut,
        keyring.open(row.sealed_answer, record, "answer"),
        row.answer_cut,
    )


def forget(tx: Transaction, rid: str, *, user_id: int) -> bool:
    """Deletes what was said in a call of this user's. True = there was something."""
    return store.delete(tx.connection, rid, user_id=user_id)


def any_over(connection: Connection, *, now_ms: int) -> bool:
    """Is there anything that is over?"""
    return store.any_expired(connection, now_ms)


def sweep(tx: Transaction, *, now_ms: int) -> int:
    """Deletes what is over, some at a time; how many."""
    return store.delete_expired(tx.connection, now_ms, _SWEPT_MAX)


def tokens(connection: Connection) -> set[int]:
    """The tokens in whose calls something was kept."""
    return store.tokens(connection)


def forget_tokens(tx: Transaction, token_ids: Collection[int]) -> None:
    """Deletes all that was kept of these tokens: their owners do not want it any more."""
    store.delete_of_tokens(tx.connection, token_ids)
