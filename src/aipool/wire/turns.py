"""Whose turn it is on a client's connection.

    IDLE ──head──▶ BODY ──whole──▶ BUSY ──answer's end──▶ (FLUSHING ▶) IDLE
      │              │               ├── 101 ──▶ UPGRADED
      └── refusal ───┴──▶ LINGER ◀───┘ Connection: close, then CLOSED

FLUSHING: the client has not taken enough of the last answer to deserve the next.

One request is in hand at a time. What a client sends ahead waits as raw bytes, unparsed, in
`_ahead`. Here is what exchanges ask of their connection, what the wire itself refuses, how a
connection is late and how it ends; how requests come about is the business of `connection`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

from aipool.wire import strict
from aipool.wire.bodies import BodyReader
from aipool.wire.deadlines import NEVER
from aipool.wire.exchange import Exchange
from aipool.wire.flow import Flow
from aipool.wire.statuses import status_line
from aipool.wire.strict import Refusal

if TYPE_CHECKING:
    from aipool.wire.server import HttpServer

IDLE, BODY, BUSY, FLUSHING, LINGER, UPGRADED, CLOSED = range(7)

CONTINUE = b"HTTP/1.1 100 Continue\r\n\r\n"
_PAST_ANY_DATA = 1 << 62


class Turns(Flow):
    """A request in hand, its answer, and the way from one to the next."""

    __slots__ = (
        "_ahead",
        "_body",
        "_keep_alive_seconds",
        "_linger_left",
        "_upgraded",
        "closing_next",
        "exchange",
        "state",
    )

    def __init__(self, server: HttpServer) -> None:
        super().__init__(server)
        self.state = IDLE
        self.exchange: Exchange | None = None
        self.closing_next = server.draining
        self._body: BodyReader | None = None
        self._ahead = b""
        self._keep_alive_seconds = server.limits.keep_alive_seconds
        self._linger_left = server.limits.linger_bytes
        self._upgraded: asyncio.Protocol | None = None

    def _go_on(self) -> None:
        """Serves what was sent ahead, if the connection is free for it."""
        raise NotImplementedError

    # ------------------------------------------------------------------ the connection's life

    def connection_lost(self, error: Exception | None) -> None:
        """The socket is gone."""
        upgraded, self._upgraded = self._upgraded, None
        self.state = CLOSED
        self.deadline = NEVER
        self._ahead = b""
        self._leave_body()
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

    def drain(self) -> None:
        """The next answer is the last; an idle connection has a moment to ask for it."""
        self.closing_next = True
        if self.state == IDLE:
            grace = self.server.limits.drain_idle_seconds
            self.deadline = min(self.deadline, self.time() + grace)
        elif self.state == UPGRADED:
            self._transport.close()

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
            self.write(CONTINUE)
        self.resume_reading()

    def bound_body(self, bytes_max: int) -> None:
        """The body that is being read, if any, is refused beyond so many bytes."""
        if self._body is not None:
            self._body.bytes_max = min(self._body.bytes_max, bytes_max)

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

    def _refuse(self, refusal: Refusal, head: bytes = b"") -> int:
        """Answers for the wire itself and ends the connection. Gives a position past any data.

        head: that is refused, or what there is of it; of an exchange it is known.
        """
        exchange, self.exchange = self.exchange, None
        target = strict.target_of(head) if exchange is None else exchange.target
        answered = exchange is not None and exchange.answered
        if exchange is not None:
            exchange.connection_ended()
        if answered:
            self.abort()
            return _PAST_ANY_DATA
        headers, body = self.server.refusal(refusal.status, refusal.code, refusal.message, target)
        if refusal.status == 503 and b"retry-after:" not in headers.lower():
            headers += b"Retry-After: 1\r\n"
        self.write(
            b"%b%b%bContent-Length: %d\r\nConnection: close\r\n\r\n%b"
            % (status_line(refusal.status), self.date(headers), headers, len(body), body)
        )
        self._linger()
        return _PAST_ANY_DATA

    # --------------------------------------------------------------- back-pressure, deadlines

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        super().pause_writing()
        if self._upgraded is not None:
            self._upgraded.pause_writing()
            return
        if self._body is None:
            self.deadline = self._sweep.now + self.server.limits.stalled_reader_seconds
        exchange = self.exchange
        if exchange is not None and exchange.listener is not None:
            exchange.listener.writable(False)

    def resume_writing(self) -> None:
        """The client has caught up."""
        super().resume_writing()
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
            limited = self.exchange is None or self.exchange.stall_limited
            self._look_at_stalled(now, limited=limited)
        elif self._ahead:
            self._refuse(strict.HEAD_TIMEOUT, self._ahead)
        else:
            self.close()
