"""Near-empty budgets, four workers, 64 calls at once: nobody spends what is not there, and at rest
nobody is refused what is.

    wallet       worth one to five calls
    total        a token's cap of a lifetime, the wallet behind it is full
    daily        a token's limit of a day
    rich         a wallet of many calls, whose leases lie at all workers when staff takes most away
    requests     a token's calls a day
    concurrency  a token's calls in flight

Calls end with any usage up to their hold. After each burst, at rest, it is known what is left (what
was there, less what the vendor billed); then a call for exactly that is let through on each worker
in turn, and a call for one token more is refused, wherever the leases lie. What was in flight at
once is the fake vendor's word.
"""

from __future__ import annotations

import asyncio
import random
import tempfile
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

import uvloop

from aipool import config
from aipool.accounts import service as accounts
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import Reset, TokenTerms
from aipool.apply.credit import book_opening_credit
from aipool.cli.session import open_installation
from aipool.groups import service as groups
from aipool.groups.types import CallLimits
from aipool.ledger.service import adjust_wallet, open_wallet, wallet_balance
from aipool.ledger.types import Refused, wallet_account
from benchmarks.caller import Answer, Line, chat, encoded
from benchmarks.platform import MODEL, CommandFailed, Platform
from benchmarks.witness import LookedUp, now
from tests.fakes.books import Books
from tests.fakes.process import FakeVendorProcess

PURSES: Final = 200
ATTEMPTS: Final = 20_000
AT_ONCE: Final = 64
WORKERS: Final = 4
#: What `--quick` leaves of it.
QUICK: Final = 10

#: Input and output cost the same, and a byte of the body is held for as a token.
NANO_PER_TOKEN: Final = 4_000
PRICE: Final = {"input": "4", "output": "4"}
#: Tokens that a call holds for; a body alone is about two hundred.
HOLD_LEAST: Final = 400
HOLD_MOST: Final = 3_000
#: A call that is let through begins to be answered in this time.
START_SECONDS: Final = 0.1
#: How often a call is made again that could not be decided (503).
UNDECIDED_MAX: Final = 20

_PHONE: Final = "+86137{:08}"
_FULL_NANO: Final = 1_000 * 10**9


class Kind(StrEnum):
    """What of a purse is nearly empty."""

    WALLET = "wallet"
    TOTAL = "total"
    DAILY = "daily"
    RICH = "rich"
    REQUESTS = "requests"
    CONCURRENCY = "concurrency"


#: Out of ten purses.
_KINDS: Final = (
    Kind.WALLET,
    Kind.TOTAL,
    Kind.RICH,
    Kind.DAILY,
    Kind.REQUESTS,
    Kind.WALLET,
    Kind.RICH,
    Kind.CONCURRENCY,
    Kind.WALLET,
    Kind.DAILY,
)


@dataclass
class Purse:
    """left: what the witness says is left, in tokens; of calls, the limit."""

    name: str
    kind: Kind
    user_id: int
    token: str
    left: int


@dataclass
class Report:
    """What came of it.

    undecided: calls answered 503.  probes: made at rest.  scattered: how many rounds of them while
    workers held slices of the wallet.
    """

    attempts: int = 0
    admitted: int = 0
    refused: int = 0
    undecided: int = 0
    probes: int = 0
    scattered: int = 0
    false_refusals: int = 0
    overspent_nano: int = 0
    in_flight_most: int = 0
    purses: Counter[str] = field(default_factory=Counter)
    problems: list[str] = field(default_factory=list)


