"""Clients' idempotency keys: which call has one is decided here, for all workers.

Questions that come while a transaction is being written gather for the next one. In PostgreSQL
two of them about one new key cannot meet, because there is one ledger process and it writes one
transaction of these at a time.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import deque
from collections.abc import Callable

import structlog

from aipool.books.access import Access
from aipool.calls import claims
from aipool.calls.claims import Owner
from aipool.calls.types import KeyAsked
from aipool.doors.frames import Claim, Claimed, Unclaim, Verdict
from aipool.kit.clock import now_ms
from aipool.kit.db import PASSING_ERRORS, Transaction

log = structlog.get_logger()

#: Questions in one transaction: each is a few statements.
_TOGETHER_MAX = 64
_SWEEP_SECONDS = 60.0
#: After a database that could not be written, before it is tried again.
_RETRY_SECONDS = 1.0

Answer = Callable[[Claimed], None]


class ClaimKeeper:
    """Answers questions in the order they come."""

    def __init__(self, access: Access) -> None:
        self._access = access
        self._queue: deque[tuple[int, Claim | Unclaim, Answer | None]] = deque()
        self._wake = asyncio.Event()

    def ask(self, epoch: int, claim: Claim, answer: Answer) -> None:
        """A call wants a key."""
        self._queue.append((epoch, claim, answer))
        self._wake.set()

    def let_go(self, unclaim: Unclaim) -> None:
        """A call came to nothing."""
        self._queue.append((0, unclaim, None))
        self._wake.set()

    async def run(self) -> None:
        """Until cancelled."""
        loop = asyncio.get_running_loop()
        swept_at = loop.time()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(_SWEEP_SECONDS):
                    await self._wake.wait()
            self._wake.clear()
            while self._queue:
                if not await self._write_some():
                    await asyncio.sleep(_RETRY_SECONDS)
            if loop.time() - swept_at >= _SWEEP_SECONDS:
                swept_at = loop.time()
                with contextlib.suppress(*PASSING_ERRORS):
                    await self._access.write(lambda tx: claims.sweep(tx, at_ms=now_ms()))

    async def _write_some(self) -> bool:
        """False: it could not be written. Who asked is told; what was let go waits."""
        count = min(len(self._queue), _TOGETHER_MAX)
        asked = [self._queue.popleft() for _ in range(count)]
        try:
            owners = await self._access.write(lambda tx: _decided(tx, asked))
        except PASSING_ERRORS as error:
            log.error("claims_not_decided", reason=str(error))  # noqa: TRY400
            owners = None
            self._queue.extendleft(one for one in reversed(asked) if isinstance(one[1], Unclaim))
        for place, (_, message, answer) in enumerate(asked):
            if isinstance(message, Claim) and answer is not None:
                answer(_answer(message, None if owners is None else owners[place], owners is None))
        return owners is not None


def _decided(
    tx: Transaction, asked: list[tuple[int, Claim | Unclaim, Answer | None]]
) -> list[Owner | None]:
    """Who had each key."""
    at_ms, owners = now_ms(), []
    for epoch, message, _ in asked:
        owner = None
        if isinstance(message, Claim):
            wanted = KeyAsked(message.token_id, message.key, message.body, message.rid, epoch)
            owner = claims.claim(tx, wanted, at_ms=at_ms)
        else:
            claims.unclaim(tx, message.token_id, message.key, message.rid)
        owners.append(owner)
    return owners


def _answer(claim: Claim, owner: Owner | None, is_unknown: bool) -> Claimed:
    if is_unknown:
        return Claimed(claim.number, Verdict.UNKNOWN, "", 0)
    if owner is None:
        return Claimed(claim.number, Verdict.NEW, claim.rid, 0)
    if not owner.same_body:
        return Claimed(claim.number, Verdict.OTHER, owner.rid, 0)
    if owner.charge_nano is None:
        return Claimed(claim.number, Verdict.RUNNING, owner.rid, 0)
    return Claimed(claim.number, Verdict.ENDED, owner.rid, owner.charge_nano)
