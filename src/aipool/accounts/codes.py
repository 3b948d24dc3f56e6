"""Codes that are sent to a phone or a mailbox, to prove that it is somebody's.

Six digits, good for five minutes, five tries and one purpose, for whoever asked: the answer to
the asking has a handle of 256 random bits, and a code is nothing without the handle it was asked
for under. So nobody can try at a code that somebody else asked for, use up its tries, or make it
worthless by asking for another. What a person who is logged in asks for is good in that session
alone. A code that proved its point ends all others to the same place for the same purpose. Stored
are the HMAC over the handle, the purpose, where the code went and the session, and the HMAC over
that and the code.

Messages cost money and annoy, so they are few: to one number, from one network, and to all in a
day (security S-09). What is answered does not depend on whether there is an account: where there
is none to speak of, everything happens but the sending.

Refusals (kit.errors):
    code_wrong                                               422
    too_many_codes                                           429
"""

from __future__ import annotations

import hmac
import json
import secrets
from dataclasses import dataclass, field
from typing import Protocol

from sqlalchemy.engine import Connection

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
class Claim:
    """What a code proves. address: canonical, that it is somebody's.  session_id: of the person
    whose it is to be, 0 = whoever has the handle."""

    purpose: Purpose
    address: str
    session_id: int = 0


@dataclass(frozen=True, slots=True)
class Wanted:
    """A code that somebody asks for. network: where they ask from."""

    channel: Channel
    claim: Claim
    network: str


@dataclass(frozen=True, slots=True)
class Made:
    """A code, and the handle that it is good with."""

    handle: str = field(repr=False)
    code: str = field(repr=False)


def ask(
    tx: Transaction, act: Act, pepper: bytes, wanted: Wanted, *, sms_per_day: int, is_sent: bool
) -> Made:
    """A new code. Raises TooMany.

    is_sent: False = it counts like any other, and nobody will ever know it.
    """
    connection, now_ms, claim = tx.connection, act.at_ms, wanted.claim
    store.forget_codes(connection, now_ms - _DAY_MS)
    to_address = store.asked_times(connection, address=claim.address, since_ms=now_ms - _DAY_MS)
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
    made = Made(digests.generate(""), f"{secrets.randbelow(10**_DIGITS):0{_DIGITS}}")
    asked = _asked_digest(pepper, claim, made.handle)
    store.insert_code(
        connection,
        at_ms=now_ms,
        purpose=claim.purpose,
        address=claim.address,
        network=wanted.network,
        handle_digest=asked,
        digest=_digest(pepper, asked, made.code),
        tries_left=TRIES_MAX,
        sent=is_sent,
    )
    return made


def is_asked(connection: Connection, pepper: bytes, claim: Claim, handle: str, now_ms: int) -> bool:
    """Was a code for this asked for under this handle, a short while ago?"""
    asked = _asked_digest(pepper, claim, handle)
    return store.code_is_asked(connection, asked, now_ms=now_ms, life_ms=LIFE_MS)


def use(tx: Transaction, act: Act, pepper: bytes, claim: Claim, handle: str, code: str) -> bool:
    """Is this the code that was sent when this handle was given? It is used up, or a try is; so
    the transaction must be committed whatever the answer is."""
    is_right = take_try(tx, act, pepper, claim, handle, code)
    if is_right:
        end(tx, claim)
    return is_right


def take_try(
    tx: Transaction, act: Act, pepper: bytes, claim: Claim, handle: str, code: str
) -> bool:
    """Like `use`, but a right code stays good: it is one of those that must all be right."""
    asked = _asked_digest(pepper, claim, handle)
    digest = store.take_try(tx.connection, asked, now_ms=act.at_ms, life_ms=LIFE_MS)
    return digest is not None and hmac.compare_digest(digest, _digest(pepper, asked, code))


def end(tx: Transaction, claim: Claim) -> None:
    """The claim is proved: no code for it that was asked for until now is good any more."""
    store.end_codes(tx.connection, claim.purpose, claim.address)


def wrong(field: str = "code") -> Invalid:
    """The refusal of a code that is none."""
    return Invalid(
        "code_wrong",
        "this code is wrong, was used, or is too old: ask for another one",
        field=field,
    )


def _asked_digest(pepper: bytes, claim: Claim, handle: str) -> bytes:
    # As a list, so that no part of it can be taken for another.
    told = ["code", claim.purpose, claim.address, claim.session_id, handle]
    return digests.digest(pepper, json.dumps(told).encode())


def _digest(pepper: bytes, asked: bytes, code: str) -> bytes:
    return digests.digest(pepper, asked + code.encode())


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
