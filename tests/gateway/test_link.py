"""Entries reach the books once and in order, whatever the link does; a break is repaired."""

from __future__ import annotations

import asyncio
import os
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

import uvloop
from hypothesis import given
from hypothesis import strategies as st

from aipool.doors import frames
from aipool.doors.frames import (
    Acquire,
    Applied,
    Claimed,
    Collected,
    Fenced,
    FetchToken,
    FromLedger,
    FromWorker,
    Grant,
    Granted,
    Hello,
    Permits,
    Ping,
    Pong,
    Publish,
    Recorded,
    Ship,
    TokenAnswer,
    Uncounted,
    Welcome,
)
from aipool.gateway.funds import Funds
from aipool.gateway.link import Link, Shipping

# --- shipping -------------------------------------------------------------------------------------


class Recorder:
    """The other end: takes a batch only if it begins where the last one ended."""

    def __init__(self) -> None:
        self.high_water = 0
        self.entries: list[bytes] = []

    def take(self, ship: Ship) -> None:
        assert len(ship.entries) <= frames.SHIP_ENTRIES_MAX
        if ship.start == self.high_water:
            self.entries += ship.entries
            self.high_water = ship.end


def test_a_batch_is_bounded_and_the_next_waits_for_its_record() -> None:
    sent: list[Ship] = []

    def send(ship: Ship) -> bool:
        sent.append(ship)
        return True

    shipping = Shipping(send)
    for number in range(1, 2 * frames.SHIP_ENTRIES_MAX):
        shipping.add(number * 10, b"%d" % number)

    shipping.push()
    shipping.push()
    assert [(ship.start, ship.end, len(ship.entries)) for ship in sent] == [(0, 5120, 512)]
    assert shipping.waiting == 1023

    shipping.recorded(5120)
    assert sent[1].start == 5120
    assert sent[1].entries[0] == b"513"
    shipping.recorded(sent[1].end)
    assert shipping.waiting == 0
    shipping.push()
    assert len(sent) == 2


@given(st.lists(st.sampled_from(["add", "add many", "push", "arrive", "answer", "break", "mend"])))
def test_every_entry_is_recorded_once_and_in_order(steps: list[str]) -> None:
    books, up, position = Recorder(), True, 0
    on_the_way: list[Ship] = []
    answers: list[int] = []
    added: list[bytes] = []

    def send(ship: Ship) -> bool:
        if up:
            on_the_way.append(ship)
        return up

    shipping = Shipping(send)
    for step in [*steps, "break", "mend", *["arrive", "answer"] * 8]:
        if step.startswith("add"):
            for _ in range(700 if step == "add many" else 1):
                position += 3
                added.append(b"%d" % position)
                shipping.add(position, added[-1])
        elif step == "push":
            shipping.push()
        elif step == "arrive" and on_the_way:
            books.take(on_the_way.pop(0))
            answers.append(books.high_water)
        elif step == "answer" and answers:
            shipping.recorded(answers.pop(0))
        elif step == "break" and up:
            up = False
            on_the_way.clear()
            answers.clear()
        elif step == "mend" and not up:
            up = True
            shipping.recorded(books.high_water)
        assert len(on_the_way) + len(answers) <= 1, "one batch outstanding"
    while shipping.waiting:
        shipping.push()
        books.take(on_the_way.pop(0))
        shipping.recorded(books.high_water)

    assert books.entries == added


# --- the link -------------------------------------------------------------------------------------