class Race:
    """One purse after the other, on connections that are spread evenly over the workers."""

    def __init__(self, platform: Platform, report: Report, chance: random.Random) -> None:
        self._platform = platform
        self._report = report
        self._chance = chance
        self._books = LookedUp(platform.database_path)
        self._lines: dict[str, list[Line]] = {}
        self._number = 0

    async def run(self, purses: Sequence[Purse], attempts: int) -> None:
        """So many attempts on each."""
        await self._connect(purses[0].token)
        for purse in purses:
            self._report.purses[purse.kind] += 1
            if purse.kind is Kind.REQUESTS:
                await self._requests(purse, attempts)
            elif purse.kind is Kind.CONCURRENCY:
                await self._concurrency(purse, attempts)
            else:
                await self._money(purse, attempts)
        for line in (line for lines in self._lines.values() for line in lines):
            line.close()
        self._books.close()

    async def _connect(self, token: str) -> None:
        """As many lines to each worker as to every other."""
        each = AT_ONCE // WORKERS
        while len(self._lines) < WORKERS or any(len(one) < each for one in self._lines.values()):
            line = await Line.open(self._platform.port)
            worker = (await line.ask(token, path="/v1/models")).worker
            lines = self._lines.setdefault(worker, [])
            if len(lines) < each:
                lines.append(line)
            else:
                line.close()

    # --- money ------------------------------------------------------------------------------

    async def _money(self, purse: Purse, attempts: int) -> None:
        """Bursts, and after each of them the probes."""
        made = 0
        if purse.kind is Kind.RICH:
            made += await self._scattered(purse)
        while made < attempts:
            count = min(AT_ONCE, attempts - made)
            await self._burst(purse, count)
            made += count + await self._probe(purse)

    async def _burst(self, purse: Purse, count: int) -> None:
        holds = [self._chance.randint(HOLD_LEAST, HOLD_MOST) for _ in range(count)]
        uses = [self._chance.choice((hold, self._chance.randint(0, hold))) for hold in holds]
        lines = [line for lines in zip(*self._lines.values(), strict=True) for line in lines]
        calls = zip(lines, holds, uses, strict=False)
        answers = await asyncio.gather(*(self._call(purse, *call) for call in calls))
        # Without a burst that uses nothing up there would be nothing to probe.
        self._book(purse, answers)

    async def _probe(self, purse: Purse) -> int:
        """Exactly what is left is let through on each worker, and one token more is refused."""
        made = 0
        for lines in self._lines.values():
            made += await self._probe_on(purse, lines)
        return made

    async def _probe_on(self, purse: Purse, lines: Sequence[Line]) -> int:
        # What a refusal has gathered is there for the next call: so not always that first.
        asked = [(max(purse.left + 1, HOLD_LEAST), 402, "more than is left")]
        if purse.left >= HOLD_LEAST:
            asked.insert(self._chance.randint(0, 1), (purse.left, 200, "all that is left"))
        made = 0
        for line, (hold, due, what) in zip(lines, asked, strict=False):
            made += await self._decided(purse, line, hold, due, what)
        self._report.probes += made
        return made

    async def _decided(
        self, purse: Purse, line: Line, hold: int, due: int, what: str, use: int = 0
    ) -> int:
        """A call that holds this much and uses that; how often it was made."""
        for turn in range(UNDECIDED_MAX):
            answer = await self._call(purse, line, hold, use)
            if answer.status != 503:
                if answer.status != due:
                    self._report.false_refusals += answer.status in (402, 429)
                    self._say(purse, f"{what}: {answer.status} {bytes(answer.body)[:200]!r}")
                self._book(purse, [answer])
                return turn + 1
            await asyncio.sleep(0.01)
        self._say(purse, f"{what}: never decided")
        return UNDECIDED_MAX

    async def _scattered(self, purse: Purse) -> int:
        """Probes while every worker holds a slice; then most of it is taken away, and spent."""
        made = 0
        # Each twice: what a worker once gathered says nothing of the next time.
        for lines in [*self._lines.values()] * 2:
            made += await self._spread(purse)
            self._report.scattered += self._lent(purse)
            made += await self._probe_on(purse, lines)
        made += await self._spread(purse)
        keep = self._chance.randint(0, HOLD_MOST) * NANO_PER_TOKEN
        purse.left -= await asyncio.to_thread(self._take_away, purse, keep) // NANO_PER_TOKEN
        self._report.scattered += self._lent(purse)
        use = purse.left - self._chance.randint(HOLD_LEAST, 5 * HOLD_MOST)
        if use >= HOLD_LEAST:
            line = self._chance.choice(list(self._lines.values()))[0]
            made += await self._decided(purse, line, use, 200, f"{use} of {purse.left}", use)
        return made

    async def _spread(self, purse: Purse) -> int:
        """A small call on each worker, which leaves a slice there."""
        for lines in self._lines.values():
            await self._decided(purse, lines[0], HOLD_LEAST, 200, "a small call")
        return len(self._lines)

    def _lent(self, purse: Purse) -> bool:
        """Do workers hold something of the wallet?"""
        sql = "SELECT leased_nano FROM accounts WHERE account = ?"
        return self._books.rows(wallet_account(purse.user_id), sql=sql) != [(0,)]

    def _take_away(self, purse: Purse, keep_nano: int) -> int:
        """Staff debits what is not lent, but for this much; what it took."""
        settings = config.load({"data_dir": self._platform.data_dir}, self._platform.environ)
        with open_installation(settings, make=False) as session, session.database.write() as tx:
            wallet = wallet_balance(tx.connection, purse.user_id)
            assert wallet is not None
            amount = (wallet.free_nano - keep_nano) // NANO_PER_TOKEN * NANO_PER_TOKEN
            if amount <= 0:
                return 0
            moved = adjust_wallet(
                tx,
                user_id=purse.user_id,
                amount_nano=-amount,
                idem_key=f"race:{purse.name}",
                ref="race",
                actor="race",
                at_ms=session.act.at_ms,
            )
            assert not isinstance(moved, Refused)
            return amount

    # --- calls ------------------------------------------------------------------------------

    async def _requests(self, purse: Purse, attempts: int) -> None:
        """Never more calls in a day, over all workers; and at rest none less."""
        admitted = made = 0
        while made + 2 * WORKERS < attempts:
            lines = [line for lines in zip(*self._lines.values(), strict=True) for line in lines]
            lines = lines[: min(AT_ONCE, attempts - made)]
            calls = (self._call(purse, line, HOLD_LEAST, HOLD_LEAST) for line in lines)
            answers = await asyncio.gather(*calls)
            made += len(answers)
            admitted += sum(answer.status == 200 for answer in answers)
            for lines in self._lines.values():
                due = 200 if admitted < purse.left else 429
                made += await self._decided(purse, lines[0], HOLD_LEAST, due, f"after {admitted}")
                admitted += due == 200
        if admitted > purse.left:
            self._say(purse, f"{admitted} calls of {purse.left} a day")

    async def _concurrency(self, purse: Purse, attempts: int) -> None:
        """Never more calls in flight (the vendor's books say so); and at rest none less."""
        made = 0
        while made + purse.left + 1 < attempts:
            lines = [line for lines in zip(*self._lines.values(), strict=True) for line in lines]
            count = min(AT_ONCE, attempts - made)
            calls = (self._call(purse, line, HOLD_LEAST, 1, 0.05) for line in lines[:count])
            made += len(await asyncio.gather(*calls))
            # One after the other, each on another worker than the one before.
            answers = [Answer() for _ in range(purse.left + 1)]
            running = []
            for line, answer in zip(lines, answers, strict=False):
                running.append(asyncio.create_task(self._stream(purse, line, answer)))
                while not answer.status and not running[-1].done():
                    await asyncio.sleep(0.002)
            await asyncio.gather(*running)
            made += len(answers)
            self._report.probes += len(answers)
            statuses = [answer.status for answer in answers]
            if 503 not in statuses and statuses != [200] * purse.left + [429]:
                self._report.false_refusals += statuses[:-1].count(429)
                self._say(purse, f"one after the other, up to {purse.left} + 1: {statuses}")

    # --- what was said ------------------------------------------------------------------------

    async def _call(
        self, purse: Purse, line: Line, hold: int, use: int, seconds: float = 0.0
    ) -> Answer:
        """A call that holds for exactly so many tokens, and is billed for so many."""
        self._number += 1
        usage = {"prompt_tokens": 0, "completion_tokens": use, "total_tokens": use}
        wishes: dict[str, Any] = {"delay": seconds, "events": 1, "usage": usage}
        marker = f"{purse.name}-{self._number:06}"
        size = len(encoded(chat(MODEL, wishes, marker, 1000, stream=False)))
        digits = 4 - len(str(hold - size))
        body = chat(MODEL, wishes, marker, hold - size + digits, stream=False)
        if len(encoded(body)) + int(body["max_tokens"]) != hold:
            # A number one digit shorter makes room for one token more, and is longer again.
            body = chat(MODEL, wishes, marker + "x", hold - size + digits - 1, stream=False)
        answer = await line.ask(purse.token, body)
        self._count(purse, answer)
        return answer

    async def _stream(self, purse: Purse, line: Line, answer: Answer) -> None:
        """A call that is in flight for a while from when its answer begins."""
        self._number += 1
        usage = {"prompt_tokens": 0, "completion_tokens": 1, "total_tokens": 1}
        # Long enough that the first of them is still there when the last one asks.
        seconds = START_SECONDS * (purse.left + 1)
        wishes: dict[str, Any] = {"events": 6, "pause_after": 4, "pause": seconds, "usage": usage}
        marker = f"{purse.name}-{self._number:06}"
        body = chat(MODEL, wishes, marker, HOLD_LEAST, stream=True)
        await line.ask(purse.token, body, answer=answer)
        self._count(purse, answer)

    def _count(self, purse: Purse, answer: Answer) -> None:
        self._report.attempts += 1
        if answer.status == 200:
            self._report.admitted += 1
        elif answer.status in (402, 429):
            self._report.refused += 1
        elif answer.status == 503:
            self._report.undecided += 1
        else:
            self._say(purse, f"answered {answer.status} {bytes(answer.body)[:200]!r}")

    def _book(self, purse: Purse, answers: Sequence[Answer]) -> None:
        """What the vendor billed is gone, by the answers it gave."""
        if purse.kind in (Kind.REQUESTS, Kind.CONCURRENCY):
            return
        for answer in answers:
            usage = answer.usage() if answer.status == 200 else None
            purse.left -= sum(usage) if usage else 0
        if purse.left < 0:
            self._report.overspent_nano += -purse.left * NANO_PER_TOKEN
            self._say(purse, f"{-purse.left} tokens too much were spent")

    def _say(self, purse: Purse, text: str) -> None:
        self._report.problems.append(f"{purse.kind} {purse.name}: {text}")


