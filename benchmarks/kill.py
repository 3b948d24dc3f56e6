"""What a kill costs: kill -9 of every kind of process, under load, with the vendor as witness.

A worker is killed while its calls are in a phase that the load is made for:

    held                 the vendor has the request and has sent nothing
    headers received     the vendor has begun its answer, the client has nothing of it
    mid-stream           tokens are being relayed
    settled-not-shipped  answered and in the journal; the ledger process is stopped meanwhile, so
                         that nothing of it is in the books

The ledger process and the control process are killed under a mixture of all. Once the ledger
process is stopped for longer than calls wait for it, and then killed. What each call was charged
is then held against what its client got and what the vendor would bill (benchmarks.witness).
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import tempfile
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.caller import ask_once
from benchmarks.crowd import QUICK, Crowd, Wish
from benchmarks.platform import PASSWORD, Platform
from benchmarks.witness import Kill, LookedUp, Made, Price, Verdict, compare, now
from tests.fakes.process import FakeVendorProcess

#: Not a whole number of nano-yuan a token, so that every charge is a rounded one.
PRICE: Final = {"input": "2.100007", "output": "8.400011"}
PRICE_NANO: Final = Price(2_100_007_000, 8_400_011_000)

RESTART_SECONDS_MAX: Final = 1.0
RECOVERY_SECONDS_MAX: Final = 2.0
HOLDS_SECONDS_MAX: Final = 5.0
#: Connections opened at once after a worker's death: with two workers, the odds that none of
#: them waits for its successor are one in 4096.
WAITING_CONNECTIONS: Final = 12
#: Below the 5 s after which the supervisor ends a silent process, above the 3 s a call waits.
LONG_STOP_SECONDS: Final = 3.8

_PHASES: Final[dict[str, list[Wish]]] = {
    "held": [({"delay": 0.8}, False), ({"delay": 0.8, "events": 6}, True)],
    "headers received": [
        ({"dribble": {"bytes": 100, "seconds": 0.15}}, False),
        ({"events": 3, "interval": 0.5}, True),
    ],
    "mid-stream": [
        ({"events": 400, "interval": 0.005}, True),
        ({"events": 30, "interval": 0.05}, True),
    ],
    "settled-not-shipped": QUICK,
}
_MIXTURE: Final = [*QUICK, *QUICK, *(wish for wishes in _PHASES.values() for wish in wishes)]

_UNKNOWN_USER: Final = "+86138001390{:02}"
_UNKNOWN_TOKEN: Final = "sk-unknown-{:02}-" + "u" * 36


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it.

    workers: kills for each of the four phases. load_seconds: at least and at most so long is the
    load of a phase on before its kill.
    """

    workers: int = 5
    ledger: int = 5
    control: int = 5
    load_seconds: tuple[float, float] = (0.8, 1.3)
    seed: int = 1


@dataclass
class Report:
    """What came of it."""

    kills: list[Kill] = field(default_factory=list)
    started_seconds: dict[str, list[float]] = field(default_factory=dict)
    """From a death to the successor's start."""
    serving_seconds: dict[str, list[float]] = field(default_factory=dict)
    """From a death until whoever waits for that process is served."""
    recovery_seconds: list[float] = field(default_factory=list)
    unavailable: int = 0
    problems: list[str] = field(default_factory=list)
    verdict: Verdict = field(default_factory=Verdict)


