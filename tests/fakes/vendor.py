"""A fake AI vendor with an OpenAI-compatible interface, and a witness of what it served.

In a test:            async with FakeVendor({"status": 503}) as vendor: ... vendor.base_url
As its own process:   python -m tests.fakes.vendor --port 0 --books FILE [--script FILE]

It has its own small HTTP server and shares no code with the product's wire layer, so that the two
can testify about each other. It shares the token estimator, so that its bill is the gateway's
count where it reports no usage. `tests/fakes/README.md` tells how to script it.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import signal
import socket
import ssl
import struct
import sys
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

import httptools
import msgspec
import uvloop

from aipool.dialects.chat import usage_of
from aipool.dialects.estimate import TokenCounter, estimate_request
from tests.fakes.answers import Cut, End, Send, Stall, Step, Wait, steps
from tests.fakes.behaviour import Behaviour, Script, ScriptFunction, Wishes, last_user_text
from tests.fakes.books import ANSWERING, CLIENT_GONE, COMPLETED, CUT, RECEIVED, Books, Entry

_MESSAGE_CHARACTERS = 2_000


class FakeVendor:
    """A server on 127.0.0.1 or on a Unix socket, with a script and books; both may be changed."""

    def __init__(
        self,
        script: Script | ScriptFunction | Wishes | Sequence[Wishes] | None = None,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        unix: Path | None = None,
        tls: ssl.SSLContext | None = None,
        books: Path | None = None,
        models: Sequence[str] = ("fake-model",),
    ) -> None:
        self.script = Script.of(script)
        self.books = Books(books)
        self.models = models
        self.connections = 0
        self.port = port
        self._host, self._unix, self.tls = host, unix, tls
        self._open: set[_Connection] = set()
        self._server: asyncio.Server | None = None

    @property
    def base_url(self) -> str:
        """What to configure as the vendor's base address."""
        return f"{'https' if self.tls else 'http'}://{self._host}:{self.port}/v1"

    async def start(self) -> None:
        """Listen; `port` is known afterwards."""
        loop = asyncio.get_running_loop()
        if self._unix is not None:
            self._server = await loop.create_unix_server(
                self._connected, str(self._unix), ssl=self.tls
            )
        else:
            self._server = await loop.create_server(
                self._connected, self._host, self.port, ssl=self.tls, backlog=4096
            )
            self.port = self._server.sockets[0].getsockname()[1]

    async def stop(self) -> None:
        """Close everything at once."""
        assert self._server is not None
        self._server.close()
        for connection in list(self._open):
            connection.abort()
        await asyncio.sleep(0)
        await self._server.wait_closed()
        self.books.close()

    def turn_away(self) -> None:
        """Refuse connections from now on, and close those that nobody waits on; what has been
        asked is answered. `start` listens again, on the same port."""
        assert self._server is not None
        self._server.close()
        for connection in list(self._open):
            connection.leave()

    async def until(self, reached: Callable[[Books], object], seconds: float = 5.0) -> None:
        """Wait until the books say so; raises TimeoutError when they do not in that time."""
        deadline = time.monotonic() + seconds
        while not reached(self.books):
            if time.monotonic() > deadline:
                raise TimeoutError([(e.number, e.phase, e.events_sent) for e in self.books])
            await asyncio.sleep(0.005)

    async def __aenter__(self) -> FakeVendor:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.stop()

    def _connected(self) -> _Connection:
        return _Connection(self, self._open)


class _Request:
    """One request while it is being read."""

    def __init__(self) -> None:
        self.target = b""
        self.headers: dict[str, str] = {}
        self.body = bytearray()
        self.entry: Entry | None = None


