"""The authority on how upstream keys fare: one copy of all lanes, and the word that counts.

    worker ── KeyReports ──▶ Lanes.apply ──▶ KeyStates to every worker, at once
                                └──▶ rows, trail and notices: a little later, many at a time

The rules are pool.health's. Calls never wait for the database: a lane's newest state is kept in
memory until it is written, however long that takes, and written in portions that take a few
milliseconds. When the process dies in between, the workers are told what the rows say, and learn
the rest again by their next calls.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable

import structlog

from aipool.books.access import Access
from aipool.books.workers import Workers
from aipool.doors.frames import KeyStates, pack
from aipool.doors.snapshot import Snapshot
from aipool.kit.clock import now_ms
from aipool.kit.db import PASSING_ERRORS, REFUSED_ERRORS, DatabaseBusy
from aipool.pool import keeping
from aipool.pool.health import Health, HealthRules, Lane, Lanes, Report
from aipool.pool.keeping import Change
from aipool.pool.types import HealthRow, KeyId

log = structlog.get_logger()

#: Between two writings; and when more is waiting than one may hold.
KEEP_SECONDS = 0.2
MORE_SECONDS = 0.05
#: Transitions of one writing: about 10 ms of work.
KEEP_MAX = 40
#: Pause before a writing is tried again that met trouble.
BROKEN_SECONDS = 0.5
#: Transitions that wait for their line in the trail; beyond that the oldest get none.
TRAIL_MAX = 4000

Name = tuple[int, str]
#: What a writing has of the backlog: the newest states, the changes, how many were lost.
Portion = tuple[list[HealthRow], list[Change], int]


class Backlog:
    """What is to be written: the newest state of each lane, and the changes that led to it."""

    def __init__(self) -> None:
        self._rows: dict[Name, HealthRow] = {}
        self._changes: deque[Change] = deque()
        self._lost = 0

    def __len__(self) -> int:
        return len(self._rows) + len(self._changes) + bool(self._lost)

    def add(self, change: Change) -> None:
        """One more."""
        self._rows[change.row.key_id, change.row.model] = change.row
        self._changes.append(change)
        self._cut()

    def take(self, count: int) -> Portion:
        """The oldest of it, at most so many changes."""
        changes = [self._changes.popleft() for _ in range(min(count, len(self._changes)))]
        names: list[Name] = list(dict.fromkeys((one.row.key_id, one.row.model) for one in changes))
        if not self._changes:
            # The states whose changes were lost.
            names += [name for name in self._rows if name not in names][: count - len(names)]
        rows = [self._rows.pop(name) for name in names if name in self._rows]
        lost, self._lost = self._lost, 0
        return rows, changes, lost

    def put_back(self, portion: Portion) -> None:
        """It was not written."""
        rows, changes, lost = portion
        self._rows = {(row.key_id, row.model): row for row in rows} | self._rows
        self._changes.extendleft(reversed(changes))
        self._lost += lost
        self._cut()

    def _cut(self) -> None:
        while len(self._changes) > TRAIL_MAX:
            self._changes.popleft()
            self._lost += 1


class KeyKeeper:
    """The authority in the ledger process.

    known: what the rows say.  clock: the monotonic one.  unix_ms: the time of day.  chance: a
    number in [0, 1).
    """

    def __init__(
        self,
        access: Access,
        workers: Workers,
        rules: HealthRules,
        known: Iterable[HealthRow] = (),
        *,
        clock: Callable[[], float] = time.monotonic,
        unix_ms: Callable[[], int] = now_ms,
        chance: Callable[[], float] = random.random,
    ) -> None:
        self._access = access
        self._workers = workers
        self._clock = clock
        self._unix_ms = unix_ms
        self._chance = chance
        self._lanes = Lanes(rules)
        # Of every lane: since when it has its health, in unix milliseconds.
        self._since_ms: dict[Name, int] = {}
        self._generations: dict[int, int] = {}
        self._backlog = Backlog()
        self._count = KEEP_MAX
        self._work = asyncio.Event()
        # The models that people know nobody can serve, by id.
        self._without_key: set[int] = set()
        #: Transitions so far, by (health, why).
        self.transitions: Counter[tuple[str, str]] = Counter()
        for row in known:
            self._lanes.adopt(self._lane(row))
            self._since_ms[row.key_id, row.model] = row.since_ms

    # --- workers --------------------------------------------------------------------------

    def report(self, reports: Iterable[Report]) -> None:
        """What a worker's calls have shown; every worker hears what comes of it."""
        changed = [lane for report in reports if (lane := self._apply(report)) is not None]
        if changed:
            self._workers.tell_all(pack(KeyStates(tuple(changed))))

    def states(self) -> KeyStates:
        """All of which anything is known, for a worker that has just connected."""
        return KeyStates(tuple(self._lanes), everything=True)

    def catalogue(self, snapshot: Snapshot) -> None:
        """The keys that people allow to be called; the others are forgotten."""
        self._generations = {key.id: key.generation for one in snapshot.vendors for key in one.keys}
        self._lanes.forget(self._generations)
        for name in [name for name in self._since_ms if name[0] not in self._generations]:
            del self._since_ms[name]

    def healths(self) -> Counter[Health]:
        """How many of those keys are how, as a whole."""
        found = Counter(dict.fromkeys(Health, 0))
        for key_id, generation in self._generations.items():
            lane = self._lanes.get(key_id, "", generation)
            found[lane.health if lane is not None else Health.NORMAL] += 1
        return found

    # --- the database ---------------------------------------------------------------------

    async def run(self) -> None:
        """Writes what was learned, for ever."""
        while True:
            await self._work.wait()
            self._work.clear()
            while self._backlog:
                await asyncio.sleep(await self.write())

    async def write(self) -> float:
        """Writes a portion; in how many seconds the next one may follow."""
        portion = self._backlog.take(self._count)
        rows, changes, lost = portion
        at_ms = self._unix_ms()
        written = False
        try:
            await self._access.write(
                lambda tx: keeping.keep(tx, rows, changes, at_ms, lost=lost),
            )
            written = True
        except DatabaseBusy:
            return MORE_SECONDS
        except PASSING_ERRORS as error:
            log.warning("key_health_not_written", reason=str(error))
            return BROKEN_SECONDS
        except REFUSED_ERRORS as error:
            # One at a time from here on, so that only the one that is at fault is given up.
            log.error("key_health_refused", reason=str(error))  # noqa: TRY400
            written = self._count == 1
            self._count = 1
            return MORE_SECONDS
        finally:
            if not written:
                self._backlog.put_back(portion)
        self._count = KEEP_MAX
        return MORE_SECONDS if self._backlog else KEEP_SECONDS

    async def look_at_models(self) -> None:
        """Tells people of models that nobody can serve any more, of each once until it can be
        served again."""
        at_ms = self._unix_ms()
        found = await self._access.get(lambda each: keeping.models_without_key(each, at_ms))
        self._without_key &= {model_id for model_id, _ in found}
        if len(self._without_key) < len(found):
            known = self._without_key
            self._without_key = await self._access.write(
                lambda tx: keeping.tell_models(tx, known, at_ms)
            )

    async def close(self) -> None:
        """Writes what is left, if the database lets it."""
        while self._backlog:
            before = len(self._backlog)
            await self.write()
            if len(self._backlog) >= before:
                return

    # --- inside ---------------------------------------------------------------------------

    def _apply(self, report: Report) -> Lane | None:
        before = self._lanes.get(report.key_id, report.model, report.generation)
        now = self._clock()
        lane = self._lanes.apply(report, now, self._chance())
        if lane is None:
            return None
        name = (lane.key_id, lane.model)
        was = before.health if before is not None else Health.NORMAL
        was_why = before.why if before is not None else ""
        if before is not None and before.step == lane.step:
            return lane  # a probe begins or is called off: nothing to keep
        at_ms = self._unix_ms()
        if name not in self._since_ms or before is None or was is not lane.health:
            self._since_ms[name] = at_ms
        row = HealthRow(
            KeyId(lane.key_id),
            lane.model,
            lane.generation,
            lane.step,
            lane.health,
            at_ms + round((lane.until - now) * 1000) if lane.until else 0,
            self._since_ms[name],
            lane.why,
        )
        until = before.until if before is not None else 0.0
        if (was, until) != (lane.health, lane.until):
            self.transitions[lane.health.value, lane.why] += 1
        self._backlog.add(Change(row, was, was_why, at_ms))
        self._work.set()
        return lane

    def _lane(self, row: HealthRow) -> Lane:
        until = 0.0
        if row.until_ms:
            # What is over is over, and never 0, which would be for ever.
            seconds = (row.until_ms - self._unix_ms()) / 1000
            until = max(self._clock() + seconds, 0.001)
        return Lane(row.key_id, row.model, row.generation, row.step, row.health, until, row.why)
