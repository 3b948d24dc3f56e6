"""The worker's end of link.sock: one connection to the ledger process, for ever repaired.

Three conversations share it, each with at most one question outstanding: leases (Acquire),
settlements (Ship) and, as many as there are unknown tokens, FetchToken. What was not
answered when the connection broke is asked again on the next one: the ledger process
answers a repeated number identically and skips what it has recorded.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import Protocol, cast

import msgspec

from aipool.doors import frames
from aipool.doors.frames import (
    Acquire,
    Applied,
    AskPermits,
    AskSlots,
    Claim,
    Claimed,
    Collect,
    Collected,
    Counters,
    FetchToken,
    FromLedger,
    FromWorker,
    GivenBack,
    Granted,
    Hello,
    KeyReports,
    KeyStates,
    Permits,
    PermitsBack,
    Ping,
    Pong,
    Publish,
    Recall,
    RecallPermits,
    RecallSlots,
    Recorded,
    Ship,
    Slots,
    SlotsBack,
    Today,
    TokenAnswer,
    Unclaim,
    Uncounted,
    Welcome,
)

_RECONNECT_SECONDS = 0.1


class Worker(Protocol):
    """What the link tells the worker."""

    def link_up(self) -> None:
        """Connected and welcomed."""

    def link_down(self) -> None:
        """The connection is gone; it is being repaired."""

    def granted(self, answer: Granted) -> None:
        """Leases, or a no."""

    def recall(self, budgets: tuple[tuple[str, int], ...]) -> int:
        """Others need these budgets: give back what is free; where the journal says so."""

    def collected(self, answer: Collected) -> None:
        """What others had free has come back."""

    def permitted(self, answer: Permits) -> None:
        """Permits, or a no."""

    def recall_permits(self, rates: tuple[str, ...]) -> tuple[Uncounted, ...]:
        """Others need these rates: what is unused of them."""

    def key_states(self, news: KeyStates) -> None:
        """How upstream keys stand for all workers."""

    def slots(self, answer: Slots) -> None:
        """Room under a cap, or none."""

    def recall_slots(self, cap_name: str) -> int:
        """Others need room under this cap: how much of it is kept."""

    def claimed(self, answer: Claimed) -> None:
        """Whose an idempotency key is."""

    def today(self, day: int) -> None:
        """The day it is for the windows of budgets."""

    def token(self, answer: TokenAnswer) -> None:
        """Who has a digest."""

    def publish(self, news: Publish) -> None:
        """A new catalogue, tokens to forget; acted on when this returns."""

    def recorded(self, high_water: int) -> None:
        """The journal up to here is in the books."""

    def fenced(self, reason: str) -> None:
        """The epoch is over: stop."""


class Shipping:
    """Entries on their way into the books, in order, one batch outstanding."""

    __slots__ = ("_high_water", "_in_flight", "_queue", "_send")

    def __init__(self, send: Callable[[Ship], bool]) -> None:
        self._send = send
        self._queue: deque[tuple[int, bytes]] = deque()
        self._high_water = 0
        self._in_flight = False

    def add(self, end: int, payload: bytes) -> None:
        """An entry that ends at this position of the journal."""
        self._queue.append((end, payload))

    @property
    def waiting(self) -> int:
        """Entries not yet in the books."""
        return len(self._queue)

    def push(self) -> None:
        """Send the next batch if none is on its way. Entries stay queued until recorded."""
        queue = self._queue
        if self._in_flight or not queue:
            return
        count = min(len(queue), frames.SHIP_ENTRIES_MAX)
        batch = [queue[index] for index in range(count)]
        self._in_flight = True
        self._send(Ship(self._high_water, batch[-1][0], tuple(entry for _, entry in batch)))

    def recorded(self, high_water: int) -> None:
        """Committed up to here: forget, and go on. Also what a new connection begins with,
        since a batch that was on its way may or may not have been recorded."""
        queue = self._queue
        while queue and queue[0][0] <= high_water:
            queue.popleft()
        self._high_water = high_water
        self._in_flight = False
        self.push()


class Link(asyncio.Protocol):
    """Speaks doors.frames over the Unix socket at `path`."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, path: Path, *, epoch: int, index: int, worker: Worker
    ) -> None:
        self._loop = loop
        self._path = str(path)
        self._epoch = epoch
        self._index = index
        self._worker = worker
        self._transport: asyncio.Transport | None = None
        self._splitter = frames.Splitter()
        self._welcomed = False
        self._closing = False
        self._applied = 0
        self._connecting: asyncio.Task[None] | None = None
        self.shipping = Shipping(self.send)

    @property
    def up(self) -> bool:
        """Can a question be asked now?"""
        return self._welcomed

    def start(self) -> None:
        """Connect, and stay connected."""
        self._connecting = self._loop.create_task(self._connect())

    def close(self) -> None:
        """Hang up for good."""
        self._closing = True
        if self._connecting is not None:
            self._connecting.cancel()
        if self._transport is not None:
            self._transport.close()

    def send(
        self,
        message: Acquire
        | Collect
        | AskPermits
        | PermitsBack
        | KeyReports
        | AskSlots
        | SlotsBack
        | Claim
        | Unclaim
        | Ship
        | FetchToken
        | Counters,
    ) -> bool:
        """Say something, if the line is up; what must not be lost is repeated on `link_up`."""
        if self._welcomed:
            self._write(message)
        return self._welcomed

    # --- asyncio.Protocol ---------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Introduce the epoch."""
        self._transport = cast(asyncio.Transport, transport)
        self._splitter = frames.Splitter()
        self._write(Hello(self._epoch, self._index, os.getpid(), self._applied))

    def data_received(self, data: bytes) -> None:
        """Frames, whole or in part."""
        for payload in self._splitter.feed(data):
            self._hear(frames.from_ledger.decode(payload))

    def connection_lost(self, exc: Exception | None) -> None:
        """Repair it."""
        was_up, self._welcomed, self._transport = self._welcomed, False, None
        if was_up:
            self._worker.link_down()
        if not self._closing:
            # Not at once: who accepts only to hang up must not keep both sides busy.
            self._connecting = self._loop.create_task(self._connect(_RECONNECT_SECONDS))

    # --- inside -------------------------------------------------------------------------

    async def _connect(self, pause_seconds: float = 0.0) -> None:
        await asyncio.sleep(pause_seconds)
        while not self._closing:
            try:
                await self._loop.create_unix_connection(lambda: self, self._path)
                return
            except OSError:
                await asyncio.sleep(_RECONNECT_SECONDS)

    def _write(self, message: FromWorker) -> None:
        if self._transport is not None:
            self._transport.write(frames.pack(message))

    def _hear(self, message: FromLedger) -> None:
        worker = self._worker
        match message:
            case Recorded():
                self.shipping.recorded(message.high_water)
                worker.recorded(message.high_water)
            case Granted():
                worker.granted(message)
            case Recall():
                position = worker.recall(message.budgets)
                self._write(GivenBack(message.number, position))
            case Collected():
                worker.collected(message)
            case Permits():
                worker.permitted(message)
            case RecallPermits():
                back = worker.recall_permits(message.rates)
                self._write(PermitsBack(message.number, back))
            case KeyStates():
                worker.key_states(message)
            case Slots():
                worker.slots(message)
            case Claimed():
                worker.claimed(message)
            case RecallSlots():
                held = worker.recall_slots(message.cap_name)
                self._write(SlotsBack(message.cap_name, held))
            case Today():
                worker.today(message.day)
            case TokenAnswer():
                worker.token(message)
            case Publish():
                worker.publish(message)
                self._applied = message.revision
                self._write(Applied(message.revision))
            case Ping():
                self._write(Pong())
            case Welcome():
                self._welcomed = True
                self.shipping.recorded(message.high_water)
                worker.recorded(message.high_water)
                worker.link_up()
            case frames.Fenced():
                worker.fenced(message.reason)
            case _:
                raise msgspec.ValidationError(f"{type(message).__name__} is not for a worker")
