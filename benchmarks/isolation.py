"""Reports do not slow calls: the same calls at the same rate, with and without heavy readers.

The readers are the console's own code: one process exports a million call rows over and over, in
another twenty people open a page a second each, their statistics and calls and those of all. They
share the database with the ledger process and the machine with everything. Measured in turns, so
that a drifting machine drifts under both:

    CPU of the workers per call    at a fixed 1,000 calls a second
    time of a grant                asked by a worker's own words over link.sock, 50 times a second
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import uvloop

from aipool.calls import store
from aipool.calls.types import HOUR_MS, CallRow
from aipool.kit.clock import now_ms
from aipool.kit.db import BUSY_TIMEOUT_MS, open_sqlite
from benchmarks.caller import chat, encoded
from benchmarks.log_rows import sum_up
from benchmarks.platform import MODEL, PASSWORD, CommandFailed, Platform, cpu_seconds
from benchmarks.reports import Companion, companion
from benchmarks.witness import LookedUp

ROWS: Final = 1_000_000
CALLS_PER_SECOND: Final = 1_000
CONNECTIONS: Final = 64
TURNS: Final = 5
TURN_SECONDS: Final = 6.0
SETTLE_SECONDS: Final = 1.0

CPU_RATIO_MAX: Final = 1.10
GRANT_P99_SECONDS_MAX: Final = 0.020

_PROBE_PHONE: Final = "+8613800138001"
#: Every grant of a rich wallet lends a slice of up to ¥2, and the probe asks thousands of times.
_PROBE_CREDIT: Final = "1000000"


@dataclass
class Turn:
    """One stretch of load. latencies in seconds."""

    calls: int = 0
    cpu_seconds: float = 0.0
    latencies: list[float] = field(default_factory=list)
    grants: list[float] = field(default_factory=list)

    @property
    def cpu_per_call(self) -> float:
        """CPU seconds of all workers together for one call."""
        return self.cpu_seconds / max(self.calls, 1)


@dataclass
class Report:
    """What was measured."""

    alone: list[Turn] = field(default_factory=list)
    beside: list[Turn] = field(default_factory=list)
    exported: int = 0
    dashboards: int = 0
    problems: list[str] = field(default_factory=list)

    @property
    def ratios(self) -> list[float]:
        """CPU per call beside the readers, of that without them, pair by pair."""
        pairs = zip(self.alone, self.beside, strict=True)
        return [beside.cpu_per_call / alone.cpu_per_call for alone, beside in pairs]


# --- the load: a vendor that costs nothing, and clients that keep a rate --------------------------

_SAID = json.dumps(
    {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "created": 1_800_000_000,
        "model": MODEL,
        "choices": [
            {
                "index": 0,
                "message": {"role": "assistant", "content": "word " * 50},
                "finish_reason": "stop",
            }
        ],
        "usage": {"prompt_tokens": 20, "completion_tokens": 50, "total_tokens": 70},
    }
).encode()
_HEAD: Final = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: %d\r\n\r\n"
_ANSWER: Final = _HEAD % len(_SAID) + _SAID


def _length_of(head: bytes) -> int:
    """What a head says of its body."""
    at = head.lower().index(b"content-length:") + 15
    return int(head[at : head.index(b"\r\n", at)])


class _Messages(asyncio.Protocol):
    """Cuts what comes into HTTP messages with a length; one at a time."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport | None = None
        self._data = b""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]  # uvloop's is no subclass

    def data_received(self, data: bytes) -> None:
        self._data += data
        while (at := self._data.find(b"\r\n\r\n")) >= 0:
            head = self._data[: at + 4]
            end = len(head) + _length_of(head)
            if len(self._data) < end:
                return
            self._data = self._data[end:]
            self.message(head)

    def message(self, head: bytes) -> None:
        """One of them is whole."""
        raise NotImplementedError


class Vendor(_Messages):
    """Answers every request alike, at once."""

    def message(self, head: bytes) -> None:
        assert self.transport is not None
        self.transport.write(_ANSWER)


class _Client(_Messages):
    def __init__(self, pace: Pace) -> None:
        super().__init__()
        self._pace = pace
        self._asked_at = 0.0

    def ask(self, due: float) -> None:
        """The call that was due then."""
        assert self.transport is not None
        self._asked_at = due
        self.transport.write(self._pace.request)

    def message(self, head: bytes) -> None:
        self._pace.answered(self, self._asked_at, ok=head.startswith(b"HTTP/1.1 200"))


