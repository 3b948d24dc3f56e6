"""The ledger process: the real queue, connections, collector, calendar and recovery.

Only what turns the wheels is replaced: nothing is committed, no timer fires and no clock is
looked at before the schedule says so. With two lanes there are two queues, as with two ledger
processes, and one of them may commit between the other's load and its commit.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from contextlib import contextmanager
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

from aipool.books.access import InLoop
from aipool.books.batches import Batches
from aipool.books.calendar import Calendar, Day
from aipool.books.collecting import Collector
from aipool.books.link import Link
from aipool.books.main import LedgerProcess
from aipool.books.record import Batch
from aipool.books.recovery import Ended, Ending, Recovery
from aipool.books.workers import Workers
from aipool.doors.frames import KeyStates
from aipool.ledger import service as ledger
from aipool.ledger.types import EpochState
from tests.simulation.loop import Loop, Task

if TYPE_CHECKING:
    from tests.simulation.world import World


class Killed(BaseException):
    """kill -9 of the ledger process at this very place."""


class _Broadcast:
    """News of tokens go another way here."""

    def greet(self, *_: object) -> None: ...

    def forget(self, *_: object) -> None: ...


class _Keys:
    """Nothing is learned of upstream keys here."""

    def states(self) -> KeyStates:
        return KeyStates((), everything=True)


class _Slots:
    """No key has a cap here."""

    def connected(self, _epoch: int) -> None: ...

    def over(self, _epoch: int) -> None: ...


class _Observer:
    """Counts; and nothing may ever be turned away."""

    def __init__(self, world: World) -> None:
        self._world = world

    def committed(self, batch: Batch, _seconds: float) -> None:
        self._world.calls_recorded += batch.calls

    def turned_away(self) -> None:
        why = repr(sys.exception())
        self._world.broken("L-08", f"a request is turned away for ever: {why}")


class Lane:
    """One queue, and the commit it is in the middle of."""

    def __init__(self, authority: Authority, world: World) -> None:
        self.batches = Batches(
            authority.access,
            slice_max_nano=world.profile.slice_max_nano,
            today=authority.today,
            observer=_Observer(world),
        )
        self.task: Task | None = None
        self.books = SimpleNamespace(
            batches=self.batches,
            broadcast=_Broadcast(),
            workers=authority.workers,
            collector=authority.collector,
            keys=_Keys(),
            slots=_Slots(),
            is_held=world.disk.is_held,
            today=authority.today,
            counted=lambda *_: None,
            lost=lambda: None,
            links=set(),
        )

    def commit(self) -> bool:
        """Goes on with the commit under way, or begins one with all that is queued."""
        if self.task is None:
            taken = self.batches._take()
            if not taken:
                return False
            self.task = Task(self.batches._commit(taken))
        self.task.wake()
        if self.task.done:
            self.task = None
        return True


class Authority(LedgerProcess):
    """One life of the ledger process."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.loop = Loop()
        asyncio._set_running_loop(cast(Any, self.loop))
        database = cast(Any, world.database)
        self.workers = self._workers = Workers()
        self.access = self._access = InLoop(database)
        self.collector = Collector(self.access, self.workers)
        with database.read() as connection:
            kept = ledger.today(connection)
            self.workers.load(ledger.epochs_in(connection, EpochState.OPEN), 0.0)
        clock = world.clock
        self._calendar = Calendar(Day(*kept) if kept else None, clock.unix, clock.passed)
        self._day_is_kept = kept is not None
        self.lanes = [Lane(self, world) for _ in range(world.profile.lanes)]
        self.recovery = Recovery(
            cast(Any, _Interrupted(world.database, world.in_recovery)), cast(Any, world.disk)
        )

    def today(self) -> int:
        """The day it is for the windows."""
        return self._today()

    def look_at_the_clock(self) -> None:
        """At the start, and then each second."""
        before = self._calendar.day.number
        Task(self._look_at_the_clock()).step()
        if self._calendar.day.number < before:
            self._world.broken("L-10", f"the day goes back from {before} to {self.today()}")

    def far_end(self, epoch: int) -> Link:
        """The end of a new connection, in the lane of this epoch (0: a writer)."""
        lane = self.lanes[epoch % len(self.lanes)]
        return Link(cast(Any, lane.books))

    def commit(self, lane: int) -> bool:
        """See Lane."""
        return self.lanes[lane % len(self.lanes)].commit()

    def is_idle(self) -> bool:
        """Is nothing queued and nothing half done?"""
        return all(lane.task is None and not lane.batches._queue for lane in self.lanes)

    def sweep(self) -> list[Ended]:
        """Recovers whoever is dead."""
        ended = self.recovery.sweep()
        for one in ended:
            self.workers.remove(one.epoch)
            self.collector.over(one.epoch)
            if one.how is not Ending.RECOVERED:
                self._world.broken("L-08", f"epoch {one.epoch:x} is {one.how.value}, undamaged")
        return ended

    def die(self) -> None:
        """kill -9: what was not committed is gone."""
        for lane in self.lanes:
            if lane.task is not None:
                lane.task.drop()


class _Interrupted:
    """The database as recovery sees it: at each transaction something may come in between."""

    def __init__(self, database: Any, between: Callable[[], None]) -> None:
        self._database = database
        self._between = between
        self.read = database.read

    @contextmanager
    def write(self) -> Any:
        self._between()
        with self._database.write() as tx:
            yield tx
