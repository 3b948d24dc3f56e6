"""Sums up the weeks that are over, so that a long range is read in a few rows.

The sums of an hour and of a day grow with every call, in the transaction that moves its money. A
week's are made once, of those of its days, a day after it is over and a bite at a time: recording
costs nothing more for them, and the books hardly wait.

A call may still come late, recovered from the journal of a worker that died long ago. Before a
week's days are read it is declared fixed; who records a call of a fixed week takes that back
(`calls.service.record`), and that week, and those after it, are summed up anew. Until then they are
read by days. So what is read is right at every moment, and the verifier says so (R-08).

    fixed      … 2941 | 2942           the week being summed up: its days are read, and bites put
    summed     … 2941 |                weeks that are read: those before it
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence

from aipool.calls.store import again, sums, weeks
from aipool.calls.store.weeks import Progress
from aipool.calls.types import DAY_MS, WEEK_DAYS, WEEK_MS, Span, Total, TotalOf, Used
from aipool.kit.clock import now_ms
from aipool.kit.db import Database
from aipool.kit.recurring import Recurring

EVERY_SECONDS = 3600.0
#: After the start, in which there is enough to do.
FIRST_SECONDS = 120.0
#: Between two bites.
PAUSE_SECONDS = 0.1
#: How long after its end a week is summed up: calls end, and dead workers are recovered, before.
LATE_MS = DAY_MS
#: Rows that one transaction writes: a few milliseconds, for which the books wait at most.
_BITE = 500
_USERS_AT_ONCE = 20


def stretches(days: range, summed: int) -> list[tuple[Span, range]]:
    """The same days, with a week for each seven of them that are one that is summed up."""
    first, end = -(-days.start // WEEK_DAYS), min(days.stop // WEEK_DAYS, summed)
    if first >= end:
        return [(Span.DAY, days)]
    parts = (
        (Span.DAY, range(days.start, first * WEEK_DAYS)),
        (Span.WEEK, range(first, end)),
        (Span.DAY, range(end * WEEK_DAYS, days.stop)),
    )
    return [part for part in parts if part[1]]


class WeeklySums:
    """`job` does it each hour, and ends between two bites."""

    def __init__(
        self,
        database: Database,
        *,
        clock_ms: Callable[[], int] = now_ms,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._database = database
        self._clock_ms = clock_ms
        self._pause_seconds = pause_seconds
        self.job = Recurring(
            "weekly_sums", self.run, every_seconds=EVERY_SECONDS, first_seconds=FIRST_SECONDS
        )

    async def run(self) -> None:
        """Every week that is over has its sums, the oldest first."""
        while (week := await asyncio.to_thread(self._begin)) is not None:
            users = await asyncio.to_thread(self._users_of, week)
            for start in range(0, len(users), _USERS_AT_ONCE):
                some = users[start : start + _USERS_AT_ONCE]
                await self._put(week, await asyncio.to_thread(self._of_users, week, some), [])
            await self._put(week, [], await asyncio.to_thread(self._totals_of, week))
            await asyncio.to_thread(self._finish, week)

    async def _put(self, week: int, rows: list[Used], totals: list[Total]) -> None:
        for start in range(0, max(len(rows), len(totals)), _BITE):
            part = slice(start, start + _BITE)
            await asyncio.to_thread(self._bite, rows[part], totals[part])
            await asyncio.sleep(self._pause_seconds)

    def _begin(self) -> int | None:
        """The oldest week that is over and has no sums is fixed from now on; None = there is
        none."""
        with self._database.write() as tx:
            kept = sums.days_kept(tx.connection)
            week = max(weeks.progress(tx.connection).summed, kept.start * DAY_MS // WEEK_MS)
            if not kept or (week + 1) * WEEK_MS + LATE_MS > self._clock_ms():
                return None
            weeks.put_progress(tx.connection, Progress(week, week + 1))
            return week

    def _users_of(self, week: int) -> list[int]:
        with self._database.read(patient=True) as connection:
            return weeks.users_of(connection, week)

    def _of_users(self, week: int, user_ids: Collection[int]) -> list[Used]:
        with self._database.read(patient=True) as connection:
            return again.used_in_week(connection, week, user_ids)

    def _totals_of(self, week: int) -> list[Total]:
        with self._database.read(patient=True) as connection:
            return [
                total
                for kind in TotalOf
                for total in again.totals_again(connection, Span.WEEK, kind, week, week + 1)
            ]

    def _bite(self, rows: Sequence[Used], totals: Sequence[Total]) -> None:
        with self._database.write() as tx:
            weeks.put(tx.connection, rows)
            weeks.put_totals(tx.connection, totals)

    def _finish(self, week: int) -> None:
        with self._database.write() as tx:
            weeks.finish(tx.connection, week)
