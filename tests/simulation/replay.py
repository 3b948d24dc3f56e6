"""Runs seeds, on books in memory or in a database, and says what came of each."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from types import SimpleNamespace
from typing import Any, NamedTuple, TextIO
from unittest.mock import patch

from aipool.books import batches, journal, link, main, record, recovery
from aipool.gateway import link as gateway_link
from aipool.ledger import service
from tests.simulation import memory_store
from tests.simulation.memory import MemoryBooks
from tests.simulation.schedule import Simulation
from tests.simulation.world import Broken, World

COMMAND = "scripts/prove ledger-simulation --seed {seed} --steps {steps} --trace"


class Outcome(NamedTuple):
    """What came of one seed. broken: the invariant that did not hold, "" when all did."""

    seed: int
    steps: int
    broken: str
    why: str
    calls: int
    recovered: int
    refused: int

    def __str__(self) -> str:
        command = COMMAND.format(seed=self.seed, steps=self.steps)
        return f"seed {self.seed}, step {self.steps}: {self.broken}: {self.why}\n  {command}"


class _Stage:
    """What the real modules look at instead of the clock of this machine."""

    world: World

    def time(self) -> float:
        return self.world.clock.unix

    def now_ms(self) -> int:
        return self.world.now_ms()

    def passed_seconds(self) -> float:
        return self.world.clock.passed


_stage = _Stage()


class _Silent:
    def __getattr__(self, _: str) -> Callable[..., None]:
        return lambda *_, **__: None


@contextmanager
def staged(*, memory: bool = True) -> Iterator[None]:
    """The real modules, with their clock, their log and (memory) their statements replaced."""
    silent = _Silent()
    with ExitStack() as stack:

        def put(module: Any, name: str, value: Any) -> None:
            stack.enter_context(patch.object(module, name, value))

        for module in (batches, link, main, recovery, journal):
            put(module, "log", silent)
        put(batches, "now_ms", _stage.now_ms)
        put(recovery, "now_ms", _stage.now_ms)
        put(main, "time", SimpleNamespace(time=_stage.time))
        put(main, "_passed_seconds", _stage.passed_seconds)
        put(gateway_link, "os", SimpleNamespace(getpid=lambda: 4242, path=os.path))
        if memory:
            put(service, "store", memory_store)
            put(record, "call_log", memory_store.CallLog)
        try:
            yield
        finally:
            asyncio._set_running_loop(None)


def run(seed: int, steps: int, *, books: Any = None, trace: TextIO | None = None) -> Outcome:
    """One seed, on a stage that is set (`staged`)."""
    simulation = Simulation(seed, MemoryBooks() if books is None else books, trace)
    world = simulation.world
    _stage.world = world
    broken = why = ""
    with patch.object(recovery, "CHUNK_ENTRIES", world.profile.chunk_entries):
        try:
            simulation.run(steps)
        except Broken as found:
            broken, why = found.invariant, str(found).partition(": ")[2]
            world.say(found)
    rows = world.books.calls.values()
    return Outcome(
        seed,
        world.step if broken else steps,
        broken,
        why,
        len(rows),
        sum(bool(row.recovered) for row in rows),
        world.witness.refused,
    )
