"""Vendors whose names do not resolve, in a network of their own with a name server that fails.

    python -m benchmarks.names     in `unshare --mount --net`; writes what it found as JSON

Three models have a first key whose name is unknown, whose server fails, or does not answer, and a
second key that is well; a fourth model is on a name that is well all along. In turns the names are
well and not, while everything is called. Then a name that was well leads to a private address.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

import uvloop

from benchmarks.bars import Bars
from benchmarks.caller import Line
from benchmarks.herd import question, usage_of
from benchmarks.platform import PRICE, ROOT, Platform
from tests.fakes.vendor import FakeVendor

#: Nothing may ever connect to it: it is on nobody's list.
PRIVATE: Final = "10.77.0.1"
FAULTS: Final = ("unknown", "failing", "silent")
WELL: Final = "well"
FLIPPING: Final = "flipping"

PHASES: Final = 4
PHASE_SECONDS: Final = 5.0
#: Clients of each model, and how often each calls.
CLIENTS: Final = 6
PAUSE_SECONDS: Final = 0.05
#: How long a vendor takes, so that a share of it can be told from the noise of a busy machine.
VENDOR_SECONDS: Final = 0.06
RATIO_MAX: Final = 1.2

_NO_ERROR, _SERVER_FAILURE, _NAME_UNKNOWN = 0, 2, 3
_A: Final = 1

ENVIRONMENT: Final = {
    # Nothing is remembered: every connection asks anew.
    "AIPOOL_LIMIT_RESOLVE_FRESH_SECONDS": "0.01",
    "AIPOOL_LIMIT_RESOLVE_KEEP_SECONDS": "0.01",
    # No key rests: every call meets its name.
    "AIPOOL_KEY_FAILURES": "10000",
    "AIPOOL_LOG_LEVEL": "warning",
}


class NameServer(asyncio.DatagramProtocol):
    """Answers for the names above. broken: are they just now?  flipped: has the last one turned?"""

    def __init__(self) -> None:
        self.broken = False
        self.flipped = False
        self._transport: asyncio.DatagramTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport  # type: ignore[assignment]

    def datagram_received(self, data: bytes, address: Any) -> None:
        name, end = _name(data)
        kind = int.from_bytes(data[end : end + 2], "big")
        code, found = _NO_ERROR, "127.0.0.1"
        if self.broken and name == "silent":
            return
        if self.broken and name in FAULTS:
            code = _NAME_UNKNOWN if name == "unknown" else _SERVER_FAILURE
        if self.flipped and name == FLIPPING:
            found = PRIVATE
        answers = code == _NO_ERROR and kind == _A
        head = (
            data[:2] + (0x8180 | code).to_bytes(2, "big") + b"\0\1" + bytes((0, answers)) + bytes(4)
        )
        record = b"\xc0\x0c\0\1\0\1\0\0\0\0\0\4" + bytes(map(int, found.split(".")))
        assert self._transport is not None
        self._transport.sendto(head + data[12 : end + 4] + (record if answers else b""), address)


def _name(query: bytes) -> tuple[str, int]:
    """The first label of what is asked, and where its name ends."""
    at = 12
    labels = []
    while size := query[at]:
        labels.append(query[at + 1 : at + 1 + size].decode("latin-1").lower())
        at += 1 + size
    return labels[0] if labels else "", at + 1


class Found(NamedTuple):
    """What came of it. p99_*: milliseconds of the calls to the name that is well all along.
    first: calls after the flip that went to the name's key; connects: to the private address."""

    p99_well: float = 0.0
    p99_broken: float = 0.0
    calls: int = 0
    failures: int = 0
    overs: int = 0
    connects: int = 0
    flipped_calls: int = 0


# --- outside ----------------------------------------------------------------------------------