class Pace:
    """Calls at a fixed rate over kept-alive connections. A call that is due while all of them are
    busy waits, and its time counts from when it was due."""

    def __init__(self, request: bytes, calls_per_second: int = CALLS_PER_SECOND) -> None:
        self.request = request
        self.turn = Turn()
        self._calls_per_second = calls_per_second
        self.failed = 0
        self._free: deque[_Client] = deque()
        self._due: deque[float] = deque()

    async def connect(self, port: int) -> None:
        """Open the connections."""
        loop = asyncio.get_running_loop()
        for _ in range(CONNECTIONS):
            _, client = await loop.create_connection(lambda: _Client(self), "127.0.0.1", port)
            self._free.append(client)

    def begin(self) -> Turn:
        """What is answered from now on."""
        self.turn = Turn()
        return self.turn

    async def run(self, seconds: float) -> None:
        """Keep the rate for so long, then wait for what is under way."""
        began = time.monotonic()
        asked, total = 0, int(seconds * self._calls_per_second)
        while asked < total:
            due = min(int((time.monotonic() - began) * self._calls_per_second) + 1, total)
            for number in range(asked, due):
                self._due.append(began + number / self._calls_per_second)
            asked = due
            self._ask()
            await asyncio.sleep(0.001)
        while len(self._free) < CONNECTIONS:
            await asyncio.sleep(0.001)

    def answered(self, client: _Client, due: float, *, ok: bool) -> None:
        """A client is free again."""
        self.turn.calls += 1
        self.turn.latencies.append(time.monotonic() - due)
        self.failed += not ok
        self._free.append(client)
        self._ask()

    def _ask(self) -> None:
        while self._due and self._free:
            self._free.popleft().ask(self._due.popleft())


# --- a million rows -----------------------------------------------------------------------------


def fill_calls(database: Path, rows: int) -> None:
    """Calls of one past hour of a free model, by 50 users: rows, hourly sums, and no money, so
    that the ledger verifies with them."""
    hour = now_ms() // HOUR_MS - 1
    month = time.strftime("%Y%m", time.gmtime(hour * 3600))
    values = {
        "rid": f"printf('req_%012x%010x%08x', {hour * HOUR_MS} + i * {HOUR_MS} / {rows}, 1, i)",
        "at_ms": f"{hour * HOUR_MS} + i * {HOUR_MS} / {rows}",
        "duration_ms": "200 + i % 900",
        "first_token_ms": "50 + i % 100",
        "user_id": "1000 + i % 50",
        "token_id": "2000 + i % 200",
        "model": "'free-' || (i % 5)",
        "endpoint": "'chat.completions'",
        "stream": "i % 2",
        "status": "200",
        "calls": "1",
        "cost_ppm": "1000000",
        "units": "''",
        "origin": "''",
        "input_tokens": "0",
        "output_tokens": "0",
        "upstream_model": "'free'",
        "upstream_request_id": "printf('up-%016x', i * 7919)",
        "attempts": "'[[1,1,200,\"\",180]]'",
        "ip": "printf('203.0.%d.%d', i / 256 % 256, i % 256)",
        "user_agent": "'OpenAI/Python 2.0.0'",
        "error": "''",
    }
    columns = ", ".join(CallRow._fields)
    selected = ", ".join(values.get(name, "0") for name in CallRow._fields)
    opened = open_sqlite(Path(database), busy_timeout_ms=BUSY_TIMEOUT_MS)
    try:
        with opened.write() as tx:
            if month not in store.months(tx.connection):
                store.open_month(tx.connection, month)
            tx.connection.exec_driver_sql(
                f"INSERT INTO calls_{month} ({columns}) WITH RECURSIVE numbers(i) AS"
                f" (SELECT 0 UNION ALL SELECT i + 1 FROM numbers WHERE i < {rows - 1})"
                f" SELECT {selected} FROM numbers"
            )
        sum_up(opened)
        opened.checkpoint(truncate=True)
    finally:
        opened.close()


# --- the whole proof ---------------------------------------------------------------------------


def measure(
    *, rows: int, turns: int, seconds: float, settle_seconds: float = SETTLE_SECONDS
) -> Report:
    """So many pairs of turns of so many seconds, each after a while to settle, on a platform of
    its own."""
    report = Report()

    async def run() -> None:
        loop = asyncio.get_running_loop()
        vendor = await loop.create_server(Vendor, "127.0.0.1", 0)
        port = vendor.sockets[0].getsockname()[1]
        document = {
            "users": [{"phone": _PROBE_PHONE, "password": PASSWORD, "credit": _PROBE_CREDIT}]
        }
        with Platform(
            workers=2,
            upstreams=[f"http://127.0.0.1:{port}/v1"],
            document=document,
            before_start=lambda platform: fill_calls(platform.database_path, rows),
        ) as platform:
            await _take_turns(platform, report, [(settle_seconds, seconds)] * turns)
            _check(platform, report)
        vendor.close()

    uvloop.run(run())
    return report


