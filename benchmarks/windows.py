"""Limits that begin anew, to the second: on simulated days, and once on a real platform.

    simulated days   400 of them (benchmarks.upsets), the seconds around each midnight, with a leap
                     day, two ends of years, clocks set back and ahead, other amounts and
                     other reset types; once in each of three time zones of the host, which must
                     make no difference
    one midnight     the real platform, whose wall clock is brought to the end of a leap day and
                     goes past it under load; then it leaps 37 hours ahead, and back

The platform's clock is changed from outside: its processes read the time through Python's `time`
module, which a `sitecustomize` on their path replaces by one with an offset in a shared file.
"""

from __future__ import annotations

import argparse
import asyncio
import datetime
import json
import mmap
import os
import random
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvloop

from aipool import config
from aipool.accounts import service as accounts
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import Reset, TokenTerms
from aipool.apply.credit import book_opening_credit
from aipool.cli.session import open_installation
from aipool.groups import service as groups
from benchmarks.bars import Bars
from benchmarks.caller import Answer, ask_once, chat, encoded
from benchmarks.platform import MODEL, ROOT, CommandFailed, Platform
from benchmarks.witness import LookedUp
from tests.fakes.process import FakeVendorProcess

DAYS: Final = 400
#: Ten days before a year's end; 400 days from here have a leap day and two ends of years.
FIRST: Final = datetime.date(2027, 12, 20)
QUICK_DAYS: Final = 8
QUICK_FIRST: Final = datetime.date(2028, 2, 25)
ZONES: Final = ("UTC", "Asia/Shanghai", "America/Lima")

#: Input and output cost the same, and a byte of the body is held for as a token.
PRICE: Final = {"input": "4", "output": "4"}
NANO_PER_TOKEN: Final = 4_000
LIMIT_TOKENS: Final = 6_000
#: A call that began so long after midnight finds its new window, whatever is being told to whom.
KNOWN_SECONDS: Final = 1.0


# --- simulated days -------------------------------------------------------------------------------


def simulate(first: datetime.date, days: int, seed: int) -> list[dict[str, Any]]:
    """The same days in each time zone, each in a process of its own."""
    order = json.dumps({"first": first.isoformat(), "days": days, "seed": seed})

    def in_zone(zone: str) -> dict[str, Any]:
        path = os.pathsep.join([str(ROOT / "src"), str(ROOT)])
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.upsets", order],
            cwd=ROOT,
            env={**os.environ, "PYTHONPATH": path, "TZ": zone},
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            return {"zone": zone, "problems": [done.stderr[-2000:]], "history": "", "checks": 0}
        return {**json.loads(done.stdout), "zone": zone}

    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(in_zone, ZONES))


def problems_of(lives: Sequence[dict[str, Any]]) -> list[str]:
    """What went wrong on any day, and whether the zone of the host made a difference."""
    found = [f"{life['zone']}: {text}" for life in lives for text in life["problems"]]
    if len({life["history"] for life in lives}) != 1:
        found.append("the time zone of the host makes a difference")
    return found


# --- one midnight ---------------------------------------------------------------------------------

_CHANGED_TIME: Final = """
import mmap, struct, time
with open({path!r}, "rb") as file:
    _offset = mmap.mmap(file.fileno(), 8, access=mmap.ACCESS_READ)
_time, _time_ns = time.time, time.time_ns
time.time = lambda: _time() + struct.unpack_from("<q", _offset)[0] / 1e9
time.time_ns = lambda: _time_ns() + struct.unpack_from("<q", _offset)[0]
"""


class SetClock:
    """The wall clock of other processes; `path` is for their PYTHONPATH."""

    def __init__(self, folder: Path) -> None:
        self.path = folder
        file = folder / "offset"
        file.write_bytes(bytes(8))
        (folder / "sitecustomize.py").write_text(_CHANGED_TIME.format(path=str(file)))
        with file.open("r+b") as opened:
            self._offset = mmap.mmap(opened.fileno(), 8)

    def set(self, moment: float) -> None:
        """It is now this moment, in seconds since 1970."""
        struct.pack_into("<q", self._offset, 0, round((moment - time.time()) * 1e9))

    def now(self) -> float:
        """What it says."""
        offset: int = struct.unpack_from("<q", self._offset)[0]
        return time.time() + offset / 1e9


def utc(year: int, month: int, day: int, hour: int = 0) -> float:
    """A moment as seconds since 1970."""
    return datetime.datetime(year, month, day, hour, tzinfo=datetime.UTC).timestamp()


class Asked(NamedTuple):
    """A call that asked whether a limit has room, by the platform's clock."""

    token: str
    began: float
    ended: float
    status: int


@dataclass
class Midnight:
    """What came of it. first_seconds: after midnight, by token, when a call was let through."""

    first_seconds: dict[str, float] = field(default_factory=dict)
    asked: int = 0
    problems: list[str] = field(default_factory=list)


