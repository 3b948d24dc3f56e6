"""One real worker in this process, with a toy ledger process: for faults that need a hand inside.

The toy speaks doors.frames on a real Unix socket. It grants what is asked while its one wallet
lasts, knows the tokens it was given, and keeps what was shipped. It can be told to be silent.
"""

from __future__ import annotations

import asyncio
import json
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aipool.config import load
from aipool.doors import frames
from aipool.doors.frames import (
    Acquire,
    Applied,
    Collect,
    Collected,
    Counters,
    FetchToken,
    Grant,
    Granted,
    Hello,
    KeyReports,
    Publish,
    Recorded,
    Ship,
    SlotsBack,
    TokenAnswer,
    Welcome,
)
from aipool.doors.outcome import Outcome
from aipool.doors.records import decode_entry
from aipool.doors.snapshot import (
    GroupView,
    KeyView,
    ModelView,
    RouteView,
    Snapshot,
    TokenView,
    VendorView,
)
from aipool.gateway.worker import Worker
from aipool.installation import RunDirectory, run_directory
from aipool.kit.digests import digest, load_pepper
from aipool.ledger.types import Note
from tests.fakes.vendor import FakeVendor
from tests.platform import PRICE, Reply, head, parse_reply

TOKEN = "sk-" + "A" * 43
UNKNOWN = "sk-" + "B" * 43
SLICE_NANO = 10**9


class ToyLedger(asyncio.Protocol):
    """Both the listening side and its one connection."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.snapshot = snapshot
        self.tokens: dict[bytes, TokenView] = {}
        self.free_nano = 10**10
        self.silent: set[type] = set()
        self.heard: list[Any] = []
        self.outcomes: list[Outcome] = []
        self.high_water = 0
        self.connections = 0
        self.transport: asyncio.Transport | None = None
        self._splitter = frames.Splitter()
        self._replies: dict[int, Granted] = {}

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.connections += 1
        self.transport = transport  # type: ignore[assignment]
        self._splitter = frames.Splitter()

    def data_received(self, data: bytes) -> None:
        for payload in self._splitter.feed(data):
            message = frames.from_worker.decode(payload)
            self.heard.append(message)
            if type(message) not in self.silent:
                self.hear(message)

    def hear(self, message: Any) -> None:
        match message:
            case Hello():
                self.say(Welcome(self.high_water))
                self.say(Publish(1, self.snapshot, (), everything=True))
            case Acquire():
                answer = self._replies.setdefault(message.number, self._grant(message))
                self.say(answer)
            case Ship():
                assert message.start <= self.high_water
                if message.end > self.high_water:
                    entries = [decode_entry(entry) for entry in message.entries]
                    self.outcomes += [entry for entry in entries if isinstance(entry, Outcome)]
                    self.high_water = message.end
                self.say(Recorded(self.high_water))
            case FetchToken():
                self.say(TokenAnswer(message.number, 1, self.tokens.get(message.digest)))
            case Collect():
                self.say(Collected(message.number, complete=True))
            case Applied() | Counters() | KeyReports() | SlotsBack():
                pass

    def _grant(self, acquire: Acquire) -> Granted:
        if acquire.number in self._replies:
            return self._replies[acquire.number]
        chains = []
        for needs in acquire.chains:
            grants = []
            for need in needs:
                amount = min(max(need.want, SLICE_NANO), self.free_nano)
                amount = amount if amount >= need.least else 0
                note = Note.FINE if amount or not need.want else Note.SHORT
                grants.append(Grant(amount, self.free_nano, low=False, note=note))
                self.free_nano -= amount
            chains.append(tuple(grants))
        return Granted(acquire.number, tuple(chains))

    def say(self, message: Any) -> None:
        assert self.transport is not None
        self.transport.write(frames.pack(message))

    def hang_up(self) -> None:
        assert self.transport is not None
        self.transport.abort()


class Rig:
    """A worker that serves, its toy ledger and its fake vendor."""

    def __init__(
        self,
        worker: Worker,
        run: RunDirectory,
        ledger: ToyLedger,
        vendor: FakeVendor,
        port: int,
    ) -> None:
        self.worker = worker
        self.run = run
        self.ledger = ledger
        self.vendor = vendor
        self.port = port

    async def ask(
        self, body: dict[str, Any], token: str = TOKEN, *, tls: ssl.SSLContext | None = None
    ) -> Reply:
        """One call on a connection of its own; the whole answer, chunks joined."""
        raw = json.dumps(body).encode()
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, ssl=tls)
        writer.write(head(token, len(raw), "connection: close") + raw)
        got = await asyncio.wait_for(reader.read(), 15)
        writer.close()
        await writer.wait_closed()
        reply = parse_reply(got)
        if reply.headers.get("transfer-encoding") == "chunked":
            reply.body = _unchunked(reply.body)
        return reply

    async def ready(self) -> Reply:
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        writer.write(b"GET /health/ready HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n")
        got = await asyncio.wait_for(reader.read(), 15)
        writer.close()
        await writer.wait_closed()
        return parse_reply(got)

    async def until(self, claim: Callable[[], object]) -> None:
        async with asyncio.timeout(10):
            while not claim():
                await asyncio.sleep(0.005)


def _unchunked(body: bytes) -> bytes:
    whole = b""
    while body:
        size, _, body = body.partition(b"\r\n")
        if not size or int(size, 16) == 0:
            break
        whole += body[: int(size, 16)]
        body = body[int(size, 16) + 2 :]
    return whole


def _snapshot(vendor: FakeVendor) -> Snapshot:
    keys = (KeyView(1, "a", "canary-a"), KeyView(2, "b", "canary-b"))
    return Snapshot(
        1,
        (GroupView(1, "default", 1_000_000, None),),
        (VendorView(1, "v", "openai_compatible", vendor.base_url, keys),),
        (ModelView(1, "m", "chat", 0, 100_000, 1_000, PRICE, (RouteView(1, "m", PRICE, ()),)),),
    )


@asynccontextmanager
async def rig(
    environment: dict[str, str] | None = None, *, vendor_tls: ssl.SSLContext | None = None
) -> AsyncIterator[Rig]:
    """The worker serves while the block runs, and is drained after it."""
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory(prefix="aip-", dir="/tmp") as folder:
        data_dir = Path(folder) / "data"
        data_dir.mkdir(mode=0o700)
        environ = {
            "AIPOOL_PRIVATE_UPSTREAMS": "127.0.0.0/8",
            "AIPOOL_KEY_FAILURES": "10000",
            **(environment or {}),
        }
        settings = load({"data_dir": str(data_dir)}, environ)
        run = run_directory(data_dir, {"XDG_RUNTIME_DIR": folder})
        async with FakeVendor(tls=vendor_tls) as vendor:
            ledger = ToyLedger(_snapshot(vendor))
            view = TokenView(1, 1, 1, "t", 0, None, (), ("wallet:1",), "")
            ledger.tokens[digest(load_pepper(data_dir), TOKEN.encode())] = view
            link = await loop.create_unix_server(lambda: ledger, str(run.link_socket))
            listener = socket.socket()
            listener.bind(("127.0.0.1", 0))
            worker = Worker(settings, run, 0)
            serving = asyncio.Event()
            task = loop.create_task(worker.serve(listener, serving.set))
            await asyncio.wait_for(serving.wait(), 10)
            try:
                yield Rig(worker, run, ledger, vendor, listener.getsockname()[1])
            finally:
                worker.stop()
                await asyncio.wait_for(task, 20)
                link.close()
                if ledger.transport is not None:
                    ledger.transport.abort()
                await asyncio.sleep(0)
