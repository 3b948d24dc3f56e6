"""What else happens when something happens to an account or a session: a new account gets a wallet
and may choose the default group; what is bound to a session ends with it."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy.engine import Connection

from aipool.accounts.premises import Hooks
from aipool.accounts.types import SessionId, User, UserId
from aipool.api_tokens.service import drop_playground_keys
from aipool.audit.types import Act
from aipool.groups import service as groups
from aipool.kit.db import Transaction
from aipool.ledger.service import open_wallet, wallet_balance


def hooks() -> Hooks:
    """For the way in of this application."""
    return Hooks(opened=_opened, sessions_end=sessions_end, balance_nano=_balance_nano)


def sessions_end(tx: Transaction, ended: Sequence[SessionId]) -> None:
    """For whoever ends sessions."""
    for session_id in ended:
        drop_playground_keys(tx, session_id)


def _opened(tx: Transaction, act: Act, user: User) -> None:
    open_wallet(tx, user.id)
    groups.default_group(tx, act)


def _balance_nano(connection: Connection, user_id: UserId) -> int | None:
    wallet = wallet_balance(connection, user_id)
    return wallet.balance_nano if wallet else None