class Storm:
    """The kills, one after the other."""

    def __init__(self, platform: Platform, plan: Plan, report: Report) -> None:
        self._platform = platform
        self._plan = plan
        self._report = report
        self._chance = random.Random(plan.seed)
        self._crowd = Crowd(platform, self._chance)
        self._books = LookedUp(platform.database_path)
        self._unknown = 0
        self._victim = 0
        self._watching: list[asyncio.Task[None]] = []

    async def run(self) -> list[Made]:
        """Everything the plan says; the calls that were made."""
        steps: list[Callable[[], Awaitable[None]]] = []
        for aim in _PHASES:
            steps += [partial(self._kill_worker, aim)] * self._plan.workers
        steps += [partial(self._kill_ledger, long=turn == 0) for turn in range(self._plan.ledger)]
        steps += [self._kill_control] * self._plan.control
        self._chance.shuffle(steps)
        self._crowd.start()
        await asyncio.sleep(0.5)
        for step in steps:
            await step()
        await self._crowd.stop()
        await asyncio.gather(*self._watching)
        await self._all_settled()
        self._books.close()
        return self._crowd.calls

    # --- a worker ---------------------------------------------------------------------------

    async def _kill_worker(self, aim: str) -> None:
        self._crowd.wishes = [*_PHASES[aim], *_PHASES[aim], self._chance.choice(QUICK)]
        await self._under_load()
        await self._all_workers()
        # In turns: the supervisor lets one that dies five times in ten seconds wait.
        self._victim = (self._victim + 1) % self._platform.workers
        epoch, pid = self._books.worker(self._victim)
        stopped = None
        if aim == "settled-not-shipped":
            stopped = self._platform.process.ledger()
            os.kill(stopped, signal.SIGSTOP)
            await asyncio.sleep(self._chance.uniform(0.1, 0.4))
        self._kill(pid, "worker", aim)
        waiting = asyncio.create_task(self._wait_for_workers())
        if stopped is not None:
            self._note_unrecorded()
            os.kill(stopped, signal.SIGCONT)
        over = await _until(lambda: self._books.is_over(epoch), HOLDS_SECONDS_MAX)
        if over is None:
            self._problem(f"the epoch of a worker killed {aim} is still open after 5 s")
        else:
            self._report.recovery_seconds.append(over)
        self._serves_again("worker", await waiting)

    def _note_unrecorded(self) -> None:
        """Answers that have arrived whole and are not in the books at this moment."""
        recorded = {row.rid for row in self._books.calls()}
        answers = [made.answer for made in self._crowd.calls if made.answer.whole]
        rids = [answer.rid for answer in answers if answer.status == 200]
        kill = self._report.kills[-1]
        unrecorded = tuple(rid for rid in rids if rid not in recorded)
        self._report.kills[-1] = kill._replace(unrecorded=unrecorded)

    async def _wait_for_workers(self) -> float:
        """The longest that a connection waits which is opened now: until the successor serves."""
        port, token = self._platform.port, self._platform.token
        asking = [ask_once(port, token, path="/health/live") for _ in range(WAITING_CONNECTIONS)]
        began = now()
        answers = await asyncio.gather(*asking)
        if any(answer.status != 200 for answer in answers):
            self._problem("a connection that waited in a dead worker's socket was not answered")
        return now() - began

    # --- the ledger process -------------------------------------------------------------------

    async def _kill_ledger(self, *, long: bool) -> None:
        """While it is away: no call is cut, none is told that it has no money."""
        self._crowd.wishes = _MIXTURE
        await self._under_load()
        await self._all_workers()
        pid = self._platform.process.ledger()
        known = [self._new_token() for _ in range(2)]
        for token in known * 4:
            # Several connections, so that every worker knows the token, and holds no money for it.
            await ask_once(self._platform.port, token, path="/v1/models")
        if long:
            os.kill(pid, signal.SIGSTOP)
        asking = self._ask_for([*known, self._new_token()])
        if long:
            await asyncio.sleep(LONG_STOP_SECONDS)
        kill = self._kill(pid, "ledger", "mixture")
        asking += self._ask_for([*known, self._new_token()])
        back = await _until(self._ledger_answers, 10.0)
        self._serves_again("ledger", 10.0 if back is None else now() - kill.moment)
        statuses = [(await call).answer.status for call in asking]
        if not set(statuses) <= {200, 503}:
            self._problem(f"with the ledger process down, calls were answered {statuses}")
        self._report.unavailable += statuses.count(503)

    def _ask_for(self, tokens: Sequence[str]) -> list[asyncio.Task[Made]]:
        return [asyncio.create_task(self._crowd.call(token)) for token in tokens]

    def _new_token(self) -> str:
        """The token of a user whom no worker has met."""
        self._unknown += 1
        return _UNKNOWN_TOKEN.format(self._unknown)

    def _ledger_answers(self) -> bool:
        try:
            return bool(self._platform.metrics())
        except OSError:
            return False

    # --- the control process ------------------------------------------------------------------

    async def _kill_control(self) -> None:
        """While it is away its pages say 503, and calls go on."""
        self._crowd.wishes = _MIXTURE
        await self._under_load()
        kill = self._kill(self._platform.process.control(), "control", "mixture")
        port, statuses = self._platform.port, set()
        while now() - kill.moment < 10.0:
            answer = await ask_once(port, "none", path="/setup")
            statuses.add(answer.status)
            if answer.status == 200:
                break
            await asyncio.sleep(0.01)
        self._serves_again("control", now() - kill.moment)
        if not statuses <= {200, 503}:
            self._problem(f"with the control process down, its pages were answered {statuses}")

    # --- all of them ------------------------------------------------------------------------

    async def _under_load(self) -> None:
        await asyncio.sleep(self._chance.uniform(*self._plan.load_seconds))

    def _kill(self, pid: int, role: str, aim: str) -> Kill:
        before = set(self._platform.process.by_role()[role])
        os.kill(pid, signal.SIGKILL)
        kill = Kill(role, aim, now())
        self._report.kills.append(kill)
        self._watching.append(asyncio.create_task(self._await_successor(kill, before)))
        return kill

    async def _await_successor(self, kill: Kill, before: set[int]) -> None:
        def there() -> set[int]:
            return set(self._platform.process.by_role()[kill.role]) - before

        if await _until(there, 10.0) is None:
            self._problem(f"nobody took the place of what was killed: {kill}")
        self._report.started_seconds.setdefault(kill.role, []).append(now() - kill.moment)

    async def _all_workers(self) -> None:
        """Wait until every worker has opened its epoch."""

        def there() -> bool:
            pids = self._platform.process.workers()
            return len(pids) == self._platform.workers and set(pids) <= self._books.open_workers()

        if await _until(there, 10.0) is None:
            self._problem("a worker that was killed was not replaced within 10 s")

    async def _all_settled(self) -> None:
        def settled() -> bool:
            return self._ledger_answers() and not self._platform.metrics()["aipool_holds_open"]

        if await _until(settled, HOLDS_SECONDS_MAX) is None:
            self._problem("calls still hold money 5 s after the last of them ended")

    def _serves_again(self, role: str, seconds: float) -> None:
        self._report.serving_seconds.setdefault(role, []).append(seconds)

    def _problem(self, text: str) -> None:
        self._report.problems.append(text)


