"""The ledger process: `python -m aipool.books.main`, started by the supervisor.

One event loop: the link server, the batches, the broadcast and the metrics. One thread
recovers dead workers, one keeps the database's log short. The loop itself writes to the
database, in transactions of milliseconds, and never waits for another writer for long:
its heartbeat must not depend on them.
"""

from __future__ import annotations

import asyncio
import gc
import signal
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import structlog
import uvloop
from sqlalchemy.engine import Connection

from aipool.books import metrics, publish, upkeep
from aipool.books.batches import Batches
from aipool.books.broadcast import Broadcast
from aipool.books.epochs import Epochs
from aipool.books.link import Books, serve
from aipool.books.recovery import PASSING, Recovery
from aipool.books.workers import Workers
from aipool.doors.snapshot import Snapshot, TokenView
from aipool.installation import run_directory
from aipool.kit import logging
from aipool.kit.db import Database, open_database
from aipool.kit.sealing import Keyring, load_keyring
from aipool.ledger import service as ledger
from aipool.ledger.types import EpochState
from aipool.process import Child

log = structlog.get_logger()

#: A writer that waits this long for the lock lets the loop beat in between.
BUSY_TIMEOUT_MS = 50

#: How often locks and revisions are looked at, when nothing says that it is worth it now.
WATCH_SECONDS = 0.25
PING_SECONDS = 1.0
#: Two pings this far apart: this process had been stopped.
STALL_SECONDS = 2.5
LOG_SECONDS = 0.5
TIDY_SECONDS = 60.0
BALANCE_SECONDS = 60.0
#: A connection that ended is often a process about to end: look again a moment later.
LOST_SECONDS = 0.01
STOP_SECONDS = 5.0

T = TypeVar("T")


class SliceCatalogue:
    """The slices, as the broadcast asks them."""

    def __init__(self, keyring: Keyring) -> None:
        self._keyring = keyring

    def current_revision(self, connection: Connection) -> int:
        """See Catalogue."""
        return publish.current_revision(connection)

    def snapshot(self, connection: Connection) -> Snapshot:
        """See Catalogue."""
        return publish.build_snapshot(connection, self._keyring)

    def token(self, connection: Connection, digest: bytes) -> TokenView | None:
        """See Catalogue."""
        return publish.token_view(connection, digest)


