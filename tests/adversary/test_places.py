"""Calls in flight: never above the limit, and every place is given back, however a call ends."""

from __future__ import annotations

import asyncio
import json
import random
from typing import Any

import msgspec

from aipool.doors.frames import Acquire, Collect, Collected, Grant, Granted, Ship
from aipool.doors.records import Returned, decode_entry
from aipool.doors.snapshot import CallLimits
from aipool.ledger.rules import Unit, unit_of
from aipool.ledger.types import Note
from tests.gateway.rig import TOKEN, Rig, rig
from tests.platform import head, wish

PLACES = 6
CALLS = 400


class Lender:
    """Lends places as the books do, exactly, and money without an end."""

    def __init__(self, it: Rig) -> None:
        self.it = it
        self.free = PLACES
        self.hear = it.ledger.hear
        self.seen = 0
        it.ledger.hear = self.heard  # type: ignore[method-assign]

    def heard(self, message: Any) -> None:
        match message:
            case Acquire():
                chains = tuple(self.lend(chain) for chain in message.chains)
                self.it.ledger.say(Granted(message.number, chains))
            case Collect():
                self.it.ledger.say(Collected(message.number, complete=True))
            case Ship():
                if message.end > self.it.ledger.high_water:
                    for entry in map(decode_entry, message.entries):
                        if isinstance(entry, Returned) and _places(entry.budget):
                            self.free += entry.amount
                self.hear(message)
            case _:
                self.hear(message)

    def lend(self, chain: tuple[Any, ...]) -> tuple[Grant, ...]:
        if any(_places(need.budget) and need.least > self.free for need in chain):
            return tuple(
                Grant(0, self.free, True, Note.SHORT if _places(need.budget) else Note.FINE)
                for need in chain
            )
        grants = []
        for need in chain:
            amount = need.want
            if _places(need.budget):
                amount = min(need.want, self.free)
                self.free -= amount
            grants.append(Grant(amount, 10**15, _places(need.budget)))
        return tuple(grants)


def _places(budget: str) -> bool:
    return unit_of(budget) is Unit.CONCURRENCY


ENDINGS: list[dict[str, Any]] = [
    {},
    {"status": 503},
    {"status": 400},
    {"body": "nonsense"},
    {"usage": "none"},
    {"events": 30, "interval": 0.001},
    {"events": 30, "cut_after": 7, "cut": "rst"},
    {"cut_at": 40, "cut": "fin"},
    {"error_after": 3},
    {"delay": 0.02},
]


async def one(it: Rig, number: int, chance: random.Random) -> int:
    """A call that ends somehow; its status, 0 = its client left."""
    stream = chance.random() < 0.6
    body = wish(f"c{number}", chance.choice(ENDINGS), stream=stream, max_tokens=4_000)
    raw = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
    writer.write(head(TOKEN, len(raw), "connection: close") + raw)
    try:
        if chance.random() < 0.4:
            await asyncio.sleep(chance.choice([0, 0.001, 0.004, 0.02]))
            writer.transport.abort()
            return 0
        got = await asyncio.wait_for(reader.read(), 15)
        writer.close()
        return int(got.split(b" ", 2)[1])
    except ConnectionError:
        return 0


def test_every_place_comes_back_however_calls_end() -> None:
    chance = random.Random(7)

    async def scenario() -> tuple[Lender, list[int], int]:
        async with rig() as it:
            tokens = it.ledger.tokens
            for digest, view in tokens.items():
                limits = CallLimits(concurrency=PLACES)
                tokens[digest] = msgspec.structs.replace(view, limits=limits)
            lender = Lender(it)
            statuses: list[int] = []
            most = 0
            gate = asyncio.Semaphore(10)

            async def within(number: int) -> None:
                nonlocal most
                async with gate:
                    statuses.append(await one(it, number, chance))
                    most = max(most, len(it.worker._context.open_calls))

            await asyncio.gather(*(within(number) for number in range(CALLS)))
            await it.until(lambda: not it.worker._context.open_calls)
            await it.until(lambda: lender.free == PLACES)
            funds = it.worker._context.funds
            assert not funds._waiting
        return lender, statuses, most

    lender, statuses, most = asyncio.run(scenario())

    assert lender.free == PLACES
    assert most <= PLACES
    assert {200, 429, 0} <= set(statuses)
    assert 500 not in statuses
