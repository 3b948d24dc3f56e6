"""Serves the sandbox vendor on its Unix socket, with the same HTTP as the gateway's own.

What it says is `aipool.vendors.sandbox`; this file only carries it. It lives in control,
so that playing with it takes nothing from the workers but what a real vendor takes.
"""

from __future__ import annotations

import json
import socket
from collections.abc import Callable
from functools import partial

from aipool.kit.clock import now_seconds
from aipool.vendors.sandbox.answers import answer
from aipool.wire.limits import Limits
from aipool.wire.server import Exchange, HttpServer

_PATHS = frozenset({b"/v1/chat/completions", b"/chat/completions"})
_JSON = b"Content-Type: application/json\r\n"

Clock = Callable[[], int]


async def start_sandbox(
    listener: socket.socket, limits: Limits, clock: Clock = now_seconds
) -> HttpServer:
    """A server on this socket. clock: unix seconds, for the answers' `created`."""
    server = HttpServer(partial(_begin, clock), _refusal, limits)
    await server.listen(listener)
    return server


def _begin(clock: Clock, exchange: Exchange) -> None:
    if exchange.path not in _PATHS:
        _refuse(exchange, 404, "unknown_url", "The sandbox only knows chat completions.")
    elif exchange.method != b"POST":
        _refuse(exchange, 405, "method_not_allowed", "Chat completions are called with POST.")
    else:
        exchange.listener = _Call(exchange, clock)


class _Call:
    """One call: answered when its body is whole, event by event as fast as it is read."""

    __slots__ = ("_clock", "_events", "_exchange", "_next", "_paused")

    def __init__(self, exchange: Exchange, clock: Clock) -> None:
        self._exchange = exchange
        self._clock = clock
        self._events: tuple[bytes, ...] = ()
        self._next = 0
        self._paused = False

    def body_complete(self) -> None:
        """Computes the whole answer, which is quick, and sends it or its first events."""
        said = answer(self._exchange.body, created=self._clock())
        self._exchange.release_body()
        headers = b"Content-Type: %b\r\n" % said.content_type
        if not said.content_type.startswith(b"text/event-stream"):
            self._exchange.answer(said.status, headers, b"".join(said.parts))
            return
        self._exchange.start(said.status, headers + b"Cache-Control: no-cache\r\n")
        self._events = said.parts
        self._send_on()

    def client_gone(self) -> None:
        """Nothing is left to do for this call."""
        self._events = ()

    def writable(self, ok: bool, /) -> None:
        """Waits for a reader that is slower than we are."""
        self._paused = not ok
        if ok and self._events:
            self._send_on()

    def _send_on(self) -> None:
        while self._next < len(self._events) and not self._paused:
            event = self._events[self._next]
            self._next += 1
            self._exchange.send(event)
        if self._events and self._next == len(self._events):
            self._events = ()
            self._exchange.end()


def _refuse(exchange: Exchange, status: int, code: str, message: str) -> None:
    headers, body = _refusal(status, code, message, b"")
    exchange.answer(status, headers, body)


def _refusal(_status: int, code: str, message: str, _target: bytes) -> tuple[bytes, bytes]:
    error = {"message": message, "type": "invalid_request_error", "param": None, "code": code}
    return _JSON, json.dumps({"error": error}).encode()
