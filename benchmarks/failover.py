"""Keys fail one after another, and no client notices while one of them is well.

turning    five keys in each condition after which a call may be made again, the next one when
           the last one's breaker is open, under 200 calls in flight: nobody sees a failure,
           everything is billed once, and the order is back within one cooldown and a second
cost       what a failover adds to a call, beyond the failed try itself
herd       all keys dead at once: how often they are tried, how soon clients are told, and how
           soon all is well again
backlog    a vendor that neither takes nor refuses connections
odd        thousands of odd answers (benchmarks.odd_answers)
giants     answers of a gigabyte (the same)
names      vendors whose names do not resolve (benchmarks.names)
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, Final

import uvloop

from benchmarks import names, odd_answers
from benchmarks.bars import Bars
from benchmarks.caller import Line
from benchmarks.failing_vendors import (
    CONDITIONS,
    KEYS,
    STRANGER,
    VENDOR,
    Accounts,
    Condition,
    certificates,
    waiting_room,
)
from benchmarks.herd import Called, Herd, misbooked, question, unfaithful
from benchmarks.platform import Platform
from tests.fakes.books import Entry
from tests.fakes.vendor import FakeVendor

CLIENTS: Final = 200
#: Over TLS, where two cores have enough to do with handshakes.
SECURE_CLIENTS: Final = 40
COOLDOWN_SECONDS: Final = 2.0
#: Order is back this long after a cooldown.
BACK_SECONDS: Final = 1.0
TIMEOUT_SECONDS: Final = 0.8
#: A key that nobody has called for this long, with hundreds of calls a second, is out.
QUIET_SECONDS: Final = 0.3
PATIENCE_SECONDS: Final = 15.0

COST_MS_MAX: Final = 5.0
COST_CALLS: Final = 2_000

HERD_SECONDS: Final = 60.0
#: A dead key says so after this, so that the herd is on its way when the first one hears it.
DEAD_SECONDS: Final = 0.1
#: How long it takes until every worker has heard of what one of them found.
TOLD_SECONDS: Final = 0.05
PROBES_SHARE: Final = 1.2
REFUSED_MS_MAX: Final = 50.0

BACKLOG_CALLS: Final = 200
BACKLOG_ADDED_SECONDS_MAX: Final = 3.2

ODD_ANSWERS: Final = 20_000
ODD_SECONDS_MAX: Final = 240.0

ENVIRONMENT: Final = {
    "AIPOOL_KEY_COOLDOWN_SECONDS": f"{COOLDOWN_SECONDS}",
    "AIPOOL_LIMIT_FIRST_EVENT_SECONDS": f"{TIMEOUT_SECONDS}",
    "AIPOOL_LOG_LEVEL": "warning",
}


@asynccontextmanager
async def serving(accounts: Accounts, workers: int, **more: str) -> AsyncIterator[Platform]:
    """A platform whose one model is on these accounts."""
    platform = Platform(
        workers=workers, document=accounts.documents(), extra_env={**ENVIRONMENT, **more}
    )
    await asyncio.to_thread(platform.__enter__)
    try:
        yield platform
    finally:
        await asyncio.to_thread(platform.__exit__)


# --- one after another ------------------------------------------------------------------------


@dataclass
class Turn:
    """What came of one condition. open_seconds: until each breaker was open.  back_seconds: until
    the last call went to another key than the first, after all was well."""

    condition: Condition
    open_seconds: list[float] = field(default_factory=list)
    back_seconds: float = 0.0
    calls: int = 0
    tries: int = 0
    in_flight: int = 0
    failures: list[Called] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


async def turn(
    platform: Platform, accounts: Accounts, herd: Herd, condition: Condition
) -> tuple[Turn, list[Called]]:
    """All keys but the last fail, each when the one before it is out; then they heal."""
    found = Turn(condition)
    await asyncio.sleep(0.3)
    found.in_flight = len(herd.began)
    for account in accounts.all[:-1]:
        began = time.time()
        await account.fail(condition)
        if not await accounts.quiet(account, QUIET_SECONDS, PATIENCE_SECONDS):
            found.problems.append(f"{account.name} is called on and on")
        found.open_seconds.append(time.time() - began - QUIET_SECONDS)
    await asyncio.sleep(0.5)
    for account in accounts.all:
        await account.heal()
    healed = time.time()
    if condition.convicts:
        for account in reversed(accounts.all[:-1]):
            await asyncio.to_thread(platform.cli, "key", "enable", VENDOR, account.name)
        enabled = time.time()
        await asyncio.sleep(0.5)
        late = _elsewhere(accounts, herd, enabled)
        if late:
            found.problems.append(f"{late} calls did not go to the key that was enabled")
    else:
        # A try that was under way fails later, and a key rests from then on.
        start = max(healed, *(account.last_failure() for account in accounts.all))
        bound = start + COOLDOWN_SECONDS + BACK_SECONDS
        await asyncio.sleep(max(0.0, bound - time.time()) + 0.4)
        others = [entry.time for account in accounts.all[1:] for entry in account.books]
        found.back_seconds = max(0.0, max(others, default=start) - start)
    await herd.stop()
    calls, served = herd.take_calls(), accounts.take_books()
    found.calls, found.tries = len(calls), sum(map(len, served))
    found.failures = [call for call in calls if call.usage is None]
    found.problems += unfaithful(calls, served)
    herd.start()
    return found, calls


def _elsewhere(accounts: Accounts, herd: Herd, since: float) -> int:
    """How many calls that began since then went to another key than the first."""
    began = {call.marker: call.began for call in herd.calls} | herd.began
    others = [entry for account in accounts.all[1:] for entry in account.books]
    return sum(began.get(entry.user or "", 0.0) > since for entry in others)


Tell = Callable[[Turn], object]


async def turning(
    workers: int, conditions: Sequence[Condition], tell: Tell, *, clients: int = CLIENTS
) -> list[str]:
    """All of these conditions, one after the other, each told when it is over; what else was
    wrong."""
    secure = [condition for condition in conditions if condition.stranger]
    plain = [condition for condition in conditions if not condition.stranger]
    problems = await _turning(workers, plain, Accounts(), clients, tell) if plain else []
    if secure:
        with tempfile.TemporaryDirectory(prefix="aipool-vendor-") as folder:
            authority, contexts = certificates(Path(folder))
            more = {"AIPOOL_UPSTREAM_CA_FILE": str(authority)}
            fewer = min(clients, SECURE_CLIENTS)
            accounts = Accounts(contexts)
            problems += await _turning(workers, secure, accounts, fewer, tell, **more)
    return problems


async def _turning(
    workers: int,
    conditions: Sequence[Condition],
    accounts: Accounts,
    clients: int,
    tell: Tell,
    **more: str,
) -> list[str]:
    calls: list[Called] = []
    async with accounts, serving(accounts, workers, **more) as platform:
        herd = Herd(platform, clients)
        async with herd:
            for condition in conditions:
                found, made = await turn(platform, accounts, herd, condition)
                tell(found)
                calls += made
        calls += herd.take_calls()
        problems = await asyncio.to_thread(misbooked, platform, calls)
        await asyncio.to_thread(platform.verify)
        problems += _deaths(platform)
    return problems


def _deaths(platform: Platform) -> list[str]:
    return [
        line
        for line in platform.log.splitlines()
        if "Traceback" in line or "starting it again" in line or "mistake" in line
    ]


def report_turn(bars: Bars, workers: int, found: Turn) -> None:
    """The figures of one condition, and whether they are what they must be."""
    name = f"{found.condition.name}, {_workers(workers)}"
    opened = max(found.open_seconds)
    bars.say(
        name,
        f"{found.calls} calls, {found.in_flight} in flight, {found.tries - found.calls} failed "
        f"over, breakers open after {opened:.2f} s",
    )
    bars.must(f"  {name}: seen by clients", not found.failures, f"{len(found.failures)}")
    for call in found.failures[:3]:
        bars.say("    FAILURE", f"{call}")
    if found.condition.convicts:
        bars.say(f"  {name}: back", "with the next call")
    else:
        bound = COOLDOWN_SECONDS + BACK_SECONDS
        bars.at_most(f"  {name}: order back after", found.back_seconds, bound, "s")
    if found.problems:
        bars.must(f"  {name}: problems", False, f"{len(found.problems)}")
    for problem in found.problems[:3]:
        bars.say("    PROBLEM", problem)


def _workers(count: int) -> str:
    return f"{count} worker{'s' * (count > 1)}"


# --- what a failover costs --------------------------------------------------------------------


@dataclass
class Cost:
    """Milliseconds. failed: the failed try, as its vendor saw it."""

    straight: list[float] = field(default_factory=list)
    over: list[float] = field(default_factory=list)
    failed: list[float] = field(default_factory=list)

    def added(self, share: float) -> float:
        """What a failover adds at this share of the calls, without the failed try."""
        return (
            at_share(self.over, share) - at_share(self.straight, share) - at_share(self.failed, 0.5)
        )


def at_share(values: Sequence[float], share: float) -> float:
    """The value below which this share of them is."""
    ordered = sorted(values)
    return ordered[min(int(share * len(ordered)), len(ordered) - 1)] if ordered else 0.0


async def cost(calls: int) -> Cost:
    """Calls one at a time: every other one fails at the first key."""
    found = Cost()
    accounts = Accounts()
    first = accounts[0].secret
    fails = f'{{"fake": {{"keys": {{"{first}": {{"status": 500}}, "*": {{}}}}}}}}'
    well = f'{{"fake": {{"keys": {{"{first}": {{}}, "*": {{}}}}}}}}'
    # So many may fail that each call meets the failing key.
    rules = {"AIPOOL_KEY_FAILURES": "10000", "AIPOOL_KEY_FAILURE_SECONDS": "1"}
    async with accounts, serving(accounts, 1, **rules) as platform:
        line = await Line.open(platform.port)
        for number in range(-20, calls):
            for wishes, spent in ((well, found.straight), (fails, found.over)):
                body = question(f"cost-{number}", stream=number % 2 == 0, wishes=wishes)
                began = time.perf_counter()
                answer = await line.ask(platform.token, body)
                seconds = time.perf_counter() - began
                tries = 2 if wishes is fails else 1
                if answer.status != 200 or answer.headers["x-aipool-attempts"] != str(tries):
                    raise RuntimeError(f"a call that measures nothing: {answer}")
                if number >= 0:
                    spent.append(seconds * 1000)
        line.close()
        for entry in accounts[0].books:
            if entry.status == 500 and entry.ended_time is not None:
                found.failed.append((entry.ended_time - entry.time) * 1000)
    return found


def report_cost(bars: Bars, found: Cost) -> None:
    """The figures of it."""
    for share, name in ((0.5, "median"), (0.99, "p99")):
        bars.say(
            f"a call, {name}: straight, over, failed try",
            f"{at_share(found.straight, share):.2f}, {at_share(found.over, share):.2f}, "
            f"{at_share(found.failed, share):.2f} ms",
        )
        bars.at_most(f"a failover adds, {name}", found.added(share), COST_MS_MAX, "ms")


# --- a herd, and nobody there -----------------------------------------------------------------


@dataclass
class Dead:
    """What came of it. burst: for each key, how many tries it got when it died, and how many
    calls were in flight then."""

    seconds: float = 0.0
    burst: list[tuple[int, int]] = field(default_factory=list)
    probes: int = 0
    refused_ms: list[float] = field(default_factory=list)
    untold: int = 0
    others: list[Called] = field(default_factory=list)
    first_seconds: float = 0.0
    back_seconds: float = 0.0
    problems: list[str] = field(default_factory=list)


async def herd_of_the_dead(workers: int, seconds: float, *, clients: int = CLIENTS) -> Dead:
    """All keys answer 429 for so long, and then they are well."""
    found = Dead(seconds)
    dead = {"status": 429, "delay": DEAD_SECONDS}
    condition = Condition("429", dead, dead)
    accounts = Accounts()
    async with accounts, serving(accounts, workers) as platform:
        async with Herd(platform, clients) as herd:
            await asyncio.sleep(1.0)
            died = time.time()
            for account in accounts.all:
                await account.fail(condition)
            await asyncio.sleep(seconds)
            for account in accounts.all:
                await account.heal()
            healed = time.time()
            start = max(healed, *(account.last_failure() for account in accounts.all))
            bound = start + COOLDOWN_SECONDS + BACK_SECONDS
            await asyncio.sleep(max(0.0, bound - time.time()) + 0.4)
        calls, served = herd.take_calls(), accounts.take_books()
        _judge_dead(found, calls, served, died, start)
        found.problems += unfaithful(calls, served)
        found.problems += await asyncio.to_thread(misbooked, platform, calls)
        found.problems += _deaths(platform)
        await asyncio.to_thread(platform.verify)
    return found


def _judge_dead(
    found: Dead,
    calls: Sequence[Called],
    served: Sequence[Sequence[Entry]],
    died: float,
    start: float,
) -> None:
    out = died
    for entries in served:
        failed = [entry for entry in entries if entry.status == 429]
        tripped = min(entry.ended_time or 0.0 for entry in failed) if failed else died
        burst = [entry for entry in failed if entry.time < tripped + COOLDOWN_SECONDS / 2]
        until = tripped + TOLD_SECONDS
        in_flight = sum(call.began <= until and call.ended >= tripped for call in calls)
        found.burst.append((len(burst), in_flight))
        found.probes += len(failed) - len(burst)
        out = max(out, tripped)
    refused = [call for call in calls if call.status == 503]
    found.untold = sum(not call.retry_after.isdigit() for call in refused)
    late = [call.seconds * 1000 for call in refused if out + 0.5 < call.began < start]
    found.refused_ms = late
    found.others = [call for call in calls if call.usage is None and call.status != 503]
    well = [call.ended for call in calls if call.usage is not None and call.ended > start]
    found.first_seconds = min(well, default=start + 99.0) - start
    others = [entry.time for entries in served[1:] for entry in entries if entry.time > start]
    found.back_seconds = max(others, default=start) - start
    if not any(entry.time > start for entry in served[0]):
        found.problems.append("the first key was not called again")


def report_dead(bars: Bars, workers: int, found: Dead) -> None:
    """The figures of it."""
    name = f"all dead, {_workers(workers)}"
    for place, (tries, in_flight) in enumerate(found.burst):
        bars.at_most(f"{name}: tries of key {place} when it died", tries, in_flight)
    most = KEYS * (found.seconds / COOLDOWN_SECONDS) * PROBES_SHARE
    bars.at_most(f"{name}: probes in {found.seconds:.0f} s", found.probes, most)
    bars.at_most(
        f"{name}: refused after, median", at_share(found.refused_ms, 0.5), REFUSED_MS_MAX, "ms"
    )
    bars.say(f"{name}: refused after, p99", f"{at_share(found.refused_ms, 0.99):.1f} ms")
    bars.must(f"{name}: {len(found.refused_ms)} refused, all told when to come", not found.untold)
    bars.must(f"{name}: other failures: {len(found.others)}", not found.others)
    for call in found.others[:3]:
        bars.say("    FAILURE", f"{call}")
    bound = COOLDOWN_SECONDS + BACK_SECONDS
    bars.at_most(f"{name}: first answer after", found.first_seconds, bound, "s")
    bars.at_most(f"{name}: order back after", found.back_seconds, bound, "s")
    bars.must(f"{name}: problems: {len(found.problems)}", not found.problems)
    for problem in found.problems[:5]:
        bars.say("    PROBLEM", problem)


# --- a full backlog ---------------------------------------------------------------------------


async def backlog(calls: int) -> tuple[list[float], int]:
    """Seconds that calls took whose first vendor leaves connections waiting; how many failed."""
    async with FakeVendor({"events": 4}) as vendor:
        with waiting_room() as port:
            return await _backlog(vendor, port, calls)


async def _backlog(vendor: FakeVendor, port: int, calls: int) -> tuple[list[float], int]:
    upstreams = [f"http://127.0.0.1:{port}/v1", vendor.base_url]
    platform = Platform(workers=1, upstreams=upstreams)
    await asyncio.to_thread(platform.__enter__)
    try:
        herd = Herd(platform, 0)

        async def one(number: int) -> None:
            # All have begun before the first has failed.
            await asyncio.sleep(2.0 * number / calls)
            line = await Line.open(platform.port)
            await herd.one(line, f"backlog-{number}", stream=number % 2 == 0)
            line.close()

        await asyncio.gather(*(one(number) for number in range(calls)))
        await asyncio.to_thread(platform.verify)
    finally:
        await asyncio.to_thread(platform.__exit__)
    return [call.seconds for call in herd.calls], len(herd.failures())


# --- all of it --------------------------------------------------------------------------------


@dataclass(frozen=True)
class Plan:
    """How much of it."""

    quick: bool
    seed: int
    numbers: range

    async def turning(self, bars: Bars) -> None:
        """Keys fail one after another."""
        conditions = [*CONDITIONS, STRANGER]
        if self.quick:
            conditions = random.Random(self.seed).sample(conditions, 6)
        for workers in (4,) if self.quick else (1, 4):
            problems = await turning(workers, conditions, partial(report_turn, bars, workers))
            bars.must(f"{_workers(workers)}: every answer booked once, as billed", not problems)
            for problem in problems[:5]:
                bars.say("    PROBLEM", problem)

    async def cost(self, bars: Bars) -> None:
        """What a failover costs."""
        report_cost(bars, await cost(COST_CALLS))

    async def herd(self, bars: Bars) -> None:
        """All keys are dead."""
        for workers in (4,) if self.quick else (1, 4):
            seconds = HERD_SECONDS / 6 if self.quick else HERD_SECONDS
            report_dead(bars, workers, await herd_of_the_dead(workers, seconds))

    async def backlog(self, bars: Bars) -> None:
        """A vendor that leaves connections waiting."""
        seconds, failed = await backlog(BACKLOG_CALLS)
        bars.must(f"a full backlog: {len(seconds)} calls, failures: {failed}", not failed)
        bars.at_most("a full backlog adds", max(seconds), BACKLOG_ADDED_SECONDS_MAX, "s")

    async def odd(self, bars: Bars) -> None:
        """Odd answers."""
        found = await odd_answers.relay_odd_answers(self.seed, self.numbers)
        odd_answers.report(bars, found, ODD_SECONDS_MAX)

    async def giants(self, bars: Bars) -> None:
        """Answers of a gigabyte."""
        odd_answers.report_giants(bars, await odd_answers.relay_giants())

    async def names(self, bars: Bars) -> None:
        """Names that do not resolve."""
        names.report(bars, await asyncio.to_thread(names.apart))


PARTS: Final = ("turning", "cost", "herd", "backlog", "odd", "giants", "names")


def main(arguments: Sequence[str]) -> int:
    """All parts or one; 1 when the claim does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/prove failover", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="about a tenth")
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--only", action="append", choices=PARTS, help="this part; repeatable")
    parser.add_argument("--number", type=int, help="of the odd answers only this one")
    options = parser.parse_args(arguments)
    print(f"seed {options.seed}", flush=True)
    numbers = range(ODD_ANSWERS // 10 if options.quick else ODD_ANSWERS)
    if options.number is not None:
        numbers = range(options.number, options.number + 1)
    plan = Plan(options.quick, options.seed, numbers)
    bars = Bars("failover")
    began = time.monotonic()
    for part in options.only or PARTS:
        do: Callable[[Bars], Coroutine[Any, Any, None]] = getattr(plan, part)
        uvloop.run(do(bars))
    return bars.finish(f"no client noticed, {time.monotonic() - began:.0f} s")
