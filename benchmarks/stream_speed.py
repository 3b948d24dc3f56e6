"""What a stream costs: CPU for each event that is relayed, and memory while it is open.

CPU: 64 connections read streams of 200 events; the vendor pauses after every event, so that each
is read, metered and sent by itself. AI-POOL and nginx, which buffers nothing here, take turns on
the same core. The events that the vendor wrote within a window are set against the CPU that the
worker used within it, so beginnings and ends of streams count as little as they should.

Memory: what a worker's resident memory grows by when 2,000 slow streams are open at once; over
plain TCP, and printed also for a vendor behind TLS, each on a fresh worker that has served a few
streams before.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from benchmarks import child, load
from benchmarks.bars import Bars
from benchmarks.cpu import Cores, Watch, busy_elsewhere, median
from benchmarks.nginx import Certificate, Nginx, make_certificate, proxy_server
from benchmarks.platform import MODEL, ROOT, Platform, free_port, memory_bytes
from benchmarks.witness import LookedUp

RATIO_MAX: Final = 1.6
KIB_PER_STREAM_MAX: Final = 12.0

EVENTS: Final = 200
PAUSE_SECONDS: Final = 0.005
#: A stream and its first events are under way by then.
SETTLE_SECONDS: Final = 1.0

SLOW_STREAMS: Final = 2_000
SLOW_EVENTS: Final = 12
SLOW_PAUSE_SECONDS: Final = 1.0
IDLE_SECONDS_MAX: Final = 10.0
FIRST_STREAMS: Final = 20


@dataclass(frozen=True, slots=True)
class Plan:
    """How much of it. pairs: of windows that take turns."""

    pairs: int = 7
    window_seconds: float = 6.0
    streams: int = SLOW_STREAMS


QUICK: Final = Plan(pairs=3, window_seconds=2.0)


class Vendor:
    """The streaming vendor's process."""

    def __init__(self, events: int, pause_seconds: float, certificate: Certificate) -> None:
        self.port, self.tls_port = free_port(), free_port()
        self._command = [sys.executable, "-m", "benchmarks.sse_upstream", str(events)]
        self._command += [str(pause_seconds), str(self.port), str(self.tls_port)]
        self._command += [str(certificate.chain), str(certificate.key)]
        self._process: subprocess.Popen[str] | None = None

    def __enter__(self) -> Vendor:
        self._process = child.start(self._command, output=subprocess.PIPE, cwd=ROOT)
        assert self._process.stdout is not None
        said = self._process.stdout.readline()
        if said != "ready\n":
            raise RuntimeError(f"the streaming vendor does not start: {said}")
        return self

    def __exit__(self, *_: object) -> None:
        assert self._process is not None
        child.stop(self._process)

    def written(self) -> int:
        """Events it has written since its start."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/count")
            return int(connection.getresponse().read())
        finally:
            connection.close()


class Window(NamedTuple):
    """What happened within a window. microseconds: of CPU for each event."""

    microseconds: float
    events_per_second: float
    busy: float


class Side(NamedTuple):
    """One of the two that are compared. process: whose CPU counts."""

    url: str
    process: int


def measure_window(side: Side, script: Path, vendor: Vendor, seconds: float) -> Window:
    """One window in the middle of a load. Raises RuntimeError when a stream failed."""
    running = load.begin(side.url, script, seconds + 2 * SETTLE_SECONDS)
    try:
        time.sleep(SETTLE_SECONDS)
        before, watch = vendor.written(), Watch(side.process)
        time.sleep(seconds)
        use, events = watch.use(), vendor.written() - before
        came = load.result(running)
    finally:
        child.stop(running)
    if came.refused or came.broken or not came.answered:
        raise RuntimeError(f"{side.url}: {came}")
    return Window(use.cpu_seconds / events * 1e6, events / use.seconds, use.busy)


def prove_cpu(bars: Bars, plan: Plan, folder: Path, cores: Cores) -> float:
    """The rows about CPU; the ratio."""
    certificate = make_certificate(folder)
    with contextlib.ExitStack() as stack:
        vendor = stack.enter_context(Vendor(EVENTS, PAUSE_SECONDS, certificate))
        port = free_port()
        servers = proxy_server(port, vendor.port, buffering=False)
        proxy = stack.enter_context(Nginx(servers, (port,), folder))
        platform = stack.enter_context(
            Platform(workers=1, upstreams=[f"http://127.0.0.1:{vendor.port}/v1"])
        )
        (worker,) = platform.process.workers()
        cores.give(proxy.worker, worker)
        body = load.chat_body(MODEL, stream=True, stream_options={"include_usage": True})
        script = load.script(folder / "stream.lua", body, platform.token)
        nginx = Side(f"http://127.0.0.1:{port}/v1/chat/completions", proxy.worker)
        aipool = Side(f"{platform.base_url}/v1/chat/completions", worker)
        pairs = [
            [measure_window(side, script, vendor, plan.window_seconds) for side in (nginx, aipool)]
            for _ in range(plan.pairs)
        ]
        _idle(platform)
        platform.verify()
    theirs, ours = (median([pair[side].microseconds for pair in pairs]) for side in (0, 1))
    rates = [median([pair[side].events_per_second for pair in pairs]) for side in (0, 1)]
    bars.say("events relayed, AI-POOL : nginx", f"{rates[1]:,.0f} : {rates[0]:,.0f} /s")
    bars.say("the core's load, AI-POOL's turns", f"{median([p[1].busy for p in pairs]):.0%}")
    bars.say("CPU per event, AI-POOL : nginx", f"{ours:.1f} : {theirs:.1f} µs")
    bars.at_most("CPU per event, of nginx's", ours / theirs, RATIO_MAX, "×")
    return ours / theirs


class Memory(NamedTuple):
    """What open streams took. streams: asked for.  whole, charged: of these."""

    streams: int
    bytes_each: float
    whole: int
    charged: int


def measure_memory(platform: Platform, streams: int) -> Memory:
    """Opens the streams, looks at the worker's memory, and lets them end."""
    (worker,) = platform.process.workers()
    with _readers(platform, FIRST_STREAMS) as first:
        assert first.stdout is not None
        served = int(first.stdout.read().split()[-1])
    _idle(platform)
    idle = memory_bytes(worker)
    with _readers(platform, streams) as running:
        assert running.stdout is not None
        said = running.stdout.readline()
        opened = memory_bytes(worker)
        whole = int((running.stdout.read() or said).split()[-1]) + served
    _idle(platform)
    platform.verify()
    return Memory(
        streams + FIRST_STREAMS, (opened - idle) / streams, whole, _charged(platform.database_path)
    )


