"""The server of link.sock: messages of doors.frames, from workers and from writers.

A connection that has not said Hello may only announce changes; one that has speaks for
its epoch. A message that cannot be understood closes the connection: the other side
connects again and is told where it stands, so closing loses nothing.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import cast

import msgspec
import structlog

from aipool.books.batches import Batches
from aipool.books.broadcast import Broadcast
from aipool.books.claims import ClaimKeeper
from aipool.books.collecting import Collector
from aipool.books.key_health import KeyKeeper
from aipool.books.rates import RateKeeper
from aipool.books.requests import Answer, Borrow, Misplaced, Open, append_of
from aipool.books.slots import SlotKeeper
from aipool.books.workers import Worker, Workers
from aipool.doors.frames import (
    Acquire,
    Applied,
    AskPermits,
    AskSlots,
    Changed,
    Claim,
    Collect,
    Collected,
    Counters,
    Fenced,
    FetchToken,
    FromWorker,
    GivenBack,
    Hello,
    KeyReports,
    PermitsBack,
    Ping,
    Pong,
    Recorded,
    Ship,
    SlotsBack,
    Splitter,
    Today,
    Unclaim,
    Welcome,
    from_worker,
    pack,
)

log = structlog.get_logger()

#: Epochs are positive and fit a signed 64-bit column.
EPOCH_MAX = (1 << 63) - 1
BACKLOG = 256
_PING = pack(Ping())


class Books:
    """What a connection needs of the ledger process.

    is_held: whether an epoch's lock is held.  today: the day for the windows of budgets.
    counted: takes a worker's metrics.  lost: a worker's connection ended, so it may be dead.
    """

    def __init__(
        self,
        batches: Batches,
        broadcast: Broadcast,
        workers: Workers,
        collector: Collector,
        rates: RateKeeper,
        keys: KeyKeeper,
        slots: SlotKeeper,
        claims: ClaimKeeper,
        *,
        is_held: Callable[[int], bool],
        today: Callable[[], int],
        counted: Callable[[int, Counters], None],
        lost: Callable[[], None],
    ) -> None:
        self.batches = batches
        self.broadcast = broadcast
        self.workers = workers
        self.collector = collector
        self.rates = rates
        self.keys = keys
        self.slots = slots
        self.claims = claims
        self.is_held = is_held
        self.today = today
        self.counted = counted
        self.lost = lost
        self.links: set[Link] = set()


class Link(asyncio.Protocol):
    """One connection."""

    def __init__(self, books: Books) -> None:
        self._books = books
        self._splitter = Splitter()
        self._transport: asyncio.Transport | None = None
        self._worker: Worker | None = None
        self._epoch = 0

    # --- the socket -------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The other side is there."""
        # uvloop's transports are no subclasses of asyncio's.
        self._transport = cast(asyncio.Transport, transport)
        self._books.links.add(self)

    def data_received(self, data: bytes) -> None:
        """Some messages, perhaps the last one in part."""
        try:
            for payload in self._splitter.feed(data):
                self._received(from_worker.decode(payload))
        except (ValueError, msgspec.MsgspecError) as error:
            log.error("message_not_understood", reason=str(error))  # noqa: TRY400
            self.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """The other side is gone."""
        self._transport = None
        self._books.links.discard(self)
        self._books.broadcast.forget(self)
        if self._worker is not None:
            self._books.workers.detach(self)
            self._books.lost()

    def send(self, frame: bytes) -> None:
        """Writes a packed message, unless the connection is gone."""
        if self._transport is not None:
            self._transport.write(frame)

    def close(self) -> None:
        """Sends what is written and hangs up."""
        if self._transport is not None:
            self._transport.close()

    def fence(self, reason: str) -> None:
        """Tells the worker that its epoch is over, and hangs up."""
        self.send(pack(Fenced(reason)))
        self.close()

    def ping(self) -> None:
        """Asks whether the other side is there."""
        self.send(_PING)

    # --- messages ---------------------------------------------------------------------------

    def _received(self, message: FromWorker) -> None:
        if self._worker is not None:
            self._worker.reached_at = asyncio.get_running_loop().time()
        match message:
            case Ship():
                self._books.batches.submit(append_of(self._said(), message), self._answered)
            case Acquire():
                self._books.batches.submit(Borrow(self._said(), message), self._answered)
            case FetchToken():
                self._said()
                self._books.broadcast.look_up(self, message.number, message.digest)
            case Applied():
                self._said()
                if self._worker is not None:
                    self._books.broadcast.applied(self._worker, message.revision)
            case Collect():
                self._collect(message)
            case GivenBack():
                self._given_back(self._said(), message)
            case AskPermits():
                self._books.rates.ask(self._said(), message)
            case PermitsBack():
                self._books.rates.given_back(self._said(), message.number, message.entries)
            case KeyReports():
                self._said()
                self._books.keys.report(message.reports)
            case AskSlots():
                self._books.slots.ask(self._said(), message)
            case SlotsBack():
                self._books.slots.back(self._said(), message.cap_name, message.held)
            case Claim():
                self._books.claims.ask(self._said(), message, lambda it: self.send(pack(it)))
            case Unclaim():
                self._said()
                self._books.claims.let_go(message)
            case Counters():
                self._books.counted(self._said(), message)
            case Pong():
                pass
            case Hello():
                self._hello(message)
            case Changed():
                self._books.broadcast.changed(message, self)

    def _said(self) -> int:
        """The epoch of Hello. Raises ValueError before it."""
        if not self._epoch:
            raise ValueError("a worker speaks before its Hello")
        return self._epoch

    def _collect(self, message: Collect) -> None:
        def done(complete: bool) -> None:
            self.send(pack(Collected(message.number, complete)))

        self._books.collector.collect(message.budgets, self._epoch, done)

    def _given_back(self, epoch: int, message: GivenBack) -> None:
        if self._worker is not None:
            self._books.collector.given_back(
                epoch, message.number, message.position, self._worker.high_water
            )

    def _hello(self, hello: Hello) -> None:
        if self._epoch or not 0 < hello.epoch <= EPOCH_MAX:
            raise ValueError(f"a Hello of epoch {hello.epoch}")
        if not self._books.is_held(hello.epoch):
            self.fence("the lock of the epoch is not held")
            return
        self._epoch = hello.epoch

        def welcome(answer: Answer) -> None:
            if isinstance(answer, Welcome) and self._transport is not None:
                now = asyncio.get_running_loop().time()
                self._worker = self._books.workers.attach(
                    hello.epoch, hello.worker, hello.pid, self, now
                )
                self._books.slots.connected(hello.epoch)
            self._answered(answer)
            if self._worker is not None:
                self.send(pack(Today(self._books.today())) + pack(self._books.keys.states()))
                self._books.broadcast.greet(self._worker, hello.applied)

        self._books.batches.submit(Open(hello.epoch, hello.worker, hello.pid), welcome)

    def _answered(self, answer: Answer) -> None:
        if isinstance(answer, Misplaced):
            log.error("request_refused", epoch=f"{self._epoch:016x}", reason=answer.reason)
            self.close()
            return
        self.send(pack(answer))
        if isinstance(answer, Recorded | Welcome):
            self._recorded(answer.high_water)
        elif isinstance(answer, Fenced):
            self.close()

    def _recorded(self, high_water: int) -> None:
        if self._worker is not None:
            self._worker.high_water = high_water
            self._books.collector.recorded(self._epoch, high_water)


async def serve(path: Path, books: Books) -> asyncio.Server:
    """Answers on `path`, for this user alone, until the server is closed."""
    loop = asyncio.get_running_loop()
    return await loop.create_unix_server(lambda: Link(books), sock=_listen(path))


def _listen(path: Path) -> socket.socket:
    """A socket left over from a dead ledger process is replaced; the supervisor sees to
    it that no two live."""
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)
    try:
        listener.bind(str(path))
    finally:
        os.umask(before)
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener
