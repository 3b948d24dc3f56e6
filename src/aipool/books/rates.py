"""Requests and tokens in any 60 seconds: what is counted, and who may have more.

One sliding log per rate, in memory. What is granted to a worker is counted at once, under a
*mark*: the second it was granted in. A worker uses a permit within one second of asking, so
before `mark + 2`; the mark leaves the log 62 s after it began, when 60 s have passed since
any use. Limits up to 120 are counted to the moment instead and leave after 60 s, and a
little for the way to the vendor.

    short? ──▶ ask the others for what they have unused (RecallPermits)
               wait a moment for that, and for what leaves the log by itself
           ──▶ grant, or refuse and say when enough will have left

So nobody is refused because of permits that lie unused elsewhere, or what leaves in a moment.
A worker that dies leaves its permits counted. What was granted and used differently comes
back in batches: less under its mark, more as of now.

`Authority` is pure: time is an argument, and the rest are callbacks. `RateKeeper` ties it to
the workers' links, the clock and the file that outlives the process (books.rate_file).
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Collection, Iterable
from math import floor

from aipool.books.rate_file import Change, RateFile
from aipool.books.workers import Workers
from aipool.doors.frames import (
    EXACT_LIMIT_MAX,
    PERMIT_SECONDS,
    AskPermits,
    Permit,
    PermitNeed,
    Permits,
    RecallPermits,
    Uncounted,
    pack,
)

MINUTE_SECONDS = 60.0
#: After this long a mark of a whole second leaves: 1 s of granting, 1 s of use, and the minute.
KEPT_SECONDS = MINUTE_SECONDS + 1.0 + PERMIT_SECONDS
#: After this long a worker has handed back what it did not use: it looks once a second.
LENT_SECONDS = PERMIT_SECONDS + 1.1
#: What a call may take on its way to the vendor without two minutes' calls meeting there.
WAY_SECONDS = 0.2
#: How long who is short waits, for other workers and for what leaves by itself; for an exact
#: limit longer than its way, so that the way refuses nobody.
PATIENCE_SECONDS = 0.1
EXACT_PATIENCE_SECONDS = 0.25
#: A loop's timers may go off this much early.
_EARLY_SECONDS = 0.002


class SlidingLog:
    """What is counted of one rate.

    total: all of it.  lent: until when a worker (epoch) may have some unused.
    """

    __slots__ = ("_entries", "lent", "total")

    def __init__(self) -> None:
        # [mark, when it leaves, amount], by mark.
        self._entries: deque[list[float]] = deque()
        self.total = 0
        self.lent: dict[int, float] = {}

    def pass_time(self, now: float) -> None:
        """Forget what has left by now."""
        entries = self._entries
        while entries and entries[0][1] <= now:
            self.total -= int(entries.popleft()[2])

    def add(self, mark: float, leaves: float, amount: int) -> None:
        """Count this much under a mark that is not older than any other."""
        entries = self._entries
        if entries and entries[-1][0] == mark and entries[-1][1] == leaves:
            entries[-1][2] += amount
        else:
            entries.append([mark, leaves, amount])
        self.total += amount

    def take_back(self, mark: float, amount: int) -> int:
        """Count this much less under a mark; how much of it was still there."""
        for entry in reversed(self._entries):
            if entry[0] == mark:
                amount = min(amount, int(entry[2]))
                entry[2] -= amount
                self.total -= amount
                return amount
            if entry[0] < mark:
                break
        return 0

    def seconds_until(self, amount: int, now: float) -> float:
        """Until this much of it has left; all of it when it is more than there is."""
        for _, leaves, counted in self._entries:
            amount -= int(counted)
            if amount <= 0:
                return leaves - now
        return self.seconds_until_empty(now)

    def seconds_until_empty(self, now: float) -> float:
        """Until nothing is left that is counted now."""
        for _, leaves, counted in reversed(self._entries):
            if counted:
                return leaves - now
        return 0.0


class _Pending:
    """A question that is not answered yet.

    waits: whom its recall is still out to, at most until `recall_until`.  until: what leaves
    the log by then is waited for.
    """

    __slots__ = ("ask", "epoch", "recall_until", "until", "waits")

    def __init__(self, epoch: int, ask: AskPermits, waits: set[int], now: float) -> None:
        exact = any(need.limit <= EXACT_LIMIT_MAX for need in ask.needs)
        self.epoch = epoch
        self.ask = ask
        self.waits = waits
        self.recall_until = now + PATIENCE_SECONDS
        self.until = now + (EXACT_PATIENCE_SECONDS if exact else PATIENCE_SECONDS)

    def is_hopeless(self, leaves: float, now: float) -> bool:
        """Is it refused, when there is room only from the moment `leaves` on?"""
        if self.waits and now < self.recall_until:
            return False
        return leaves > self.until or now >= self.until

    def looks_again_at(self, leaves: float, now: float) -> float:
        """When time may have changed the answer."""
        recalls = self.waits and now < self.recall_until
        return min(leaves, self.recall_until if recalls else self.until)


class Authority:
    """All logs.

    answer, recall: tell a worker (epoch).  wake: calls `poll` after so many seconds.
    workers: how many there are.  keep: told of every change, before it is answered.
    blind_until: before this moment nothing is granted, because nobody knows what was.
    """

    def __init__(
        self,
        *,
        answer: Callable[[int, Permits], None],
        recall: Callable[[int, RecallPermits], None],
        wake: Callable[[float], object],
        workers: Callable[[], int],
        keep: Callable[[list[Change], float], None],
        blind_until: float = 0.0,
    ) -> None:
        self._answer = answer
        self._recall = recall
        self._wake = wake
        self._workers = workers
        self._keep = keep
        self._blind_until = blind_until
        self._logs: dict[str, SlidingLog] = {}
        self._pending: dict[int, _Pending] = {}
        self._number = 0
        self._wakes_at = 0.0
        self._changes: list[Change] = []

    def load(self, changes: Iterable[Change], now: float) -> None:
        """Begin with what an earlier process kept."""
        for rate, mark, leaves, amount in changes:
            if amount < 0:
                self._log(rate, now).take_back(mark, -amount)
            elif leaves > now:
                self._log(rate, now).add(mark, leaves, amount)

    def ask(self, epoch: int, ask: AskPermits, now: float) -> None:
        """A worker's question; the answer may take a tenth of a second."""
        self._uncount(ask.back, now)
        if not self._grant(epoch, ask, now):
            self._look_around(epoch, ask, now)
        self._retry(now, {rate for rate, _, _ in ask.back})

    def given_back(self, epoch: int, number: int, entries: Iterable[Uncounted], now: float) -> None:
        """What a worker counts no more. number: the recall that it answers, 0 = none."""
        entries = tuple(entries)
        touched = {rate for rate, _, _ in entries}
        self._uncount(entries, now)
        pending = self._pending.get(number)
        if pending is not None:
            pending.waits.discard(epoch)
            for need in pending.ask.needs:
                self._log(need.rate, now).lent.pop(epoch, None)
                touched.add(need.rate)
        self._retry(now, touched)

    def over(self, epoch: int, now: float) -> None:
        """A worker is gone: it waits for nothing, and nobody waits for it."""
        for number, pending in list(self._pending.items()):
            pending.waits.discard(epoch)
            if pending.epoch == epoch:
                del self._pending[number]
        self._retry(now)

    def poll(self, now: float) -> None:
        """Time has passed for those who wait."""
        if now >= self._wakes_at - _EARLY_SECONDS:
            self._wakes_at = 0.0
        self._retry(now)

    def sweep(self, now: float) -> None:
        """Forget the rates of which nothing is counted."""
        for rate in list(self._logs):
            if not self._log(rate, now).total:
                del self._logs[rate]

    # --- inside ---------------------------------------------------------------------------

    def _log(self, rate: str, now: float) -> SlidingLog:
        log = self._logs.get(rate)
        if log is None:
            log = self._logs[rate] = SlidingLog()
        log.pass_time(now)
        return log

    def _uncount(self, entries: Iterable[Uncounted], now: float) -> None:
        for rate, mark, amount in entries:
            log = self._log(rate, now)
            if amount < 0:
                self._count(log, rate, float(floor(now)), floor(now) + KEPT_SECONDS, -amount)
            elif taken := log.take_back(mark, amount):
                self._changes.append((rate, mark, 0.0, -taken))

    def _count(self, log: SlidingLog, rate: str, mark: float, leaves: float, amount: int) -> None:
        log.add(mark, leaves, amount)
        self._changes.append((rate, mark, leaves, amount))

    def _grant(self, epoch: int, ask: AskPermits, now: float) -> bool:
        """Count what is asked for and say so, if every rate has room for its least."""
        if now < self._blind_until:
            return False
        logs = [self._log(need.rate, now) for need in ask.needs]
        rooms = [need.limit - log.total for need, log in zip(ask.needs, logs, strict=True)]
        if any(room < need.least for need, room in zip(ask.needs, rooms, strict=True)):
            return False
        permits: list[Permit] = []
        for need, log, room in zip(ask.needs, logs, rooms, strict=True):
            amount = self._amount(need, room)
            if need.limit <= EXACT_LIMIT_MAX:
                mark, leaves = now, now + MINUTE_SECONDS + WAY_SECONDS
            else:
                mark, leaves = float(floor(now)), floor(now) + KEPT_SECONDS
                log.lent[epoch] = now + LENT_SECONDS
            self._count(log, need.rate, mark, leaves, amount)
            permits.append(Permit(amount, mark, log.total, 0.0, log.seconds_until_empty(now)))
        self._write(now)
        self._answer(epoch, Permits(ask.number, tuple(permits)))
        return True

    def _amount(self, need: PermitNeed, room: int) -> int:
        """What waits, as far as there is room; in advance no more than a fair share of it."""
        amount = min(need.all, room)
        return amount + min(need.want - need.all, (room - amount) // max(1, self._workers()))

    def _look_around(self, epoch: int, ask: AskPermits, now: float) -> None:
        """It is not there: from others, or from time, or it is refused."""
        holders: set[int] = set()
        for need in ask.needs:
            log = self._log(need.rate, now)
            if need.limit - log.total < need.least:
                log.lent = {one: end for one, end in log.lent.items() if end > now}
                holders |= log.lent.keys()
        holders.discard(epoch)
        pending = _Pending(epoch, ask, holders, now)
        leaves = now + max(self._seconds(need, now) for need in ask.needs)
        if pending.is_hopeless(leaves, now):
            self._refuse(epoch, ask, now)
            return
        self._number += 1
        self._pending[self._number] = pending
        self._wake_at(pending.looks_again_at(leaves, now), now)
        recall = RecallPermits(self._number, tuple(need.rate for need in ask.needs))
        for holder in tuple(holders):
            self._recall(holder, recall)

    def _retry(self, now: float, touched: Collection[str] | None = None) -> None:
        """Answer those that wait and can be answered now, the oldest first.

        touched: the rates of which something changed; None = time has passed for all.
        """
        for number, pending in list(self._pending.items()):
            needs = pending.ask.needs
            if touched is not None and not any(need.rate in touched for need in needs):
                continue
            if self._grant(pending.epoch, pending.ask, now):
                del self._pending[number]
                continue
            leaves = now + max(self._seconds(need, now) for need in needs)
            if pending.is_hopeless(leaves, now):
                del self._pending[number]
                self._refuse(pending.epoch, pending.ask, now)
            else:
                self._wake_at(pending.looks_again_at(leaves, now), now)
        self._write(now)

    def _wake_at(self, moment: float, now: float) -> None:
        """Have `poll` called then, unless it is called earlier."""
        moment = max(moment, now + _EARLY_SECONDS)
        if not self._wakes_at or moment < self._wakes_at:
            self._wakes_at = moment
            self._wake(moment - now)

    def _refuse(self, epoch: int, ask: AskPermits, now: float) -> None:
        permits: list[Permit] = []
        for need in ask.needs:
            log, seconds = self._log(need.rate, now), self._seconds(need, now)
            permits.append(Permit(0, 0.0, log.total, seconds, log.seconds_until_empty(now)))
        self._answer(epoch, Permits(ask.number, tuple(permits)))

    def _seconds(self, need: PermitNeed, now: float) -> float:
        """Until there is room for the least, if nothing else happens."""
        log = self._log(need.rate, now)
        over = log.total + need.least - need.limit
        blind = self._blind_until - now
        return max(log.seconds_until(over, now) if over > 0 else 0.0, blind)

    def _write(self, now: float) -> None:
        if self._changes:
            changes, self._changes = self._changes, []
            self._keep(changes, now)


class RateKeeper:
    """The authority in the ledger process. clock: seconds since the machine started."""

    def __init__(self, workers: Workers, file: RateFile, clock: Callable[[], float]) -> None:
        self._workers = workers
        self._clock = clock
        now = clock()
        kept = list(file.read(now))
        self._authority = Authority(
            answer=self._tell,
            recall=self._tell,
            wake=self._wake,
            workers=lambda: len(workers),
            keep=file.append,
            blind_until=file.blind_until,
        )
        self._authority.load(kept, now)

    def ask(self, epoch: int, message: AskPermits) -> None:
        """A worker's question."""
        self._authority.ask(epoch, message, self._clock())

    def given_back(self, epoch: int, number: int, entries: Iterable[Uncounted]) -> None:
        """What a worker counts no more."""
        self._authority.given_back(epoch, number, entries, self._clock())

    def over(self, epoch: int) -> None:
        """A worker is gone."""
        self._authority.over(epoch, self._clock())

    async def sweep(self) -> None:
        """Forget what is no longer counted."""
        self._authority.sweep(self._clock())

    def _tell(self, epoch: int, message: Permits | RecallPermits) -> None:
        worker = self._workers.get(epoch)
        if worker is not None and worker.link is not None:
            worker.link.send(pack(message))

    def _wake(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        loop.call_later(seconds, lambda: self._authority.poll(self._clock()))
