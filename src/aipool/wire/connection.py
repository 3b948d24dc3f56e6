"""One client connection: bytes to exchanges.

The fast path is a read that holds exactly one whole, ordinary request: a head seen before is known
again by its bytes (`repeat`), another is parsed and must add up (`ordinary`).

Whatever does not (part of a head or body, several requests, repeated headers, chunks, HTTP/1.0,
any error) takes the careful path, which alone refuses: the blank line is found here, `strict`
judges the head by itself, and the body is cut by its length or decoded by `chunks`.

What a client sends ahead of its answers waits in `_ahead`, and reading pauses when there is much
of it; so pipelining cannot multiply work. Whose turn it is, `turns` knows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aipool.wire import strict
from aipool.wire.bodies import BodyReader
from aipool.wire.deadlines import NEVER
from aipool.wire.exchange import Asked, Exchange
from aipool.wire.ordinary import OrdinaryRequests
from aipool.wire.repeat import KnownHead
from aipool.wire.strict import Framing, Refusal
from aipool.wire.turns import BODY, BUSY, CONTINUE, FLUSHING, IDLE, LINGER, Turns

if TYPE_CHECKING:
    from aipool.wire.server import HttpServer


class ServerConnection(Turns):
    """The protocol of an accepted connection. Applications see its exchanges only."""

    __slots__ = ("_begin", "_deferred", "_fast_bytes", "_known", "_ordinary", "_serving")

    def __init__(self, server: HttpServer) -> None:
        super().__init__(server)
        self._begin = server.begin
        self._fast_bytes = min(server.limits.head_bytes, server.limits.body_bytes)
        self._known: KnownHead | None = None
        self._serving = False
        self._deferred = False  # The rest of what was sent ahead is served in another turn.

    def connection_made(self, transport: Any) -> None:
        """The socket is up, TLS included."""
        super().connection_made(transport)
        self._ordinary = OrdinaryRequests(self.peer)
        if not self.server.joined(self):
            self._refuse(strict.TOO_MANY)
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        self.server.left(self)
        super().connection_lost(error)

    # ---------------------------------------------------------------------------- fast path

    def data_received(self, data: bytes) -> None:
        """Bytes from the client."""
        if self.state != IDLE or self._ahead or len(data) > self._fast_bytes:
            self._received_otherwise(data)
            return
        block, _, body = data.partition(b"\r\n\r\n")
        known = self._known
        headers = None if known is None else known.headers_of(block, body)
        if headers is not None:
            assert known is not None
            exchange = Exchange(self, known.asked, headers, self.time())
        else:
            ordinary = self._ordinary
            headers = ordinary.headers_of(data, block, body)
            if headers is None:
                self._serve(data)
                return
            self._known = ordinary.known
            exchange = Exchange(self, ordinary.asked, headers, self.time())
        if b"content-length" in headers:
            exchange.content_length = len(body)
            exchange.body = body
        self.exchange = exchange
        self.state = BUSY
        self.deadline = NEVER
        self._begin(exchange)
        listener = exchange.listener
        if listener is not None:
            listener.body_complete()

    # ------------------------------------------------------------------------- careful path

    def _received_otherwise(self, data: bytes) -> None:
        state = self.state
        if state == BODY:
            rest = self._read_body(data)
            if rest and self.state == IDLE:
                self._serve(rest)
            elif rest and self.state <= FLUSHING:
                self._keep_ahead(rest)
        elif state in (BUSY, FLUSHING):
            self._keep_ahead(self._ahead + data)
        elif state == IDLE:
            ahead, self._ahead = self._ahead, b""
            self._serve(ahead + data)
        elif self._upgraded is not None:
            self._upgraded.data_received(data)
        elif state == LINGER:
            self._linger_left -= len(data)
            if self._linger_left < 0:
                self.abort()

    def _serve(self, data: bytes) -> None:
        """Serves the requests in these bytes, one after the other, as far as they go."""
        position = served = 0
        self._serving = True
        while True:
            position = self._serve_one(data, position)
            served += 1
            if position >= len(data):
                break
            if self.state != IDLE:
                if self.state <= FLUSHING:
                    self._keep_ahead(data[position:])
                elif self._upgraded is not None:
                    self._upgraded.data_received(data[position:])
                break
            if served == self.server.limits.pipelined_requests:
                self._ahead = data[position:]
                self._deferred = True
                self.pause_reading()
                self.server.loop.call_soon(self._go_on)
                break
        self._serving = False

    def _serve_one(self, data: bytes, position: int) -> int:
        """Takes one request from these bytes; gives the position after what was taken."""
        while data.startswith(b"\r\n", position):
            position += 2  # Empty lines before a request line: RFC 9112 section 2.2.
        limits = self.server.limits
        body_at = data.find(b"\r\n\r\n", position) + 4
        if body_at < 4:
            self._keep_partial_head(data[position:])
            return len(data)
        if body_at - position > limits.head_bytes:
            return self._refuse(strict.HEAD_TOO_LARGE, data[position:body_at])
        head = strict.read_head(data[position:body_at], limits)
        if isinstance(head, Refusal):
            return self._refuse(head, data[position:body_at])
        asked = Asked.of(self.peer, head.method, head.target)
        exchange = Exchange(self, asked, head.headers, self.time())
        exchange.http10 = head.http10
        exchange.keep_alive = head.keep_alive
        exchange.content_length = size = head.length
        self.exchange = exchange
        if head.framing is Framing.NONE or (size is not None and len(data) - body_at >= size):
            end = body_at + (size or 0)
            exchange.body = data[body_at:end]
            self.state = BUSY
            self.deadline = NEVER
            self._begin(exchange)
            if exchange.listener is not None:
                exchange.listener.body_complete()
            return end
        self.state = BODY
        body = self._body = BodyReader(self, exchange, size, expects=head.expects)
        self._begin(exchange)
        if self._body is not body:
            return len(data)  # Answered, and the body not worth reading.
        if body_at < len(data):
            body.expects = False  # It did not wait.
            return len(data) - len(self._read_body(data[body_at:]))
        if body.expects and not (exchange.answered or exchange.body_held):
            body.expects = False
            self.write(CONTINUE)
        return len(data)

    def _keep_partial_head(self, partial: bytes) -> None:
        if len(partial) > self.server.limits.head_bytes:
            self._refuse(strict.HEAD_TOO_LARGE, partial)
        elif partial.count(b"\n") != partial.count(b"\r\n"):
            # A bare LF: no blank line would ever be found.
            self._refuse(strict.MALFORMED, partial)
        elif partial:
            self._ahead = partial
            self.deadline = min(self.deadline, self.time() + self.server.limits.head_seconds)

    def _read_body(self, data: bytes) -> bytes:
        """Takes bytes of the body; gives those that follow it."""
        body = self._body
        assert body is not None
        refusal = body.feed(data)
        if refusal is not None:
            self._refuse(refusal)
            return b""
        if not body.whole:
            return b""
        content = body.content()
        self._body = None
        self.resume_reading()  # It may have been held back while the last bytes were in hand.
        self.state = BUSY
        self.deadline = NEVER
        exchange = self.exchange
        if exchange is None:  # Answered long ago; this was the rest of its body.
            self._ready_for_next()
        elif content is not None:
            exchange.body = content
            del content
            if exchange.listener is not None:
                exchange.listener.body_complete()
        return body.rest

    # ------------------------------------------------------------------- what was sent ahead

    def _keep_ahead(self, data: bytes) -> None:
        self._ahead = data
        limits = self.server.limits
        if not self._paused and (
            len(data) >= limits.pipelined_bytes
            or data.count(b"\r\n\r\n") >= limits.pipelined_requests
        ):
            self.pause_reading()

    def _go_on(self) -> None:
        """Serves what was sent ahead, if the connection is free for it."""
        self._deferred = False
        if self.state != IDLE or self._serving:
            return
        if self._ahead:
            ahead, self._ahead = self._ahead, b""
            self._serve(ahead)
        if self._deferred:
            return
        if self.state == IDLE and self._eof:
            self.close()  # Nothing more can come; half a head will never be whole.
        elif len(self._ahead) < self.server.limits.pipelined_bytes:
            self.resume_reading()
