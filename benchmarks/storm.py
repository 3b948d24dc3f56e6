"""A storm: every kind of process is killed or stopped, again and again, under load.

`benchmarks.kill` says what is done in each phase, and judges what came of it.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from benchmarks.caller import Line, address_of, ask_once
from benchmarks.crowd import QUICK, Crowd, Wish
from benchmarks.platform import Platform
from benchmarks.witness import Kill, LookedUp, Made, Verdict, now

HOLDS_SECONDS_MAX: Final = 5.0
#: Of one place in ten seconds, before a step that brings one or two more.
DEATHS_MAX: Final = 2
#: Connections opened at once after a worker's death: with two workers, the odds that none of
#: them waits for its successor are one in 4096.
WAITING_CONNECTIONS: Final = 12
#: Below the 5 s after which the supervisor ends a silent process, above the 3 s a call waits.
LONG_STOP_SECONDS: Final = 3.8
STOP_SECONDS: Final = 2.0
#: More than is left of a gatherer's wallet without what either worker holds of it, and less than
#: all of it: 113,000 tokens of output cost ¥0.95.
GATHERER_CREDIT: Final = "1"
GATHERED_TOKENS: Final = 113_000
#: A recall is answered within milliseconds, or given up after a tenth of a second.
RECALL_SECONDS: Final = 0.04
#: Whoever does not answer a look in this time is the one that is stopped.
ANSWER_SECONDS: Final = 0.3

PHASES: Final[dict[str, list[Wish]]] = {
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
_MIXTURE: Final = [*QUICK, *QUICK, *(wish for wishes in PHASES.values() for wish in wishes)]

UNKNOWN_USER: Final = "+86138001390{:02}"
UNKNOWN_TOKEN: Final = "sk-unknown-{:02}-" + "u" * 36
GATHERER_USER: Final = "+86138001380{:02}"
GATHERER_TOKEN: Final = "sk-gatherer-{:02}-" + "g" * 36


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it.

    workers: kills for each of the four phases.  everyone: kills of all processes at once.
    stops: of a worker and of the ledger process, each so often.  recalls: kills of each of them
    while a recall is going on.  load_seconds: at least and at most so long is the load of a phase
    on before its kill.
    """

    workers: int = 15
    ledger: int = 20
    everyone: int = 5
    control: int = 5
    stops: int = 5
    recalls: int = 3
    load_seconds: tuple[float, float] = (0.5, 0.9)
    seed: int = 1

    @classmethod
    def quick(cls, seed: int) -> Plan:
        """About a tenth."""
        return cls(1, 1, 1, 1, 1, 1, (0.4, 0.6), seed)


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
    seconds: float = 0.0
    stopped: int = 0
    recalls_met: int = 0
    """Recalls that were going on when a process was killed."""
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
        self._gatherers = 0
        self._lines = 0
        self._victim = 0
        self._watching: list[asyncio.Task[None]] = []

    async def run(self) -> list[Made]:
        """Everything the plan says; the calls that were made."""
        steps: list[Callable[[], Awaitable[None]]] = []
        for aim in PHASES:
            steps += [partial(self._kill_worker, aim)] * self._plan.workers
        steps += [partial(self._kill_ledger, long=turn == 0) for turn in range(self._plan.ledger)]
        steps += [self._kill_control] * self._plan.control
        steps += [self._kill_everyone] * self._plan.everyone
        steps += [partial(self._stop, role) for role in ("worker", "ledger")] * self._plan.stops
        steps += [
            partial(self._kill_in_recall, role) for role in ("worker", "ledger")
        ] * self._plan.recalls
        self._chance.shuffle(steps)
        began = now()
        self._crowd.start()
        await asyncio.sleep(0.5)
        for step in steps:
            await self._not_crowded()
            await step()
        await self._crowd.stop()
        self._report.seconds = now() - began
        await asyncio.gather(*self._watching)
        await self._all_settled()
        self._books.close()
        return self._crowd.calls

    async def _not_crowded(self) -> None:
        """The supervisor lets one that dies five times in ten seconds wait; nobody comes so far."""
        while True:
            lately = [kill.role for kill in self._report.kills if now() - kill.moment < 10.0]
            places = {"worker": self._platform.workers}
            if all(lately.count(role) <= DEATHS_MAX * places.get(role, 1) for role in set(lately)):
                return
            await asyncio.sleep(0.1)

    # --- a worker ---------------------------------------------------------------------------

    async def _kill_worker(self, aim: str) -> None:
        self._crowd.wishes = [*PHASES[aim], *PHASES[aim], self._chance.choice(QUICK)]
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
        return UNKNOWN_TOKEN.format(self._unknown)

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

    # --- all of them at once ------------------------------------------------------------------

    async def _kill_everyone(self) -> None:
        """Everything but the supervisor, in one moment."""
        self._crowd.wishes = _MIXTURE
        await self._under_load()
        await self._all_workers()
        epochs = [self._books.worker(index)[0] for index in range(self._platform.workers)]
        before = self._platform.process.by_role()
        pids = [(role, pid) for role, found in before.items() for pid in found]
        for _, pid in pids:
            os.kill(pid, signal.SIGKILL)
        moment = now()
        for role, _ in pids:
            kill = Kill(role, "everyone", moment)
            self._report.kills.append(kill)
            self._watching.append(
                asyncio.create_task(self._await_successor(kill, set(before[role])))
            )
        seconds = await self._wait_for_workers()
        if await _until(self._ledger_answers, 10.0) is None:
            self._problem("the ledger process is not back 10 s after everything was killed")
        self._serves_again("everyone", max(seconds, now() - moment))
        over = await _until(lambda: all(map(self._books.is_over, epochs)), HOLDS_SECONDS_MAX)
        if over is None:
            self._problem("an epoch is still open 5 s after everything was killed")

    # --- stopped, not killed --------------------------------------------------------------------

    async def _stop(self, role: str) -> None:
        """For two seconds: who waits is served afterwards, and nobody takes it for dead."""
        self._crowd.wishes = _MIXTURE
        await self._under_load()
        await self._all_workers()
        before = self._platform.process.by_role()[role]
        pid = self._chance.choice(before)
        os.kill(pid, signal.SIGSTOP)
        await asyncio.sleep(STOP_SECONDS)
        os.kill(pid, signal.SIGCONT)
        await asyncio.sleep(0.2)
        self._report.stopped += 1
        if self._platform.process.by_role()[role] != before:
            self._problem(f"a {role} that was stopped for 2 s was taken for dead")

    # --- in the middle of a recall --------------------------------------------------------------

    async def _kill_in_recall(self, role: str) -> None:
        """A call needs what another worker holds, which is stopped, so that the recall takes its
        time; meanwhile that worker dies, or the ledger process does. The money is not lost."""
        self._crowd.wishes = QUICK
        await self._all_workers()
        self._gatherers += 1
        token = GATHERER_TOKEN.format(self._gatherers)
        phone = GATHERER_USER.format(self._gatherers)
        if await self._spread(token, phone) is None:
            self._problem("no two workers held money of one wallet")
            return
        _, holder = self._books.worker(self._chance.randrange(self._platform.workers))
        ledger = self._platform.process.ledger()
        os.kill(holder, signal.SIGSTOP)
        asker = await self._other_worker(token)
        call = asyncio.create_task(self._gather(token, asker))
        await asyncio.sleep(RECALL_SECONDS)
        self._report.recalls_met += not call.done()
        self._kill(holder if role == "worker" else ledger, role, "recall")
        if role == "ledger":
            os.kill(holder, signal.SIGCONT)
        status = (await call).answer.status
        if status not in (200, 503):
            self._problem(f"with its {role} killed, a recall ended in {status}")
        self._report.unavailable += status == 503
        await self._all_workers()
        began = now()
        while (made := await self._gather(token, None)).answer.status != 200:
            if made.answer.status not in (0, 503) or now() - began > HOLDS_SECONDS_MAX:
                self._problem(f"after a recall that was cut short: {made.answer}")
                return
            await asyncio.sleep(0.05)

    async def _spread(self, token: str, phone: str) -> float | None:
        """Small calls until every worker holds something of the wallet."""
        sql = (
            "SELECT count(DISTINCT epoch) FROM leases JOIN users ON budget = 'wallet:' || users.id"
            " WHERE phone = ? AND remaining > 0"
        )
        began = now()
        while self._books.rows(phone, sql=sql) != [(self._platform.workers,)]:
            if now() - began > HOLDS_SECONDS_MAX:
                return None
            await asyncio.gather(*(self._crowd.call(token, QUICK[0]) for _ in range(4)))
        return now() - began

    async def _other_worker(self, token: str) -> tuple[Line, str]:
        """A connection to a worker that answers, and the address it comes from."""
        while True:
            self._lines += 1
            address = address_of((1 << 20) + self._lines)
            line = await Line.open(self._platform.port, address)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    await line.ask(token, path="/v1/models")
                    return line, address
            line.close()

    async def _gather(self, token: str, line: tuple[Line, str] | None) -> Made:
        """A call that holds nearly all of a gatherer's wallet."""
        made = await self._crowd.call(token, QUICK[0], max_tokens=GATHERED_TOKENS, line=line)
        if line is not None:
            line[0].close()
        return made

    # --- what they have in common ---------------------------------------------------------------

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
