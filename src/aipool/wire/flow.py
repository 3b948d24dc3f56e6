"""A client's socket with brakes on both sides.

Reading is paused while there is more than can be used. Writing is never paused here, but a client
that takes less than it is sent is *stalled*: whoever produces is told, and a client that takes
nothing at all from one look to the next has had its time.
"""

from __future__ import annotations

import asyncio
from array import array
from collections.abc import Callable
from fcntl import ioctl
from termios import TIOCOUTQ
from typing import TYPE_CHECKING, Any

from aipool.wire.deadlines import NEVER
from aipool.wire.exchange import Peer

if TYPE_CHECKING:
    from aipool.wire.server import HttpServer


class Flow(asyncio.Protocol):
    """The transport of an accepted connection. Knows bytes and no requests."""

    __slots__ = (
        "_eof",
        "_paused",
        "_stalled",
        "_stalled_bytes",
        "_sweep",
        "_transport",
        "deadline",
        "peer",
        "server",
        "time",
        "write",
    )

    def __init__(self, server: HttpServer) -> None:
        self.server = server
        self.deadline = NEVER
        self.time = server.loop.time
        self._sweep = server.sweep
        self._eof = False
        self._paused = False
        self._stalled = False
        self._stalled_bytes = 0

    def connection_made(self, transport: Any) -> None:
        """The socket is up, TLS included."""
        limits = self.server.limits
        self._transport: Any = transport
        self.write: Callable[[bytes], None] = transport.write
        name = transport.get_extra_info("peername")
        unix = not isinstance(name, tuple)
        tls = transport.get_extra_info("sslcontext") is not None
        # IPv4 in IPv6 clothing, as a dual-stack listener gives it, is IPv4.
        self.peer = Peer("" if unix else str(name[0]).removeprefix("::ffff:"), tls, unix)
        transport.set_write_buffer_limits(
            high=limits.write_buffer_high_bytes, low=limits.write_buffer_low_bytes
        )
        self.deadline = self.time() + limits.head_seconds

    def abort(self) -> None:
        """Ends the connection now; what was not sent is lost."""
        self._transport.abort()

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

    def pause_writing(self) -> None:
        """The client takes less than it is sent."""
        self._stalled = True
        self._stalled_bytes = self._unsent_bytes()

    def resume_writing(self) -> None:
        """The client has caught up."""
        self._stalled = False

    def _look_at_stalled(self, now: float, *, limited: bool) -> None:
        """A reader that took nothing since it was last looked at has had its time.

        limited: False for a client that may read as slowly as it likes.
        """
        size = self._unsent_bytes()
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
