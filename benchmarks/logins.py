"""A flood of logins does not slow calls: the same calls at the same rate, with and without 200
people who log in all the time.

A password is hashed slowly on purpose, and whoever sends one chooses when: without a bound, logins
would take every core from the calls. Some of these passwords are wrong. The limits that count a
network or an account refuse none of them, so that what bears the flood is the bound on hashing
alone (`accounts/passwords.py`); and no work is asked for first, which would hold them up as well.

Turns without and with the flood alternate, so that a drifting machine drifts under both. The
figure is the ratio of what one call in a hundred exceeds, pair by pair, and of these the median.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import uvloop

from benchmarks.bars import Bars
from benchmarks.caller import chat, encoded
from benchmarks.cpu import busy_elsewhere
from benchmarks.isolation import Pace, Vendor
from benchmarks.newcomers import BUSY, PEOPLE, phone_of
from benchmarks.platform import PASSWORD, Platform
from benchmarks.reports import companion

CALLS_PER_SECOND: Final = 300
TURNS: Final = 15
TURNS_QUICK: Final = 5
TURN_SECONDS: Final = 3.0
SETTLE_SECONDS: Final = 1.5

#: What is promised: with the flood at most so many times as long.
P99_RATIO_MAX: Final = 2.0

_ANSWERS: Final = {200: "let in", 401: "refused", BUSY: "told to come again"}


@dataclass
class Report:
    """What was measured. alone, beside: seconds of each call, turn by turn.  logins: how many were
    answered with this status, while it was measured."""

    alone: list[list[float]] = field(default_factory=list)
    beside: list[list[float]] = field(default_factory=list)
    logins: Counter[int] = field(default_factory=Counter)
    failed_calls: int = 0

    @property
    def ratios(self) -> list[float]:
        """What one call in a hundred exceeds beside the logins, of that without them."""
        pairs = zip(self.alone, self.beside, strict=True)
        return [_p99(beside) / _p99(alone) for alone, beside in pairs]


def measure(*, turns: int, seconds: float, people: int = PEOPLE) -> Report:
    """So many pairs of turns of so many seconds, on a platform of its own."""
    report = Report()

    async def run() -> None:
        vendor = await asyncio.get_running_loop().create_server(Vendor, "127.0.0.1", 0)
        port = vendor.sockets[0].getsockname()[1]
        users = [{"phone": phone_of(number), "password": PASSWORD} for number in range(people)]
        with Platform(
            workers=2,
            upstreams=[f"http://127.0.0.1:{port}/v1"],
            document={"users": users},
            extra_env={"AIPOOL_SITE_PROOF_OF_WORK": "off"},
        ) as platform:
            await _take_turns(platform, report, turns, seconds, people)
            platform.verify()
        vendor.close()

    uvloop.run(run())
    return report


async def _take_turns(
    platform: Platform, report: Report, turns: int, seconds: float, people: int
) -> None:
    body = encoded(chat(platform.model, {}, "logins", 100, stream=False))
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: proof\r\nauthorization: Bearer %b\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (platform.token.encode(), len(body), body)
    )
    pace = Pace(request, CALLS_PER_SECOND)
    await pace.connect(platform.port)
    # The people are on this machine for want of another: they do not go before its calls.
    niceness = os.getpriority(os.PRIO_PROCESS, platform.process.control())
    for _ in range(turns):
        report.alone.append(await _turn(pace, seconds))
        with companion("logins", f"{platform.port}", f"{people}", niceness=niceness) as crowd:
            await pace.run(SETTLE_SECONDS)
            before = len(crowd.lines)
            report.beside.append(await _turn(pace, seconds))
            answered = crowd.lines[before:]
        report.logins.update(int(line.split()[0]) for line in answered)
    report.failed_calls = pace.failed


async def _turn(pace: Pace, seconds: float) -> list[float]:
    await pace.run(SETTLE_SECONDS)
    turn = pace.begin()
    await pace.run(seconds)
    return turn.latencies


def main(arguments: Sequence[str]) -> int:
    """Run the proof; 1 when the claim does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/prove logins", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer turns; for a first look")
    options = parser.parse_args(arguments)
    bars = Bars("logins")
    bars.say("cores busy with something else at the start", f"{busy_elsewhere():.2f}")
    turns = TURNS_QUICK if options.quick else TURNS
    report = measure(turns=turns, seconds=TURN_SECONDS)
    for name, latencies in (("alone", report.alone), ("beside logins", report.beside)):
        p50 = statistics.median(_p50(turn) for turn in latencies) * 1e3
        p99 = statistics.median(_p99(turn) for turn in latencies) * 1e3
        bars.say(f"a call {name}, p50 and p99", f"{p50:.2f}, {p99:.2f} ms")
    bars.say("p99 beside logins, × alone", ", ".join(f"{ratio:.2f}" for ratio in report.ratios))
    for status, count in sorted(report.logins.items()):
        per_second = count / (turns * TURN_SECONDS)
        bars.say(f"logins {_ANSWERS.get(status, status)}", f"{per_second:.1f} a second")
    bars.must("calls were answered with 200", not report.failed_calls)
    bars.must("passwords were compared, right and wrong", {200, 401} <= report.logins.keys())
    bars.must("nobody was held up but by the bound", report.logins.keys() <= _ANSWERS.keys())
    ratio = statistics.median(report.ratios)
    bars.at_most("p99 of calls beside logins", ratio, P99_RATIO_MAX, "×")
    return bars.finish(f"{PEOPLE} parallel logins: p99 of calls × {ratio:.2f}")


def _p50(seconds: list[float]) -> float:
    return statistics.median(seconds)


def _p99(seconds: list[float]) -> float:
    return statistics.quantiles(seconds, n=100)[-1]
