"""The live workers, as the ledger process knows them.

A worker is live from the commit that registers its epoch until its lock can be taken,
connected or not. Only a live worker that cannot be reached for a while is reported to the
supervisor: one that is gone needs no killing, and its journal is being recovered.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING

from aipool.ledger.types import StreamRow

if TYPE_CHECKING:
    from aipool.books.link import Link

#: A live worker without a connection or an answer for this long is reported.
UNREACHABLE_SECONDS = 5.0


class Worker:
    """One live worker.

    link: its connection, None while it has none.  applied: the newest revision it acts
    on, as it said.  high_water: up to where its journal is recorded.  reached_at: when it
    was last heard, on the loop's clock.
    """

    __slots__ = ("applied", "epoch", "high_water", "index", "link", "pid", "reached_at", "reported")

    def __init__(self, epoch: int, index: int, pid: int, now: float) -> None:
        self.epoch = epoch
        self.index = index
        self.pid = pid
        self.link: Link | None = None
        self.applied = 0
        self.high_water = 0
        self.reached_at = now
        self.reported = False

    @property
    def name(self) -> str:
        """As people read it."""
        return f"worker {self.index} (pid {self.pid})"

    def is_unreachable(self, now: float) -> bool:
        """Whether nothing was heard of it for too long."""
        return now - self.reached_at > UNREACHABLE_SECONDS


class Workers:
    """All live workers by epoch."""

    def __init__(self) -> None:
        self._workers: dict[int, Worker] = {}

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._workers.values()))

    def __len__(self) -> int:
        return len(self._workers)

    def get(self, epoch: int) -> Worker | None:
        """The worker of an epoch, if it lives."""
        return self._workers.get(epoch)

    def load(self, streams: list[StreamRow], now: float) -> None:
        """Starts with the open epochs of the books: each may hold its lock."""
        for stream in streams:
            self._workers[stream.epoch] = Worker(stream.epoch, stream.worker, stream.pid, now)

    def epochs(self) -> Collection[int]:
        """Whose epoch is not over."""
        return self._workers.keys()

    def tell(self, epoch: int, frame: bytes) -> None:
        """Sends a packed message to a worker, if it is connected."""
        worker = self._workers.get(epoch)
        if worker is not None and worker.link is not None:
            worker.link.send(frame)

    def tell_all(self, frame: bytes) -> None:
        """Sends a packed message to everybody who is connected."""
        for worker in self._workers.values():
            if worker.link is not None:
                worker.link.send(frame)

    def attach(self, epoch: int, index: int, pid: int, link: Link, now: float) -> Worker:
        """A worker is connected; a connection it had before is closed."""
        worker = self._workers.get(epoch)
        if worker is None:
            worker = self._workers[epoch] = Worker(epoch, index, pid, now)
        old, worker.link = worker.link, link
        worker.pid, worker.reached_at, worker.reported = pid, now, False
        if old is not None and old is not link:
            old.close()
        return worker

    def detach(self, link: Link) -> None:
        """A connection is gone; its worker may still live."""
        for worker in self._workers.values():
            if worker.link is link:
                worker.link = None

    def remove(self, epoch: int) -> None:
        """The epoch is over."""
        worker = self._workers.pop(epoch, None)
        if worker is not None and worker.link is not None:
            worker.link.fence("the epoch is over")
