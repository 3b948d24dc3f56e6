"""A request body that did not come with its head: collected, bounded, timed.

Four bounds meet here: the size of one body, the bytes of all bodies in flight, the rate a client
must keep up, and how long a body may wait for room. Waiting for room stops the client's clock.

A body nobody wants (the answer was given without it) is read to its end and thrown away, where
the connection decided that this is cheaper than closing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aipool.wire.chunks import BadChunk, ChunkDecoder
from aipool.wire.strict import BODY_TIMEOUT, MALFORMED, NO_ROOM, TOO_LARGE, Refusal

if TYPE_CHECKING:
    from aipool.wire.connection import ServerConnection
    from aipool.wire.exchange import Exchange


class BodyReader:
    """Reads one body. Its deadlines are its connection's while it reads."""

    __slots__ = (
        "_began_at",
        "_budget",
        "_connection",
        "_content",
        "_decoder",
        "_exchange",
        "_limits",
        "_received_bytes",
        "_waiting_since",
        "bytes_max",
        "expects",
        "left_bytes",
        "rest",
        "whole",
    )

    def __init__(
        self, connection: ServerConnection, exchange: Exchange, size: int | None, *, expects: bool
    ) -> None:
        self._connection = connection
        self._exchange = exchange
        self._limits = connection.server.limits
        self._budget = connection.server.bodies
        self._decoder = ChunkDecoder(self._limits) if size is None else None
        self._content: bytearray | None = bytearray()
        self._received_bytes = 0
        self._began_at = exchange.received_at
        self._waiting_since = 0.0
        self.bytes_max = connection.server.limits.body_bytes
        """Whoever takes the request may have said that it takes less."""

        self.expects = expects
        """The client waits for `100 Continue` before it sends anything."""

        self.left_bytes = size or 0
        self.rest = b""
        self.whole = False
        connection.deadline = self._began_at + self._limits.body_grace_seconds

    def may_discard(self) -> bool:
        """What is missing is small and surely coming, so it can be swallowed."""
        return (
            self._decoder is None
            and not self.expects
            and self.left_bytes <= self._limits.discard_bytes
        )

    def discard(self) -> None:
        """Nobody wants the body any more; its exchange has given its bytes back."""
        self._content = None
        self.leave()

    def feed(self, data: bytes) -> Refusal | None:
        """Takes bytes. Once `whole`, `rest` is what followed the body."""
        self._received_bytes += len(data)
        if self._decoder is None:
            left = self.left_bytes
            if len(data) > left:
                data, self.rest = data[:left], data[left:]
            self.left_bytes = left - len(data)
            self.whole = not self.left_bytes
            self._keep(data)
        else:
            try:
                for piece in self._decoder.feed(data):
                    self._keep(piece)
            except BadChunk:
                return MALFORMED
            self.whole, self.rest = self._decoder.done, self._decoder.rest
        if self._content is not None:
            if len(self._content) > self.bytes_max:
                return TOO_LARGE
            if not self.whole and len(self._content) > self._budget.free_bytes:
                self._read_on_or_wait()
        return None

    def content(self) -> bytes | None:
        """The whole body, once; None when it was discarded."""
        self.leave()
        content, self._content = self._content, None
        return None if content is None else bytes(content)

    def late(self, now: float) -> Refusal | None:
        """The deadline passed: a refusal, or more time."""
        if self._waiting_since:
            return NO_ROOM
        seconds = now - self._began_at - self._limits.body_grace_seconds
        if self._received_bytes < seconds * self._limits.body_bytes_per_second:
            return BODY_TIMEOUT
        self._connection.deadline = now + self._limits.sweep_seconds
        return None

    def leave(self) -> None:
        """No more is read into the budget; a connection that waited for room reads on."""
        self._budget.leave(self)
        if self._waiting_since:
            self._end_wait()

    def _keep(self, piece: bytes) -> None:
        if self._content is not None:
            self._content += piece
            self._exchange.charge(len(piece))
            self._budget.charge(len(piece))

    def _read_on_or_wait(self) -> None:
        if not self._budget.must_wait(self):
            self._budget.reading(self, self._wait_for_room)
        elif not self._waiting_since:
            self._wait_for_room()

    def _wait_for_room(self) -> None:
        connection = self._connection
        self._waiting_since = connection.time()
        connection.deadline = self._waiting_since + self._limits.body_wait_seconds
        connection.pause_reading()
        self._budget.wait(self, self._room_again)

    def _room_again(self) -> None:
        self._budget.reading(self, self._wait_for_room)
        self._end_wait()

    def _end_wait(self) -> None:
        connection = self._connection
        self._began_at += connection.time() - self._waiting_since
        self._waiting_since = 0.0
        connection.deadline = self._began_at + self._limits.body_grace_seconds
        connection.resume_reading()
