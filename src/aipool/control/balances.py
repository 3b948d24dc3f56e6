"""Asks the vendors who tell it what is left on their accounts, and tells people when it is little.

Every quarter of an hour, one key after the other, and only keys of vendors for which somebody said
what is little (`low_balance`). A balance that stays low is told once a day, and again when it was
good in between; a restart may tell it once more. A vendor that does not answer is asked again the
next time: whether its keys work is found out by calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from decimal import Decimal

import structlog

from aipool.config import Settings
from aipool.control.asking import Clients, Subject, ask_balance, open_clients, subject_of
from aipool.kit.clock import now_ms
from aipool.kit.db import Database
from aipool.kit.errors import BusinessError
from aipool.kit.recurring import Recurring
from aipool.kit.sealing import Keyring, Unsealable
from aipool.notices.service import raise_alert
from aipool.notices.types import Event
from aipool.pool import rules
from aipool.pool import service as pool
from aipool.vendors import VENDORS_BY_TYPE
from aipool.vendors.types import Money

EVERY_SECONDS = 900.0
#: Installations that were started together do not ask together: up to this share later.
JITTER = 0.2
#: What stays low is told again after this.
AGAIN_MS = 86_400_000

_log = structlog.get_logger()


class Balances:
    """`job` looks every quarter of an hour."""

    def __init__(
        self,
        database: Database,
        keyring: Keyring,
        settings: Settings,
        *,
        clock_ms: Callable[[], int] = now_ms,
    ) -> None:
        self._database = database
        self._keyring = keyring
        self._settings = settings
        self._clock_ms = clock_ms
        #: When it was told that a key's balance is low, by the key's id.
        self._told: dict[int, int] = {}
        self.job = Recurring("balances", self.look, every_seconds=EVERY_SECONDS, jitter=JITTER)

    async def look(self) -> int:
        """Asks for every balance that is watched, once. Gives how many alerts were raised."""
        subjects = await asyncio.to_thread(self._watched)
        self._told = {
            subject.key.id: self._told[subject.key.id]
            for subject in subjects
            if subject.key.id in self._told
        }
        if not subjects:
            return 0
        raised = 0
        async with open_clients(self._settings) as clients:
            for subject in subjects:
                raised += await self._ask(clients, subject)
        return raised

    def _watched(self) -> list[Subject]:
        found = []
        with self._database.read() as connection:
            for vendor in pool.list_vendors(connection):
                if not vendor.low_balance or VENDORS_BY_TYPE[vendor.type].balance is None:
                    continue
                for key in pool.list_keys(connection, vendor):
                    if not key.enabled or rules.is_expired(key.expires_at, self._clock_ms()):
                        continue
                    try:
                        found.append(subject_of(connection, self._keyring, vendor, key))
                    except (BusinessError, Unsealable) as problem:
                        _log.warning("balance_unknown", key_id=key.id, reason=str(problem))
        return found

    async def _ask(self, clients: Clients, subject: Subject) -> bool:
        key_id = subject.key.id
        left = await ask_balance(clients, subject)
        if left.money is None:
            _log.warning("balance_unknown", key_id=key_id, reason=left.said)
            return False
        if not is_low(left.money, subject.vendor.low_balance):
            self._told.pop(key_id, None)
            return False
        at_ms = self._clock_ms()
        if key_id in self._told and abs(at_ms - self._told[key_id]) < AGAIN_MS:
            return False
        raised = await asyncio.to_thread(self._raise, subject, left.money, at_ms)
        self._told[key_id] = at_ms
        return raised

    def _raise(self, subject: Subject, money: Money, at_ms: int) -> bool:
        vendor, key = subject.vendor, subject.key
        amount = f"{money.amount} {money.currency}".strip()
        with self._database.write() as tx:
            return raise_alert(
                tx,
                event=Event.BALANCE_LOW,
                target=pool.key_target(key.id),
                subject=f"Balance of {vendor.name}/{key.name} is {amount}",
                text=f"It is below {vendor.low_balance}. Calls with this key fail when it is gone.",
                fields={
                    "vendor": vendor.name,
                    "key": key.name,
                    "balance": money.amount,
                    "currency": money.currency,
                    "low_balance": vendor.low_balance,
                },
                at_ms=at_ms,
            )


def is_low(money: Money, low_balance: str) -> bool:
    """Is it less than what people want to be told of? Both are decimal numbers."""
    return Decimal(money.amount) < Decimal(low_balance)
