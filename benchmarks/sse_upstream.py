"""A vendor that streams, as a program: every event is a write of its own, and none catches up.

    python -m benchmarks.sse_upstream EVENTS PAUSE_SECONDS PORT [TLS_PORT CHAIN KEY]

A pause lies between two events of a stream, so that a proxy cannot read two at once; streams that
begin together are spread over the pause. What was asked is not read. `GET /count` says how many
events were written since the start.
"""

from __future__ import annotations

import asyncio
import json
import random
import ssl
import sys
from typing import Any, cast

import httptools
import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"


def _event(**more: Any) -> bytes:
    chunk = {
        "id": "chatcmpl-123",
        "object": "chat.completion.chunk",
        "created": 1_700_000_000,
        "model": "bench-model",
        "system_fingerprint": "fp_44709d6fcb",
        **more,
    }
    return b"data: %b\n\n" % json.dumps(chunk, separators=(",", ":")).encode()


def _choices(delta: dict[str, str], finish_reason: str | None) -> list[dict[str, Any]]:
    return [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish_reason}]


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data)


class Vendor:
    """What all connections share."""

    def __init__(self, loop: asyncio.AbstractEventLoop, events: int, pause_seconds: float) -> None:
        self.loop = loop
        self.events = events
        self.pause_seconds = pause_seconds
        self.written = 0
        usage = {"prompt_tokens": 29, "completion_tokens": events, "total_tokens": 29 + events}
        self.text = _chunk(_event(choices=_choices({"content": " hello"}, None)))
        self.ending = (
            _chunk(_event(choices=_choices({}, "stop")))
            + _chunk(_event(choices=[], usage=usage))
            + _chunk(b"data: [DONE]\n\n")
            + b"0\r\n\r\n"
        )


class Connection(asyncio.Protocol):
    """One connection, one answer at a time."""

    def __init__(self, vendor: Vendor) -> None:
        self._vendor = vendor
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport
        self._url = b""
        self._left = 0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """See asyncio.Protocol."""
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        """See asyncio.Protocol."""
        self._parser.feed_data(data)

    def on_message_begin(self) -> None:
        """See httptools."""
        self._url = b""

    def on_url(self, url: bytes) -> None:
        """See httptools."""
        self._url += url

    def on_message_complete(self) -> None:
        """Answer."""
        vendor = self._vendor
        if self._url == b"/count":
            text = b"%d" % vendor.written
            head = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % len(text)
            self._transport.write(head + text)
            return
        self._transport.write(_HEAD)
        self._left = vendor.events
        vendor.loop.call_later(random.random() * vendor.pause_seconds, self._step)

    def _step(self) -> None:
        vendor, transport = self._vendor, self._transport
        if transport.is_closing():
            return
        if self._left:
            self._left -= 1
            vendor.written += 1
            transport.write(vendor.text)
            vendor.loop.call_later(vendor.pause_seconds, self._step)
        else:
            transport.write(vendor.ending)


async def _serve(arguments: list[str]) -> None:
    loop = asyncio.get_running_loop()
    events, pause_seconds, port, *secure = arguments
    vendor = Vendor(loop, int(events), float(pause_seconds))

    def connection() -> Connection:
        return Connection(vendor)

    await loop.create_server(connection, "127.0.0.1", int(port), backlog=4096)
    if secure:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*secure[1:])
        tls_port = int(secure[0])
        await loop.create_server(connection, "127.0.0.1", tls_port, ssl=context, backlog=4096)
    print("ready", flush=True)
    await asyncio.Event().wait()


if __name__ == "__main__":
    uvloop.run(_serve(sys.argv[1:]))
