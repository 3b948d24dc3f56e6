"""A request to an upstream, where it goes, and every way it can end.

A request ends in exactly one of `complete` and `failed`, unless its owner cancels it: then
neither is called.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from enum import Enum
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from aipool.wire.upstream import UpstreamConnection


@dataclass(frozen=True, slots=True)
class Origin:
    """Where requests go: the key of the connection pool. Make it once and keep it."""

    host: str
    """A name or an address, IPv6 without brackets; for a Unix socket only a label."""

    port: int
    tls: bool = False
    unix_path: str | None = None
    proxy: str | None = None
    """`http://[user:password@]host:port` of a proxy that tunnels with CONNECT."""

    server_hostname: str | None = None
    """The name the certificate must carry, where it is not `host`."""

    _hash: int = field(init=False, repr=False, compare=False, default=0)

    def __post_init__(self) -> None:
        # Hashed once: the pool is asked on every request.
        key = (
            self.host, self.port, self.tls, self.unix_path, self.proxy, self.server_hostname,
        )  # fmt: skip
        object.__setattr__(self, "_hash", hash(key))

    def __hash__(self) -> int:
        return self._hash


class FailureKind(Enum):
    """Why a request failed, by what the caller may conclude from it."""

    CONNECT = "connect"
    """No connection: refused, unreachable, name not found, proxy unwilling."""

    TLS = "tls"
    """The peer could not prove who it is, or the handshake broke."""

    BLOCKED_ADDRESS = "blocked_address"
    TIMEOUT_CONNECT = "timeout_connect"
    TIMEOUT_FIRST_BYTE = "timeout_first_byte"
    TIMEOUT_IDLE = "timeout_idle"
    TIMEOUT_TOTAL = "timeout_total"
    RESET = "reset"
    """The connection broke, or closed without a byte of an answer."""

    TRUNCATED = "truncated"
    """The connection closed cleanly in the middle of an answer."""

    PROTOCOL = "protocol"
    """The answer is not valid HTTP/1.1."""

    TOO_LARGE = "too_large"
    """The answer to be collected is larger than the limit."""


@dataclass(frozen=True, slots=True)
class Failure:
    """How a request failed."""

    kind: FailureKind
    detail: str
    sent: bool
    """A byte of the request may have reached the peer."""

    answered: bool
    """A byte of an answer came."""


class ResponseListener(Protocol):
    """What the caller hangs on a request."""

    def response(self, status: int, headers: dict[bytes, bytes], /) -> bool:
        """The answer's head. True: give me `data` as it comes. False: collect the body whole."""

    def data(self, chunk: bytes, /) -> None:
        """A piece of a streamed body: what one read brought, chunk framing removed."""

    def complete(self, body: bytes, /) -> None:
        """The clean end. The whole body, or nothing when it was streamed."""

    def failed(self, failure: Failure, /) -> None:
        """The other end."""


class _Nobody:
    """Listens to a request that is over. Its owner's listener commonly holds the request, so
    letting go of the listener breaks a cycle that would otherwise wait for the collector."""

    def response(self, _status: int, _headers: dict[bytes, bytes], /) -> bool:
        return False

    def data(self, _chunk: bytes, /) -> None:
        return

    def complete(self, _body: bytes, /) -> None:
        return

    def failed(self, _failure: Failure, /) -> None:
        return


_NOBODY = _Nobody()


class Request:
    """One request in flight. Made by the client."""

    __slots__ = (
        "body",
        "cancelled",
        "connecting",
        "connection",
        "ends_at",
        "first_byte_at",
        "head",
        "idle_seconds",
        "listener",
        "origin",
        "paused",
        "replayed",
    )

    def __init__(
        self,
        origin: Origin,
        head: bytes,
        body: bytes,
        listener: ResponseListener,
        first_byte_at: float,
        idle_seconds: float,
        ends_at: float,
    ) -> None:
        self.origin = origin
        self.head = head
        self.body = body
        self.listener = listener
        self.first_byte_at = first_byte_at if first_byte_at < ends_at else ends_at
        self.idle_seconds = idle_seconds
        self.ends_at = ends_at
        self.connection: UpstreamConnection | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.replayed = False
        self.paused = False
        self.cancelled = False

    def over(self) -> ResponseListener:
        """The request has ended; gives the listener to tell, and forgets it."""
        listener = self.listener
        self.listener = _NOBODY
        self.connection = None
        self.body = b""
        return listener

    def wait_between_bytes(self, seconds: float) -> None:
        """Another limit between two reads of the body, from now on."""
        self.idle_seconds = seconds
        if self.connection is not None:
            self.connection.postpone(self)

    def pause(self) -> None:
        """Stops reading the answer; the limit between bytes rests meanwhile."""
        if not self.paused:
            self.paused = True
            if self.connection is not None:
                self.connection.pause(self)

    def resume(self) -> None:
        """Goes on reading."""
        if self.paused:
            self.paused = False
            if self.connection is not None:
                self.connection.resume(self)

    def cancel(self) -> None:
        """Ends the request and its connection; the listener hears nothing more."""
        if self.cancelled:
            return
        self.cancelled = True
        connection = self.connection
        self.over()
        connecting, self.connecting = self.connecting, None
        if connection is not None:
            connection.cancel()
        elif connecting is not None:
            connecting.cancel()