class Crossing:
    """The platform past one midnight, with a token of each reset type that is used up."""

    def __init__(
        self, platform: Platform, clock: SetClock, tokens: dict[str, str], report: Midnight
    ) -> None:
        self._platform = platform
        self._clock = clock
        self._tokens = tokens
        self._report = report
        self._books = LookedUp(platform.database_path)
        self._number = 0

    async def run(self) -> None:
        """Everything, in order."""
        used_up = {name: token for name, token in self._tokens.items() if name != "late"}
        for token in used_up.values():
            await self._must(token, LIMIT_TOKENS, LIMIT_TOKENS, 200)
            await self._must(token, LIMIT_TOKENS, 0, 402)
        midnight = utc(2028, 3, 1)
        self._clock.set(midnight - 2.5)
        late = asyncio.create_task(self._ask(self._tokens["late"], LIMIT_TOKENS, LIMIT_TOKENS, 4.0))
        asked = [asyncio.create_task(self._ask_on(token, midnight)) for token in used_up.values()]
        found = [one for asking in asked for one in await asking]
        self._judge(found, midnight, {token: name for name, token in used_up.items()})
        # While the call of the old window still runs, the new one is there whole.
        await self._must(self._tokens["late"], LIMIT_TOKENS, 0, 200)
        if (await late).status != 200:
            self._problem("the call across midnight failed")
        await self._used_is("late", [LIMIT_TOKENS, 0])
        await self._leaps(midnight)
        self._books.close()

    async def _leaps(self, midnight: float) -> None:
        """37 hours ahead: the day stands still until a person says so. A day back: it stays."""
        day = int(midnight // 86_400)
        daily = self._tokens["daily"]
        self._clock.set(self._clock.now() + 37 * 3600)
        await self._until(lambda: self._calendar() == [(day, 1)], "the day is frozen")
        await self._must(daily, LIMIT_TOKENS, LIMIT_TOKENS, 200)
        await self._must(daily, LIMIT_TOKENS, 0, 402)
        if "clock_leapt" not in self._platform.log:
            self._problem("nobody was told that the clock leapt")
        told = await asyncio.to_thread(
            self._platform.cli, "ledger", "confirm-clock", "--yes", stdin=""
        )
        later = int(self._clock.now() // 86_400)
        await self._until(lambda: self._calendar() == [(later, 0)], f"confirmed: {told}")
        await self._until_let_through(daily)
        self._clock.set(self._clock.now() - 86_400)
        await asyncio.sleep(1.2)
        await self._must(daily, LIMIT_TOKENS, LIMIT_TOKENS, 200)
        await self._must(daily, LIMIT_TOKENS, 0, 402)
        if self._calendar() != [(later, 0)]:
            self._problem(f"the clock was set back, and the day is {self._calendar()}")

    async def _ask_on(self, token: str, midnight: float) -> list[Asked]:
        """Ask again and again whether all of the limit is to be had, using none of it."""
        found: list[Asked] = []
        while self._clock.now() < midnight + 1.5:
            began = self._clock.now()
            answer = await self._ask(token, LIMIT_TOKENS, 0)
            found.append(Asked(token, began, self._clock.now(), answer.status))
            await asyncio.sleep(0.02)
        return found

    def _judge(self, found: Sequence[Asked], midnight: float, names: dict[str, str]) -> None:
        self._report.asked += len(found)
        begun = {"daily", "monthly"}
        for one in found:
            name = names[one.token]
            if one.status == 200 and (one.ended < midnight or name not in begun):
                self._problem(f"{name}: let through {one.ended - midnight:+.3f} s from midnight")
            if one.status == 402 and one.began > midnight + KNOWN_SECONDS and name in begun:
                self._problem(f"{name}: refused {one.began - midnight:+.3f} s from midnight")
            if one.status not in (200, 402):
                self._problem(f"{name}: answered {one.status}")
            if one.status == 200:
                self._report.first_seconds.setdefault(name, one.ended - midnight)
        for name in begun - self._report.first_seconds.keys():
            self._problem(f"{name}: never let through")

    async def _must(self, token: str, held: int, billed: int, status: int) -> None:
        answer = await self._ask(token, held, billed)
        if answer.status != status:
            self._problem(f"answered {answer.status}, not {status}: {bytes(answer.body)!r}")

    async def _until_let_through(self, token: str) -> None:
        limit = time.monotonic() + 5.0
        while (answer := await self._ask(token, LIMIT_TOKENS, 0)).status != 200:
            if time.monotonic() > limit:
                self._problem(f"a new day, and still {answer.status}")
                return
            await asyncio.sleep(0.05)

    async def _ask(self, token: str, held: int, billed: int, seconds: float = 0.0) -> Answer:
        self._number += 1
        usage = {"prompt_tokens": 0, "completion_tokens": billed, "total_tokens": billed}
        wishes = {"delay": seconds, "events": 1, "usage": usage}
        marker = f"ask-{self._number:06}"
        size = len(encoded(chat(MODEL, wishes, marker, 1000, stream=False)))
        body = chat(MODEL, wishes, marker, held - size, stream=False)
        return await ask_once(self._platform.port, token, body)

    async def _used_is(self, name: str, tokens: list[int]) -> None:
        sql = (
            "SELECT used FROM budgets JOIN api_tokens"
            " ON budget = 'token:' || api_tokens.id || '/day' WHERE name = ? ORDER BY window_no"
        )
        due = [(count * NANO_PER_TOKEN,) for count in tokens]
        await self._until(lambda: self._books.rows(name, sql=sql) == due, f"{name} has used {due}")

    async def _until(self, reached: Callable[[], object], what: str) -> None:
        limit = time.monotonic() + 5.0
        while not reached():
            if time.monotonic() > limit:
                self._problem(f"not within 5 s: {what}")
                return
            await asyncio.sleep(0.02)

    def _calendar(self) -> list[tuple[object, ...]]:
        return self._books.rows(sql="SELECT day, frozen FROM calendar")

    def _problem(self, text: str) -> None:
        self._report.problems.append(text)


def cross_midnight() -> Midnight:
    """The real platform, from the last seconds of 29 February 2028 on."""
    report = Midnight()
    with tempfile.TemporaryDirectory(prefix="aipool-clock-") as folder:
        clock = SetClock(Path(folder))
        clock.set(utc(2028, 2, 29, 20))
        path = os.pathsep.join([str(clock.path), str(ROOT / "src")])
        tokens: dict[str, str] = {}
        with (
            FakeVendorProcess(Path(folder)) as vendor,
            Platform(
                workers=2,
                upstreams=[vendor.base_url],
                price=PRICE,
                extra_env={"PYTHONPATH": path},
                before_start=lambda platform: tokens.update(_fill(platform)),
            ) as platform,
        ):
            uvloop.run(Crossing(platform, clock, tokens, report).run())
            try:
                platform.verify()
            except CommandFailed as problem:
                report.problems.append(str(problem))
    return report


def _fill(platform: Platform) -> dict[str, str]:
    """A user with money, and a token with a limit of each reset type."""
    settings = config.load({"data_dir": platform.data_dir}, platform.environ)
    kinds = {
        "daily": Reset.DAILY,
        "weekly": Reset.WEEKLY,
        "monthly": Reset.MONTHLY,
        "never": Reset.NONE,
        "late": Reset.DAILY,
    }
    tokens: dict[str, str] = {}
    with open_installation(settings, make=False) as session, session.database.write() as tx:
        group = groups.default_group(tx, session.act)
        user = accounts.create_user(
            tx, session.act, phone="+8613800138077", password_hash="nobody knows it"
        )
        book_opening_credit(tx, session.act, user, 1_000 * 10**9)
        for name, reset in kinds.items():
            terms = TokenTerms(
                name, group.id, limit_nano=LIMIT_TOKENS * NANO_PER_TOKEN, reset=reset
            )
            pepper = session.secrets.pepper
            _, tokens[name] = api_tokens.create_token(tx, session.act, pepper, user, terms)
    return tokens


# --- the whole proof ------------------------------------------------------------------------------


def main(arguments: Sequence[str]) -> int:
    """As many days as the claim says; 1 when it does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/prove windows", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--quick", action="store_true", help="a few days")
    given = parser.parse_args(arguments)
    print(f"seed {given.seed}", flush=True)
    bars = Bars("windows")
    days = QUICK_DAYS if given.quick else DAYS
    lives = simulate(QUICK_FIRST if given.quick else FIRST, days, given.seed)
    problems = problems_of(lives)
    for life in lives:
        counts = ", ".join(f"{n} {name}" for name, n in sorted(life.get("boundaries", {}).items()))
        bars.at_least(f"days under TZ={life['zone']}", life.get("days", 0), days)
        bars.say("  windows that began", counts)
        bars.say("  calls held against the witness", str(life["checks"]))
    bars.at_most("problems of simulated days", len(problems), 0)
    crossing = cross_midnight()
    for name, seconds in sorted(crossing.first_seconds.items()):
        bars.at_most(f"{name} limit usable after midnight", 1000 * seconds, 1000, "ms")
    bars.at_most("problems of a real midnight", len(crossing.problems), 0)
    for problem in [*problems, *crossing.problems][:20]:
        print(f"PROBLEM: {problem}")
    return bars.finish(
        f"{days} days in {len(ZONES)} time zones, {sum(life['checks'] for life in lives)} calls, "
        f"each let through exactly when its window had room"
    )
