"""The ledger's protocol, simulated: the real decisions, leases, link and recovery, in worlds
where processes die, power fails, messages are lost, clocks are set and people interfere.

    seeds       as many worlds as asked for, each of a thousand steps; no invariant may break
    mutations   the same code with one rule taken out at a time: each must be caught, and the
                search for a seed that does it begins anew each time
    databases   some of the worlds again on a real SQLite and a real PostgreSQL

A world that breaks prints what broke and the command that shows it step by step.
"""

from __future__ import annotations

import argparse
import multiprocessing
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Final

from aipool.books import verify
from tests.postgres import NoPostgres
from tests.simulation.mutations import MUTATIONS, STEPS, applied
from tests.simulation.replay import Outcome, run, staged
from tests.simulation.sql import SqlBooks, new_database

SEEDS: Final = 2_000
PROCESSES: Final = 2
SEEDS_AT_ONCE: Final = 25
#: A mutation that so many worlds do not notice is not caught.
SEARCH_SEEDS: Final = 2_000
SHOWN_MAX: Final = 10


def main(arguments: Sequence[str]) -> int:
    """See the module; 1 when anything does not hold."""
    options = _options(arguments)
    if options.seed is not None:
        return _one(options.seed, options.steps, options.trace, options.database)
    started = time.monotonic()
    failed = _worlds(options.seeds, options.steps)
    print(f"  {time.monotonic() - started:.0f} s for the worlds")
    with multiprocessing.Pool(PROCESSES) as pool:
        failed += _mutations(pool.imap(_search, range(len(MUTATIONS))))
        jobs = [
            (kind, seed) for kind in ("sqlite", "postgres") for seed in range(options.sql_seeds)
        ]
        failed += _databases(pool.imap(_on_database, jobs), len(jobs))
    print(f"in all {time.monotonic() - started:.0f} s")
    print("Every world kept every invariant." if not failed else f"{failed} failures.")
    return 1 if failed else 0


def _options(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="scripts/prove ledger-simulation")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--sql-seeds", type=int, default=50, help="worlds on each database")
    parser.add_argument("--seed", type=int, help="only this world")
    parser.add_argument("--trace", action="store_true", help="with every step of it")
    parser.add_argument("--database", choices=("memory", "sqlite", "postgres"), default="memory")
    return parser.parse_args(arguments)


def _one(seed: int, steps: int, trace: bool, kind: str) -> int:
    shown = sys.stdout if trace else None
    if kind == "memory":
        with staged():
            outcome = run(seed, steps, trace=shown)
    else:
        with new_database(kind) as database, staged(memory=False):
            outcome = run(seed, steps, books=SqlBooks(database), trace=shown)
    print(outcome if outcome.broken else f"seed {seed} keeps every invariant for {steps} steps")
    return 1 if outcome.broken else 0


def _worlds(seeds: int, steps: int) -> int:
    jobs = [
        (range(seed, min(seed + SEEDS_AT_ONCE, seeds)), steps)
        for seed in range(0, seeds, SEEDS_AT_ONCE)
    ]
    with multiprocessing.Pool(PROCESSES) as pool:
        outcomes = [one for some in pool.starmap(_some, jobs, chunksize=1) for one in some]
    broken = [outcome for outcome in outcomes if outcome.broken]
    for outcome in broken[:SHOWN_MAX]:
        print(outcome)
    print(
        f"{seeds} worlds of {steps} steps: {len(broken)} broken; "
        f"{sum(outcome.calls for outcome in outcomes):,} calls, "
        f"{sum(outcome.recovered for outcome in outcomes):,} recovered, "
        f"{sum(outcome.refused for outcome in outcomes):,} refused"
    )
    return len(broken)


def _some(seeds: range, steps: int) -> list[Outcome]:
    with staged():
        return [run(seed, steps) for seed in seeds]


def _search(index: int) -> Outcome | None:
    with applied(MUTATIONS[index]), staged():
        for seed in range(SEARCH_SEEDS):
            outcome = run(seed, STEPS)
            if outcome.broken:
                return outcome
    return None


def _mutations(found: Iterator[Outcome | None]) -> int:
    missed = 0
    print("deliberate bugs, and after how many worlds each was caught:")
    for mutation, outcome in zip(MUTATIONS, found, strict=True):
        missed += outcome is None
        caught = "NOT CAUGHT" if outcome is None else f"{outcome.seed + 1:5}  {outcome.broken:5}"
        print(f"  {mutation.name:62} {caught}", flush=True)
    return missed


def _on_database(job: tuple[str, int]) -> str:
    """What is wrong with this world on this kind of database; "" = nothing."""
    kind, seed = job
    try:
        with new_database(kind) as database:
            with staged(memory=False):
                outcome = run(seed, STEPS, books=SqlBooks(database))
            differences = verify.verify(database).differences
    except NoPostgres as missing:
        return str(missing)
    if outcome.broken:
        return f"{outcome} --database {kind}"
    return f"seed {seed} on {kind}: {differences[0]}" if differences else ""


def _databases(found: Iterator[str], jobs: int) -> int:
    wrong = [what for what in found if what]
    for what in wrong[:SHOWN_MAX]:
        print(what)
    print(f"{jobs} worlds on SQLite and PostgreSQL: {len(wrong)} broken")
    return len(wrong)
