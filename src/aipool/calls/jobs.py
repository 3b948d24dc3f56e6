"""Lets go of what the log need not keep, a bite at a time.

    rows of calls        older than call_retention_days, a setting; 0 keeps them
    hourly sums          older than HOURS_DAYS; what they say of a day stays in the daily sums
    windows of limits    that were over more than WINDOWS_DAYS ago

What is let go is first no longer found (calls.service.keep_from), then deleted: in transactions of
a few hundred rows with a pause after each, so that the books, which need the same lock, hardly
wait. Money is not touched: transfers, and the sums by day, stay for ever.

What has gone does not come back, so how old something is follows from the day that the ledger
process keeps: a clock that leapt ahead would make everything old, and take from limits what they
have used today.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sqlalchemy.engine import Connection

from aipool.calls import service as calls
from aipool.calls.types import DAY_HOURS, DAY_MS
from aipool.kit.clock import now_ms
from aipool.kit.db import Database, Transaction
from aipool.kit.recurring import Recurring
from aipool.ledger import service as ledger

EVERY_SECONDS = 3600.0
#: After the start, in which there is enough to do.
FIRST_SECONDS = 60.0
HOURS_DAYS = 100
WINDOWS_DAYS = 40
#: Between two bites.
PAUSE_SECONDS = 0.1
_WINDOWS_AT_ONCE = 1_000


class LettingGo:
    """`job` does it each hour, and ends between two bites.

    keep_days: how long rows of calls are kept, as it is set now; 0 = for ever.
    """

    def __init__(
        self,
        database: Database,
        keep_days: Callable[[Connection], int],
        *,
        clock_ms: Callable[[], int] = now_ms,
        pause_seconds: float = PAUSE_SECONDS,
    ) -> None:
        self._database = database
        self._keep_days = keep_days
        self._clock_ms = clock_ms
        self._pause_seconds = pause_seconds
        self.job = Recurring(
            "letting_go", self.run, every_seconds=EVERY_SECONDS, first_seconds=FIRST_SECONDS
        )

    async def run(self) -> None:
        """Everything that is too old now goes."""
        today = await asyncio.to_thread(self._today)
        await asyncio.to_thread(self._decide, today)
        for bite in (calls.let_go_of_calls, calls.let_go_of_hours):
            while await asyncio.to_thread(self._bite, bite):
                await asyncio.sleep(self._pause_seconds)
        await self._drop_windows(today)

    def _today(self) -> int:
        """The UTC day, never later than the one that limits go by."""
        day = self._clock_ms() // DAY_MS
        with self._database.read() as connection:
            kept = ledger.today(connection)
        return day if kept is None else min(day, kept[0])

    def _decide(self, today: int) -> None:
        with self._database.read() as connection:
            days = self._keep_days(connection)
        with self._database.write() as tx:
            calls.keep_from(
                tx,
                max(0, today - days) * DAY_MS if days else 0,
                max(0, today - HOURS_DAYS) * DAY_HOURS,
            )

    def _bite(self, bite: Callable[[Transaction], bool]) -> bool:
        with self._database.write() as tx:
            return bite(tx)

    async def _drop_windows(self, today: int) -> None:
        after: tuple[str, int] | None = ("", 0)
        while after is not None:
            after = await asyncio.to_thread(self._look_at_windows, today - WINDOWS_DAYS, after)
            await asyncio.sleep(self._pause_seconds)

    def _look_at_windows(self, day: int, after: tuple[str, int]) -> tuple[str, int] | None:
        with self._database.read() as connection:
            past, next_one = ledger.past_windows(connection, day, after, _WINDOWS_AT_ONCE)
        if past:
            with self._database.write() as tx:
                ledger.drop_windows(tx, past)
        return next_one