class ToyLedger:
    """A ledger process that says what the test wants, over a real Unix socket."""

    def __init__(self) -> None:
        self.path = Path(tempfile.mkdtemp(prefix="link-")) / "s"
        self.heard: list[FromWorker] = []
        self.connections = 0
        self._writer: asyncio.StreamWriter | None = None
        self._server: asyncio.Server | None = None

    async def start(self) -> None:
        self._server = await asyncio.start_unix_server(self._serve, str(self.path))

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writer = writer
        self.connections += 1
        splitter = frames.Splitter()
        while data := await reader.read(65536):
            for payload in splitter.feed(data):
                self.heard.append(frames.from_worker.decode(payload))
        writer.close()

    def say(self, *messages: FromLedger) -> None:
        assert self._writer is not None
        self._writer.write(b"".join(frames.pack(message) for message in messages))

    def say_bytes(self, data: bytes) -> None:
        assert self._writer is not None
        self._writer.write(data)

    def hang_up(self) -> None:
        assert self._writer is not None
        self._writer.transport.abort()

    def of(self, kind: type) -> list:
        return [message for message in self.heard if isinstance(message, kind)]

    async def stop(self) -> None:
        if self._writer is not None:
            self._writer.close()
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        self.path.unlink(missing_ok=True)
        self.path.parent.rmdir()


class ToyWorker:
    """What the link tells a worker, in order; its funds are real."""

    def __init__(self) -> None:
        self.told: list[object] = []
        self.funds: Funds

    def link_up(self) -> None:
        self.told.append("up")
        self.funds.reconnected()

    def link_down(self) -> None:
        self.told.append("down")

    def granted(self, answer: Granted) -> None:
        self.told.append(answer)
        self.funds.granted(answer)

    def token(self, answer: TokenAnswer) -> None:
        self.told.append(answer)

    def publish(self, news: Publish) -> None:
        self.told.append(news)

    def recorded(self, high_water: int) -> None:
        self.told.append(high_water)

    def recall(self, budgets: tuple[tuple[str, int], ...]) -> int:
        self.told.append(budgets)
        return self.funds.recall(budgets)

    def collected(self, answer: Collected) -> None:
        self.told.append(answer)

    def permitted(self, answer: Permits) -> None:
        self.told.append(answer)

    def recall_permits(self, rates: tuple[str, ...]) -> tuple[Uncounted, ...]:
        self.told.append(rates)
        return ()

    def key_states(self, news: frames.KeyStates) -> None:
        raise AssertionError(news)

    def slots(self, answer: frames.Slots) -> None:
        raise AssertionError(answer)

    def recall_slots(self, cap_name: str) -> int:
        raise AssertionError(cap_name)

    def claimed(self, answer: Claimed) -> None:
        raise AssertionError(answer)

    def today(self, day: int) -> None:
        self.told.append(day)

    def fenced(self, reason: str) -> None:
        self.told.append(reason)


class Rig:
    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.ledger = ToyLedger()
        self.worker = ToyWorker()
        self.link = Link(loop, self.ledger.path, epoch=7, index=2, worker=self.worker)
        self.worker.funds = Funds(self.link.send, lambda _: 0)

    async def breaks(self, count: int) -> None:
        await until(lambda: self.worker.told.count("down") == count)

    def is_up(self) -> bool:
        return self.link.up


