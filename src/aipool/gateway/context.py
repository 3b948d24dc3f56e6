"""What all calls of one worker share, by lifetime: the process's, then what changes."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

from aipool.doors import records
from aipool.doors.outcome import Outcome
from aipool.doors.records import Returned
from aipool.gateway.access import AddressList, bucket_of
from aipool.gateway.affinity import Affinity
from aipool.gateway.attempts import RetryBudget
from aipool.gateway.board import Board
from aipool.gateway.catalogue import Catalogue
from aipool.gateway.claims import Claims
from aipool.gateway.contents import Contents
from aipool.gateway.cors import Cors
from aipool.gateway.counters import Counters
from aipool.gateway.funds import Funds
from aipool.gateway.journal import Journal
from aipool.gateway.limits import Rates
from aipool.gateway.link import Shipping
from aipool.gateway.log import CallLog
from aipool.gateway.refusals import ROWS_PER_MINUTE, Refusals
from aipool.gateway.slots import Slots
from aipool.gateway.tokens import Tokens
from aipool.gateway.unwanted import Unwanted
from aipool.kit.ids import RequestIds
from aipool.ledger.rules import DAY_SECONDS
from aipool.wire.client import HttpClient
from aipool.wire.limits import Limits
from aipool.wire.request import Origin

if TYPE_CHECKING:
    from aipool.gateway.call import Call
    from aipool.gateway.proxy import ControlProxy
    from aipool.gateway.stream import Stream

#: Clients that left whose streams are still being read for the vendor's usage report.
DRAINS_MAX = 64


class Context:
    """The services of one worker. Everything here is used from its event loop only."""

    def __init__(
        self,
        *,
        loop: asyncio.AbstractEventLoop,
        limits: Limits,
        control: Origin,
        secure: HttpClient,
        plain: HttpClient,
        trusted_proxies: AddressList,
        cors: Cors,
        log: CallLog,
        affinity_seconds: float,
        refusal_rows: int = ROWS_PER_MINUTE,
    ) -> None:
        self.loop = loop
        self.time = loop.time
        #: For what must be right also after the machine slept, and in a turn that was long.
        self.passed_seconds = partial(time.clock_gettime, time.CLOCK_BOOTTIME)
        self.unix_now = time.time
        self.chance = random.random
        self.next_rid = RequestIds().new
        self.limits = limits
        self.control = control
        self.secure = secure  # to TLS origins
        self.plain = plain  # to Unix sockets and to the private addresses that were allowed
        self.trusted_proxies = trusted_proxies
        self.cors = cors
        self.log = log
        self.counters = Counters()

        self.retries = RetryBudget()
        self.affinity = Affinity(affinity_seconds)
        self.unwanted = Unwanted()
        self.refusals = Refusals(refusal_rows)

        # Reads large bodies, one at a time: each may need its size in memory again.
        self.reader = ThreadPoolExecutor(1, "body-reader")

        # Set once by the worker, which ties them to each other.
        self.funds: Funds
        self.rates: Rates
        self.board: Board
        self.slots: Slots
        self.claims: Claims
        self.contents: Contents
        self.tokens: Tokens
        self.journal: Journal
        self.shipping: Shipping
        self.ledger_up: Callable[[], bool]
        self.ship_soon: Callable[[], None]

        # What changes.
        self.catalogue: Catalogue | None = None
        self.open_calls: dict[str, Call] = {}
        self.streams: set[Stream] = set()
        self.proxied: set[ControlProxy] = set()
        self.drains = 0
        self.draining = False
        #: The UTC day it is for the windows of budgets, as the ledger process says.
        self.day = int(time.time()) // DAY_SECONDS

    def settle_outcome(self, outcome: Outcome, then: Callable[[], None] | None) -> None:
        """Journal an outcome and queue it for the books; `then` runs once it is written."""
        self._write(outcome, then)
        self.counters.ended(outcome)

    def _write(self, outcome: Outcome, then: Callable[[], None] | None) -> None:
        payload = records.encode(outcome)
        end = self.journal.append(payload, then)
        self.shipping.add(end, payload)
        self.ship_soon()

    def give_back(self, returned: Returned) -> int:
        """Journal a return of lease and ship it; where its record ends.

        It does not wait for others to gather: somebody elsewhere may want the money.
        """
        payload = records.encode(returned)
        end = self.journal.append(payload)
        self.shipping.add(end, payload)
        self.loop.call_soon(self.shipping.push)
        return end

    def record_refusals(self, *, at_once: bool = False) -> None:
        """Write those that were counted in a minute that is over, or `at_once`. The metrics have
        them already, one by one."""
        for outcome in self.refusals.due(self.passed_seconds(), at_once=at_once):
            self._write(outcome, None)

    def limit_bucket(self, address: str) -> str | None:
        """What per-address limits count this client by; None = it is not limited."""
        if address.startswith("127.") or address in ("::1", "") or address in self.trusted_proxies:
            return None
        return bucket_of(address)

    def still_open(self) -> list[bytes]:
        """The H and P payloads of the calls now open."""
        payloads: list[bytes] = []
        for call in self.open_calls.values():
            payloads.append(call.hold_payload)
            if call.progress_payload:
                payloads.append(call.progress_payload)
        return payloads
