"""The credit a user starts with, and what people may change of it by hand."""

from __future__ import annotations

from sqlalchemy.engine import Connection

from aipool.accounts import service as accounts
from aipool.accounts.types import User
from aipool.audit.types import Act
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, Invalid
from aipool.kit.money import AMOUNT_NANO_MAX, format_cny, parse_cny
from aipool.ledger.service import credit_wallet, find_transfer, wallet_balance
from aipool.ledger.types import RefusalReason, Refused, TransferKind

#: The other side of every opening credit.
OPENING_ACCOUNT = "adjust:opening"


def opening_amount_nano(text: str) -> int:
    """An opening credit as a person writes it, in CNY; raises Invalid or MoneyError."""
    amount = parse_cny(text)
    if not 0 < amount <= AMOUNT_NANO_MAX:
        raise Invalid(
            "credit_out_of_range",
            f"an opening credit lies above 0 and up to {format_cny(AMOUNT_NANO_MAX)} CNY, "
            f"not {text}",
            field="credit",
        )
    return amount


def adjustment_nano(text: str) -> int:
    """What a person adds to a balance, or (negative) takes away, in CNY; raises Invalid or
    MoneyError."""
    amount = parse_cny(text)
    if not 0 < abs(amount) <= AMOUNT_NANO_MAX:
        raise Invalid(
            "adjustment_out_of_range",
            f"an adjustment is not 0 and at most {format_cny(AMOUNT_NANO_MAX)} CNY either way, "
            f"not {text}",
            params={"most": format_cny(AMOUNT_NANO_MAX), "given": text},
        )
    return amount


def refuse_former_number(connection: Connection, user: User) -> None:
    """Raises Conflict when the number was the one of somebody who had an opening credit under it:
    a file that names people by their numbers would book it a second time."""
    if find_transfer(connection, _key_of(user.id)) is not None:
        return
    for former in accounts.former_holders(connection, user.phone):
        if former.id != user.id and find_transfer(connection, _key_of(former.id)) is not None:
            raise Conflict(
                "opening_credit_fixed",
                f"{user.phone} was the number of user {former.id} when their opening credit was "
                f"booked; now they have {former.phone or 'none'}: write that, or leave the "
                "credit out",
                field="credit",
            )


def book_opening_credit(tx: Transaction, act: Act, user: User, amount_nano: int) -> bool:
    """The credit a user starts with, booked once in the life of the account.

    True = booked now, False = it was booked before. Raises Conflict when it was booked
    with another amount, or the balance would grow beyond any sense.
    """
    before = wallet_balance(tx.connection, user.id)
    answer = credit_wallet(
        tx,
        user_id=user.id,
        amount_nano=amount_nano,
        source=OPENING_ACCOUNT,
        kind=TransferKind.OPENING,
        idem_key=_key_of(user.id),
        ref=f"user:{user.id}",
        actor=act.actor,
        at_ms=act.at_ms,
    )
    if isinstance(answer, Refused):
        if answer.reason is RefusalReason.KEY_USED_OTHERWISE:
            raise Conflict(
                "opening_credit_fixed",
                f"the opening credit of {user.phone} was booked with another amount and is "
                f"booked once; use `aipool user adjust {user.phone} AMOUNT`",
                field="credit",
            )
        raise Conflict(
            "credit_refused", f"the ledger refused the credit: {answer.reason}", field="credit"
        )
    after = wallet_balance(tx.connection, user.id)
    # A repeat is answered like the first time and moves nothing.
    return after != before


def _key_of(user_id: int) -> str:
    return f"opening:{user_id}"
