"""Group commit: many requests, one transaction, and no answer before its commit.

    request ─┐                       ┌─ answer
    request ─┼─▶ queue ─▶ batch ─▶ commit
    request ─┘                       └─ answer

A request that somebody waits for (Borrow, Open) is committed at once, and whatever is
queued goes with it. Entries alone are committed at once when the last commit is a while
ago, else after a short gap: it lets entries gather, which makes each of them cheaper, and
it lets other processes write.

The loop never waits long for the database (books.access): when another process has the
lock the batch is tried again after a pause in which the loop is free.
Nothing is dropped: a full disk or a locked database delays a batch, and only a request
that cannot be written for a reason of its own is turned away, alone.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Sequence
from typing import NamedTuple, Protocol

import structlog

from aipool.books.access import Access
from aipool.books.record import Batch, record
from aipool.books.requests import Answer, Append, Misplaced, Request
from aipool.kit.clock import now_ms
from aipool.kit.db import PASSING_ERRORS, REFUSED_ERRORS, DatabaseBusy, Transaction

log = structlog.get_logger()

#: Pause between two commits of entries alone: at 10,000 calls a second it lets about 130
#: gather, and a call costs a tenth less than with half of it.
GAP_SECONDS = 0.010
#: Entries of one transaction; about 10 ms of work.
BATCH_ENTRIES_MAX = 512
#: Pauses before a batch is tried again.
BUSY_PAUSE_SECONDS = 0.02
BROKEN_PAUSE_SECONDS = 0.5
HELD_UP_SECONDS = 1.0


class Observer(Protocol):
    """Who counts what the batches did."""

    def committed(self, batch: Batch, seconds: float) -> None:
        """A batch is in the books."""
        ...

    def turned_away(self) -> None:
        """A request could not be written for a reason of its own."""
        ...


class _Queued(NamedTuple):
    request: Request
    answer: Callable[[Answer], None]


class Batches:
    """The queue in front of the books. `submit` from the loop's thread only.

    today: the UTC day it is for the windows of budgets.
    """

    def __init__(
        self,
        access: Access,
        *,
        slice_max_nano: int,
        today: Callable[[], int],
        observer: Observer,
    ) -> None:
        self._access = access
        self._slice_max_nano = slice_max_nano
        self._today = today
        self._observer = observer
        #: Somebody waits until entries are recorded: they do not gather meanwhile.
        self.is_awaited: Callable[[], bool] = lambda: False
        #: Does what it can about such an error; True when it is worth trying again at once.
        self.relieve: Callable[[Exception], bool] = lambda _error: False
        self._queue: deque[_Queued] = deque()
        self._entries = 0
        self._urgent = 0
        self._stopping = False
        self._last_commit = float("-inf")
        # When the batch that is being written was begun.
        self._began = float("inf")
        # What `run` waits for while it has nothing to do, or lets entries gather.
        self._idle: asyncio.Future[None] | None = None
        self._gathering: asyncio.Future[None] | None = None

    @property
    def entries_queued(self) -> int:
        """Shipped but not yet recorded."""
        return self._entries

    @property
    def is_held_up(self) -> bool:
        """Has a batch waited for the database for so long that something is wrong with it?"""
        return asyncio.get_running_loop().time() - self._began > HELD_UP_SECONDS

    def submit(self, request: Request, answer: Callable[[Answer], None]) -> None:
        """Queues a request; `answer` is called after the commit that contains it."""
        self._queue.append(_Queued(request, answer))
        if isinstance(request, Append):
            self._entries += len(request.entries)
        else:
            self._urgent += 1
        _wake(self._idle)
        if self._is_pressing():
            _wake(self._gathering)

    def stop(self) -> None:
        """Ends `run` once the queue is empty."""
        self._stopping = True
        _wake(self._idle)
        _wake(self._gathering)

    async def run(self) -> None:
        """Commits batch after batch until stopped."""
        loop = asyncio.get_running_loop()
        while self._queue or not self._stopping:
            if not self._queue:
                self._idle = loop.create_future()
                await self._idle
                continue
            gap = self._last_commit + GAP_SECONDS - loop.time()
            if gap > 0 and not self._is_pressing():
                self._gathering = loop.create_future()
                timer = loop.call_later(gap, _wake, self._gathering)
                await self._gathering
                timer.cancel()
            self._began = loop.time()
            await self._commit(self._take())
            self._began = float("inf")
            self._last_commit = loop.time()

    def _is_pressing(self) -> bool:
        return (
            bool(self._urgent)
            or self._entries >= BATCH_ENTRIES_MAX
            or self._stopping
            or self.is_awaited()
        )

    def _take(self) -> list[_Queued]:
        taken: list[_Queued] = []
        entries = 0
        while self._queue and entries < BATCH_ENTRIES_MAX:
            queued = self._queue.popleft()
            taken.append(queued)
            if isinstance(queued.request, Append):
                entries += len(queued.request.entries)
            else:
                self._urgent -= 1
        self._entries -= entries
        return taken

    async def _commit(self, taken: list[_Queued]) -> None:
        try:
            answers = await self._write([queued.request for queued in taken])
        except Exception:
            if len(taken) > 1:
                for queued in taken:
                    await self._commit([queued])
                return
            log.exception("request_turned_away")
            self._observer.turned_away()
            answers = (Misplaced("the request cannot be written"),)
        for queued, answer in zip(taken, answers, strict=True):
            queued.answer(answer)

    async def _write(self, requests: Sequence[Request]) -> tuple[Answer, ...]:
        """The answers, once committed; waits out whatever only takes time."""
        careful = False
        while True:
            try:
                return await self._write_once(requests, careful=careful)
            except DatabaseBusy:
                await asyncio.sleep(BUSY_PAUSE_SECONDS)
            except PASSING_ERRORS as error:
                log.error("books_not_writable", reason=str(error))  # noqa: TRY400
                # A connection that ended in a commit does not tell what became of it.
                careful = True
                if self.relieve(error):
                    continue
                await asyncio.sleep(BROKEN_PAUSE_SECONDS)
            except REFUSED_ERRORS:
                if careful:
                    raise
                careful = True

    async def _write_once(
        self, requests: Sequence[Request], *, careful: bool
    ) -> tuple[Answer, ...]:
        started = asyncio.get_running_loop().time()

        def work(tx: Transaction) -> Batch:
            return record(
                tx,
                requests,
                at_ms=now_ms(),
                slice_max_nano=self._slice_max_nano,
                day=self._today(),
                careful=careful,
            )

        batch = await self._access.write(work)
        self._observer.committed(batch, asyncio.get_running_loop().time() - started)
        return batch.answers


def _wake(waiting: asyncio.Future[None] | None) -> None:
    if waiting is not None and not waiting.done():
        waiting.set_result(None)
