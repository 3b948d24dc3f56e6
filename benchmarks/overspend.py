"""Nobody spends what is not there, and at rest nobody is refused what is.

First 64 calls at once on a wallet that is worth exactly one. They come over 64 connections, which
the kernel spreads over two workers. Each round has a wallet of its own, worth one hold to the
nano-yuan: with one nano-yuan less nobody would be admitted, and a second admission would need a
whole hold that is not there.

    used up    the vendor bills all that was held; the wallet ends at exactly zero
    halved     the vendor bills half; the other half is then held on one worker and given back,
               held on the other and given back, and spent, so it was lost on neither

Then 200 near-empty wallets, limits and counts of calls, over four workers (benchmarks.race).
"""

from __future__ import annotations

import argparse
import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvloop

from aipool import config
from aipool.accounts import service as accounts
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import TokenTerms
from aipool.apply.credit import book_opening_credit
from aipool.cli.session import open_installation
from aipool.groups import service as groups
from aipool.ledger.service import open_wallet
from aipool.ledger.types import wallet_account
from benchmarks import race as near_empty
from benchmarks.bars import Bars
from benchmarks.caller import Answer, Line, chat, encoded
from benchmarks.platform import MODEL, CommandFailed, Platform
from benchmarks.witness import LookedUp, now
from tests.fakes.process import FakeVendorProcess

ROUNDS: Final = 200
AT_ONCE: Final = 64
WORKERS: Final = 2
#: What `--quick` leaves of it.
QUICK: Final = 10
#: The winner is under way until every other call has been decided.
VENDOR_SECONDS: Final = 0.15
#: What a settlement gives back is in the books a moment later.
RETURN_SECONDS_MAX: Final = 1.0

#: Input and output cost the same, and a byte of the body is held for as a token: so a hold is
#: bytes + max_tokens, and can be halved.
NANO_PER_TOKEN: Final = 4_000
PRICE: Final = {"input": "4", "output": "4"}
HELD_TOKENS: Final = 6_000
HALF_TOKENS: Final = HELD_TOKENS // 2
HOLD_NANO: Final = HELD_TOKENS * NANO_PER_TOKEN

_PHONE: Final = "+86138{:08}"


class Purse(NamedTuple):
    """A wallet worth one hold, and the token that spends from it."""

    token: str
    account: str


@dataclass
class Report:
    """What came of the rounds.

    asked, admitted: calls and winners by worker. return_seconds: how long a call for the half
    took that was begun as soon as its client had the answer before, and whose money may still have
    been on its way back.
    """

    rounds: int = 0
    asked: Counter[str] = field(default_factory=Counter)
    admitted: Counter[str] = field(default_factory=Counter)
    return_seconds: list[float] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)


def request(marker: str, held: int, billed: int, seconds: float) -> dict[str, Any]:
    """A call for which exactly `held` tokens are held and the vendor reports `billed`."""
    usage = {"prompt_tokens": 0, "completion_tokens": billed, "total_tokens": billed}
    wishes = {"delay": seconds, "events": 1, "usage": usage}
    size = len(encoded(chat(MODEL, wishes, marker, 1000, stream=False)))
    body = chat(MODEL, wishes, marker, held - size, stream=False)
    assert len(encoded(body)) == size
    return body


