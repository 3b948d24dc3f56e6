"""One connection to an upstream: a request out, an answer in, and back to the pool.

The fast path is a read that holds one whole, ordinary answer. As in the server, the parser's
callback is a method of a dict, and what it noted must add up to the read's last byte; whatever
does not is read again by an `AnswerReader`.

A connection goes back to the pool only when nothing about it is in doubt: the answer was whole
and said how long it is, the request was written out, nothing followed, and both sides want to
keep it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from httptools import HttpParserError, HttpParserUpgrade, HttpResponseParser

from aipool.wire.answer import AnswerReader
from aipool.wire.deadlines import NEVER
from aipool.wire.pool import Stack
from aipool.wire.request import Failure, FailureKind, Origin, Request
from aipool.wire.statuses import BODILESS

if TYPE_CHECKING:
    from aipool.wire.client import HttpClient

_JOINED_WRITE_BYTES = 64 * 1024  # Up to here one copy is cheaper than a second buffer.


class UpstreamConnection(asyncio.Protocol):
    """The protocol of a connection to an origin. Owned by the client and its pool."""

    __slots__ = (
        "_answer",
        "_answered",
        "_feed",
        "_idle_seconds",
        "_names",
        "_parser",
        "_paused",
        "_sent_at",
        "_sweep",
        "_transport",
        "_used",
        "_write",
        "client",
        "closed",
        "deadline",
        "origin",
        "request",
        "stack",
    )

    def __init__(self, client: HttpClient, origin: Origin) -> None:
        self.client = client
        self.origin = origin
        self.deadline = NEVER
        self.closed = False
        self.request: Request | None = None
        self._answer: AnswerReader | None = None
        self._answered = False
        self._used = False
        self._paused = False
        self._sent_at = 0.0
        self._sweep = client.sweep
        self._idle_seconds = client.limits.idle_connection_seconds
        self._new_parser()

    def _new_parser(self) -> None:
        """A parser that only takes notes; one that has seen anything irregular is replaced."""
        self._names: dict[bytes, bytes] = {}
        self._parser = HttpResponseParser(SimpleNamespace(on_header=self._names.__setitem__))
        self._feed: Callable[[bytes], None] = self._parser.feed_data

    # ------------------------------------------------------------------ the connection's life

    def connection_made(self, transport: Any) -> None:
        """The socket is up, TLS included."""
        self.stack: Stack = self.client.pool.stack(self.origin)
        self._transport: Any = transport
        self._write: Callable[[bytes], None] = transport.write
        self.client.opened(self)

    def eof_received(self) -> None:
        """The peer sends no more; the transport closes."""
        self.closed = True

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self.closed = True
        self.deadline = NEVER
        self.client.lost(self)
        request = self.request
        if request is None:
            return
        answer = self._answer
        if answer is not None and answer.until_close and error is None:
            answer.ended_by_close(request)
        elif self._was_stale(request):
            self.request = request.connection = None
            request.replayed = True
            self.client.connect(request)
        elif error is not None or not self._answered:
            self.fail(FailureKind.RESET, str(error) if error else "closed without an answer")
        else:
            self.fail(FailureKind.TRUNCATED, "closed in the middle of the answer")

    def _was_stale(self, request: Request) -> bool:
        """The peer had closed this pooled connection before it can have seen the request."""
        client = self.client
        return (
            self._used
            and not self._answered
            and not request.replayed
            and client.loop.time() - self._sent_at < client.limits.stale_seconds
        )

    def close(self) -> None:
        """Closes an idle connection."""
        self.closed = True
        self.deadline = NEVER
        self._transport.close()

    def abort(self) -> None:
        """Ends the connection now; a request on it fails."""
        self._transport.abort()

    # ------------------------------------------------------------------------------- requests

    def send(self, request: Request, now: float) -> None:
        """Writes a request; the connection is its until the answer's end."""
        self.request = request
        request.connection = self
        self._sent_at = now
        self.deadline = request.first_byte_at
        if len(request.body) <= _JOINED_WRITE_BYTES:
            self._write(request.head + request.body)
        else:
            self._transport.writelines((request.head, request.body))
        if request.paused:
            self.pause(request)

    def pause(self, request: Request) -> None:
        """The request's owner wants no more bytes for now."""
        self.deadline = request.ends_at
        self.pause_reading()

    def resume(self, request: Request) -> None:
        """The request's owner takes bytes again."""
        if self._answer is not None and self._answer.body_begun:
            self.postpone(request)
        else:
            self.deadline = request.first_byte_at
        self.read_on()

    def postpone(self, request: Request) -> None:
        """Bytes of a body came: the limit between bytes begins anew."""
        if not request.paused:
            deadline = self.client.loop.time() + request.idle_seconds
            self.deadline = deadline if deadline < request.ends_at else request.ends_at

    def pause_reading(self) -> None:
        """Stops reading the answer."""
        if not self._paused:
            self._paused = True
            self._transport.pause_reading()

    def read_on(self) -> None:
        """Goes on reading, unless someone else still wants it to rest."""
        if not self._paused or (self.request is not None and self.request.paused):
            return
        if self._answer is None or not self._answer.waiting:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    def cancel(self) -> None:
        """The request's owner is gone: so is the connection."""
        self.request = None
        self._drop()

    def expired(self, now: float) -> None:
        """The sweep found this connection late."""
        request = self.request
        if request is None:
            self.close()
        elif now >= request.ends_at:
            self.fail(FailureKind.TIMEOUT_TOTAL, "the request took too long")
        elif self._answer is not None and self._answer.body_begun:
            self.fail(FailureKind.TIMEOUT_IDLE, "the answer stopped coming")
        else:
            self.fail(FailureKind.TIMEOUT_FIRST_BYTE, "no answer came")

    # ------------------------------------------------------------------------ incoming bytes

    def data_received(self, data: bytes) -> None:
        """Bytes from the upstream."""
        request = self.request
        if request is None:
            self._drop()  # Bytes nobody asked for: whose answer would the next one be?
            return
        if self._answer is not None:
            self._answer.feed(data, request)
            return
        self._answered = True
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade):
            self._read_carefully(data, request)
            return
        names = self._names
        headers = {name.lower(): value.strip() for name, value in names.items()}
        names.clear()
        block, _, body = data.partition(b"\r\n\r\n")
        length = headers.get(b"content-length")
        status = self._parser.get_status_code()
        if (
            length is None
            or len(body) != int(length)
            or len(headers) != block.count(b"\r\n")
            or status < 200
            or status in BODILESS
            or block[:9] != b"HTTP/1.1 "
            or headers.get(b"connection", b"keep-alive") != b"keep-alive"
            or b"transfer-encoding" in headers
            or request.head[:5] == b"HEAD "
        ):
            self._read_carefully(data, request)
            return
        listener = request.listener
        streamed = listener.response(status, headers)
        if self.request is not request:
            return
        if streamed:
            if body:
                listener.data(body)
                if self.request is not request:
                    return
            body = b""
        request.over()
        self._release(keep_alive=True)
        listener.complete(body)

    def _read_carefully(self, data: bytes, request: Request) -> None:
        self._new_parser()
        self._answer = AnswerReader(self)
        self._answer.feed(data, request)

    # -------------------------------------------------------------------------------- endings

    def finish(self, request: Request, body: bytes) -> None:
        """The clean end of an answer that took a reader."""
        answer = self._answer
        assert answer is not None
        self._answer = None
        answer.leave()
        listener = request.over()
        self._release(keep_alive=answer.keep_alive and not answer.until_close)
        listener.complete(body)

    def _release(self, *, keep_alive: bool) -> None:
        """Back to the pool, before the listener hears of the end and asks for the next."""
        self.request = None
        self._answered = False
        if keep_alive and not self.closed and not self._transport.get_write_buffer_size():
            self._used = True
            if self._paused:
                self.read_on()
            self.deadline = self._sweep.now + self._idle_seconds
            if self.client.closed or not self.stack.put(self):
                self.close()
        elif not self.closed:
            self._drop()

    def fail(self, kind: FailureKind, detail: str) -> None:
        """The other end of a request."""
        request, self.request = self.request, None
        assert request is not None
        listener = request.over()
        answered = self._answered
        self._drop()
        listener.failed(Failure(kind, detail, sent=True, answered=answered))

    def _drop(self) -> None:
        answer, self._answer = self._answer, None
        if answer is not None:
            answer.leave()
        self.deadline = NEVER
        self.closed = True
        self._transport.abort()
