"""Staff corrects a balance: the one use case of the console, of programs and of the command line.

An adjustment is one transfer with an actor and a reason, and one line of the trail, in one
transaction. It is made once per key, however often it is asked for. Only money that no running
call holds can be taken away, so what workers hold and do not need is asked back first.

What one administrator moves within a day is limited by the site's `adjust_alone_max`: beyond it the
adjustment waits until another one agrees (security S-10), and is booked to the account of both.
Whoever works on the machine itself is not limited: the database is in their hands.

Refusals (kit.errors):
    adjustment_refused, idempotency_key_reused, adjustment_decided    409
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from aipool.accounts import service as accounts
from aipool.accounts.types import User
from aipool.adjustments import service as adjustments
from aipool.adjustments.types import Asked, State
from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.doors.announce import collect
from aipool.installation import owner_of
from aipool.kit.db import Database, Transaction
from aipool.kit.errors import Conflict
from aipool.kit.money import format_cny
from aipool.ledger.service import adjust_wallet, adjusted_by, find_transfer, wallet_balance
from aipool.ledger.types import (
    BookedTransfer,
    Moved,
    RefusalReason,
    Wallet,
    wallet_account,
)

#: How often money is asked back from workers that go on lending it to new calls.
ATTEMPTS = 3
_DAY_MS = 24 * 3_600_000

#: Has the workers of a running server give back what is free of budgets, as (budget, window):
#: True = all did, False = some did not answer, None = no server runs.
Recall = Callable[[Sequence[tuple[str, int]]], bool | None]


@dataclass(frozen=True, slots=True)
class Adjusted:
    """What came of it, now or when it was first asked for under this key. balance_nano: of the
    wallet right after the transfer."""

    balance_nano: int
    transfer: BookedTransfer


A = TypeVar("A")


class _NeedsAnother(Exception):
    """One administrator alone may not move so much: nothing of the transaction stays."""


class _Refused(Exception):
    """By the ledger: nothing moved."""

    def __init__(self, reason: RefusalReason) -> None:
        super().__init__(reason)
        self.reason = reason


@dataclass(frozen=True, slots=True)
class _Booking:
    """actor: who moves it, as the other side's account is named."""

    user: User
    amount_nano: int
    reason: str
    idem_key: str
    actor: str


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
    booking = _Booking(user, amount_nano, reason, f"adjust:{act.actor}:{key}", act.actor)
    return _attempts(database, recall, booking, lambda tx: _book(tx, act, booking))


def adjust_or_ask(
    database: Database,
    recall: Recall,
    act: Act,
    user: User,
    *,
    amount_nano: int,
    reason: str,
    key: str,
    alone_max_nano: int,
) -> Adjusted | Asked:
    """The same by one who may move so much within a day; what goes beyond it does not move, and
    waits for somebody else. alone_max_nano: 0 = as much as they like."""
    booking = _Booking(user, amount_nano, reason, f"adjust:{act.actor}:{key}", act.actor)

    def book(tx: Transaction) -> Adjusted | Asked:
        waits = adjustments.of_key(
            tx.connection, act, user.id, amount_nano=amount_nano, reason=reason, key=key
        )
        return waits or _book(tx, act, booking, alone_max_nano=alone_max_nano)

    try:
        return _attempts(database, recall, booking, book)
    except _NeedsAnother:
        with database.write() as tx:
            return adjustments.ask(tx, act, user, amount_nano=amount_nano, reason=reason, key=key)


def agree(database: Database, recall: Recall, act: Act, user: User, asked: Asked) -> Adjusted:
    """Books what somebody else asked for. Raises Conflict when it does not wait any more, or the
    ledger refuses it: then it goes on waiting."""
    both = f"{asked.asked_by}+{act.actor}"
    booking = _Booking(user, asked.amount_nano, asked.reason, f"adjust:asked:{asked.id}", both)

    def book(tx: Transaction) -> Adjusted:
        adjustments.decide(tx, act, asked, State.AGREED)
        return _book(tx, act, booking, asked_by=asked.asked_by)

    return _attempts(database, recall, booking, book)


def _attempts(
    database: Database, recall: Recall, wanted: _Booking, book: Callable[[Transaction], A]
) -> A:
    """`book`, again and again while money that workers do not need comes back."""
    answered, attempts = True, 0
    while True:
        try:
            with database.write() as tx:
                return book(tx)
        except _Refused as problem:
            refused = problem.reason
        with database.read() as connection:
            wallet = wallet_balance(connection, wanted.user.id) or Wallet(0, 0)
        is_there = wallet.balance_nano >= -wanted.amount_nano
        is_lent = is_there and refused is RefusalReason.NOT_ENOUGH_FREE
        collected = recall([(wallet_account(wanted.user.id), 0)]) if is_lent else None
        if collected is None or attempts == ATTEMPTS:
            raise _refusal(wanted.amount_nano, refused, wallet, answered=answered)
        answered, attempts = collected, attempts + 1


def _book(
    tx: Transaction, act: Act, wanted: _Booking, *, alone_max_nano: int = 0, asked_by: str = ""
) -> Adjusted:
    booked = find_transfer(tx.connection, wanted.idem_key)
    if booked is not None and booked.transfer.ref != wanted.reason:
        raise _Refused(RefusalReason.KEY_USED_OTHERWISE)
    answer = adjust_wallet(
        tx,
        user_id=wanted.user.id,
        amount_nano=wanted.amount_nano,
        idem_key=wanted.idem_key,
        ref=wanted.reason,
        actor=wanted.actor,
        at_ms=act.at_ms,
    )
    if not isinstance(answer, Moved):
        raise _Refused(answer.reason)
    transfer = booked or find_transfer(tx.connection, wanted.idem_key)
    assert transfer is not None
    if booked is None:
        change = {"amount": format_cny(wanted.amount_nano), "reason": wanted.reason}
        if asked_by:
            change["asked_by"] = asked_by
        record(tx, act, "user.adjust", accounts.target(wanted.user), after=change)
        # After the trail, whose end is locked: two at once are seen by one of them.
        if alone_max_nano and _moved_within_a_day(tx, act) > alone_max_nano:
            raise _NeedsAnother
    return Adjusted(answer.wallet_balance_nano, transfer)


def _moved_within_a_day(tx: Transaction, act: Act) -> int:
    return adjusted_by(tx.connection, act.actor, since_ms=act.at_ms - _DAY_MS)


def _refusal(
    amount_nano: int, reason: RefusalReason, wallet: Wallet, *, answered: bool
) -> Conflict:
    """answered: every worker that has some of the wallet gave back what it does not need."""
    if reason is RefusalReason.KEY_USED_OTHERWISE:
        return adjustments.key_reused()
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
