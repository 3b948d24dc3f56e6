"""A process that dies at any line: of shipping entries, of booking money, of recovering.

    ship, worker     the worker dies, at any line of its journal, its link and its leases
    ship, books      the ledger process dies, at any line between a message and its answer
    credit           whoever books money dies, at any line of it
    recover          the ledger process dies, at any line of a dead worker's recovery

The lines are not listed anywhere: a dry run notes those that the work passes. Each is then a point
at which the real process is killed with SIGKILL; another one takes over; and the books must be
right: who was answered is charged exactly and once, what was acknowledged is there, and nothing
stays lent.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any, Final

from benchmarks.bars import Bars
from benchmarks.platform import ROOT

PARTS: Final = (("ship", "worker"), ("ship", "books"), ("credit", "writer"), ("recover", "books"))
#: What `--quick` leaves of the points, by scenario: one of so many.
QUICK: Final = {"ship": 52, "credit": 18, "recover": 28}
POINTS_LEAST: Final = 60
_AT_ONCE: Final = 2


@dataclass
class Report:
    """What came of it, by part.

    points: how many there are.  tried, hit: at how many a process was to die, and died.
    """

    points: dict[str, int] = field(default_factory=dict)
    tried: dict[str, int] = field(default_factory=dict)
    hit: dict[str, int] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)


def die_everywhere(seed: int, *, quick: bool) -> Report:
    """Each point once; quick: a sample that the seed chooses."""
    report = Report()
    orders = [
        {"scenario": scenario, "part": part, "step": QUICK[scenario] if quick else 1, "seed": seed}
        for scenario, part in PARTS
    ]
    with ThreadPoolExecutor(_AT_ONCE) as pool:
        for order, results in zip(orders, pool.map(_results, orders), strict=True):
            _add(report, f"{order['scenario']}, {order['part']}", results)
    return report


def _add(report: Report, part: str, results: list[dict[str, Any]]) -> None:
    report.points[part] = report.tried[part] = report.hit[part] = 0
    for result in results:
        if "points" in result:
            report.points[part] = result["points"]
            continue
        report.tried[part] += 1
        report.hit[part] += result["hit"]
        said = list(result["problems"])
        if not result["hit"]:
            said.append("nobody died here")
        report.problems += [f"{part}, {result['point']}: {text}" for text in said]


def _results(order: dict[str, Any]) -> list[dict[str, Any]]:
    path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
    done = subprocess.run(
        [sys.executable, "-m", "tests.faults.injection", json.dumps(order)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    results = [json.loads(line) for line in done.stdout.splitlines()]
    if done.returncode:
        results.append({"point": "the end", "hit": False, "problems": [done.stderr[-2000:]]})
    return results


def main(arguments: Sequence[str]) -> int:
    """Die everywhere; 1 when any point was missed or left the books wrong."""
    parser = argparse.ArgumentParser(prog="scripts/prove injection", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--quick", action="store_true", help="a sample of the points")
    given = parser.parse_args(arguments)
    print(f"seed {given.seed}", flush=True)
    bars = Bars("injection")
    report = die_everywhere(given.seed, quick=given.quick)
    for part, tried in report.tried.items():
        bars.must(part, report.hit[part] == tried, f"{report.hit[part]} of {tried}")
        bars.say("  of points", str(report.points[part]))
    tried = sum(report.tried.values())
    bars.at_least("points", tried, POINTS_LEAST)
    for problem in report.problems[:20]:
        print(f"PROBLEM: {problem}")
    bars.at_most("problems", len(report.problems), 0)
    return bars.finish(f"{sum(report.hit.values())} of {tried} deaths, the books right after each")