class LedgerProcess:
    """Everything of it, built once."""

    def __init__(
        self, child: Child, database: Database, keyring: Keyring, *, data_dir: Path
    ) -> None:
        self._child = child
        self._database = database
        self._metrics = metrics.Metrics()
        self._epochs = Epochs(data_dir)
        self._workers = Workers()
        self._batches = Batches(
            database, slice_max_nano=child.settings.slice_max_nano, observer=self._metrics
        )
        self._metrics.entries_queued = lambda: self._batches.entries_queued
        self._broadcast = Broadcast(database, SliceCatalogue(keyring), self._workers)
        self._recovery = Recovery(database, self._epochs)
        self._recovering = ThreadPoolExecutor(1, "recovery")
        self._keeping = ThreadPoolExecutor(1, "upkeep")
        self._log = upkeep.LogMover(self._database)
        self._look_soon = asyncio.Event()
        self._pinged_at = float("inf")
        self._stop = asyncio.Event()

    async def run(self, socket_path: Path) -> None:
        """Serves until told to stop; then writes what was received, and ends."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self._child.on_orphaned(loop, self._stop.set)

        with self._database.read() as connection:
            self._workers.load(ledger.epochs_in(connection, EpochState.OPEN), loop.time())
            self._metrics.epochs_frozen = len(ledger.epochs_in(connection, EpochState.FROZEN))
        if self._metrics.epochs_frozen:
            log.critical("epochs_frozen", count=self._metrics.epochs_frozen)
        books = Books(
            self._batches,
            self._broadcast,
            self._workers,
            is_held=self._epochs.is_held,
            counted=self._metrics.counted,
            lost=self._lost,
        )
        server = await serve(socket_path, books)
        metrics_server = await self._serve_metrics()
        writing = asyncio.create_task(self._batches.run())
        watching = [
            asyncio.create_task(self._watch_workers()),
            asyncio.create_task(_every(PING_SECONDS, self._ping)),
            asyncio.create_task(_every(LOG_SECONDS, self._move_log)),
            asyncio.create_task(_every(TIDY_SECONDS, self._tidy)),
            asyncio.create_task(_every(BALANCE_SECONDS, self._balance)),
        ]
        self._child.ready()
        log.info("ledger_process_ready", workers=len(self._workers))

        stop = asyncio.create_task(self._stop.wait())
        await asyncio.wait([stop, writing, *watching], return_when=asyncio.FIRST_COMPLETED)
        server.close()
        if metrics_server is not None:
            metrics_server.close()
        for task in (stop, *watching):
            if not task.done():
                task.cancel()
        self._batches.stop()
        async with asyncio.timeout(STOP_SECONDS):
            await writing
            outcomes = await asyncio.gather(*watching, return_exceptions=True)
            await self._recover()
        for link in list(books.links):
            link.close()
        self._recovery.stop()
        self._recovering.shutdown()
        self._keeping.shutdown()
        self._database.checkpoint(truncate=True)
        for outcome in outcomes:
            if isinstance(outcome, Exception):
                raise outcome

    # --- workers ----------------------------------------------------------------------------

    def _lost(self) -> None:
        """A worker hung up: it may be dead, in a moment."""
        asyncio.get_running_loop().call_later(LOST_SECONDS, self._look_soon.set)

    async def _watch_workers(self) -> None:
        while True:
            try:
                if any(not self._epochs.is_held(worker.epoch) for worker in self._workers):
                    await self._recover()
                self._broadcast.poll()
            except PASSING as error:
                log.error("watch_failed", reason=str(error))  # noqa: TRY400
            try:
                await asyncio.wait_for(self._look_soon.wait(), WATCH_SECONDS)
            except TimeoutError:
                pass
            self._look_soon.clear()

    async def _recover(self) -> None:
        loop = asyncio.get_running_loop()
        for ended in await loop.run_in_executor(self._recovering, self._recovery.sweep):
            self._metrics.epoch_ended(ended)
            self._workers.remove(ended.epoch)
        self._broadcast.recheck()

    async def _ping(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._pinged_at > STALL_SECONDS:
            # This process was stopped for a while: nobody's silence counts.
            for worker in self._workers:
                worker.reached_at = now
        self._pinged_at = now
        for worker in self._workers:
            if worker.is_unreachable(now) and not worker.reported:
                worker.reported = True
                log.error("worker_unreachable", worker=worker.name)
                self._child.report_unreachable(worker.pid)
            elif worker.link is not None:
                worker.link.ping()

    # --- on the side ------------------------------------------------------------------------

    async def _move_log(self) -> None:
        loop = asyncio.get_running_loop()
        commits, now = self._metrics.commits, loop.time()
        if self._log.is_due(commits, now):
            await loop.run_in_executor(self._keeping, self._log.move, commits, now)

    async def _balance(self) -> None:
        self._metrics.imbalance_nano = await self._keep(upkeep.balance, self._database)

    async def _tidy(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._recovering, self._recovery.tidy)

    async def _keep(self, work: Callable[[Database], T], database: Database) -> T:
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._keeping, work, database)

    async def _serve_metrics(self) -> asyncio.Server | None:
        port = self._child.settings.metrics_port
        if not port:
            return None
        try:
            return await metrics.serve(self._metrics, port)
        except OSError as error:
            log.error("metrics_not_served", port=port, reason=str(error))  # noqa: TRY400
            return None


async def _every(seconds: float, work: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await work()
        except PASSING as error:
            log.warning("upkeep_put_off", work=work.__name__, reason=str(error))
        await asyncio.sleep(seconds)


def main() -> None:
    """The process's entry."""
    child = Child.from_environment()
    settings = child.settings
    logging.configure(settings.log_level)
    database = open_database(settings.database_url_effective, busy_timeout_ms=BUSY_TIMEOUT_MS)
    keyring = load_keyring(settings.data_dir)

    async def run() -> None:
        child.start_heartbeat(asyncio.get_running_loop())
        process = LedgerProcess(child, database, keyring, data_dir=settings.data_dir)
        # What was built at the start lives for ever, and batches make no cycles.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        await process.run(run_directory(settings.data_dir).link_socket)

    uvloop.run(run())


if __name__ == "__main__":
    main()