def with_rig(scenario: Callable[[Rig], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(20):
            rig = Rig(asyncio.get_running_loop())
            await rig.ledger.start()
            rig.link.start()
            try:
                await scenario(rig)
            finally:
                rig.link.close()
                await rig.ledger.stop()

    uvloop.run(run())


async def until(claim: Callable[[], object]) -> None:
    while not claim():
        await asyncio.sleep(0.002)


async def welcomed(rig: Rig, high_water: int = 0) -> None:
    """Waits for the next Hello, and answers it."""
    count = rig.worker.told.count("up")
    await until(lambda: len(rig.ledger.of(Hello)) > count)
    rig.ledger.say(Welcome(high_water))
    await until(lambda: rig.worker.told.count("up") > count)


def test_nothing_is_asked_before_the_epoch_is_welcome() -> None:
    async def scenario(rig: Rig) -> None:
        await until(lambda: rig.ledger.heard)
        assert rig.ledger.heard == [Hello(7, 2, os.getpid(), 0)]
        assert not rig.is_up()
        assert not rig.link.send(FetchToken(1, b"d"))

        await welcomed(rig, 30)

        assert rig.is_up()
        assert rig.worker.told == [30, "up"]
        assert rig.link.send(FetchToken(2, b"d"))
        await until(lambda: len(rig.ledger.heard) > 1)
        assert rig.ledger.heard[1:] == [FetchToken(2, b"d")]

    with_rig(scenario)


def test_what_was_shipped_and_asked_is_repeated_on_the_next_connection() -> None:
    async def scenario(rig: Rig) -> None:
        await welcomed(rig)
        for end in (10, 20, 30):
            rig.link.shipping.add(end, b"%d" % end)
        rig.link.shipping.push()
        said: list[object] = []
        chain = rig.worker.funds.chain((("wallet:1", 0, 0),))
        rig.worker.funds.wait(chain, 5, said.append)
        await until(lambda: rig.ledger.of(Ship) and rig.ledger.of(Acquire))

        rig.ledger.hang_up()
        await until(lambda: "down" in rig.worker.told)
        assert not rig.is_up()
        rig.link.shipping.add(40, b"40")
        await welcomed(rig, 20)
        await until(lambda: len(rig.ledger.of(Ship)) == len(rig.ledger.of(Acquire)) == 2)

        assert rig.ledger.of(Ship) == [
            Ship(0, 30, (b"10", b"20", b"30")),
            Ship(20, 40, (b"30", b"40")),
        ]
        first, again = rig.ledger.of(Acquire)
        assert first == again
        rig.ledger.say(Recorded(40), Granted(first.number, ((Grant(5, 9, False),),)))
        await until(lambda: said)
        assert said == [None]
        assert rig.link.shipping.waiting == 0

    with_rig(scenario)


def test_news_are_in_force_before_they_are_acknowledged() -> None:
    async def scenario(rig: Rig) -> None:
        await welcomed(rig)
        news = Publish(5, None, (b"d",), False)

        rig.ledger.say(news)
        await until(lambda: rig.ledger.of(Applied))

        assert rig.worker.told[-1] == news
        assert rig.ledger.of(Applied) == [Applied(5)]
        rig.ledger.hang_up()
        await welcomed(rig)
        assert rig.ledger.of(Hello)[-1].applied == 5, "it says what it has"

    with_rig(scenario)


def test_a_ping_is_answered_and_the_rest_reaches_the_worker_in_order() -> None:
    async def scenario(rig: Rig) -> None:
        await welcomed(rig)
        answer = TokenAnswer(1, 2, None)

        rig.ledger.say(Ping(), answer, Recorded(0), Ping(), Fenced("over"))
        await until(lambda: len(rig.ledger.of(Pong)) == 2 and rig.worker.told[-1] == "over")

        assert rig.worker.told[-3:] == [answer, 0, "over"]

    with_rig(scenario)


def test_a_message_that_cannot_be_understood_costs_the_connection_and_no_more() -> None:
    async def scenario(rig: Rig) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _loop, _context: None)
        for wrong in (
            frames._LENGTH.pack(3) + b"abc",
            frames._LENGTH.pack(frames.FRAME_BYTES_MAX + 1),
            frames._LENGTH.pack(2) + b"\x91\x63",
            frames.pack(frames.Acknowledged(1, ())),
        ):
            await welcomed(rig)
            breaks = rig.worker.told.count("down")
            rig.ledger.say_bytes(wrong)
            await rig.breaks(breaks + 1)

        await welcomed(rig)
        assert rig.is_up()

    with_rig(scenario)


def test_it_waits_for_a_ledger_process_that_is_not_there_yet() -> None:
    async def run() -> None:
        async with asyncio.timeout(20):
            rig = Rig(asyncio.get_running_loop())
            rig.link.start()
            await asyncio.sleep(0.02)
            await rig.ledger.start()
            await welcomed(rig)
            rig.link.close()
            connections = rig.ledger.connections
            await asyncio.sleep(0.15)
            assert rig.ledger.connections == connections, "closed for good"
            await rig.ledger.stop()

    uvloop.run(run())
