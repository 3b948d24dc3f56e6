"""Codes that are sent to a phone or a mailbox, to prove that it is somebody's.

Six digits, good for five minutes, five tries and one purpose; asking for another makes those
before it worthless. Stored is the HMAC over the code, its purpose and where it went. Messages
cost money and annoy, so they are few: to one number, from one network, and to all in a day
(security S-09). What is answered does not depend on whether there is an account: where there is
none to speak of, everything happens but the sending.

Refusals (kit.errors):
    code_wrong                                               422
    too_many_codes                                           429
"""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from typing import Protocol

from aipool.accounts.store import ways as store
from aipool.accounts.types import Channel
from aipool.audit.types import Act
from aipool.kit import digests
from aipool.kit.db import Transaction
from aipool.kit.errors import Invalid, TooMany
from aipool.notices.codes import CODE_MINUTES, Locale, Purpose

_DIGITS = 6
LIFE_MS = CODE_MINUTES * 60_000
TRIES_MAX = 5

_MINUTE_MS = 60_000
_HOUR_MS = 3_600_000
_DAY_MS = 24 * _HOUR_MS

#: To one number or address: so many in so long (security S-09).
ADDRESS_LIMITS = ((1, _MINUTE_MS), (5, _HOUR_MS), (10, _DAY_MS))
#: From one network.
NETWORK_LIMITS = ((10, _HOUR_MS),)


class CodeSender(Protocol):
    """Who carries codes. What fails is its own to log, as nobody who waits may learn of it."""

    async def send_code(self, to: str, purpose: Purpose, code: str, locale: Locale) -> bool:
        """Sends the code to a number (E.164) or an address, if it can be."""
        ...


@dataclass(frozen=True, slots=True)
class Wanted:
    """A code that somebody asks for. address: canonical.  network: where they ask from."""

    channel: Channel
    address: str
    purpose: Purpose
    network: str


def ask(
    tx: Transaction, act: Act, pepper: bytes, wanted: Wanted, *, sms_per_day: int, is_sent: bool
) -> str:
    """A new code, the only one from now on. Raises TooMany.

    is_sent: False = it counts like any other, and nobody will ever know it.
    """
    connection, now_ms = tx.connection, act.at_ms
    store.forget_codes(connection, now_ms - _DAY_MS)
    to_address = store.asked_times(connection, address=wanted.address, since_ms=now_ms - _DAY_MS)
    from_network = store.asked_times_of_network(
        connection, network=wanted.network, since_ms=now_ms - _HOUR_MS
    )
    wait_ms = max(
        *(_wait_ms(to_address, limit, now_ms) for limit in ADDRESS_LIMITS),
        *(_wait_ms(from_network, limit, now_ms) for limit in NETWORK_LIMITS),
    )
    if wait_ms:
        raise _too_many(wait_ms)
    if wanted.channel is Channel.PHONE:
        day_began_ms = now_ms - now_ms % _DAY_MS
        if store.sent_by_phone(connection, since_ms=day_began_ms - 1) >= sms_per_day:
            raise _too_many(day_began_ms + _DAY_MS - now_ms)
    code = f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}}"
    store.insert_code(
        connection,
        at_ms=now_ms,
        purpose=wanted.purpose,
        address=wanted.address,
        network=wanted.network,
        digest=_digest(pepper, wanted.purpose, wanted.address, code),
        tries_left=TRIES_MAX,
        sent=is_sent,
    )
    return code


def use(
    tx: Transaction, act: Act, pepper: bytes, purpose: Purpose, address: str, code: str
) -> bool:
    """Is this the code that was sent there? It is used up, or a try is; so the transaction must
    be committed whatever the answer is."""
    newest = store.newest_code(tx.connection, purpose, address)
    if newest is None or not newest.tries_left:
        return False
    if not newest.at_ms <= act.at_ms < newest.at_ms + LIFE_MS:
        return False
    is_right = hmac.compare_digest(newest.digest, _digest(pepper, purpose, address, code))
    store.set_tries_left(tx.connection, newest.id, 0 if is_right else newest.tries_left - 1)
    return is_right


def wrong(field: str = "code") -> Invalid:
    """The refusal of a code that is none."""
    return Invalid(
        "code_wrong",
        "this code is wrong, was used, or is too old: ask for another one",
        field=field,
    )


def _digest(pepper: bytes, purpose: Purpose, address: str, code: str) -> bytes:
    return digests.digest(pepper, f"code|{purpose}|{address}|{code}".encode())


def _wait_ms(times: list[int], limit: tuple[int, int], now_ms: int) -> int:
    """Until one more fits. times: the newest first.  limit: so many in so long."""
    most, span_ms = limit
    return max(0, times[most - 1] + span_ms - now_ms) if len(times) >= most else 0


def _too_many(wait_ms: int) -> TooMany:
    return TooMany(
        "too_many_codes",
        "too many codes were asked for: wait a while",
        wait_seconds=-(-wait_ms // 1000),
    )
