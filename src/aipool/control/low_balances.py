"""People are told by mail when their balance falls low: once, until it was above again.

A balance falls by calls, so it is those who called lately who are looked at, each minute. Who has
no mail address that was proved hears of it on the pages of the console alone.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from sqlalchemy.engine import Connection

from aipool.accounts import service as accounts
from aipool.accounts.types import Status, User
from aipool.calls import service as calls
from aipool.calls.types import HOUR_MS, Span, TotalOf
from aipool.kit.clock import now_ms
from aipool.kit.db import Database
from aipool.kit.money import format_cny
from aipool.kit.recurring import Recurring
from aipool.ledger import service as ledger
from aipool.notices.codes import Locale, letter_of_low_balance
from aipool.site.messages import Messenger
from aipool.site.service import Site
from aipool.site.types import DEFAULT_LOCALE, LOW_BALANCE, NAME

EVERY_SECONDS = 60.0
#: Of those who called, so many who spent the most.
_LOOKED_AT_MAX = 10_000


@dataclass(frozen=True, slots=True)
class Low:
    """A balance that has fallen below what its owner, or the site, calls low."""

    user: User
    balance_nano: int
    limit_nano: int


@dataclass(frozen=True, slots=True)
class Found:
    """fallen: whose owners are to be told.  risen: who were told, and whose balances are not low
    any more."""

    fallen: list[Low]
    risen: list[int]


class LowBalances:
    """`job` looks each minute."""

    def __init__(self, database: Database, site: Site, messenger: Messenger) -> None:
        self._database = database
        self._site = site
        self._messenger = messenger
        self.job = Recurring(
            "low_balances", lambda: self.look(now_ms()), every_seconds=EVERY_SECONDS
        )

    async def look(self, at_ms: int) -> None:
        """Tell whom it is time to tell."""
        found, name, locale = await asyncio.to_thread(self._read, at_ms)
        # Noted first: a mail that is sent twice is worse than one that is lost with the process.
        await asyncio.to_thread(self._note, found)
        for low in found.fallen:
            spoken = Locale(low.user.locale or locale)
            letter = letter_of_low_balance(
                format_cny(low.balance_nano), format_cny(low.limit_nano), spoken, name
            )
            await self._messenger.send_letter(low.user.email, letter)

    def _read(self, at_ms: int) -> tuple[Found, str, str]:
        with self._database.read() as connection:
            limit_nano = self._site.value(connection, LOW_BALANCE)
            name = self._site.value(connection, NAME)
            locale = self._site.value(connection, DEFAULT_LOCALE)
            return find(connection, at_ms, limit_nano), name, str(locale)

    def _note(self, found: Found) -> None:
        if not found.fallen and not found.risen:
            return
        with self._database.write() as tx:
            for low in found.fallen:
                accounts.note_low_balance(tx, low.user.id, told=True)
            for user_id in found.risen:
                accounts.note_low_balance(tx, user_id, told=False)


def find(connection: Connection, at_ms: int, limit_nano: int) -> Found:
    """Among those who called in this hour or the one before. limit_nano: the site's, for whoever
    has not chosen one; 0 = nobody is told."""
    hour = at_ms // HOUR_MS
    lately = range(max(0, hour - 1), hour + 1)
    callers = calls.dearest(connection, Span.HOUR, TotalOf.USER, lately, limit=_LOOKED_AT_MAX)
    told = accounts.told_of_low_balance(connection, callers)
    found = Found([], [])
    for user in accounts.users_by_ids(connection, callers).values():
        own = user.low_balance_nano
        limit = limit_nano if own is None else own
        wallet = ledger.wallet_balance(connection, user.id)
        balance = wallet.balance_nano if wallet else 0
        if balance >= limit:
            if user.id in told:
                found.risen.append(user.id)
        elif user.id not in told and _hears(user):
            found.fallen.append(Low(user, balance, limit))
    return found


def _hears(user: User) -> bool:
    return user.status is Status.ACTIVE and bool(user.email) and bool(user.email_verified_at_ms)