class _Connection(asyncio.Protocol):
    """Reads requests one after the other, and carries out the steps of their answers."""

    def __init__(self, vendor: FakeVendor, registry: set[_Connection]) -> None:
        self._vendor = vendor
        self._registry = registry
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpRequestParser(self)
        self._reading = _Request()
        self._waiting: deque[_Request] = deque()
        self._answer: _Answer | None = None
        self._may_write = True
        self._leaving = False

    # --- the connection

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports behave like asyncio's, but are none by inheritance.
        self._transport = cast(asyncio.Transport, transport)
        self._registry.add(self)
        self._vendor.connections += 1

    def connection_lost(self, exc: Exception | None) -> None:
        self._registry.discard(self)
        self._transport = None
        if self._answer is not None:
            self._answer.client_gone()
            self._answer = None

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError:
            self._vendor.books.malformed += 1
            if self._transport is not None:
                self._transport.write(b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\n\r\n")
                self._transport.close()

    def pause_writing(self) -> None:
        self._may_write = False

    def resume_writing(self) -> None:
        self._may_write = True
        if self._answer is not None:
            self._answer.go_on()

    def abort(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def leave(self) -> None:
        """Close when nothing is asked any more."""
        self._leaving = True
        if self._answer is None:
            self.abort()

    # --- a request, as httptools tells it

    def on_url(self, url: bytes) -> None:
        self._reading.target += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._reading.headers[name.decode("latin-1").lower()] = value.decode("latin-1")

    def on_headers_complete(self) -> None:
        request, headers = self._reading, self._reading.headers
        scheme, _, presented = headers.get("authorization", "").partition(" ")
        request.entry = Entry(
            number=len(self._vendor.books) + 1,
            time=time.time(),
            method=self._parser.get_method().decode("latin-1"),
            target=request.target.decode("latin-1"),
            key=presented if scheme.lower() == "bearer" else headers.get("api-key", ""),
            headers=headers,
        )
        self._vendor.books.open(request.entry)
        if headers.get("expect", "").lower() == "100-continue" and self._transport is not None:
            self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def on_body(self, body: bytes) -> None:
        self._reading.body += body

    def on_message_complete(self) -> None:
        self._waiting.append(self._reading)
        self._reading = _Request()
        if self._answer is None:
            self._next()

    # --- its answer

    def _next(self) -> None:
        if not self._waiting or self._transport is None:
            return
        request = self._waiting.popleft()
        assert request.entry is not None
        body = _decoded(bytes(request.body))
        behaviour, asked = self._decided(request.entry, bytes(request.body), body)
        planned = steps(behaviour, asked, number=request.entry.number, key=request.entry.key)
        self._answer = _Answer(
            self,
            self._vendor.books,
            request.entry,
            body=asked,
            status=behaviour.status,
            planned=planned,
        )
        self._answer.go_on()

    def _decided(
        self, entry: Entry, raw: bytes, body: dict[str, Any]
    ) -> tuple[Behaviour, dict[str, Any]]:
        """What this request meets, and the body it is answered by."""
        path = entry.target.partition("?")[0]
        if entry.method == "GET" and path.endswith("/models"):
            listed = [{"id": m, "object": "model", "owned_by": "fake"} for m in self._vendor.models]
            return Behaviour(body={"object": "list", "data": listed}), {}
        if entry.method != "POST" or not path.endswith("/chat/completions"):
            return Behaviour(status=404), {}
        _fill(entry, raw, body)
        self._vendor.books.write(entry)
        try:
            behaviour = self._vendor.script.behaviour(
                entry.key, entry.number, body, entry.body_sha256
            )
        except (msgspec.ValidationError, AttributeError, IndexError, TypeError) as wrong:
            return Behaviour(status=400, body={"error": {"message": f"script: {wrong!r}"}}), {}
        return behaviour, body

    # --- what an answer may do to the connection

    @property
    def may_write(self) -> bool:
        return self._may_write

    def write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)

    def end(self, *, keep_alive: bool) -> None:
        self._answer = None
        if (self._leaving or not keep_alive) and self._transport is not None:
            self._transport.close()
        else:
            # Not from within the previous answer: a pipeline would recurse.
            self._loop.call_soon(self._next_if_idle)

    def cut(self, how: str) -> None:
        """End it: `fin` after what was written, `rst` as soon as that has left."""
        self._answer = None
        transport = self._transport
        if transport is None:
            return
        if how == "fin":
            transport.close()
        else:
            self._reset_when_sent(transport)

    def _next_if_idle(self) -> None:
        if self._answer is None:
            self._next()

    def _reset_when_sent(self, transport: asyncio.Transport) -> None:
        if transport.is_closing():
            return
        if transport.get_write_buffer_size():
            self._loop.call_later(0.005, self._reset_when_sent, transport)
            return
        # Lingering for no time makes the close a reset; the peer gets a moment to read before it.
        end = transport.get_extra_info("socket")
        if end is not None and end.family != socket.AF_UNIX:
            end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._loop.call_later(0.02, transport.abort)

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        return self._loop


class _Answer:
    """One answer being carried out, and its entry in the books."""

    def __init__(
        self,
        connection: _Connection,
        books: Books,
        entry: Entry,
        *,
        body: dict[str, Any],
        status: int,
        planned: list[Step],
    ) -> None:
        self._connection = connection
        self._status = status
        self._books = books
        self._entry = entry
        self._body = body
        self._steps = deque(planned)
        self._counter = TokenCounter()
        self._timer: asyncio.TimerHandle | None = None

    def go_on(self) -> None:
        """Carry out steps until one has to wait."""
        if self._timer is not None:
            return
        sent = False
        while self._steps and self._connection.may_write:
            match self._steps.popleft():
                case Send() as send:
                    self._send(send)
                    sent = True
                case Wait(seconds):
                    self._timer = self._connection.loop.call_later(seconds, self._waited)
                    break
                case Stall():
                    break
                case Cut(how):
                    self._ended(CUT)
                    self._connection.cut(how)
                    return
                case End(keep_alive):
                    self._ended(COMPLETED)
                    self._connection.end(keep_alive=keep_alive)
                    return
        if sent:
            self._books.step(self._entry)

    def client_gone(self) -> None:
        """The connection was lost first."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._steps.clear()
        self._ended(CLIENT_GONE)

    def _waited(self) -> None:
        self._timer = None
        self.go_on()

    def _send(self, send: Send) -> None:
        entry = self._entry
        if entry.status is None:
            entry.phase = ANSWERING
            entry.status = self._status
        if send.events and entry.first_event_time is None:
            entry.first_event_time = time.time()
        entry.events_sent += send.events
        entry.bytes_sent += len(send.data)
        if send.text:
            self._counter.add(send.text)
            entry.tokens_sent = self._counter.tokens
            if entry.usage_sent is None:
                entry.billed_input = entry.billed_input or estimate_request(self._body)
                entry.billed_output = entry.tokens_sent
        if send.usage is not None:
            entry.usage_sent = send.usage
            reported = usage_of(send.usage)
            if reported is not None:
                entry.billed_input = reported.input_tokens
                entry.billed_output = reported.output_tokens
        self._connection.write(send.data)

    def _ended(self, phase: str) -> None:
        self._entry.phase = phase
        self._entry.ended_time = time.time()
        self._books.step(self._entry)


def _decoded(body: bytes) -> dict[str, Any]:
    try:
        held = json.loads(body)
    except (ValueError, RecursionError):
        return {}
    return held if isinstance(held, dict) else {}


def _fill(entry: Entry, raw: bytes, body: Mapping[str, Any]) -> None:
    """Write down what was asked."""

    def of(name: str, kind: type) -> Any:
        value = body.get(name)
        return value if type(value) is kind else None

    entry.phase = RECEIVED
    entry.model = of("model", str)
    entry.stream = body.get("stream") is True
    entry.max_tokens = of("max_tokens", int)
    entry.max_completion_tokens = of("max_completion_tokens", int)
    entry.user = of("user", str)
    entry.message = last_user_text(body)[:_MESSAGE_CHARACTERS]
    entry.body_bytes = len(raw)
    entry.body_sha256 = hashlib.sha256(raw).hexdigest()


# --- as a process of its own -------------------------------------------------------------------


async def _serve(options: argparse.Namespace) -> None:
    tls = None
    if options.tls:
        tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        tls.load_cert_chain(*options.tls)
    vendor = FakeVendor(
        Script.load(options.script) if options.script else None,
        port=options.port,
        unix=options.unix,
        tls=tls,
        books=options.books,
        models=options.model or ("fake-model",),
    )
    async with vendor:
        print(options.unix or vendor.port, flush=True)
        stopped = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, stopped.set)
        await stopped.wait()


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM; the first line on stdout is the port."""
    parser = argparse.ArgumentParser(prog="python -m tests.fakes.vendor", description=__doc__)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--unix", type=Path)
    parser.add_argument("--books", type=Path)
    parser.add_argument("--script", type=Path)
    parser.add_argument("--tls", nargs=2, metavar=("CERT", "KEY"))
    parser.add_argument("--model", action="append", help="listed by GET /v1/models; repeatable")
    options = parser.parse_args(arguments)
    uvloop.run(_serve(options))
    return 0


if __name__ == "__main__":
    sys.exit(main())