async def _until(reached: Callable[[], object], seconds: float) -> float | None:
    """Seconds until `reached()`, None when it was not in that time."""
    began = now()
    while not reached():
        if now() - began > seconds:
            return None
        await asyncio.sleep(0.01)
    return now() - began


def storm(plan: Plan) -> Report:
    """Run the plan against a platform of its own, and judge it."""
    report = Report()
    strangers = range(1, 4 * plan.ledger + 1)  # four at each kill of the ledger process
    document = {
        "users": [
            {"phone": _UNKNOWN_USER.format(n), "password": PASSWORD, "credit": "1"}
            for n in strangers
        ],
        "tokens": [
            {"user": _UNKNOWN_USER.format(n), "name": "t", "secret": _UNKNOWN_TOKEN.format(n)}
            for n in strangers
        ],
    }
    with (
        tempfile.TemporaryDirectory(prefix="aipool-vendor-") as folder,
        FakeVendorProcess(Path(folder)) as vendor,
        Platform(
            workers=2, upstreams=[vendor.base_url], price=PRICE, document=document
        ) as platform,
    ):
        calls = uvloop.run(Storm(platform, plan, report).run())
        _verified(platform, report)
        platform.stop()
        books = LookedUp(platform.database_path)
        if books.lent_nano():
            report.problems.append("money is still lent after the platform has ended")
        report.verdict = compare(calls, vendor.books(), books.calls(), report.kills, PRICE_NANO)
        books.close()
        _verified(platform, report)
        report.problems += _deaths_of_its_own(platform.log, len(report.kills))
    report.problems += report.verdict.problems
    return report


def _deaths_of_its_own(log: str, kills: int) -> list[str]:
    """What the supervisor and the processes say of ends that were not our doing."""
    lines = log.splitlines()
    deaths = [line for line in lines if "starting it again" in line]
    strange = [line for line in lines if "Traceback" in line or "ending it" in line]
    return strange if len(deaths) == kills else [*strange, f"{kills} kills, but:", *deaths]


def _verified(platform: Platform, report: Report) -> None:
    try:
        platform.verify()
    except Exception as problem:
        report.problems.append(str(problem))


def shortfalls(plan: Plan, report: Report) -> list[str]:
    """What of the plan did not happen: a kill that missed its phase proves nothing."""
    landed = report.verdict.landed
    missed = [aim for aim in _PHASES if "shipped" not in aim and landed.get(aim, 0) < plan.workers]
    if sum(count > 0 for count in report.verdict.unshipped) < plan.workers:
        missed.append("settled-not-shipped")
    return [f"too few calls were met {aim}" for aim in missed]


def main(arguments: Sequence[str]) -> int:
    """Kill as often as the claim says; 1 when it does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/prove kill", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    plan = Plan(seed=parser.parse_args(arguments).seed)
    print(f"seed {plan.seed}", flush=True)
    report = storm(plan)
    verdict = report.verdict
    problems = report.problems + shortfalls(plan, report)
    for role, seconds in sorted(report.started_seconds.items()):
        serving = _spread(report.serving_seconds[role])
        print(
            f"{role} killed {len(seconds)} times: successor started after {_spread(seconds)}, "
            f"serving after {serving}"
        )
        if max(seconds) > RESTART_SECONDS_MAX:
            problems.append(f"{role}: {max(seconds):.2f} s until its successor started")
    print(f"calls of a killed worker resolved after {_spread(report.recovery_seconds)}")
    if max(report.recovery_seconds) > RECOVERY_SECONDS_MAX:
        problems.append("recovery took longer than 2 s")
    print(
        "kills met",
        ", ".join(f"{n} {where}" for where, n in sorted(verdict.landed.items())),
        f"and {sum(verdict.unshipped)} settled-not-shipped",
    )
    print(f"{report.unavailable} calls answered 503 while the ledger process was away, none 402")
    for problem in problems[:20]:
        print(f"PROBLEM: {problem}")
    print(
        f"{verdict.whole} answers whole and charged exactly, "
        f"{verdict.refused} refused for nothing, {verdict.cut} cut, "
        f"{verdict.recovered} of them recovered; "
        f"charged ¥{verdict.charged_nano / 1e9:.6f}, "
        f"not charged ¥{verdict.uncharged_nano / 1e9:.6f}; {len(problems)} problems"
    )
    return 1 if problems else 0


def _spread(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return f"{ordered[len(ordered) // 2]:.2f} s (median), {ordered[-1]:.2f} s (worst)"
