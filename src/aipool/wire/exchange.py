"""One request and its answer.

    begun ──body whole──▶ listener.body_complete()
      │
      ├─ answer()                        head and body in one write
      └─ start() ─ send()… ─ end()       streamed: chunked on 1.1, close-delimited on 1.0
             └──── abort()               never looks like a clean end

Every exchange ends once: by the answer's end, by `abort`, or because the client went away, which
the listener is told by `client_gone`. After that every method does nothing, so an application
may go on calling them while it winds down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from aipool.wire.statuses import BODILESS, STATUS_LINES, status_line

if TYPE_CHECKING:
    from aipool.wire.connection import ServerConnection


@dataclass(slots=True, eq=False)
class Peer:
    """Who is at the other end of a connection."""

    address: str
    """The address without the port; empty for a Unix socket."""

    tls: bool
    unix: bool

    memo: object = None
    """The application's: what it learnt from one request and need not learn from the next."""


@dataclass(frozen=True, slots=True)
class Asked:
    """A request line and who sent it; one object serves a client that repeats itself."""

    peer: Peer
    method: bytes
    target: bytes
    path: bytes
    query: bytes

    @classmethod
    def of(cls, peer: Peer, method: bytes, target: bytes) -> Asked:
        path, _, query = target.partition(b"?")
        return cls(peer, method, target, path, query)


class Listener(Protocol):
    """What the application hangs on an exchange."""

    def body_complete(self) -> None:
        """`exchange.body` is whole."""

    def client_gone(self) -> None:
        """The connection ended before the answer did. At most once, never after the end."""

    def writable(self, ok: bool, /) -> None:
        """Back-pressure from the client's socket: False = stop producing, True = go on."""


