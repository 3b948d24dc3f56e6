"""What a call alone waits longer for: one connection, one call at a time, beside nginx.

Blocks of calls through AI-POOL and through nginx as a plain proxy take turns, in front of the same
vendor. Both are on the same core; whose turn it is not has nothing to do. The client's own time
and the vendor's are in both figures alike, and cancel out in the difference.
"""

from __future__ import annotations

import argparse
import socket
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import quantiles
from typing import Final

from benchmarks import load
from benchmarks.bars import Bars
from benchmarks.cpu import Cores, busy_elsewhere, median
from benchmarks.nginx import Nginx, make_certificate, proxy_server, upstream_servers
from benchmarks.platform import MODEL, Platform, free_port

ADDED_MICROSECONDS_MAX: Final = 150.0

BLOCK_CALLS: Final = 200
BLOCKS: Final = 100
BLOCKS_QUICK: Final = 15


@dataclass(slots=True)
class Waits:
    """How long each call took, in seconds."""

    seconds: list[float]

    @property
    def p50(self) -> float:
        """The median, in µs."""
        return median(self.seconds) * 1e6

    @property
    def p99(self) -> float:
        """What one call in a hundred exceeds, in µs."""
        return quantiles(self.seconds, n=100)[-1] * 1e6


class Client:
    """One kept connection, one call after the other, nothing else."""

    def __init__(self, port: int, body: str, token: str) -> None:
        self._socket = socket.create_connection(("127.0.0.1", port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._request = (
            "POST /v1/chat/completions HTTP/1.1\r\nHost: proof\r\n"
            f"Authorization: Bearer {token}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n{body}"
        ).encode()

    def call(self) -> float:
        """Seconds from the request's first byte to the answer's last. Raises RuntimeError."""
        began = time.perf_counter()
        self._socket.sendall(self._request)
        answer = self._socket.recv(65536)
        while not _is_whole(answer):
            more = self._socket.recv(65536)
            if not more:
                break
            answer += more
        ended = time.perf_counter()
        if not answer.startswith(b"HTTP/1.1 200 "):
            raise RuntimeError(f"a call was answered {answer[:300]!r}")
        return ended - began

    def close(self) -> None:
        """Hang up."""
        self._socket.close()


def measure(nginx: Client, aipool: Client, blocks: int) -> tuple[Waits, Waits]:
    """Blocks in turns; a few calls before each are not counted."""
    waits = Waits([]), Waits([])
    for _ in range(blocks):
        for client, wait in zip((nginx, aipool), waits, strict=True):
            for _ in range(BLOCK_CALLS // 10):
                client.call()
            wait.seconds += [client.call() for _ in range(BLOCK_CALLS)]
    return waits


def _is_whole(answer: bytes) -> bool:
    head, mark, body = answer.partition(b"\r\n\r\n")
    if not mark:
        return False
    _, _, rest = head.lower().partition(b"content-length:")
    return len(body) >= int(rest.split(b"\r\n", 1)[0])


def prove(blocks: int, folder: Path) -> int:
    """Measure; the exit status."""
    bars = Bars("overhead")
    bars.say("cores busy with something else at the start", f"{busy_elsewhere():.2f}")
    cores = Cores.split()
    vendor, vendor_tls, proxy_port = free_port(), free_port(), free_port()
    certificate = make_certificate(folder)
    upstream = Nginx(upstream_servers(vendor, vendor_tls, certificate), (vendor,), folder)
    proxy = Nginx(proxy_server(proxy_port, vendor), (proxy_port,), folder)
    platform = Platform(workers=1, upstreams=[f"http://127.0.0.1:{vendor}/v1"])
    body = load.chat_body(MODEL)
    with upstream, proxy, platform:
        cores.give(proxy.worker, *platform.process.workers())
        through = [Client(port, body, platform.token) for port in (proxy_port, platform.port)]
        nginx, aipool = measure(through[0], through[1], blocks)
        for client in through:
            client.close()
        platform.verify()
    for name, waits in (("nginx", nginx), ("AI-POOL", aipool)):
        bars.say(f"a call through {name}, p50 and p99", f"{waits.p50:.0f}, {waits.p99:.0f} µs")
    bars.say("calls on each side", f"{len(nginx.seconds):,}")
    added = aipool.p50 - nginx.p50
    bars.at_most("added to the median", added, ADDED_MICROSECONDS_MAX, "µs")
    return bars.finish(f"{added:.0f} µs added to the median call")


def main(arguments: Sequence[str]) -> int:
    """Run the proof; 1 when the claim does not hold."""
    parser = argparse.ArgumentParser(prog="scripts/prove overhead", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer calls; for a first look")
    options = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory(prefix="aipool-") as folder:
        return prove(BLOCKS_QUICK if options.quick else BLOCKS, Path(folder))
