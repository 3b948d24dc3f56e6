"""Staff corrects a balance: the one use case of the console, of programs and of the command line.

An adjustment is one transfer with an actor and a reason, and one line of the trail, in one
transaction. It is made once per key, however often it is asked for. Only money that no running
call holds can be taken away, so what workers hold and do not need is asked back first.

Refusals (kit.errors):
    adjustment_refused, idempotency_key_reused    409
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from aipool.accounts import service as accounts
from aipool.accounts.types import User
from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.doors.announce import collect
from aipool.installation import owner_of
from aipool.kit.db import Database, Transaction
from aipool.kit.errors import Conflict
from aipool.kit.money import format_cny
from aipool.ledger.service import adjust_wallet, find_transfer, wallet_balance
from aipool.ledger.types import (
    BookedTransfer,
    Moved,
    RefusalReason,
    Wallet,
    wallet_account,
)

#: How often money is asked back from workers that go on lending it to new calls.
ATTEMPTS = 3

#: Has the workers of a running server give back what is free of budgets, as (budget, window):
#: True = all did, False = some did not answer, None = no server runs.
Recall = Callable[[Sequence[tuple[str, int]]], bool | None]


@dataclass(frozen=True, slots=True)
class Adjusted:
    """What came of it, now or when it was first asked for under this key. balance_nano: of the
    wallet right after the transfer."""

    balance_nano: int
    transfer: BookedTransfer


def recaller(data_dir: Path) -> Recall:
    """Of this very installation."""

    def recall(budgets: Sequence[tuple[str, int]]) -> bool | None:
        owner = owner_of(data_dir)
        return collect(owner.run_directory.link_socket, budgets) if owner is not None else None

    return recall


def adjust(
    database: Database,
    recall: Recall,
    act: Act,
    user: User,
    *,
    amount_nano: int,
    reason: str,
    key: str,
) -> Adjusted:
    """Adds to a balance, or (negative) takes away from it, once per actor and key.

    reason: stands in the user's balance flow and in the trail. Raises Conflict when the ledger
    refuses it, and for a key that was used for something else.
    """
    idem_key = f"adjust:{act.actor}:{key}"
    wallet, answered = Wallet(0, 0), True
    refused = RefusalReason.NOT_ENOUGH_FREE
    for _ in range(1 + ATTEMPTS):
        with database.write() as tx:
            answer = _attempt(tx, act, user, amount_nano, reason, idem_key)
            wallet = wallet_balance(tx.connection, user.id) or wallet
        if isinstance(answer, Adjusted):
            return answer
        refused = answer
        # What workers have set aside and do not need comes back when it is asked for.
        is_lent = refused is RefusalReason.NOT_ENOUGH_FREE and wallet.balance_nano >= -amount_nano
        collected = recall([(wallet_account(user.id), 0)]) if is_lent else None
        if collected is None:
            break
        answered = collected
    raise _refusal(amount_nano, refused, wallet, answered=answered)


def _attempt(
    tx: Transaction, act: Act, user: User, amount_nano: int, reason: str, idem_key: str
) -> Adjusted | RefusalReason:
    booked = find_transfer(tx.connection, idem_key)
    if booked is not None and booked.transfer.ref != reason:
        return RefusalReason.KEY_USED_OTHERWISE
    answer = adjust_wallet(
        tx,
        user_id=user.id,
        amount_nano=amount_nano,
        idem_key=idem_key,
        ref=reason,
        actor=act.actor,
        at_ms=act.at_ms,
    )
    if not isinstance(answer, Moved):
        return answer.reason
    transfer = booked or find_transfer(tx.connection, idem_key)
    assert transfer is not None
    if booked is None:
        change = {"amount": format_cny(amount_nano), "reason": reason}
        record(tx, act, "user.adjust", accounts.target(user), after=change)
    return Adjusted(answer.wallet_balance_nano, transfer)


def _refusal(
    amount_nano: int, reason: RefusalReason, wallet: Wallet, *, answered: bool
) -> Conflict:
    """answered: every worker that has some of the wallet gave back what it does not need."""
    if reason is RefusalReason.KEY_USED_OTHERWISE:
        return Conflict(
            "idempotency_key_reused", "this key was used for another adjustment: take a new one"
        )
    balance = format_cny(wallet.balance_nano)
    free, held = format_cny(wallet.free_nano), format_cny(wallet.leased_nano)
    if reason is RefusalReason.BALANCE_TOO_LARGE:
        word, why = "balance_too_large", f"the balance of {balance} CNY would grow beyond any sense"
    elif reason is not RefusalReason.NOT_ENOUGH_FREE:
        word, why = "ledger_refused", f"the ledger refused it: {reason}"
    elif wallet.balance_nano < -amount_nano:
        word, why = "balance_too_small", f"the balance is {balance} CNY"
    else:
        word = "money_held" if answered else "money_unanswered"
        where = "in running calls" if answered else "at workers of which one does not answer"
        why = f"{free} CNY can be; {held} CNY are {where}, try again when that is over"
    amount = format_cny(amount_nano)
    return Conflict(
        "adjustment_refused",
        f"{amount} CNY cannot be moved: {why}",
        field="amount",
        params={
            "amount": amount,
            "balance": balance,
            "free": free,
            "held": held,
            "reason": reason.value,
            "why": word,
        },
    )
