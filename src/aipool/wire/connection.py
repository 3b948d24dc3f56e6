"""One client connection: bytes to exchanges.

    IDLE ──head──▶ BODY ──whole──▶ BUSY ──answer's end──▶ (FLUSHING ▶) IDLE
      │              │               ├── 101 ──▶ UPGRADED
      └── refusal ───┴──▶ LINGER ◀───┘ Connection: close, then CLOSED

FLUSHING: the client has not taken enough of the last answer to deserve the next.

One request is in hand at a time. What a client sends ahead waits as raw bytes, unparsed, in
`_ahead`, and reading pauses when there is much of it; so pipelining cannot multiply work.

The fast path is a read that holds exactly one whole, ordinary request. A head seen before is
known again by its bytes (`repeat`). Otherwise the parser is given the read, and its one callback
is a method of a dict, so no Python runs inside it. Then the read must add up: as many headers as
lines, and a body as long as announced, to the last byte.

Whatever does not (part of a head or body, several requests, repeated headers, chunks, HTTP/1.0,
any error) takes the careful path, which alone refuses: the blank line is found here, `strict`
judges the head by itself, and the body is cut by its length or decoded by `chunks`.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from fcntl import ioctl
from termios import TIOCOUTQ
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from aipool.wire import strict
from aipool.wire.bodies import BodyReader
from aipool.wire.deadlines import NEVER
from aipool.wire.exchange import Asked, Exchange, Peer
from aipool.wire.repeat import KnownHead
from aipool.wire.statuses import status_line
from aipool.wire.strict import Framing, Refusal

if TYPE_CHECKING:
    from aipool.wire.server import HttpServer

IDLE, BODY, BUSY, FLUSHING, LINGER, UPGRADED, CLOSED = range(7)

_CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_NEW_HEADS_MAX = 8  # A client whose heads go on differing is not worth remembering.
_PAST_ANY_DATA = 1 << 62


class ServerConnection(asyncio.Protocol):
    """The protocol of an accepted connection. Applications see its exchanges only."""

    __slots__ = (
        "_ahead",
        "_asked",
        "_begin",
        "_deferred",
        "_body",
        "_eof",
        "_fast_bytes",
        "_feed",
        "_host",
        "_keep_alive_seconds",
        "_known",
        "_line",
        "_linger_left",
        "_names",
        "_new_heads",
        "_paused",
        "_serving",
        "_stalled",
        "_stalled_bytes",
        "_sweep",
        "_transport",
        "_upgraded",
        "closing_next",
        "deadline",
        "exchange",
        "peer",
        "server",
        "state",
        "time",
        "write",
    )

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.state = IDLE
        self.deadline = NEVER
        self.exchange: Exchange | None = None
        self.closing_next = server.draining
        self.time = server.loop.time
        self._begin = server.begin
        self._sweep = server.sweep
        self._keep_alive_seconds = server.limits.keep_alive_seconds
        self._fast_bytes = min(server.limits.head_bytes, server.limits.body_bytes)
        self._body: BodyReader | None = None
        self._ahead = b""
        self._eof = False
        self._serving = False
        self._deferred = False  # The rest of what was sent ahead is served in another turn.
        self._paused = False
        self._stalled = False
        self._stalled_bytes = 0
        self._linger_left = server.limits.linger_bytes
        self._upgraded: asyncio.Protocol | None = None
        self._host = b"\0"  # What no Host can be.
        self._known: KnownHead | None = None
        self._new_heads = 0
        self._line = b"\0"  # Nor any request line.
        self._new_parser()

    # ------------------------------------------------------------------ the connection's life

    def connection_made(self, transport: Any) -> None:
        """The socket is up, TLS included."""
        limits = self.server.limits
        self._transport: Any = transport
        self.write: Callable[[bytes], None] = transport.write
        name = transport.get_extra_info("peername")
        unix = not isinstance(name, tuple)
        tls = transport.get_extra_info("sslcontext") is not None
        self.peer = Peer("" if unix else str(name[0]), tls, unix)
        transport.set_write_buffer_limits(
            high=limits.write_buffer_high_bytes, low=limits.write_buffer_low_bytes
        )
        self.deadline = self.time() + limits.head_seconds
        if not self.server.joined(self):
            self._refuse(strict.TOO_MANY)
            self.close()

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        upgraded, self._upgraded = self._upgraded, None
        self.state = CLOSED
        self.deadline = NEVER
        self._ahead = b""
        self._leave_body()
        self.server.left(self)
        exchange, self.exchange = self.exchange, None
        if exchange is not None:
            exchange.connection_ended()
        if upgraded is not None:
            upgraded.connection_lost(error)

    def eof_received(self) -> bool:
        """A client that shuts its side after a whole request still gets its answer."""
        self._eof = True
        if self._upgraded is not None:
            return bool(self._upgraded.eof_received())
        if self.peer.tls:
            return False  # TLS knows no half-closed connection.
        if self.state == BUSY:
            self.closing_next = self.closing_next or not self._ahead
            return True
        if self.state == IDLE and self._ahead:
            self.server.loop.call_soon(self._go_on)
            return True
        return self.state == FLUSHING and bool(self._ahead)

    def close(self) -> None:
        """Ends the connection after what was written has left."""
        if self.state != CLOSED:
            self.state = LINGER
            self.deadline = self._sweep.now + self.server.limits.stalled_reader_seconds
            self._ahead = b""
            self._transport.close()

    def abort(self) -> None:
        """Ends the connection now; what was not sent is lost."""
        self._transport.abort()

    # ---------------------------------------------------------------------------- fast path

    def _new_parser(self) -> None:
        """A parser that only takes notes; one that has seen anything irregular is replaced."""
        self._names: dict[bytes, bytes] = {}
        notes = SimpleNamespace(on_header=self._names.__setitem__)
        self._feed: Callable[[bytes], None] = HttpRequestParser(notes).feed_data

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
            headers = self._parsed(data, block, body)
            if headers is None:
                self._new_parser()
                self._serve(data)
                return
            exchange = Exchange(self, self._asked, headers, self.time())
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

    def _parsed(self, data: bytes, block: bytes, body: bytes) -> dict[bytes, bytes] | None:
        """The headers of a read that is one whole, ordinary request; None when it is not."""
        names = self._names
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade):
            return None
        headers = {name.lower(): value.strip() for name, value in names.items()}
        names.clear()
        length = headers.get(b"content-length")
        if (
            len(body) != (0 if length is None else int(length))
            or len(headers) != block.count(b"\r\n")
            or not (data.startswith(self._line) or self._learns_line(block))
            or (headers.get(b"host") != self._host and not self._learns_host(headers))
            or headers.get(b"connection", b"keep-alive") != b"keep-alive"
            or b"transfer-encoding" in headers
            or b"expect" in headers
        ):
            return None
        if self._new_heads < _NEW_HEADS_MAX:
            self._new_heads += 1
            self._known = KnownHead(block, self._asked, headers)
        return headers

    def _learns_line(self, block: bytes) -> bool:
        """Clients repeat themselves: a request line that was judged once is known again."""
        line = block[: block.find(b"\r\n") + 2]
        parts = line.split(b" ")
        if len(parts) != 3 or parts[0] not in strict.METHODS or parts[2] != b"HTTP/1.1\r\n":
            return False
        if strict.refused_target(parts[1], parts[0]) is not None:
            return False
        self._line = line
        self._asked = Asked.of(self.peer, parts[0], parts[1])
        return True

    def _learns_host(self, headers: dict[bytes, bytes]) -> bool:
        host = headers.get(b"host")
        if host is None or not strict.host_is_valid(host):
            return False
        self._host = host
        return True

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
            return self._refuse(strict.HEAD_TOO_LARGE)
        head = strict.read_head(data[position:body_at], limits)
        if isinstance(head, Refusal):
            return self._refuse(head)
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
            self.write(_CONTINUE)
        return len(data)

    def _keep_partial_head(self, partial: bytes) -> None:
        if len(partial) > self.server.limits.head_bytes:
            self._refuse(strict.HEAD_TOO_LARGE)
        elif partial.count(b"\n") != partial.count(b"\r\n"):
            self._refuse(strict.MALFORMED)  # A bare LF: no blank line would ever be found.
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

    def pause_reading(self) -> None:
        """Stops reading from the client."""
        if not self._paused and not self._eof:
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Goes on reading from the client."""
        if self._paused:
            self._paused = False
            if not self._transport.is_closing():
                self._transport.resume_reading()

    # ------------------------------------------------------------------- what exchanges call

    def hold_body(self) -> None:
        """The application does not know yet whether it wants the body."""
        if self._body is not None:
            self.pause_reading()

    def take_body(self, *, wanted: bool) -> None:
        """It knows now."""
        body = self._body
        if body is None:
            return
        if wanted and body.expects:
            body.expects = False
            self.write(_CONTINUE)
        self.resume_reading()

    @property
    def last(self) -> bool:
        """The answer about to be written must be the connection's last."""
        return self.closing_next or (self._body is not None and not self._body.may_discard())

    @property
    def special(self) -> bool:
        """The answer about to be written may have to be the last."""
        return self.closing_next or self._body is not None

    def date(self, headers: bytes) -> bytes:
        """The Date line, unless the application brought one (RFC 9110 section 6.6.1)."""
        return b"" if b"\r\ndate: " in b"\r\n" + headers.lower() else self.server.date_line

    def release(self, size: int) -> None:
        """Bytes of a body are held no longer."""
        self.server.bodies.release(size)

    def exchange_finished(self, keep_alive: bool) -> None:
        """The answer is written whole."""
        self.exchange = None
        if self.state == BUSY and keep_alive:
            self._ready_for_next()
        elif keep_alive:
            assert self._body is not None
            self._body.discard()
        elif self._body is not None or self._ahead:
            self._linger()
        else:
            self.close()

    def exchange_aborted(self) -> None:
        """The answer must not look complete."""
        self.exchange = None
        self.abort()

    def exchange_upgraded(self, factory: Callable[[], asyncio.Protocol]) -> asyncio.Transport:
        """The connection speaks another protocol from here on."""
        self.exchange = None
        self.state = UPGRADED
        self.deadline = NEVER
        protocol = self._upgraded = factory()
        transport: asyncio.Transport = self._transport
        protocol.connection_made(transport)
        ahead, self._ahead = self._ahead, b""
        if ahead:
            protocol.data_received(ahead)
        self.resume_reading()
        return transport

    def _ready_for_next(self) -> None:
        if self._stalled:
            self.state = FLUSHING
            return
        self.state = IDLE
        self.deadline = self._sweep.now + self._keep_alive_seconds
        if self._ahead or self._eof:
            self._go_on()

    def _linger(self) -> None:
        """Reads on for a while without keeping anything: closing with unread bytes would send a
        reset, which can destroy the answer before the client has read it."""
        self._leave_body()
        self._ahead = b""
        if self._eof:
            self.close()
            return
        self.state = LINGER
        self.deadline = self._sweep.now + self.server.limits.linger_seconds
        self.resume_reading()
        if not self.peer.tls and self._transport.can_write_eof():
            self._transport.write_eof()

    def _leave_body(self) -> None:
        body, self._body = self._body, None
        if body is not None:
            body.discard()

    # --------------------------------------------------------------- back-pressure, deadlines

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        self._stalled = True
        if self._upgraded is not None:
            self._upgraded.pause_writing()
            return
        self._stalled_bytes = self._unsent_bytes()
        if self._body is None:
            self.deadline = self._sweep.now + self.server.limits.stalled_reader_seconds
        exchange = self.exchange
        if exchange is not None and exchange.listener is not None:
            exchange.listener.writable(False)

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._stalled = False
        if self._upgraded is not None:
            self._upgraded.resume_writing()
        elif self.state == FLUSHING:
            self._ready_for_next()
        else:
            if self.state == BUSY:
                self.deadline = NEVER
            exchange = self.exchange
            if exchange is not None and exchange.listener is not None:
                exchange.listener.writable(True)

    def expired(self, now: float) -> None:
        """The sweep found this connection late."""
        if self.state == LINGER:
            self.abort()
        elif self._body is not None:
            refusal = self._body.late(now)
            if refusal is not None:
                self._refuse(refusal)
        elif self._stalled:
            self._look_at_stalled(now)
        elif self._ahead:
            self._refuse(strict.HEAD_TIMEOUT)
        else:
            self.close()

    def _look_at_stalled(self, now: float) -> None:
        """A reader that took nothing since it was last looked at has had its time."""
        size = self._unsent_bytes()
        limited = self.exchange is None or self.exchange.stall_limited
        if limited and size >= self._stalled_bytes:
            self.abort()
        self._stalled_bytes = size
        self.deadline = now + self.server.limits.stalled_reader_seconds

    def _unsent_bytes(self) -> int:
        """What the client has not acknowledged. The kernel's part counts too: it holds megabytes,
        and asks for more only after a slow reader has taken a good part of them."""
        size: int = self._transport.get_write_buffer_size()
        sock = self._transport.get_extra_info("socket")
        if sock is not None and sock.fileno() >= 0:
            queued = array("i", [0])
            ioctl(sock.fileno(), TIOCOUTQ, queued)
            size += queued[0]
        return size

    def drain(self) -> None:
        """The next answer is the last; an idle connection has a moment to ask for it."""
        self.closing_next = True
        if self.state == IDLE:
            grace = self.server.limits.drain_idle_seconds
            self.deadline = min(self.deadline, self.time() + grace)
        elif self.state == UPGRADED:
            self._transport.close()

    def _refuse(self, refusal: Refusal) -> int:
        """Answers for the wire itself and ends the connection. Gives a position past any data."""
        exchange, self.exchange = self.exchange, None
        answered = exchange is not None and exchange.answered
        if exchange is not None:
            exchange.connection_ended()
        if answered:
            self.abort()
            return _PAST_ANY_DATA
        headers, body = self.server.refusal(refusal.status, refusal.code, refusal.message)
        if refusal.status == 503 and b"retry-after:" not in headers.lower():
            headers += b"Retry-After: 1\r\n"
        self.write(
            b"%b%b%bContent-Length: %d\r\nConnection: close\r\n\r\n%b"
            % (status_line(refusal.status), self.date(headers), headers, len(body), body)
        )
        self._linger()
        return _PAST_ANY_DATA
