"""The ledger process: `python -m aipool.books.main`, started by the supervisor.

One event loop: the link server, the batches, the broadcast and the metrics. One thread
recovers dead workers, one keeps the database's log short. The loop itself writes to the
database, in transactions of milliseconds, and never waits for another writer for long:
its heartbeat must not depend on them.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import signal
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple, TypeVar

import structlog
import uvloop
from sqlalchemy.engine import Connection

from aipool.books import metrics, publish, upkeep
from aipool.books.access import Access, access_to
from aipool.books.batches import Batches
from aipool.books.broadcast import Broadcast
from aipool.books.calendar import Calendar, Day, seconds_to_midnight
from aipool.books.claims import ClaimKeeper
from aipool.books.collecting import Collector
from aipool.books.epochs import Epochs
from aipool.books.key_health import KeyKeeper
from aipool.books.link import Books, serve
from aipool.books.rate_file import RateFile
from aipool.books.rates import RateKeeper
from aipool.books.recovery import PASSING, Recovery
from aipool.books.slots import SlotKeeper
from aipool.books.workers import Workers
from aipool.doors.frames import RecallSlots, Slots, Today, pack
from aipool.doors.snapshot import Snapshot, TokenView
from aipool.installation import run_directory
from aipool.kit import logging
from aipool.kit.ballast import Ballast
from aipool.kit.db import Database, DatabaseUnreachable, SqliteDatabase, open_database
from aipool.kit.sealing import Keyring, load_keyring
from aipool.ledger import service as ledger
from aipool.ledger.types import EpochState, StreamRow
from aipool.pool import keeping
from aipool.pool.health import HealthRules
from aipool.pool.types import HealthRow
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
ROOM_SECONDS = 2.0
TIDY_SECONDS = 60.0
BALANCE_SECONDS = 60.0
#: How often models are looked for that nobody can serve.
MODELS_SECONDS = 15.0
#: A connection that ended is often a process about to end: look again a moment later.
LOST_SECONDS = 0.01
STOP_SECONDS = 5.0
CLOCK_SECONDS = 1.0
#: Pause between two attempts to reach a database at the start.
UNREACHABLE_SECONDS = 1.0

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


class Beginning(NamedTuple):
    """What the books say when the process starts."""

    day: Day | None
    revision: int
    open: list[StreamRow]
    frozen: int
    lanes: list[HealthRow]


class LedgerProcess:
    """Everything of it, built once."""

    def __init__(
        self,
        child: Child,
        database: Database,
        access: Access,
        keyring: Keyring,
        beginning: Beginning,
        *,
        data_dir: Path,
    ) -> None:
        self._child = child
        self._database = database
        self._access = access
        self._beginning = beginning
        self._metrics = metrics.Metrics()
        self._epochs = Epochs(data_dir)
        self._workers = Workers()
        self._calendar = Calendar(beginning.day, time.time(), _passed_seconds())
        self._batches = Batches(
            access,
            slice_max_nano=child.settings.slice_max_nano,
            today=self._today,
            observer=self._metrics,
        )
        self._collector = Collector(access, self._workers)
        self._rate_file = RateFile(data_dir / "rates", _passed_seconds())
        self._rates = RateKeeper(self._workers, self._rate_file, _passed_seconds)
        self._batches.is_awaited = lambda: self._collector.is_waiting
        self._day_is_kept = beginning.day is not None
        self._metrics.entries_queued = lambda: self._batches.entries_queued
        settings = child.settings
        self._keys = KeyKeeper(
            access,
            self._workers,
            HealthRules(
                settings.key_failures, settings.key_failure_seconds, settings.key_cooldown_seconds
            ),
            beginning.lanes,
        )
        self._metrics.keys = self._keys
        self._slots = SlotKeeper(
            self._workers.epochs, self._tell_slots, time.monotonic, _call_later
        )
        self._claims = ClaimKeeper(access)
        self._broadcast = Broadcast(
            access,
            SliceCatalogue(keyring),
            self._workers,
            told=beginning.revision,
            published=self._keys.catalogue,
        )
        self._recovery = Recovery(database, self._epochs)
        self._recovering = ThreadPoolExecutor(1, "recovery")
        self._keeping = ThreadPoolExecutor(1, "upkeep")
        self._room = upkeep.RoomKeeper(Ballast(settings.ballast_path, settings.ballast_bytes))
        self._batches.relieve = self._room.give
        self._log = upkeep.LogMover(database) if isinstance(database, SqliteDatabase) else None
        self._look_soon = asyncio.Event()
        self._pinged_at = float("inf")
        self._stop = asyncio.Event()

    async def run(self, socket_path: Path) -> None:
        """Serves until told to stop; then writes what was received, and ends."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        self._child.on_orphaned(loop, self._stop.set)

        self._workers.load(self._beginning.open, loop.time())
        self._metrics.epochs_frozen = self._beginning.frozen
        if self._metrics.epochs_frozen:
            log.critical("epochs_frozen", count=self._metrics.epochs_frozen)
        books = Books(
            self._batches,
            self._broadcast,
            self._workers,
            self._collector,
            self._rates,
            self._keys,
            self._slots,
            self._claims,
            is_held=self._epochs.is_held,
            today=self._today,
            counted=self._metrics.counted,
            lost=self._lost,
        )
        await self._keep_room()
        server = await serve(socket_path, books)
        metrics_server = await self._serve_metrics()
        writing = asyncio.create_task(self._batches.run())
        watching = [
            asyncio.create_task(self._watch_workers()),
            asyncio.create_task(self._keep_calendar()),
            asyncio.create_task(self._keys.run()),
            asyncio.create_task(self._claims.run()),
            asyncio.create_task(_every(PING_SECONDS, self._ping)),
            asyncio.create_task(_every(LOG_SECONDS, self._move_log)),
            asyncio.create_task(_every(ROOM_SECONDS, self._keep_room)),
            asyncio.create_task(_every(TIDY_SECONDS, self._tidy)),
            asyncio.create_task(_every(BALANCE_SECONDS, self._balance)),
            asyncio.create_task(_every(MODELS_SECONDS, self._keys.look_at_models)),
            asyncio.create_task(_every(TIDY_SECONDS, self._rates.sweep)),
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
            await self._keys.close()
        for link in list(books.links):
            link.close()
        self._recovery.stop()
        self._recovering.shutdown()
        self._keeping.shutdown()
        self._rate_file.close()
        await self._access.close()
        if isinstance(self._database, SqliteDatabase):
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
            # Not wait_for: when the event comes with the cancelling, that would swallow the latter.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(WATCH_SECONDS):
                    await self._look_soon.wait()
            self._look_soon.clear()

    async def _recover(self) -> None:
        loop = asyncio.get_running_loop()
        for ended in await loop.run_in_executor(self._recovering, self._recovery.sweep):
            self._metrics.epoch_ended(ended)
            self._workers.remove(ended.epoch)
            self._collector.over(ended.epoch)
            self._rates.over(ended.epoch)
            self._slots.over(ended.epoch)
        self._broadcast.recheck()

    def _tell_slots(self, epoch: int, message: Slots | RecallSlots) -> None:
        self._workers.tell(epoch, pack(message))

    # --- the day ----------------------------------------------------------------------------

    def _today(self) -> int:
        return self._calendar.day.number

    async def _keep_calendar(self) -> None:
        """Looks at the clock each second, and at midnight to the moment."""
        while True:
            # Read before the look: midnight may come between the two, and is then a moment away.
            now = time.time()
            try:
                await self._look_at_the_clock()
            except PASSING as error:
                log.warning("calendar_not_kept", reason=str(error))
            await asyncio.sleep(min(CLOCK_SECONDS, seconds_to_midnight(now)))

    async def _look_at_the_clock(self) -> None:
        calendar, was = self._calendar, self._calendar.day
        if was.frozen:
            kept = await self._access.get(ledger.today)
            if kept is not None and not kept[1]:
                calendar.confirm(Day(*kept), time.time(), _passed_seconds())
        day = calendar.look(time.time(), _passed_seconds())
        if day != calendar.day or not self._day_is_kept:
            await self._access.write(lambda tx: ledger.set_day(tx, day.number, frozen=day.frozen))
            self._day_is_kept = True
            calendar.keep(day)
        if calendar.day.frozen and not was.frozen:
            log.critical("clock_leapt", day=was.number, todo="aipool ledger confirm-clock")
        if calendar.day.number != was.number:
            self._tell_day()

    def _tell_day(self) -> None:
        self._workers.tell_all(pack(Today(self._today())))

    async def _ping(self) -> None:
        now = asyncio.get_running_loop().time()
        if now - self._pinged_at > STALL_SECONDS or self._batches.is_held_up:
            # This process was stopped for a while, or its database is away and keeps it from
            # welcoming a worker: nobody's silence counts.
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
        if self._log is not None and self._log.is_due(commits, now):
            await loop.run_in_executor(self._keeping, self._log.move, commits, now)

    async def _balance(self) -> None:
        self._metrics.imbalance_nano = await self._keep(upkeep.balance, self._database)

    async def _keep_room(self) -> None:
        await asyncio.get_running_loop().run_in_executor(self._keeping, self._room.look)

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


def _passed_seconds() -> float:
    """Time that has really passed: nobody sets this clock, and it runs in the machine's sleep."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def _first_look(access: Access) -> Beginning:
    """Waits for a database that cannot be reached: nobody else could do more without it."""
    while True:
        try:
            return await access.get(_beginning)
        except DatabaseUnreachable as error:
            log.error("database_unreachable", reason=str(error))  # noqa: TRY400
            await asyncio.sleep(UNREACHABLE_SECONDS)


def _beginning(connection: Connection) -> Beginning:
    day = ledger.today(connection)
    return Beginning(
        Day(*day) if day is not None else None,
        publish.current_revision(connection),
        ledger.epochs_in(connection, EpochState.OPEN),
        len(ledger.epochs_in(connection, EpochState.FROZEN)),
        keeping.load_lanes(connection),
    )


def _call_later(seconds: float, work: Callable[[], None]) -> None:
    asyncio.get_running_loop().call_later(seconds, work)


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
        access = access_to(database)
        beginning = await _first_look(access)
        process = LedgerProcess(
            child, database, access, keyring, beginning, data_dir=settings.data_dir
        )
        # What was built at the start lives for ever, and batches make no cycles.
        gc.collect()
        gc.freeze()
        gc.set_threshold(50_000, 20, 20)
        await process.run(run_directory(settings.data_dir).link_socket)

    uvloop.run(run())


if __name__ == "__main__":
    main()
