"""What a PostgreSQL that dies costs: killed, stopped and started again under load, with the vendor
as witness.

    killed      SIGKILL to the postmaster: a crash, and recovery from its log
    at once     SIGQUIT: an immediate shutdown, as of a machine that is switched off
    in order    SIGINT: whoever is connected is thrown out
    paused      SIGSTOP to all its processes for a while: nobody is told anything

It runs durably, as it is installed: each commit is on disk before it is told. Meanwhile calls go
on from what the workers have leased; a call that needs more waits, and is told 503 and never 402.
In the end each call is held against what its client got and what the vendor would bill.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import signal
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import psycopg
import uvloop

from benchmarks.crowd import QUICK, Crowd, Wish
from benchmarks.kill import PRICE, PRICE_NANO
from benchmarks.platform import Platform
from benchmarks.witness import Made, Row, Verdict, compare, now
from tests.fakes.process import FakeVendorProcess
from tests.postgres import Server

_MIXTURE: Final[list[Wish]] = [*QUICK, *QUICK, ({"events": 30, "interval": 0.02}, True)]

_WAYS: Final = {
    "killed": signal.SIGKILL,
    "at once": signal.SIGQUIT,
    "in order": signal.SIGINT,
}
#: How long it is away, and how long it is there in between.
_AWAY_SECONDS: Final = (0.1, 1.5)
_THERE_SECONDS: Final = (1.0, 2.5)
_PAUSES: Final = (0.5, 2.0, 4.0)
_SETTLED_SECONDS_MAX: Final = 10.0


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it. deaths: of the server.  pauses: of the server."""

    deaths: int = 30
    pauses: int = 6
    seed: int = 1


@dataclass
class Report:
    """What came of it."""

    away_seconds: list[float] = field(default_factory=list)
    answered_away: int = 0
    problems: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)


class Storm:
    """The deaths and pauses, one after the other."""

    def __init__(self, platform: Platform, server: Server, plan: Plan, report: Report) -> None:
        self._platform = platform
        self._server = server
        self._plan = plan
        self._report = report
        self._chance = random.Random(plan.seed)
        self._crowd = Crowd(platform, self._chance)
        self._crowd.wishes = _MIXTURE

    async def run(self) -> list[Made]:
        """Everything the plan says; the calls that were made."""
        steps = ["pause"] * self._plan.pauses
        steps += [list(_WAYS)[turn % len(_WAYS)] for turn in range(self._plan.deaths)]
        self._chance.shuffle(steps)
        roles = self._platform.process.by_role()
        self._crowd.start()
        for step in steps:
            await asyncio.sleep(self._chance.uniform(*_THERE_SECONDS))
            if step == "pause":
                await self._pause()
            else:
                await self._die(_WAYS[step])
        await asyncio.sleep(1.0)
        await self._crowd.stop()
        await self._all_settled()
        if self._platform.process.by_role() != roles:
            self._report.problems.append("a process of the platform was replaced meanwhile")
        return self._crowd.calls

    async def _pause(self) -> None:
        began = now()
        self._server.pause()
        await asyncio.sleep(self._chance.choice(_PAUSES))
        self._server.resume()
        self._was_away(began)

    async def _die(self, number: signal.Signals) -> None:
        loop = asyncio.get_running_loop()
        began = now()
        await loop.run_in_executor(None, self._server.stop, number)
        await asyncio.sleep(self._chance.uniform(*_AWAY_SECONDS))
        self._server.spawn()
        await loop.run_in_executor(None, self._server.await_answer)
        self._was_away(began)

    def _was_away(self, began: float) -> None:
        ended = now()
        self._report.away_seconds.append(ended - began)
        self._report.answered_away += sum(
            made.began > began and 0 < made.ended < ended and made.answer.status == 200
            for made in self._crowd.calls
        )

    async def _all_settled(self) -> None:
        deadline = now() + _SETTLED_SECONDS_MAX
        while self._platform.metrics().get("aipool_holds_open", 1) or self._unrecorded():
            if now() > deadline:
                self._report.problems.append("not everything was in the books 10 s after the end")
                return
            await asyncio.sleep(0.1)

    def _unrecorded(self) -> int:
        answers = [made.answer for made in self._crowd.calls if made.answer.whole]
        rids = {answer.rid for answer in answers if answer.status == 200}
        return len(rids - {row.rid for row in recorded(self._server, _DATABASE)})


_DATABASE: Final = "aipool"


def recorded(server: Server, name: str) -> list[Row]:
    """Every call row."""
    names = ", ".join(Row._fields)
    with server.connect(name) as connection:
        months = connection.execute("SELECT month FROM call_months").fetchall()
        return [
            Row._make(row)
            for (month,) in months
            for row in connection.execute(f"SELECT {names} FROM calls_{month}").fetchall()
        ]


def storm(plan: Plan) -> Report:
    """Run the plan against a platform and a server of its own, and judge it."""
    report = Report()
    server = Server(durable=True)
    try:
        server.start()
        with server.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {_DATABASE}")
        with (
            tempfile.TemporaryDirectory(prefix="aipool-vendor-") as folder,
            FakeVendorProcess(Path(folder)) as vendor,
            Platform(
                workers=2,
                upstreams=[vendor.base_url],
                price=PRICE,
                extra_env={"AIPOOL_DATABASE_URL": server.url(_DATABASE)},
            ) as platform,
        ):
            calls = uvloop.run(Storm(platform, server, plan, report).run())
            _verified(platform, report)
            platform.stop()
            _verified(platform, report)
            rows = recorded(server, _DATABASE)
            report.verdict = compare(calls, vendor.books(), rows, [], PRICE_NANO)
            if any(row.recovered for row in rows):
                report.problems.append("a call was left to be recovered")
            report.problems += [line for line in platform.log.splitlines() if "Traceback" in line]
    except psycopg.Error as error:
        report.problems.append(str(error))
    finally:
        server.remove()
    report.problems += report.verdict.problems
    return report


def _verified(platform: Platform, report: Report) -> None:
    try:
        platform.verify()
    except Exception as problem:
        report.problems.append(str(problem))


def main(arguments: Sequence[str]) -> int:
    """Kill as often as the claim says; 1 when it does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/prove postgres-faults", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--quick", action="store_true", help="three deaths and one pause")
    given = parser.parse_args(arguments)
    plan = Plan(3, 1, given.seed) if given.quick else Plan(seed=given.seed)
    print(f"seed {plan.seed}", flush=True)
    report = storm(plan)
    verdict, away = report.verdict, sorted(report.away_seconds)
    for problem in report.problems[:20]:
        print(f"PROBLEM: {problem[:400]}")
    if away:
        print(
            f"PostgreSQL died {plan.deaths} times and was paused {plan.pauses} times, away for "
            f"{sum(away):.1f} s in all and {away[-1]:.1f} s at most; "
            f"{report.answered_away} calls were answered meanwhile"
        )
    print(
        f"{verdict.whole} answers whole and charged exactly, "
        f"{verdict.refused} refused for nothing, none 402; "
        f"charged ¥{verdict.charged_nano / 1e9:.6f}; {len(report.problems)} problems"
    )
    return 1 if report.problems or not verdict.whole else 0