def prove_memory(bars: Bars, plan: Plan, folder: Path) -> float:
    """The rows about memory; KiB of a stream over plain TCP."""
    certificate = make_certificate(folder)
    kib = {}
    with Vendor(SLOW_EVENTS, SLOW_PAUSE_SECONDS, certificate) as vendor:
        for kind, url in (
            ("plain", f"http://127.0.0.1:{vendor.port}/v1"),
            ("TLS", f"https://localhost:{vendor.tls_port}/v1"),
        ):
            believed = {"AIPOOL_UPSTREAM_CA_FILE": str(certificate.authority)}
            with Platform(workers=1, upstreams=[url], extra_env=believed) as platform:
                memory = measure_memory(platform, plan.streams)
            kib[kind] = memory.bytes_each / 1024
            what = f"memory of an open stream, {kind}"
            if kind == "plain":
                bars.at_most(what, kib[kind], KIB_PER_STREAM_MAX, "KiB")
            else:
                bars.say(what, f"{kib[kind]:.2f} KiB")
            bars.must(
                f"every stream whole and charged, {kind}",
                memory.streams == memory.whole == memory.charged,
                f"{memory.whole:,} and {memory.charged:,}",
            )
    return kib["plain"]


@contextlib.contextmanager
def _readers(platform: Platform, streams: int) -> Iterator[subprocess.Popen[str]]:
    command = [sys.executable, "-m", "benchmarks.readers", str(platform.port), str(streams)]
    running = child.start([*command, MODEL, platform.token], output=subprocess.PIPE, cwd=ROOT)
    try:
        yield running
    finally:
        child.stop(running)


def _idle(platform: Platform) -> None:
    """Waits until no call is under way or on its way into the books."""

    busy = ("aipool_inflight_requests", "aipool_holds_open", "aipool_usage_queue_depth")
    deadline = time.monotonic() + IDLE_SECONDS_MAX
    while True:
        time.sleep(1.5)  # workers say how they are once a second
        metrics = platform.metrics()
        if not any(metrics.get(name, 0) for name in busy):
            return
        if time.monotonic() > deadline:
            raise RuntimeError("calls do not end")


def _charged(path: Path) -> int:
    """Calls in the books that were answered and paid."""
    books = LookedUp(path)
    try:
        return sum(row.status == 200 and row.charged_nano > 0 for row in books.calls())
    finally:
        books.close()


def main(arguments: Sequence[str]) -> int:
    """Run the proof; 1 when the claim does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/prove stream-speed", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="short windows; for a first look")
    options = parser.parse_args(arguments)
    plan = QUICK if options.quick else Plan()
    bars = Bars("stream-speed")
    bars.say("cores busy with something else at the start", f"{busy_elsewhere():.2f}")
    cores = Cores.split()
    with tempfile.TemporaryDirectory(prefix="aipool-") as folder:
        ratio = prove_cpu(bars, plan, Path(folder), cores)
        kib = prove_memory(bars, plan, Path(folder))
    return bars.finish(f"{ratio:.2f} × nginx's CPU per event, {kib:.1f} KiB per open stream")
