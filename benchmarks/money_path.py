"""What money costs a call: hold, settle and both journal appends, alone in this process.

The real Funds, the real records, the real Journal on a real file, each H and each S in a turn of
the event loop of its own: so each call pays two writes, where a busy worker's calls share them.
"""

from __future__ import annotations

import asyncio
import gc
import time
from pathlib import Path
from typing import Final

import uvloop

from aipool.doors import records
from aipool.doors.frames import Acquire, Collect, Grant, Granted
from aipool.doors.outcome import Attempt, Outcome, UsageSource
from aipool.doors.records import Hold
from aipool.gateway.funds import Chain, Funds
from aipool.gateway.journal import Journal
from aipool.rating.rate import rate
from aipool.rating.types import Price, Usage

PRICE: Final = Price(1, 2_100_000_000, 210_000_000, 8_400_000_000)
USAGE: Final = Usage(29, 0, 37, 0)
BUDGETS: Final = (("wallet:1", 0), ("token:1", 0))
HOLD_NANO: Final = 1_260_000
PLENTY_NANO: Final = 10**15


class MoneyPath:
    """Calls one after the other, each of nothing but its money."""

    def __init__(self, loop: asyncio.AbstractEventLoop, folder: Path) -> None:
        self._journal = Journal(loop, folder, still_open=list, bytes_max=1 << 40)
        self._funds = Funds(self._lend, lambda rest: self._journal.append(records.encode(rest)))
        self._chain: Chain = self._funds.chain((*budget, 0) for budget in BUDGETS)
        self._loop = loop
        self._left = 0
        self._done: asyncio.Future[None]
        self._funds.wait(self._chain, HOLD_NANO, lambda _: None)

    async def run(self, calls: int) -> float:
        """CPU seconds of this process, its syncing thread included, for so many calls."""
        self._left = calls
        self._done = self._loop.create_future()
        began = time.process_time()
        self._hold()
        await self._done
        spent = time.process_time() - began
        # As if they had been recorded: full segments go.
        self._journal.recorded(self._journal.position)
        return spent

    def close(self) -> None:
        """Close the journal."""
        self._journal.close()

    def _hold(self) -> None:
        if not self._left:
            self._done.set_result(None)
            return
        self._left -= 1
        assert self._funds.hold(self._chain, HOLD_NANO)
        hold = Hold(
            "req_019a0c7e1d2a1b2c3d4e000001",
            1_766_000_000_000,
            1,
            1,
            1,
            "bench-model",
            "chat",
            False,
            HOLD_NANO,
            BUDGETS,
            PRICE,
            1_000_000,
            "127.0.0.1",
        )
        self._journal.append(records.encode(hold), self._settle)

    def _settle(self) -> None:
        charge = rate(USAGE, PRICE, 1_000_000)
        outcome = Outcome(
            "req_019a0c7e1d2a1b2c3d4e000001",
            1_766_000_000_000,
            1,
            1,
            1,
            1,
            1,
            "bench-model",
            "chat",
            False,
            200,
            "",
            *USAGE[:4],
            UsageSource.VENDOR,
            1,
            1_000_000,
            charge,
            HOLD_NANO,
            BUDGETS,
            0,
            1,
            1,
            "bench-model",
            "",
            (Attempt(1, 1, 200, "", 1),),
            "127.0.0.1",
            "wrk",
            False,
        )
        self._journal.append(records.encode(outcome), self._hold)
        self._funds.settle(self._chain, HOLD_NANO, charge)

    def _lend(self, asked: Acquire | Collect) -> None:
        assert isinstance(asked, Acquire), "nobody else holds anything here"
        grants = tuple(
            tuple(Grant(PLENTY_NANO, PLENTY_NANO, low=False) for _ in chain)
            for chain in asked.chains
        )
        self._loop.call_soon(self._funds.granted, Granted(asked.number, grants))


def cpu_seconds_per_call(folder: Path, *, batches: int, calls: int = 2_000) -> float:
    """The best of many batches."""

    folder.mkdir(parents=True, exist_ok=True)

    async def measure() -> float:
        path = MoneyPath(asyncio.get_running_loop(), folder)
        await asyncio.sleep(0)
        gc.collect()
        gc.freeze()
        try:
            return min([await path.run(calls) / calls for _ in range(batches)])
        finally:
            path.close()
            gc.unfreeze()

    return uvloop.run(measure())