class Exchange:
    """One request, and the means to answer it. Made by the connection, never by applications."""

    __slots__ = (
        "_charged_bytes",
        "_chunked",
        "_connection",
        "_left",
        "_mute",
        "answered",
        "body",
        "body_held",
        "connection",
        "content_length",
        "finished",
        "headers",
        "http10",
        "keep_alive",
        "listener",
        "method",
        "path",
        "query",
        "received_at",
        "stall_limited",
        "target",
    )

    def __init__(
        self,
        connection: ServerConnection,
        asked: Asked,
        headers: dict[bytes, bytes],
        received_at: float,
    ) -> None:
        self._connection: ServerConnection | None = connection
        self.connection = asked.peer
        self.method = asked.method
        self.target = asked.target
        self.path = asked.path
        self.query = asked.query
        self.headers = headers
        self.received_at = received_at
        self.body = b""
        self.http10 = False
        self.keep_alive = True
        self.content_length: int | None = None
        self.listener: Listener | None = None
        self.answered = False
        self.finished = False
        self.stall_limited = True
        self.body_held = False
        self._charged_bytes = 0
        self._chunked = False
        self._left = -1  # Bytes still owed of a streamed answer with a length; -1 = no length.
        self._mute = False

    def answer(
        self, status: int, headers: bytes, body: bytes, *, length: int | None = None
    ) -> None:
        """The whole answer in one write.

        headers: prebuilt `Name: value` lines, each ended by CRLF. Content-Length and, where it
        applies, Connection and Date are added.
        length: what Content-Length says instead of the body's size; only for an answer to HEAD.
        """
        connection = self._connection
        if connection is None or self.answered:
            return
        self.answered = True
        line = STATUS_LINES.get(status) or status_line(status)
        date = connection.date(headers) if b"ate: " in headers else connection.server.date_line
        if not self.keep_alive or connection.special:
            headers += self._decide_connection(connection)
        elif self.http10:
            headers += b"Connection: keep-alive\r\n"
        if status not in BODILESS and self.method != b"HEAD":
            connection.write(
                b"%b%b%bContent-Length: %d\r\n\r\n%b" % (line, date, headers, len(body), body)
            )
        elif status == 204 or (status == 304 and length is None):
            connection.write(b"%b%b%b\r\n" % (line, date, headers))
        else:
            size = len(body) if length is None else length
            connection.write(b"%b%b%bContent-Length: %d\r\n\r\n" % (line, date, headers, size))
        self._finish(connection)

    def start(self, status: int, headers: bytes, *, length: int | None = None) -> None:
        """Begins a streamed answer: chunked on 1.1, close-delimited on 1.0.

        length: the size of the body when it is known; then it is announced and `send` writes
        plain bytes.
        """
        connection = self._connection
        if connection is None or self.answered:
            return
        self.answered = True
        self._mute = self.method == b"HEAD" or status in BODILESS
        if status == 204:
            framing = b""
        elif length is not None:
            framing = b"Content-Length: %d\r\n" % length
            self._left = length
        elif self.http10:
            framing = b""
            self.keep_alive = self.keep_alive and self._mute
        elif status == 304:
            framing = b""
        else:
            framing = b"Transfer-Encoding: chunked\r\n"
            self._chunked = not self._mute
        if not self.keep_alive or connection.special:
            framing += self._decide_connection(connection)
        elif self.http10:
            framing += b"Connection: keep-alive\r\n"
        connection.write(
            b"%b%b%b%b\r\n" % (status_line(status), connection.date(headers), headers, framing)
        )

    def send(self, data: bytes) -> None:
        """One chunk of a streamed answer, one write."""
        connection = self._connection
        if connection is None or self._mute or not data:
            return
        if self._chunked:
            connection.write(b"%x\r\n%b\r\n" % (len(data), data))
        else:
            if self._left >= 0:
                self._left -= len(data)
                if self._left < 0:
                    self.abort()  # More than announced: the client could not tell where it ends.
                    return
            connection.write(data)

    def end(self, data: bytes = b"") -> None:
        """The clean end of a streamed answer, with its last bytes."""
        connection = self._connection
        if connection is None or not self.answered:
            return
        if self._chunked:
            if data:
                connection.write(b"%x\r\n%b\r\n0\r\n\r\n" % (len(data), data))
            else:
                connection.write(b"0\r\n\r\n")
        elif not self._mute:
            self.send(data)
            if self._connection is None:
                return
            if self._left > 0:
                self.abort()
                return
        self._finish(connection)

    def abort(self) -> None:
        """Ends the exchange and its connection so that it cannot look complete."""
        connection = self._connection
        if connection is None:
            return
        self._release(connection)
        connection.exchange_aborted()

    def hold_body(self) -> None:
        """From within `begin`: do not ask for the body nor read on before `take_body`."""
        if self._connection is not None:
            self.body_held = True
            self._connection.hold_body()

    def take_body(self) -> None:
        """The body is wanted after all. An answer says the same."""
        if self.body_held and self._connection is not None:
            self.body_held = False
            self._connection.take_body(wanted=True)

    def release_body(self) -> None:
        """Gives the body's memory back to the budget; `body` is empty from here on."""
        self.body = b""
        if self._charged_bytes and self._connection is not None:
            self._connection.release(self._charged_bytes)
            self._charged_bytes = 0

    def bound_body(self, bytes_max: int) -> None:
        """From within `begin`: a body that comes to more is refused, before it is whole."""
        if self._connection is not None:
            self._connection.bound_body(bytes_max)

    def no_stall_limit(self) -> None:
        """The client of this exchange may read as slowly as it likes."""
        self.stall_limited = False

    def upgrade(
        self, headers: bytes, factory: Callable[[], asyncio.Protocol]
    ) -> asyncio.Transport | None:
        """Answers 101 and hands the raw connection to the protocol the factory makes.

        headers: at least `Upgrade` and `Connection` lines. None when the client is gone or the
        request is HTTP/1.0, which cannot switch protocols.
        """
        connection = self._connection
        if connection is None or self.answered or self.http10:
            return None
        self.answered = True
        connection.write(b"%b%b\r\n" % (status_line(101), headers))
        self._release(connection)
        return connection.exchange_upgraded(factory)

    def _decide_connection(self, connection: ServerConnection) -> bytes:
        """`Connection: close` when this answer is the last; decided before the head is written."""
        if self.keep_alive and not connection.last:
            return b"Connection: keep-alive\r\n" if self.http10 else b""
        self.keep_alive = False
        return b"Connection: close\r\n"

    def _finish(self, connection: ServerConnection) -> None:
        self._release(connection)
        connection.exchange_finished(self.keep_alive)

    def _release(self, connection: ServerConnection) -> None:
        self.finished = True
        self._connection = None
        if self.body_held:
            connection.take_body(wanted=False)
        self.listener = None
        if self._charged_bytes:
            connection.release(self._charged_bytes)
            self._charged_bytes = 0
            self.body = b""

    def connection_ended(self) -> None:
        """Called by the connection, once, when it ended under an unfinished exchange."""
        connection, listener = self._connection, self.listener
        if connection is None:
            return
        self._release(connection)
        if listener is not None:
            listener.client_gone()

    def charge(self, size: int) -> None:
        """Called by the connection: so many bytes of the body were charged to the budget."""
        self._charged_bytes += size
