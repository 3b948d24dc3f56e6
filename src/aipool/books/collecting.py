"""Getting back what workers hold and do not need, because somebody else does.

    asker ── Collect ──▶ who holds leases on it? ── Recall ──▶ each of them, but the asker
                                                  ◀── GivenBack ── "in my journal by here"
                         recorded up to there?
    asker ◀─ Collected ─ all of them, or a tenth of a second is over

Nobody is refused money that lies unused elsewhere, and nobody waits for a worker that is
stopped: a round ends after 100 ms, and says whether every holder answered. A holder that
has died counts as silent until its journal is recovered, which frees its leases; one whose
journal is damaged stays silent until a person decides.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from sqlalchemy.engine import Connection

from aipool.books.access import Access
from aipool.books.workers import Workers
from aipool.doors.frames import Recall, pack
from aipool.ledger import service as ledger

#: How long an asker waits for the holders.
ROUND_SECONDS = 0.1

Keys = Sequence[tuple[str, int]]
Done = Callable[[bool], None]


class _Round:
    """positions: of each holder not done with, where its journal must be recorded to; None =
    it has not answered."""

    __slots__ = ("done", "positions", "timer")

    def __init__(self, positions: dict[int, int | None], done: Done) -> None:
        self.positions = positions
        self.done = done
        self.timer: asyncio.TimerHandle | None = None


class Collector:
    """All rounds now open."""

    def __init__(self, access: Access, workers: Workers) -> None:
        self._access = access
        self._workers = workers
        self._rounds: dict[int, _Round] = {}
        self._number = 0

    @property
    def is_waiting(self) -> bool:
        """Does somebody wait for entries to be recorded?"""
        return bool(self._rounds)

    def collect(self, budgets: Keys, asker: int, done: Done) -> None:
        """Have every holder but the asker (an epoch; 0 = no worker) give back what is free.

        done(complete): once all of it is in the books, or the time is over.
        """

        def look(connection: Connection) -> list[int]:
            return ledger.holders(connection, budgets)

        self._access.read(
            look,
            lambda holders: self._begin(budgets, asker, holders, done),
            lambda: done(False),
        )

    def _begin(self, budgets: Keys, asker: int, holders: list[int], done: Done) -> None:
        positions: dict[int, int | None] = dict.fromkeys(holders)
        positions.pop(asker, None)
        if not positions:
            done(True)
            return
        self._number += 1
        number = self._number
        one = self._rounds[number] = _Round(positions, done)
        one.timer = asyncio.get_running_loop().call_later(ROUND_SECONDS, self._end, number)
        recall = pack(Recall(number, tuple(budgets)))
        for epoch in positions:
            worker = self._workers.get(epoch)
            if worker is not None and worker.link is not None:
                worker.link.send(recall)

    def given_back(self, epoch: int, number: int, position: int, high_water: int) -> None:
        """A holder's answer. high_water: up to where its journal is recorded."""
        one = self._rounds.get(number)
        if one is not None and epoch in one.positions:
            one.positions[epoch] = position
            self._check(number, epoch, high_water)

    def recorded(self, epoch: int, high_water: int) -> None:
        """More of an epoch's journal is in the books."""
        for number in list(self._rounds):
            self._check(number, epoch, high_water)

    def over(self, epoch: int) -> None:
        """An epoch has ended, and its leases are free."""
        for number, one in list(self._rounds.items()):
            one.positions.pop(epoch, None)
            self._end_if_done(number)

    def _check(self, number: int, epoch: int, high_water: int) -> None:
        one = self._rounds[number]
        position = one.positions.get(epoch)
        if position is not None and position <= high_water:
            del one.positions[epoch]
            self._end_if_done(number)

    def _end_if_done(self, number: int) -> None:
        if not self._rounds[number].positions:
            self._end(number)

    def _end(self, number: int) -> None:
        one = self._rounds.pop(number)
        if one.timer is not None:
            one.timer.cancel()
        one.done(not one.positions)
