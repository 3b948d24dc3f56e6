"""Files of the log under way to people who read slowly, or no more: what others get meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterator, MutableMapping
from typing import Any, cast

import pytest
import uvloop

from aipool.control import exports
from aipool.control.main import Server, private_socket
from tests.gateway.rig import rig

HTTP = {"type": "http", "asgi": {"spec_version": "2.4"}}


async def nothing_more() -> dict[str, str]:
    await asyncio.Event().wait()
    return {}


def test_four_who_read_slowly_keep_nobody_from_a_file() -> None:
    files = exports.Exports()
    got: list[bytes] = []

    async def slowly(message: MutableMapping[str, Any]) -> None:
        if message["type"] == "http.response.body":
            await asyncio.Event().wait()

    async def at_once(message: MutableMapping[str, Any]) -> None:
        got.append(message.get("body", b""))

    async def run() -> None:
        rows = [{"a": number} for number in range(2_000)]
        slow = [files.file(user, "x", "csv", ("a",), iter(rows)) for user in range(8)]
        held = [asyncio.create_task(answer(HTTP, nothing_more, slowly)) for answer in slow]
        await asyncio.sleep(0.1)
        async with asyncio.timeout(5):
            await files.file(99, "x", "csv", ("a",), iter(rows))(HTTP, nothing_more, at_once)
        for task in held:
            task.cancel()
        await asyncio.gather(*held, return_exceptions=True)

    asyncio.run(run())
    assert b"".join(got).split() == [b"a", *[b"%d" % number for number in range(2_000)]]
    assert all(files.file(user, "x", "csv", ("a",), iter(())) for user in range(8))


def test_few_files_are_made_at_a_time_however_many_are_read() -> None:
    files = exports.Exports()
    lock, making, most = threading.Lock(), 0, 0

    def rows() -> Iterator[dict[str, int]]:
        nonlocal making, most
        for number in range(1_500):
            if number % 500 == 0:
                with lock:
                    making += 1
                    most = max(most, making)
                time.sleep(0.01)
            if number % 500 == 499:
                with lock:
                    making -= 1
            yield {"a": number}

    async def away(_: MutableMapping[str, Any]) -> None:
        await asyncio.sleep(0)

    async def run() -> None:
        answers = [
            files.file(user, "x", "jsonl", ("a",), rows()) for user in range(exports.FILES_MAX)
        ]
        await asyncio.gather(*[answer(HTTP, nothing_more, away) for answer in answers])

    asyncio.run(run())
    assert 1 <= most <= exports.MADE_AT_ONCE_MAX


def test_who_takes_nothing_through_the_proxy_loses_the_place(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(exports, "STALLED_SECONDS", 0.3)
    files = exports.Exports()
    ended = threading.Event()

    def rows() -> Iterator[dict[str, str]]:
        while True:
            yield {"a": "x" * 2_000}

    async def serve(scope: Any, receive: Any, send: Any) -> None:
        try:
            await files.file(1, "x", "csv", ("a",), rows())(scope, receive, send)
        finally:
            ended.set()

    async def run() -> None:
        async with rig() as it:
            ready, got = asyncio.Event(), b""
            server = Server(cast(Any, serve), on_started=ready.set)
            listener = private_socket(it.run.control_socket)
            serving = asyncio.create_task(server.serve(sockets=[listener]))
            await ready.wait()
            reader, writer = await asyncio.open_connection("127.0.0.1", it.port, limit=1)
            writer.write(b"GET /api/x HTTP/1.1\r\nHost: a\r\n\r\n")
            try:
                async with asyncio.timeout(10):
                    while not ended.is_set():
                        await asyncio.sleep(0.05)
                    with contextlib.suppress(ConnectionError):
                        while piece := await reader.read(1 << 20):
                            got = (got + piece)[-20:]
                assert files.file(1, "x", "csv", ("a",), iter(())) is not None
                assert not got.endswith(b"0\r\n\r\n")
            finally:
                writer.close()
                server.force_exit = True
                server.stop()
                await serving

    uvloop.run(run())
