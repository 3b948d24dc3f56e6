"""Clients that call on and on, each over its own connection, and note what became of each call.

Half of the calls are streams. A client that has its answer calls again at once, so as many calls
are in flight as there are clients. What a client sees is a *failure* when it is anything but a
whole answer with its usage.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NamedTuple

from benchmarks.caller import Answer, Line
from benchmarks.platform import MODEL, Platform
from benchmarks.witness import LookedUp, Price
from tests.fakes.books import Entry

#: Of benchmarks.platform.PRICE.
PRICE_NANO: Final = Price(2_100_000_000, 8_400_000_000)
OUTPUT_TOKENS: Final = 200
CALL_SECONDS_MAX: Final = 20.0
#: They do not all begin in the same moment.
START_SECONDS: Final = 0.3
#: Who got no answer comes again after this.
REFUSED_SECONDS: Final = 0.5


class Called(NamedTuple):
    """One call as its client knows it. Times are seconds since 1970; usage None = it failed."""

    marker: str
    rid: str
    stream: bool
    began: float
    ended: float
    status: int
    usage: tuple[int, int] | None
    retry_after: str
    said: bytes

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


@dataclass
class Herd:
    """So many clients. calls: all that have ended.  began: when those began that have not."""

    platform: Platform
    clients: int
    calls: list[Called] = field(default_factory=list)
    began: dict[str, float] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._running = True
        self._tasks: list[asyncio.Task[None]] = []
        self._number = 0

    def start(self) -> None:
        """Begin to call."""
        self._running = True
        self._tasks = [asyncio.create_task(self._call_on(n)) for n in range(self.clients)]

    async def stop(self) -> None:
        """Let what is under way end."""
        self._running = False
        await asyncio.gather(*self._tasks)

    async def __aenter__(self) -> Herd:
        self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def take_calls(self) -> list[Called]:
        """The calls that have ended since the last time."""
        taken, self.calls = self.calls, []
        return taken

    def failures(self) -> list[Called]:
        """Those of them that their clients see fail."""
        return [call for call in self.calls if call.usage is None]

    async def _call_on(self, client: int) -> None:
        line: Line | None = None
        await asyncio.sleep(START_SECONDS * client / self.clients)
        while self._running:
            if line is None:
                line = await Line.open(self.platform.port)
            self._number += 1
            stream = self._number % 2 == 0
            called, whole = await self.one(line, f"call-{self._number}", stream=stream)
            if not whole:
                line.close()
                line = None
            if called.usage is None:
                await asyncio.sleep(REFUSED_SECONDS)
        if line is not None:
            line.close()

    async def one(self, line: Line, marker: str, *, stream: bool) -> tuple[Called, bool]:
        """One call over this connection, noted; and whether its answer was whole."""
        answer = Answer()
        began = self.began[marker] = time.time()
        try:
            async with asyncio.timeout(CALL_SECONDS_MAX):
                await line.ask(self.platform.token, question(marker, stream=stream), answer=answer)
        except TimeoutError:
            pass
        del self.began[marker]
        called = Called(
            marker,
            answer.rid,
            stream,
            began,
            time.time(),
            answer.status,
            usage_of(answer, stream=stream),
            answer.headers.get("retry-after", ""),
            bytes(answer.body[-300:]) if answer.status != 200 else b"",
        )
        self.calls.append(called)
        return called, answer.whole


def question(marker: str, *, stream: bool, wishes: str = "Go on.") -> dict[str, Any]:
    """A call that says who it is."""
    body: dict[str, Any] = {
        "model": MODEL,
        "messages": [{"role": "user", "content": wishes}],
        "user": marker,
        "max_tokens": OUTPUT_TOKENS,
    }
    if stream:
        body |= {"stream": True, "stream_options": {"include_usage": True}}
    return body


def usage_of(answer: Answer, *, stream: bool) -> tuple[int, int] | None:
    """What a whole answer says it used; None: its client sees no whole answer."""
    if answer.status != 200 or not answer.whole:
        return None
    if stream and (b"data: [DONE]" not in answer.body or b'"error"' in answer.body):
        return None
    try:
        return answer.usage()
    except (ValueError, KeyError):
        return None


def unfaithful(calls: Sequence[Called], served: Sequence[Sequence[Entry]]) -> list[str]:
    """Calls whose answer is not what exactly one vendor billed for them."""
    billed: dict[str, list[tuple[int, int]]] = {}
    for entry in (entry for entries in served for entry in entries):
        if entry.billed_input or entry.billed_output:
            bill = (entry.billed_input, entry.billed_output)
            billed.setdefault(entry.user or "", []).append(bill)
    problems = []
    for call in calls:
        bills = billed.pop(call.marker, [])
        if bills != ([call.usage] if call.usage is not None else []):
            problems.append(f"{call.marker} got {call.usage}, the vendors billed {bills}")
    problems += [f"{marker} was billed {bills}, and not called" for marker, bills in billed.items()]
    return problems


def misbooked(platform: Platform, calls: Sequence[Called]) -> list[str]:
    """Calls that are not booked once, with exactly what they used. Waits until all are booked."""
    books = LookedUp(platform.database_path)
    deadline = time.monotonic() + 20.0
    wanted = {call.rid for call in calls if call.usage is not None}
    try:
        while True:
            rows = books.calls()
            if wanted <= {row.rid for row in rows} or time.monotonic() > deadline:
                break
            time.sleep(0.2)
    finally:
        books.close()
    by_rid = {row.rid: row for row in rows}
    problems = [] if len(by_rid) == len(rows) else ["calls are booked twice"]
    for call in calls:
        row = by_rid.pop(call.rid, None)
        due = PRICE_NANO.of(*call.usage) if call.usage is not None else 0
        if row is None:
            if call.usage is not None:
                problems.append(f"{call.marker} is not booked")
        elif row.charged_nano != due or row.written_off_nano or row.recovered:
            problems.append(f"{call.marker} used {call.usage}, {due} is due, but {row}")
    problems += [f"nobody made the call of {row}" for row in by_rid.values() if row.charged_nano]
    return problems