class Rounds:
    """Rounds against one platform; each takes a token that nobody has used."""

    def __init__(self, platform: Platform, report: Report) -> None:
        self._port = platform.port
        self._report = report
        self._books = LookedUp(platform.database_path)

    async def used_up(self, purses: Sequence[Purse]) -> None:
        """All of the hold is billed."""
        for number, purse in enumerate(purses):
            token = purse.token
            lines = await self._lines(token, warm=number % 2 == 0)
            name = f"used-{number:04}"
            await self._race(name, token, lines, billed=HELD_TOKENS)
            await self._ends_with(name, purse, 0)
            self._close(lines)

    async def halved(self, purses: Sequence[Purse]) -> None:
        """Half of the hold is billed; the other half is there for both workers."""
        for number, purse in enumerate(purses):
            token = purse.token
            lines = await self._lines(token, warm=True)
            name = f"half-{number:04}"
            winner = await self._race(name, token, lines, billed=HALF_TOKENS)
            await self._ends_with(name, purse, HOLD_NANO // 2)
            if winner is not None:
                here, there = self._one_of_each(lines, winner)
                await self._spend_half(f"{name}-b", token, there, billed=0)
                await self._spend_half(f"{name}-c", token, here, billed=0)
                await self._spend_half(f"{name}-d", token, there, billed=HALF_TOKENS)
                await self._ends_with(name, purse, 0)
            self._close(lines)

    def close(self) -> None:
        """Let go of the database."""
        self._books.close()

    # --- parts of a round -------------------------------------------------------------------

    async def _lines(self, token: str, *, warm: bool) -> list[tuple[Line, str]]:
        """Connections, each with the worker that has it; "" when it was not asked (not warm)."""
        while True:
            lines = [await Line.open(self._port) for _ in range(AT_ONCE)]
            if not warm:
                return [(line, "") for line in lines]
            asked = [await line.ask(token, path="/v1/models") for line in lines]
            workers = [answer.worker for answer in asked]
            if len(set(workers)) == WORKERS:
                return list(zip(lines, workers, strict=True))
            self._close([(line, "") for line in lines])

    async def _race(
        self, name: str, token: str, lines: list[tuple[Line, str]], *, billed: int
    ) -> str | None:
        """All at once; the worker that admitted the one, None when it was not exactly one."""
        body = request(name, HELD_TOKENS, billed, VENDOR_SECONDS)
        answers = await asyncio.gather(*(line.ask(token, body) for line, _ in lines))
        self._report.rounds += 1
        self._report.asked.update(answer.worker for answer in answers)
        won = [answer for answer in answers if answer.status == 200]
        for answer in answers:
            if answer.status != 200 and not _is_out_of_funds(answer):
                self._problem(f"{name}: answered {answer.status} {bytes(answer.body)!r}")
        if len(won) != 1:
            self._problem(f"{name}: {len(won)} of {len(answers)} calls were admitted")
            return None
        self._report.admitted[won[0].worker] += 1
        return won[0].worker

    async def _spend_half(self, name: str, token: str, line: Line, *, billed: int) -> None:
        """A call for all that is left, on a certain worker."""
        began = now()
        answer = await line.ask(token, request(name, HALF_TOKENS, billed, 0.0))
        if answer.status != 200:
            self._problem(f"{name}: the half is not to be had: {bytes(answer.body)!r}")
        self._report.return_seconds.append(now() - began)

    async def _ends_with(self, name: str, purse: Purse, balance_nano: int) -> None:
        """The wallet comes to rest at this balance, with nothing lent and never below zero."""
        sql = "SELECT balance_nano, leased_nano FROM accounts WHERE account = ?"
        began = now()
        while (found := self._books.rows(purse.account, sql=sql)) != [(balance_nano, 0)]:
            if any(int(str(part)) < 0 for row in found for part in row):
                self._problem(f"{name}: the wallet is at {found}")
            if now() - began > RETURN_SECONDS_MAX:
                self._problem(f"{name}: the wallet ends at {found}, not at {balance_nano}")
                return
            await asyncio.sleep(0.005)

    def _one_of_each(self, lines: list[tuple[Line, str]], winner: str) -> tuple[Line, Line]:
        """A connection to the worker that admitted, and one to the other."""
        here = next(line for line, worker in lines if worker == winner)
        there = next(line for line, worker in lines if worker != winner)
        return here, there

    def _close(self, lines: list[tuple[Line, str]]) -> None:
        for line, _ in lines:
            line.close()

    def _problem(self, text: str) -> None:
        self._report.problems.append(text)


def _is_out_of_funds(answer: Answer) -> bool:
    """402, and the client is told not to try again."""
    return answer.status == 402 and answer.headers.get("x-should-retry") == "false"


# --- the whole proof ---------------------------------------------------------------------------


def race(rounds: int) -> Report:
    """So many rounds of each kind, on a platform of their own."""
    report = Report()
    with (
        tempfile.TemporaryDirectory(prefix="aipool-vendor-") as folder,
        FakeVendorProcess(Path(folder)) as vendor,
        Platform(workers=WORKERS, upstreams=[vendor.base_url], price=PRICE) as platform,
    ):
        purses = fill_purses(platform, 2 * rounds)
        uvloop.run(_run(platform, report, purses[:rounds], purses[rounds:]))
        try:
            # Every balance there ever was is looked at: none was below zero.
            platform.verify()
        except CommandFailed as problem:
            report.problems.append(str(problem))
        billed = sum(entry.billed_output for entry in vendor.books()) * NANO_PER_TOKEN
        if billed != len(purses) * HOLD_NANO:
            report.problems.append(f"the vendor bills {billed}, the wallets held another sum")
        if len(report.admitted) != WORKERS:
            report.problems.append("all calls were admitted by one worker: no race took place")
    return report


async def _run(
    platform: Platform, report: Report, used_up: Sequence[Purse], halved: Sequence[Purse]
) -> None:
    rounds = Rounds(platform, report)
    await rounds.used_up(used_up)
    await rounds.halved(halved)
    rounds.close()


def fill_purses(platform: Platform, count: int) -> list[Purse]:
    """Users with a wallet worth one hold. Written beside the running server by the same services
    that `aipool apply` uses, save that nobody's password is hashed."""
    settings = config.load({"data_dir": platform.data_dir}, platform.environ)
    purses: list[Purse] = []
    with open_installation(settings, make=False) as session, session.database.write() as tx:
        group = groups.default_group(tx, session.act)
        for number in range(count):
            user = accounts.create_user(
                tx, session.act, phone=_PHONE.format(number), password_hash="nobody knows it"
            )
            open_wallet(tx, user.id)
            book_opening_credit(tx, session.act, user, HOLD_NANO)
            _, token = api_tokens.create_token(
                tx, session.act, session.secrets.pepper, user, TokenTerms("purse", group.id)
            )
            purses.append(Purse(token, wallet_account(user.id)))
    return purses


def main(arguments: Sequence[str]) -> int:
    """As many rounds as the claim says; 1 when it does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/prove overspend", description=__doc__)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--quick", action="store_true", help="a tenth of it")
    given = parser.parse_args(arguments)
    part = QUICK if given.quick else 1
    print(f"seed {given.seed}", flush=True)
    bars = Bars("overspend")
    report = race(ROUNDS // part)
    bars.must("of 64 calls exactly one", not report.problems, f"{report.rounds} rounds")
    bars.say("calls a worker", " ".join(map(str, sorted(report.asked.values()))))
    returns = sorted(report.return_seconds)
    if returns:
        bars.say("half left, spent (median)", f"{1000 * returns[len(returns) // 2]:.0f} ms")
        bars.say("half left, spent (worst)", f"{1000 * returns[-1]:.0f} ms")
    many = near_empty.race(near_empty.PURSES // part, near_empty.ATTEMPTS // part, given.seed)
    bars.at_least("near-empty budgets", many.purses.total(), near_empty.PURSES // part)
    bars.at_least("attempts", many.attempts, near_empty.ATTEMPTS // part)
    bars.at_most("overspent", many.overspent_nano, 0, "nano")
    bars.at_most("false refusals at rest", many.false_refusals, 0)
    bars.say("  of probes at rest", str(many.probes))
    bars.at_least("  rounds of them while others held slices", many.scattered, 1)
    bars.say("admitted, refused", f"{many.admitted}, {many.refused}")
    bars.say("answered 503, asked again", str(many.undecided))
    problems = [*report.problems, *many.problems]
    for problem in problems[:20]:
        print(f"PROBLEM: {problem}")
    bars.at_most("problems", len(problems), 0)
    return bars.finish(
        f"{report.rounds} rounds of {AT_ONCE} at once, {many.attempts} attempts on "
        f"{many.purses.total()} near-empty budgets: {many.overspent_nano} nano too much, "
        f"{many.false_refusals} false refusals"
    )
