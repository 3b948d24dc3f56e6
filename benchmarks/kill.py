"""What a kill costs: kill -9 of every kind of process, under load, with the vendor as witness.

A worker is killed while its calls are in a phase that the load is made for:

    held                 the vendor has the request and has sent nothing
    headers received     the vendor has begun its answer, the client has nothing of it
    mid-stream           tokens are being relayed
    settled-not-shipped  answered and in the journal; the ledger process is stopped meanwhile, so
                         that nothing of it is in the books

The ledger process and the control process are killed under a mixture of all, and everything but
the supervisor at once. Once the ledger process is stopped for longer than calls wait for it, and
then killed. A worker and the ledger process are stopped for two seconds, and each is killed in the
middle of a recall. What each call was charged is then held against what its client got and what
the vendor would bill (benchmarks.witness).
"""

from __future__ import annotations

import argparse
import random
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import uvloop

from benchmarks.platform import PASSWORD, Platform
from benchmarks.storm import (
    GATHERER_CREDIT,
    GATHERER_TOKEN,
    GATHERER_USER,
    PHASES,
    UNKNOWN_TOKEN,
    UNKNOWN_USER,
    Plan,
    Report,
    Storm,
)
from benchmarks.witness import LookedUp, Price, compare
from tests.fakes.process import FakeVendorProcess

#: Not a whole number of nano-yuan a token, so that every charge is a rounded one.
PRICE: Final = {"input": "2.100007", "output": "8.400011"}
PRICE_NANO: Final = Price(2_100_007_000, 8_400_011_000)

RESTART_SECONDS_MAX: Final = 1.0
RECOVERY_SECONDS_MAX: Final = 2.0
CALLS_PER_SECOND_LEAST: Final = 150


def storm(plan: Plan) -> Report:
    """Run the plan against a platform of its own, and judge it."""
    report = Report()
    # Four strangers at each kill of the ledger process.
    people = [
        (UNKNOWN_USER.format(n), UNKNOWN_TOKEN.format(n)) for n in range(1, 4 * plan.ledger + 1)
    ]
    people += [
        (GATHERER_USER.format(n), GATHERER_TOKEN.format(n)) for n in range(1, 2 * plan.recalls + 1)
    ]
    document = {
        "users": [
            {"phone": phone, "password": PASSWORD, "credit": GATHERER_CREDIT} for phone, _ in people
        ],
        "tokens": [{"user": phone, "name": "t", "secret": token} for phone, token in people],
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
    missed = [aim for aim in PHASES if "shipped" not in aim and landed.get(aim, 0) < plan.workers]
    if sum(count > 0 for count in report.verdict.unshipped) < plan.workers:
        missed.append("settled-not-shipped")
    # One may find the recall over already.
    if report.recalls_met < 2 * plan.recalls - 1:
        missed.append("in the middle of a recall")
    return [f"too few calls were met {aim}" for aim in missed]


def main(arguments: Sequence[str]) -> int:
    """Kill as often as the claim says; 1 when it does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/prove kill", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--quick", action="store_true", help="about a tenth")
    given = parser.parse_args(arguments)
    plan = Plan.quick(given.seed) if given.quick else Plan(seed=given.seed)
    print(f"seed {plan.seed}", flush=True)
    report = storm(plan)
    verdict = report.verdict
    problems = report.problems + shortfalls(plan, report)
    everyone = report.serving_seconds.pop("everyone", [])
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
    print(f"everything killed at once {plan.everyone} times: serving after {_spread(everyone)}")
    print(
        f"stopped for 2 s {report.stopped} times, nobody taken for dead; "
        f"{report.recalls_met} recalls met by a kill"
    )
    calls = verdict.whole + verdict.refused + verdict.cut
    print(f"{calls} calls, {calls / report.seconds:.0f} a second over {report.seconds:.0f} s")
    if not given.quick and calls / report.seconds < CALLS_PER_SECOND_LEAST:
        problems.append(f"fewer than {CALLS_PER_SECOND_LEAST} calls a second are no load")
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
