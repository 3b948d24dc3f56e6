"""What a power cut costs: nothing that was answered for, and of the journal the last moments.

books            SQLite on a disk in memory (tests.faults.power.vfs) whose power is cut in
                 the middle of commits and checkpoints: money that came in, leases and
                 recorded calls
books, control   the same with synchronous=NORMAL, which must lose some: else the cuts
                 prove nothing
journal          a worker's, cut at any byte, with names that had not reached the disk, and
                 books that are ahead of it; then its real recovery
failed syncs     each of the first so many syncs of both fails once, work goes on, and the
                 power is cut
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import apsw
import structlog
from pysqlite3 import dbapi2

from tests.faults.power import books, journal

CUTS: Final = 500
FAILED_SYNCS: Final = 200
#: What `--quick` leaves of it.
QUICK: Final = 10


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it. step: every so many-th of the syncs fails."""

    cuts: int = CUTS
    control_cuts: int = CUTS // 10
    step: int = 1
    seed: int = 1

    @classmethod
    def quick(cls, seed: int) -> Plan:
        """A tenth."""
        return cls(CUTS // QUICK, CUTS // 10 // QUICK, QUICK, seed)

    def syncs(self) -> range:
        """The numbers of the syncs that fail."""
        return range(1 + self.seed % self.step, FAILED_SYNCS + 1, self.step)


def problems_of_books(report: books.Report) -> list[str]:
    """Why this is no proof; empty when it is one."""
    nothing = [] if report.cuts and report.answers else ["nothing was cut"]
    return [*report.broken, *report.lost, *nothing]


def problems_of_control(report: books.Report) -> list[str]:
    """The control must lose answers, and only those of the newest commits."""
    harmless = [] if report.losing else ["the control run with synchronous=NORMAL lost nothing"]
    return [*report.broken, *harmless]


def problems_of_journal(report: journal.Report) -> list[str]:
    """Why this is no proof; empty when it is one."""
    seen = {"promises": report.promised, "books ahead": report.ahead, "losses": report.losses}
    return [
        *report.problems,
        *(f"there were no {name}" for name, count in seen.items() if not count),
    ]


def main(arguments: Sequence[str]) -> int:
    """Cut as often as the claim says; 1 when anything was lost."""
    parser = argparse.ArgumentParser(prog="scripts/prove power-cut", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    given = parser.parse_args(arguments)
    plan = Plan.quick(given.seed) if given.quick else Plan(seed=given.seed)
    # Faults are what this is about; what the product says of them is not.
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(50), processors=[_quiet]
    )
    print(f"seed {plan.seed}; SQLite {apsw.sqlite_lib_version()} writes on the disk that is cut,")
    print(f"SQLite {dbapi2.sqlite_version}, the product's, opens what is left", flush=True)
    print(f"{'':17}{'cuts':>6}{'promises':>10}{'lost':>6}{'broken':>8}", flush=True)
    problems: list[str] = []

    full = books.cut_often(plan.cuts, plan.seed)
    _row("books", full.cuts, full.answers, len(full.lost), len(full.broken))
    problems += problems_of_books(full)

    control = books.cut_often(plan.control_cuts, plan.seed, books.NOT_SYNCED)
    _row("books, control", control.cuts, control.answers, len(control.lost), len(control.broken))
    problems += problems_of_control(control)

    failing = books.fail_syncs(plan.syncs(), plan.seed)
    _row("books, EIO", failing.cuts, failing.answers, len(failing.lost), len(failing.broken))
    problems += problems_of_books(failing)

    first = plan.seed * 1_000_000
    cut = journal.cut_journals(range(first, first + plan.cuts))
    _row("journal", cut.cuts, cut.promised, len(cut.problems), 0)
    problems += problems_of_journal(cut)

    bad = journal.fail_syncs(plan.syncs(), plan.seed)
    _row("journal, EIO", bad.cuts, bad.promised, len(bad.problems), 0)
    problems += problems_of_journal(bad)

    for problem in problems[:20]:
        print(f"PROBLEM: {problem}")
    print(
        f"{cut.ahead + bad.ahead} calls were in the books before they were safe in the journal, "
        f"{cut.recovered + bad.recovered} open calls recovered, "
        f"{cut.flipped} damaged journals all frozen"
    )
    print(
        f"{full.cuts + cut.cuts} power cuts and {2 * len(plan.syncs())} failed syncs: "
        f"{len(full.lost) + len(failing.lost) + len(cut.problems) + len(bad.problems)} lost; "
        f"the control lost {len(control.lost)} in {control.losing} of {control.cuts}; "
        f"{len(problems)} problems"
    )
    return 1 if problems else 0


def _quiet(_logger: object, _method: str, _event: object) -> str:
    raise structlog.DropEvent


def _row(name: str, cuts: int, promises: int, lost: int, broken: int) -> None:
    print(f"{name:17}{cuts:6}{promises:10}{lost:6}{broken:8}", flush=True)
