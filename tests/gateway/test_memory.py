"""A call that has ended is gone at once: the collector finds nothing to do.

A real worker, with real sockets to clients, a vendor and a ledger process in the same loop.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import ipaddress
import json
import socket
import struct
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from aipool.config import Settings
from aipool.doors import frames
from aipool.doors.frames import (
    Acquire,
    FetchToken,
    Grant,
    Granted,
    Hello,
    Publish,
    Recorded,
    Ship,
    TokenAnswer,
    Welcome,
)
from aipool.doors.records import decode_entry
from aipool.doors.snapshot import GroupView, KeyView, Snapshot, VendorView
from aipool.gateway.worker import Worker
from aipool.installation import RunDirectory
from tests.fakes.vendor import FakeVendor
from tests.gateway.offers import model, route, view

pytestmark = pytest.mark.slow

TOKEN = "sk-" + "a" * 43
ROUNDS = 12


class Rig:
    """The worker, and the two it talks to."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.outcomes: list[Any] = []
        self.vendor = FakeVendor()
        self.worker: Worker
        self.port = 0

    def _snapshot(self) -> Snapshot:
        keys = (KeyView(11, "a", "sk-a"), KeyView(12, "b", "sk-b"))
        vendor = VendorView(1, "fake", "openai_compatible", self.vendor.base_url, keys)
        group = GroupView(1, "default", 1_000_000, None)
        models = (model("m", route(1)), model("ours", route(1, "theirs")))
        return Snapshot(1, (group,), (vendor,), models)

    async def ledger(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Grants everything, records everything."""
        splitter = frames.Splitter()

        def say(message: frames.FromLedger) -> None:
            writer.write(frames.pack(message))

        while data := await reader.read(65536):
            for payload in splitter.feed(data):
                match frames.from_worker.decode(payload):
                    case Hello():
                        say(Welcome(0))
                        say(Publish(1, self._snapshot(), (), True))
                    case FetchToken(number=number):
                        say(TokenAnswer(number, 1, view()))
                    case Acquire(number=number, chains=chains):
                        grant = Grant(10**12, 10**15, False)
                        say(Granted(number, tuple(tuple(grant for _ in c) for c in chains)))
                    case Ship(end=end, entries=entries):
                        self.outcomes += map(decode_entry, entries)
                        say(Recorded(end))
        writer.close()

    async def ask(self, body: bytes, until: bytes | None = None) -> bytes:
        """One call on a connection of its own; hangs up when `until` has come, or at the end."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        try:
            writer.write(
                b"POST /v1/chat/completions HTTP/1.1\r\nHost: t\r\nAuthorization: Bearer %b\r\n"
                b"Connection: close\r\nContent-Length: %d\r\n\r\n%b"
                % (TOKEN.encode(), len(body), body)
            )
            got = b""
            while (until is None or until not in got) and (data := await reader.read(65536)):
                got += data
            return got
        finally:
            if until is not None:
                # With a reset: after a mere end a client might still read.
                linger = struct.pack("ii", 1, 0)
                writer.get_extra_info("socket").setsockopt(
                    socket.SOL_SOCKET, socket.SO_LINGER, linger
                )
            writer.transport.abort()

    async def quiet(self, calls: int) -> None:
        """Waits until this many calls are recorded and none is open."""
        context = self.worker._context
        while context.open_calls or len(self.outcomes) < calls or context.counters.in_flight:
            await asyncio.sleep(0.002)


def with_worker(scenario: Callable[[Rig], Awaitable[None]]) -> None:
    async def run(folder: Path) -> None:
        rig = Rig(folder)
        await rig.vendor.start()
        (folder / "data").mkdir()
        ledger = await asyncio.start_unix_server(rig.ledger, str(folder / "link.sock"))
        private = (ipaddress.ip_network("127.0.0.0/8"),)
        settings = Settings(
            data_dir=folder / "data", private_upstreams=private, key_failures=10_000
        )
        rig.worker = Worker(settings, RunDirectory(folder), 0)
        listener = socket.create_server(("127.0.0.1", 0))
        listener.setblocking(False)
        rig.port = listener.getsockname()[1]
        ready = asyncio.Event()
        serving = asyncio.create_task(rig.worker.serve(listener, ready.set))
        try:
            async with asyncio.timeout(30):
                await ready.wait()
                await scenario(rig)
        finally:
            rig.worker.stop()
            await serving
            listener.close()
            ledger.close()
            await ledger.wait_closed()
            await rig.vendor.stop()

    with tempfile.TemporaryDirectory(prefix="mem-") as folder:
        uvloop.run(run(Path(folder)))


@contextlib.contextmanager
def no_collector() -> Iterator[None]:
    gc.collect()
    # What thousands of tests before this one left in memory is not walked through again and again.
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.set_debug(0)
        gc.garbage.clear()
        gc.unfreeze()
        gc.enable()


def left_behind() -> Counter[str]:
    """What of ours only the collector could free, by class."""
    gc.set_debug(gc.DEBUG_SAVEALL)
    gc.collect()
    found = Counter(
        f"{type(left).__module__}.{type(left).__qualname__}"
        for left in gc.garbage
        if type(left).__module__.startswith("aipool.")
    )
    gc.set_debug(0)
    gc.garbage.clear()
    return found


def wish(wishes: dict[str, Any], **fields: Any) -> bytes:
    """A chat request that tells the fake vendor what to do."""
    content = json.dumps({"fake": wishes}) if wishes else "hello"
    body = {"model": "m", "messages": [{"role": "user", "content": content}], **fields}
    return json.dumps(body).encode()


ENDINGS = {
    "whole": (wish({}), 200),
    "renamed": (wish({}, model="ours"), 200),
    "stream": (wish({"events": 5}, stream=True), 200),
    "refused by us": (wish({}, model="none"), 404),
    "refused by the vendor": (wish({"status": 400}), 400),
    "all keys failed": (wish({"status": 500}), 503),
    "a stream without content": (wish({"status": 500}, stream=True), 503),
    "a stream that breaks off": (wish({"events": 9, "cut_after": 4}, stream=True), 200),
    "a stream that ends in an error": (wish({"error_after": 3}, stream=True), 200),
    "an answer that breaks off": (wish({"cut_at": 300}), 502),
    "no json": (b"{", 400),
}


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_call_leaves_nothing_to_the_collector(ending: str) -> None:
    body, status = ENDINGS[ending]

    async def scenario(rig: Rig) -> None:
        await rig.ask(body)
        await rig.quiet(1)
        with no_collector():
            for _ in range(ROUNDS):
                assert b"HTTP/1.1 %d " % status in await rig.ask(body)
            await rig.quiet(ROUNDS + 1)
            assert not left_behind()

    with_worker(scenario)


@pytest.mark.parametrize("stream", [True, False])
def test_a_client_that_leaves_leaves_nothing_else(stream: bool) -> None:
    wishes = {"events": 20, "interval": 0.01} if stream else {"delay": 0.2}
    body = wish(wishes, stream=stream)

    async def scenario(rig: Rig) -> None:
        async def leave() -> None:
            if stream:
                await rig.ask(body, until=b"data: ")
            else:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(rig.ask(body, until=b"never"), 0.02)

        await leave()
        await rig.quiet(1)
        with no_collector():
            for _ in range(ROUNDS):
                await leave()
            await rig.quiet(ROUNDS + 1)
            assert not left_behind()
        assert {outcome.status for outcome in rig.outcomes} == {499}

    with_worker(scenario)
