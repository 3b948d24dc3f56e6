"""A seeded world of workers and one ledger process that count calls in flight together.

The real `gateway.slots.Slots` and the real `books.slots.SlotKeeper` talk over links that take
their time and break, losing what is on them; workers die, the ledger process is started again,
and limits change. Simulated time only.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from typing import Any, NamedTuple

from aipool.books.slots import SlotKeeper
from aipool.doors.frames import AskSlots, RecallSlots, SlotsBack
from aipool.doors.frames import Slots as Answer
from aipool.gateway.slots import Slots

KEY, VENDOR = "key:7", "vendor:2"


class Shape(NamedTuple):
    """What the world is like. lost: the share of questions, answers and recalls that vanish.
    changes: are the limits changed while calls are in flight?"""

    workers: int = 3
    key: int = 5
    vendor: int = 0
    calls_per_second: float = 200.0
    call_seconds: float = 0.05
    delay_seconds: float = 0.002
    faults: bool = False
    lost: float = 0.0
    changes: bool = False


class _Worker:
    def __init__(self, world: World, epoch: int) -> None:
        self.world = world
        self.epoch = epoch
        self.alive = True
        self.up = False
        self.limits = dict(world.limits)
        self.used = dict.fromkeys(world.limits, 0)
        self.slots = Slots(self.send, lambda: world.now, self.later)

    def send(self, message: AskSlots | SlotsBack) -> bool:
        if self.up:
            self.world.to_keeper(self, message)
        return self.up

    def later(self, seconds: float, work: Callable[[], None]) -> None:
        self.world.after(seconds, lambda: work() if self.alive else None)

    def hear(self, message: Answer | RecallSlots) -> None:
        if isinstance(message, Answer):
            self.slots.granted(message)
        else:
            self.send(SlotsBack(message.cap_name, self.slots.recall(message.cap_name)))

    def tick(self) -> None:
        if self.alive:
            self.slots.tick()
            self.world.after(1.0, self.tick)

    def call(self) -> None:
        """One call, as the relay makes it."""
        world = self.world
        world.asked += 1
        caps = tuple(self.limits.items())
        known = world.known()
        for index, (name, limit) in enumerate(caps):
            if not self.slots.take(name, limit):
                for taken, _ in caps[:index]:
                    self.slots.free(taken)
                leave = self.slots.wait(caps, self._waiter(known))
                if world.chance.random() < 0.02:
                    self.later(world.chance.uniform(0, 0.01), leave)
                return
        self.begin(known)

    def _waiter(self, known: set[tuple[str, int]]) -> Callable[[bool], None]:
        world, since = self.world, self.world.now

        def done(has_room: bool) -> None:
            world.waits.append(world.now - since)
            if has_room:
                self.begin(known)
            else:
                world.refused += 1

        return done

    def begin(self, known: set[tuple[str, int]]) -> None:
        """It has its slots. known: the caps whose limit all knew when it came."""
        world = self.world
        world.passed += 1
        for name in self.used:
            self.used[name] += 1
        world.check(known)
        self.later(world.chance.expovariate(1 / world.shape.call_seconds), self.end)

    def end(self) -> None:
        for name in self.used:
            self.used[name] -= 1
            self.slots.free(name)


class World:
    """One run: `run(seconds)`; `over` has every moment at which there were too many."""

    def __init__(self, seed: int, shape: Shape) -> None:
        self.chance = random.Random(seed)
        self.shape = shape
        self.now = 1000.0
        self.limits = {KEY: shape.key} | ({VENDOR: shape.vendor} if shape.vendor else {})
        self.asked = self.passed = self.refused = self.frames = 0
        self.waits: list[float] = []
        self.over: list[str] = []
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._count = itertools.count()
        self._epochs = itertools.count(1)
        self._arrives: dict[tuple[int, bool], float] = {}
        # A connection that is broken delivers nothing more.
        self._line: dict[int, object] = {}
        self.workers: dict[int, _Worker] = {}
        # What the ledger process believes: whose epoch is not over.
        self._living: set[int] = set()
        self.keeper = self._keeper()
        for _ in range(shape.workers):
            self.start_worker()

    # --- running ----------------------------------------------------------------------------

    def run(self, seconds: float, *, load: bool = True) -> World:
        """Lets this much time pass, under load."""
        until = self.now + seconds
        if load:
            self._load(until)
            if self.shape.faults:
                self.after(self.chance.expovariate(3), lambda: self._fault(until))
            if self.shape.changes:
                self.after(self.chance.expovariate(2), lambda: self._change(until))
        while self._heap and self._heap[0][0] < until:
            self.now, _, work = heapq.heappop(self._heap)
            work()
        self.now = until
        return self

    def after(self, seconds: float, work: Callable[[], object]) -> None:
        """Do this later."""
        heapq.heappush(self._heap, (self.now + seconds, next(self._count), work))

    def in_flight(self, name: str) -> int:
        """Calls of all workers under a cap."""
        return sum(worker.used[name] for worker in self.workers.values())

    def known(self) -> set[tuple[str, int]]:
        """The limits (cap, limit) that every worker knows."""
        workers = self.workers.values()
        return {
            (name, limit)
            for name, limit in self.limits.items()
            if all(one.limits[name] == limit for one in workers)
        }

    def check(self, known: set[tuple[str, int]]) -> None:
        """A call has begun: are there too many?"""
        for name, limit in known & self.known():
            if self.in_flight(name) > limit:
                self.over.append(f"{self.now:.4f}: {self.in_flight(name)} of {limit} on {name}")

    # --- messages ---------------------------------------------------------------------------

    def to_keeper(self, worker: _Worker, message: Any) -> None:
        """Something is on its way to the ledger process."""
        keeper, epoch = self.keeper, worker.epoch
        self.frames += 1
        if isinstance(message, AskSlots) and self.chance.random() < self.shape.lost:
            return

        def heard() -> None:
            if isinstance(message, AskSlots):
                keeper.ask(epoch, message)
            else:
                keeper.back(epoch, message.cap_name, message.held)

        self._deliver(epoch, True, heard)

    def _to_worker(self, epoch: int, message: Answer | RecallSlots) -> None:
        worker = self.workers.get(epoch)
        if worker is not None and worker.up and self.chance.random() >= self.shape.lost:
            self._deliver(epoch, False, lambda: worker.hear(message))

    def _deliver(self, epoch: int, upward: bool, heard: Callable[[], None]) -> None:
        line, way = self._line.get(epoch), (epoch, upward)
        delay = self.chance.uniform(0.0001, self.shape.delay_seconds)
        if self.shape.faults and self.chance.random() < 0.01:
            delay += self.chance.uniform(0, 0.2)  # somebody was busy
        self._arrives[way] = arrives = max(self.now + delay, self._arrives.get(way, 0.0))

        def there() -> None:
            worker = self.workers.get(epoch)
            if worker is not None and worker.up and self._line.get(epoch) is line:
                heard()

        self.after(arrives - self.now, there)

    # --- what happens -----------------------------------------------------------------------

    def _keeper(self) -> SlotKeeper:
        box: list[SlotKeeper] = []

        def tell(epoch: int, message: Answer | RecallSlots) -> None:
            if box[0] is self.keeper:
                self._to_worker(epoch, message)

        box.append(SlotKeeper(lambda: self._living, tell, lambda: self.now, self.after))
        return box[0]

    def start_worker(self) -> None:
        """A new life."""
        worker = _Worker(self, next(self._epochs))
        self.workers[worker.epoch] = worker
        self.after(1.0, worker.tick)
        self.connect(worker)

    def connect(self, worker: _Worker) -> None:
        """Welcome."""
        if worker.alive and not worker.up:
            worker.up = True
            self._line[worker.epoch] = object()
            self._living.add(worker.epoch)
            self.keeper.connected(worker.epoch)
            worker.slots.reconnected()

    def kill_worker(self, worker: _Worker) -> None:
        """Its calls die with it; the ledger process sees that later."""
        worker.alive = worker.up = False
        del self.workers[worker.epoch]

        def recovered() -> None:
            self._living.discard(worker.epoch)
            self.keeper.over(worker.epoch)

        self.after(self.chance.uniform(0.01, 0.3), recovered)
        self.after(self.chance.uniform(0.01, 0.3), self.start_worker)

    def cut(self, worker: _Worker) -> None:
        """The connection breaks."""
        if worker.up:
            worker.up = False
            self.after(self.chance.uniform(0.0, 0.3), lambda: self.connect(worker))

    def restart_keeper(self) -> None:
        """The ledger process dies and is back at once, knowing only who may be alive."""
        for worker in self.workers.values():
            self.cut(worker)
        self.keeper = self._keeper()

    def set_limit(self, name: str, limit: int) -> None:
        """A person changes a limit; each worker hears of it at a time of its own."""
        self.limits[name] = limit
        for worker in self.workers.values():

            def heard(worker: _Worker = worker) -> None:
                worker.limits[name] = self.limits[name]

            self.after(self.chance.uniform(0, 0.05), heard)

    def _load(self, until: float) -> None:
        worker = self.chance.choice(list(self.workers.values()) or [None])
        if worker is not None:
            for _ in range(1 if self.chance.random() > 0.05 else 8):
                worker.call()
        pause = self.chance.expovariate(self.shape.calls_per_second)
        if self.now + pause < until:
            self.after(pause, lambda: self._load(until))

    def _fault(self, until: float) -> None:
        workers = list(self.workers.values())
        match self.chance.randrange(4):
            case 0 if workers:
                self.kill_worker(self.chance.choice(workers))
            case 1:
                self.restart_keeper()
            case _ if workers:
                self.cut(self.chance.choice(workers))
        if self.now < until - 1:
            self.after(self.chance.expovariate(3), lambda: self._fault(until))

    def _change(self, until: float) -> None:
        self.set_limit(self.chance.choice(list(self.limits)), self.chance.randint(1, 12))
        if self.now < until - 1:
            self.after(self.chance.expovariate(2), lambda: self._change(until))