# --- the whole race ---------------------------------------------------------------------------


def race(purses: int, attempts: int, seed: int) -> Report:
    """So many purses and attempts in all, on a platform of their own."""
    report, chance = Report(), random.Random(seed)
    with (
        tempfile.TemporaryDirectory(prefix="aipool-vendor-") as folder,
        FakeVendorProcess(Path(folder)) as vendor,
        Platform(workers=WORKERS, upstreams=[vendor.base_url], price=PRICE) as platform,
    ):
        filled = _fill(platform, purses, chance)
        began = {purse.name: purse.left for purse in filled}
        uvloop.run(Race(platform, report, chance).run(filled, attempts // purses))
        _held_against_the_vendor(report, vendor.books(), filled, began)
        _at_the_end(report, platform, filled)
    return report


def _held_against_the_vendor(
    report: Report, books: Books, purses: Sequence[Purse], began: dict[str, int]
) -> None:
    """Nobody was in flight too often, and no more was billed than there was."""
    of: dict[str, list[tuple[float, float, int]]] = {}
    for entry in books:
        name = (entry.user or "").rpartition("-")[0]
        span = (entry.time, entry.ended_time or now(), entry.billed_output)
        of.setdefault(name, []).append(span)
    for purse in purses:
        spans = of.get(purse.name, [])
        if purse.kind is Kind.CONCURRENCY:
            most = _most_at_once([(begin, end) for begin, end, _ in spans])
            report.in_flight_most = max(report.in_flight_most, most)
            if most > purse.left:
                report.problems.append(f"{purse.name}: {most} calls in flight, not {purse.left}")
        elif purse.kind is Kind.REQUESTS:
            if len(spans) > purse.left:
                report.problems.append(f"{purse.name}: the vendor served {len(spans)} calls")
        elif sum(billed for _, _, billed in spans) > began[purse.name]:
            report.problems.append(f"{purse.name}: the vendor bills more than there was")


def _most_at_once(spans: Sequence[tuple[float, float]]) -> int:
    """How many of them have a moment in common; one that ends where one begins has none."""
    edges = sorted([(end, -1) for _, end in spans] + [(begin, 1) for begin, _ in spans])
    running = most = 0
    for _, step in edges:
        running += step
        most = max(most, running)
    return most


def _at_the_end(report: Report, platform: Platform, purses: Sequence[Purse]) -> None:
    """The books agree with themselves, with the witness, and nothing was written off."""
    settings = config.load({"data_dir": platform.data_dir}, platform.environ)
    try:
        platform.verify()
    except CommandFailed as problem:
        report.problems.append(str(problem))
    with open_installation(settings, make=False) as session, session.read() as connection:
        ((written_off,),) = connection.exec_driver_sql(
            "SELECT count(*) FROM transfers WHERE kind = 'writeoff'"
        ).fetchall()
        if written_off:
            report.problems.append(f"{written_off} calls were written off")
        for purse in purses:
            wallet = wallet_balance(connection, purse.user_id)
            assert wallet is not None
            if purse.kind in (Kind.WALLET, Kind.RICH):
                due = purse.left * NANO_PER_TOKEN
                if wallet.balance_nano != due:
                    report.problems.append(f"{purse.name}: {wallet} in the books, {due} is left")


def _fill(platform: Platform, count: int, chance: random.Random) -> list[Purse]:
    """Users and tokens, written beside the running server by the services of the command line."""
    settings = config.load({"data_dir": platform.data_dir}, platform.environ)
    purses: list[Purse] = []
    with open_installation(settings, make=False) as session, session.database.write() as tx:
        group = groups.default_group(tx, session.act)
        for number in range(count):
            kind = _KINDS[number % len(_KINDS)]
            left = sum(chance.randint(HOLD_LEAST, HOLD_MOST) for _ in range(chance.randint(1, 5)))
            terms: dict[str, Any] = {}
            nano = _FULL_NANO
            if kind is Kind.WALLET:
                nano = left * NANO_PER_TOKEN
            elif kind is Kind.RICH:
                left *= 10
                nano = left * NANO_PER_TOKEN
            elif kind is Kind.TOTAL:
                terms = {"total_nano": left * NANO_PER_TOKEN}
            elif kind is Kind.DAILY:
                terms = {"limit_nano": left * NANO_PER_TOKEN, "reset": Reset.DAILY}
            elif kind is Kind.REQUESTS:
                left = chance.randint(1, 40)
                terms = {"limits": CallLimits(requests_per_day=left)}
            else:
                left = chance.randint(1, 12)
                terms = {"limits": CallLimits(concurrency=left)}
            user = accounts.create_user(
                tx, session.act, phone=_PHONE.format(number), password_hash="nobody knows it"
            )
            open_wallet(tx, user.id)
            book_opening_credit(tx, session.act, user, nano)
            wanted = TokenTerms("purse", group.id, **terms)
            pepper = session.secrets.pepper
            _, token = api_tokens.create_token(tx, session.act, pepper, user, wanted)
            purses.append(Purse(f"purse-{number:04}", kind, user.id, token, left))
    return purses