async def _take_turns(
    platform: Platform, report: Report, turns: Sequence[tuple[float, float]]
) -> None:
    body = encoded(chat(platform.model, {}, "isolation", 100, stream=False))
    request = (
        b"POST /v1/chat/completions HTTP/1.1\r\nhost: proof\r\nauthorization: Bearer %b\r\n"
        b"content-type: application/json\r\ncontent-length: %d\r\n\r\n%b"
        % (platform.token.encode(), len(body), body)
    )
    pace = Pace(request)
    await pace.connect(platform.port)
    with companion(
        "probe",
        platform.run_dir / "link.sock",
        platform.data_dir / "epochs",
        _account_of(platform, _PROBE_PHONE),
    ) as asking:
        for settle_seconds, seconds in turns:
            report.alone.append(await _turn(platform, pace, asking, settle_seconds, seconds))
            niceness = os.getpriority(os.PRIO_PROCESS, platform.process.control())
            with (
                companion("export", platform.database_path, niceness=niceness) as exporting,
                companion("dashboards", platform.database_path, niceness=niceness) as watching,
            ):
                report.beside.append(await _turn(platform, pace, asking, settle_seconds, seconds))
            report.exported += sum(map(int, exporting.lines))
            report.dashboards += len(watching.lines)
    if pace.failed:
        report.problems.append(f"{pace.failed} calls were not answered with 200")


async def _turn(
    platform: Platform, pace: Pace, asking: Companion, settle_seconds: float, seconds: float
) -> Turn:
    await pace.run(settle_seconds)
    turn = pace.begin()
    workers = platform.process.workers()
    before, asked = sum(map(cpu_seconds, workers)), len(asking.lines)
    await pace.run(seconds)
    turn.cpu_seconds = sum(map(cpu_seconds, workers)) - before
    turn.grants = [float(line.split()[1]) for line in asking.lines[asked:]]
    return turn


def _account_of(platform: Platform, phone: str) -> str:
    books = LookedUp(platform.database_path)
    ((user_id,),) = books.rows(phone, sql="SELECT id FROM users WHERE phone = ?")
    books.close()
    return f"wallet:{user_id}"


def _check(platform: Platform, report: Report) -> None:
    """The books agree, a million rows and all."""
    try:
        platform.verify()
    except CommandFailed as problem:
        report.problems.append(str(problem))


def main(arguments: Sequence[str]) -> int:
    """As much as the claim says; 1 when it does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/prove isolation", description=__doc__)
    parser.add_argument("--rows", type=int, default=ROWS)
    parser.add_argument("--turns", type=int, default=TURNS)
    options = parser.parse_args(arguments)
    print(f"the machine before: {100 * busy_share():.0f} % busy with other things", flush=True)
    report = measure(rows=options.rows, turns=options.turns, seconds=TURN_SECONDS)
    for name, turns in (("alone", report.alone), ("beside readers", report.beside)):
        cpu = statistics.median(turn.cpu_per_call for turn in turns) * 1e6
        latencies = [seconds for turn in turns for seconds in turn.latencies]
        grants = [seconds for turn in turns for seconds in turn.grants]
        print(
            f"{name:15} {cpu:6.1f} µs of worker CPU per call; "
            f"call p50 {1e3 * _at(latencies, 0.5):.1f}, p99 {1e3 * _at(latencies, 0.99):.1f} ms; "
            f"grant p50 {1e3 * _at(grants, 0.5):.1f}, p99 {1e3 * _at(grants, 0.99):.1f} ms"
        )
    print("CPU per call × " + ", ".join(f"{ratio:.2f}" for ratio in report.ratios))
    print(f"meanwhile {report.exported:,} rows exported, {report.dashboards:,} dashboard queries")
    ratio = statistics.median(report.ratios)
    grant = statistics.median(_at(turn.grants, 0.99) for turn in report.beside)
    if ratio > CPU_RATIO_MAX:
        report.problems.append(f"CPU per call rises by more than a tenth: {ratio:.3f}")
    if grant > GRANT_P99_SECONDS_MAX:
        report.problems.append(f"the slowest hundredth of grants takes {1e3 * grant:.1f} ms")
    for problem in report.problems:
        print(f"PROBLEM: {problem}")
    print(f"CPU per call × {ratio:.3f} (at most 1.1), grant p99 {1e3 * grant:.1f} ms (at most 20)")
    return 1 if report.problems else 0


def busy_share(seconds: float = 2.0) -> float:
    """How much of the machine's CPU time is used just now, from 0 to 1: the figures of a machine
    that is busy with something else say little."""

    def ticks() -> tuple[int, int]:
        first = Path("/proc/stat").read_text().split("\n", 1)[0]
        used = [int(word) for word in first.split()[1:9]]
        return sum(used), used[3] + used[4]

    total, idle = ticks()
    time.sleep(seconds)
    total_then, idle_then = ticks()
    return 1 - (idle_then - idle) / (total_then - total)


def _at(values: list[float], part: float) -> float:
    ordered = sorted(values)
    return ordered[min(int(len(ordered) * part), len(ordered) - 1)]
