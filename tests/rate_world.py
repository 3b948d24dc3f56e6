"""A seeded world of workers and one ledger process that count calls together.

The real `gateway.limits.Rates` and the real `books.rates.Authority` talk over links that take
their time and lose what is on them when they break. Every worker has a clock of its own, far
from the others'. Simulated time only.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from aipool.books.rate_file import Change
from aipool.books.rates import Authority
from aipool.doors.frames import EXACT_LIMIT_MAX, AskPermits, Permits, PermitsBack, RecallPermits
from aipool.doors.snapshot import CallLimits
from aipool.gateway.errors import Refusal
from aipool.gateway.limits import Rates
from aipool.gateway.rate import RateChain, Ticket

MINUTE = 60.0


class Shape(NamedTuple):
    """What the world is like. calls_per_second: over all workers and users.  faults: do
    workers die, links break and the ledger process restart?"""

    workers: int
    user: CallLimits
    group: CallLimits
    users: int = 2
    calls_per_second: float = 4.0
    delay_seconds: float = 0.002
    stall_seconds: float = 0.0
    refused_share: float = 0.1
    faults: bool = False


@dataclass(slots=True)
class Passed:
    """A call that passed. given_back: when it was refused elsewhere, and counted no more."""

    at: float
    given_back: float | None = None
    reserved: int = 0
    used: int = 0


@dataclass
class Seen:
    """What an observer of one rate saw."""

    limit: int
    passed: list[Passed] = field(default_factory=list)


@dataclass
class Tally:
    """Of a whole run. deficits: for each false refusal, how many more could have passed."""

    asked: int = 0
    passed: int = 0
    refused: int = 0
    silent: int = 0
    frames: int = 0
    deficits: list[int] = field(default_factory=list)
    waits_broken: int = 0


class _Worker:
    def __init__(self, world: World, epoch: int) -> None:
        self.world = world
        self.epoch = epoch
        self.offset = world.chance.uniform(0, 1e6)
        self.alive = True
        self.up = True
        self.rates = Rates(self.send, self.wake)
        self.chains = [
            self.rates.chain(
                [(f"group-1-user-{user}", world.shape.user), ("group-1", world.shape.group)]
            )
            for user in range(world.shape.users)
        ]

    @property
    def now(self) -> float:
        return self.world.now + self.offset

    def send(self, message: AskPermits | PermitsBack) -> bool:
        if self.up:
            self.world.to_ledger(self, message)
        return self.up

    def wake(self, seconds: float) -> None:
        self.world.after(seconds, self.poll)

    def poll(self) -> None:
        if self.alive:
            self.rates.poll(self.now)

    def tick(self) -> None:
        if self.alive:
            self.rates.tick(self.now)
            self.world.after(1.0, self.tick)

    def hear(self, message: Permits | RecallPermits) -> None:
        if isinstance(message, Permits):
            self.rates.granted(message, self.now)
        else:
            back = PermitsBack(message.number, self.rates.recall(message.rates, self.now))
            self.world.to_ledger(self, back)

    def call(self, user: int) -> None:
        world, chain = self.world, self.chains[user]
        assert chain is not None
        world.tally.asked += 1
        tokens = world.chance.randint(1, 400) if chain.counts_tokens else 0
        if chain.too_large(tokens) is not None:
            return
        since = world.now
        ticket = self.rates.take(chain, tokens, self.now)
        if ticket is not None:
            self.passed(chain, ticket)
            return

        def done(found: Ticket | Refusal) -> None:
            if isinstance(found, Ticket):
                self.passed(chain, found)
            elif self.alive:
                self.refused(chain, found, since)

        leave = self.rates.wait(chain, tokens, done, self.now)
        if world.chance.random() < 0.01:
            world.after(world.chance.uniform(0, 0.01), leave)

    def passed(self, chain: RateChain, ticket: Ticket) -> None:
        world = self.world
        if not self.alive:
            return
        world.tally.passed += 1
        one = Passed(world.now, reserved=ticket.tokens, used=ticket.tokens)
        for rate in chain.rates:
            world.seen.setdefault(rate.key, Seen(rate.limit)).passed.append(one)
        if world.chance.random() < world.shape.refused_share:

            def give_back() -> None:
                if self.alive:
                    one.given_back = world.now
                    self.rates.give_back(ticket, self.now)

            world.after(world.chance.choice((0.0, 0.0005, 0.5)), give_back)
        elif ticket.tokens:

            def settle() -> None:
                if self.alive:
                    one.used = int(ticket.tokens * world.chance.uniform(0, 1.2))
                    self.rates.settle(ticket, one.used)

            world.after(world.chance.uniform(0.1, 20), settle)

    def refused(self, chain: RateChain, refusal: Refusal, since: float) -> None:
        world = self.world
        if refusal.status == 503:
            world.tally.silent += 1
            return
        world.tally.refused += 1
        if not chain.counts_tokens:
            spare = min(
                rate.limit - world.counted(rate.key, since, rate.limit) for rate in chain.rates
            )
            if spare > 0:
                world.tally.deficits.append(spare)


class World:
    """One run: `run(minutes)`, then look at `tally` and `most`."""

    def __init__(self, seed: int, shape: Shape) -> None:
        self.chance = random.Random(seed)
        self.shape = shape
        self.now = 1000.0
        self.tally = Tally()
        self.seen: dict[str, Seen] = {}
        self.kept: list[Change] = []
        self._heap: list[tuple[float, int, Callable[[], object]]] = []
        self._count = itertools.count()
        self._epochs = itertools.count(1)
        self._links: dict[tuple[int, bool], float] = {}
        self.workers: dict[int, _Worker] = {}
        self.authority = self._authority()
        for _ in range(shape.workers):
            self._start_worker()

    def run(self, minutes: float) -> Tally:
        """Let this much time pass under load."""
        until = self.now + minutes * MINUTE
        self.after(0, self._load)
        if self.shape.faults:
            self.after(self.chance.expovariate(1 / 15), self._fault)
        while self._heap and self._heap[0][0] < until:
            self.now, _, work = heapq.heappop(self._heap)
            work()
        return self.tally

    def after(self, seconds: float, work: Callable[[], object]) -> None:
        """Do this later."""
        heapq.heappush(self._heap, (self.now + seconds, next(self._count), work))

    def counted(self, key: str, since: float, limit: int) -> int:
        """Calls that passed in the minute before a refusal, and were not given back before
        the refused call began (by the definition: 60 s up to 120 a minute, else 62 s)."""
        seconds = 60.0 if limit <= EXACT_LIMIT_MAX else 62.0
        seen = self.seen.get(key)
        total = 0
        for one in reversed(seen.passed if seen else []):
            if one.at < since - seconds:
                break
            total += one.given_back is None or one.given_back >= since
        return total

    def most(self, key: str, seconds: float = MINUTE) -> int:
        """The most calls in any window of this length, without those that were given back."""
        times = [one.at for one in self.seen[key].passed if one.given_back is None]
        first = best = 0
        for index, at in enumerate(times):
            while times[first] <= at - seconds:
                first += 1
            best = max(best, index - first + 1)
        return best

    def most_tokens(self, key: str, seconds: float = MINUTE) -> int:
        """The most tokens in any window of this length: what was used of what was reserved."""
        passed = [one for one in self.seen[key].passed if one.given_back is None]
        first = total = best = 0
        for one in passed:
            total += min(one.used, one.reserved)
            while passed[first].at <= one.at - seconds:
                total -= min(passed[first].used, passed[first].reserved)
                first += 1
            best = max(best, total)
        return best

    def to_ledger(self, worker: _Worker, message: Any) -> None:
        """Something is on its way to the ledger process."""
        authority = self.authority
        self.tally.frames += 1

        def heard() -> None:
            if authority is not self.authority:
                return
            if isinstance(message, AskPermits):
                authority.ask(worker.epoch, message, self.now)
            else:
                authority.given_back(worker.epoch, message.number, message.entries, self.now)

        self._deliver(worker.epoch, True, heard)

    # --- inside -----------------------------------------------------------------------------

    def _to_worker(self, epoch: int, message: Any) -> None:
        worker = self.workers.get(epoch)
        if worker is None or not worker.up:
            return

        def heard() -> None:
            if worker.alive and worker.up:
                worker.hear(message)

        self._deliver(epoch, False, heard)

    def _deliver(self, epoch: int, upward: bool, heard: Callable[[], None]) -> None:
        delay = self.chance.uniform(0.0001, self.shape.delay_seconds)
        if self.shape.stall_seconds and self.chance.random() < 0.001:
            delay += self.chance.uniform(0, self.shape.stall_seconds)
        link = epoch, upward
        self._links[link] = arrives = max(self.now + delay, self._links.get(link, 0.0))
        self.after(arrives - self.now, heard)

    def _authority(self) -> Authority:
        box: list[Authority] = []

        def poll() -> None:
            if box[0] is self.authority:
                box[0].poll(self.now)

        box.append(
            Authority(
                answer=self._to_worker,
                recall=self._to_worker,
                wake=lambda seconds: self.after(seconds, poll),
                workers=lambda: len(self.workers),
                keep=lambda changes, _: self.kept.extend(changes),
            )
        )
        self.kept = [change for change in self.kept if change[1] > self.now - 64]
        box[0].load(self.kept, self.now)
        return box[0]

    def _start_worker(self) -> None:
        worker = _Worker(self, next(self._epochs))
        self.workers[worker.epoch] = worker
        self.after(1.0, worker.tick)

    def _load(self) -> None:
        shape = self.shape
        burst = 1 if self.chance.random() > 0.02 else self.chance.randint(2, 40)
        for _ in range(burst):
            worker = self.chance.choice(list(self.workers.values()))
            worker.call(self.chance.randrange(shape.users))
        self.after(self.chance.expovariate(shape.calls_per_second) * burst**0.5, self._load)

    def _fault(self) -> None:
        worker = self.chance.choice(list(self.workers.values()))
        match self.chance.randrange(3):
            case 0:
                worker.alive = False
                del self.workers[worker.epoch]
                self.authority.over(worker.epoch, self.now)
                self._start_worker()
            case 1:
                self._break(worker)
            case _:
                for one in self.workers.values():
                    self._break(one)
                self.authority = self._authority()
        self.after(self.chance.expovariate(1 / 15), self._fault)

    def _break(self, worker: _Worker) -> None:
        worker.up = False

        def mend() -> None:
            if worker.alive:
                worker.up = True
                worker.rates.reconnected(worker.now)

        self.after(self.chance.uniform(0.1, 1.5), mend)