def apart() -> Found | str:
    """All of it in namespaces of its own; or why that cannot be."""
    unshare = shutil.which("unshare")
    if os.geteuid() or unshare is None:
        return "needs root and unshare"
    path = os.pathsep.join((str(ROOT / "src"), str(ROOT)))
    done = subprocess.run(
        [unshare, "--mount", "--net", sys.executable, "-m", "benchmarks.names"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=180,
        check=False,
    )
    if done.returncode:
        if "Operation not permitted" in done.stderr:
            return "namespaces are not permitted here"
        raise RuntimeError(done.stderr)
    return Found(*json.loads(done.stdout.splitlines()[-1]))


def report(bars: Bars, found: Found | str) -> None:
    """The figures of it, and whether they are what they must be."""
    if isinstance(found, str):
        bars.say("names that do not resolve: not measured", found)
        return
    what = f"names that do not resolve: {found.calls} calls, failures: {found.failures}"
    bars.must(what, not found.failures and found.overs > 0, f"{found.overs} failed over")
    bars.say("  others' p99, while all names are well", f"{found.p99_well:.1f} ms")
    bars.say("  others' p99, while some are not", f"{found.p99_broken:.1f} ms")
    bars.at_most("  others: ratio", found.p99_broken / found.p99_well, RATIO_MAX)
    bars.at_least("  flipped to a private address: failed over", found.flipped_calls, 20)
    bars.at_most("  flipped to a private address: connects", found.connects, 0)


# --- inside -----------------------------------------------------------------------------------


def _set_up_network(folder: Path) -> None:
    """The loopback device of this namespace, and who to ask for names."""
    subprocess.run(["ip", "link", "set", "lo", "up"], check=True)
    subprocess.run(["ip", "address", "add", f"{PRIVATE}/32", "dev", "lo"], check=True)
    path = folder / "resolv.conf"
    path.write_text("nameserver 127.0.0.1\n")
    subprocess.run(["mount", "--bind", str(path), "/etc/resolv.conf"], check=True)


def _documents(ports: Mapping[str, int]) -> Mapping[str, Sequence[Mapping[str, Any]]]:
    def vendor(name: str, host: str, port: int) -> Mapping[str, Any]:
        key = {"name": "k", "api_key": f"sk-{name}-0123456789abcdef"}
        url = f"http://{host}:{port}/v1"
        return {"name": name, "type": "openai_compatible", "base_url": url, "keys": [key]}

    named = [*FAULTS, WELL, FLIPPING]
    vendors = [vendor(name, f"{name}.vendor.test", ports[name]) for name in named]
    vendors.append(vendor("spare", "127.0.0.1", ports["spare"]))
    models = [
        {
            "name": name,
            "context": 128_000,
            "max_output_tokens": 4_096,
            "price": dict(PRICE),
            "routes": [{"vendor": name}] + [{"vendor": "spare"}] * (name != WELL),
        }
        for name in named
    ]
    return {"vendors": vendors, "models": models}


class _Calls:
    """Calls to one model, and what became of them."""

    def __init__(self, platform: Platform, model: str) -> None:
        self.platform, self.model = platform, model
        self.milliseconds: list[float] = []
        self.failures = 0

    async def for_seconds(self, seconds: float, clients: int = CLIENTS) -> None:
        await asyncio.gather(*(self._client(n, time.monotonic() + seconds) for n in range(clients)))

    async def _client(self, number: int, until: float) -> None:
        line = await Line.open(self.platform.port)
        await asyncio.sleep(PAUSE_SECONDS * number / CLIENTS)
        while time.monotonic() < until:
            await self.one(line)
            await asyncio.sleep(PAUSE_SECONDS)
        line.close()

    async def one(self, line: Line) -> None:
        stream = len(self.milliseconds) % 2 == 0
        began = time.perf_counter()
        body = question("named", stream=stream) | {"model": self.model}
        answer = await line.ask(self.platform.token, body)
        self.milliseconds.append((time.perf_counter() - began) * 1000)
        self.failures += usage_of(answer, stream=stream) is None


async def _inside() -> Found:
    server = NameServer()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: server, local_addr=("127.0.0.1", 53))
    # No connection is used twice, so that each call asks for its name.
    wishes = {"events": 4, "delay": VENDOR_SECONDS, "keep_alive": False}
    vendors = {name: FakeVendor(wishes) for name in (*FAULTS, WELL, FLIPPING, "spare")}
    for vendor in vendors.values():
        await vendor.start()
    ports = {name: vendor.port for name, vendor in vendors.items()}
    private = FakeVendor(wishes, host=PRIVATE, port=ports[FLIPPING])
    await private.start()
    platform = Platform(workers=2, document=_documents(ports), extra_env=ENVIRONMENT)
    await asyncio.to_thread(platform.__enter__)
    try:
        found = await _measure(platform, server, vendors, private)
        await asyncio.to_thread(platform.verify)
    finally:
        await asyncio.to_thread(platform.__exit__)
        transport.close()
        for vendor in (*vendors.values(), private):
            await vendor.stop()
    return found


async def _measure(
    platform: Platform, server: NameServer, vendors: Mapping[str, FakeVendor], private: FakeVendor
) -> Found:
    await _Calls(platform, WELL).for_seconds(1.0)
    undisturbed: dict[bool, list[float]] = {False: [], True: []}
    calls = failures = 0
    for phase in range(PHASES):
        server.broken = phase % 2 == 1
        well = _Calls(platform, WELL)
        disturbing = [_Calls(platform, name) for name in FAULTS]
        await asyncio.gather(*(each.for_seconds(PHASE_SECONDS) for each in (well, *disturbing)))
        undisturbed[server.broken] += well.milliseconds
        failures += sum(each.failures for each in (well, *disturbing))
        calls += sum(len(each.milliseconds) for each in (well, *disturbing))
    overs = len(vendors["spare"].books)
    flipping = _Calls(platform, FLIPPING)
    await flipping.for_seconds(0.5)
    server.flipped = True
    await asyncio.sleep(0.1)
    before = len(vendors["spare"].books)
    await flipping.for_seconds(2.0)
    return Found(
        _p99(undisturbed[False]),
        _p99(undisturbed[True]),
        calls + len(flipping.milliseconds),
        failures + flipping.failures,
        overs,
        private.connections,
        len(vendors["spare"].books) - before,
    )


def _p99(values: Sequence[float]) -> float:
    return sorted(values)[int(0.99 * len(values))]


def main() -> None:
    """Inside the namespaces: set up, measure, write."""
    with tempfile.TemporaryDirectory() as folder:
        _set_up_network(Path(folder))
        print(json.dumps(uvloop.run(_inside())))


if __name__ == "__main__":
    main()
