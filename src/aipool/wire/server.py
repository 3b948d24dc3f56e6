"""The HTTP/1.1 server: listening sockets, the connections they accept, and the drain.

`begin(exchange)` is called when a request's headers are complete, before its body is read and
before `100 Continue` is sent. It sets `exchange.listener` to read the body, or answers at once.
`refusal(status, code, message, target)` shapes what the wire itself refuses; the wire decides the
status, sends it and closes. target: what was asked for, as far as that can be told, else empty.
"""

import asyncio
import ipaddress
import socket
import ssl
import time
from collections.abc import Callable
from email.utils import formatdate

from aipool.wire.budget import Budget
from aipool.wire.connection import ServerConnection
from aipool.wire.deadlines import Sweep
from aipool.wire.exchange import Exchange, Listener, Peer
from aipool.wire.limits import Limits
from aipool.wire.transports import listen
from aipool.wire.turns import UPGRADED

__all__ = ["Begin", "Exchange", "HttpServer", "Listener", "Peer", "Refuse"]

Begin = Callable[[Exchange], None]
Refuse = Callable[[int, str, str, bytes], tuple[bytes, bytes]]


class HttpServer:
    """Serves exchanges from any number of listening sockets, inside one event loop.

    uncapped: addresses the per-address bound does not hold for (trusted proxies); loopback and
    Unix sockets are never counted.
    """

    def __init__(
        self,
        begin: Begin,
        refusal: Refuse,
        limits: Limits | None = None,
        *,
        uncapped: Callable[[str], bool] = lambda address: False,
        sweep: Sweep | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.begin = begin
        self.refusal = refusal
        self.limits = limits or Limits()
        self.loop = loop or asyncio.get_running_loop()
        self.sweep = sweep or Sweep(self.loop, self.limits.sweep_seconds)
        self.bodies = Budget(self.limits.bodies_in_flight_bytes, self.limits.body_free_bytes)
        self.connections: set[ServerConnection] = set()
        self.draining = False
        self.date_line = b""
        self._uncapped = uncapped
        self._date_second = 0
        self._per_address: dict[str, int] = {}
        self._servers: list[asyncio.AbstractServer] = []
        self._emptied: asyncio.Future[None] | None = None
        self._refresh_date(0.0)
        self.sweep.each_tick(self._refresh_date)
        self.sweep.start()

    async def listen(self, sock: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Accepts from a bound socket: TCP, with or without TLS, or Unix."""
        self._servers.append(
            await listen(
                self.loop, lambda: ServerConnection(self), sock, tls=tls, limits=self.limits
            )
        )

    async def listen_tcp(
        self, host: str, port: int, tls: ssl.SSLContext | None = None
    ) -> tuple[str, int]:
        """Binds an address and accepts from it; gives the address bound, for port 0."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        sock = socket.socket(family, socket.SOCK_STREAM)
        try:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            sock.bind((host, port))
            await self.listen(sock, tls)
        except BaseException:
            sock.close()
            raise
        name = sock.getsockname()
        return str(name[0]), int(name[1])

    async def listen_unix(self, path: str) -> None:
        """Binds a Unix socket (at most 107 bytes of path) and accepts from it."""
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.bind(path)
            await self.listen(sock)
        except BaseException:
            sock.close()
            raise

    async def drain(self, seconds: float | None = None) -> bool:
        """Stops accepting and waits until every exchange has ended.

        seconds: at most so long (default: the drain limit). True when all ended; False when some
        did not, which `close` will cut.
        """
        self.draining = True
        for server in self._servers:
            server.close()
        for connection in tuple(self.connections):
            connection.drain()
        if not self._live():
            return True
        self._emptied = self.loop.create_future()
        limit = self.limits.drain_seconds if seconds is None else seconds
        try:
            await asyncio.wait_for(self._emptied, limit)
        except TimeoutError:
            return False
        return True

    async def close(self) -> None:
        """Ends everything now; unfinished exchanges are told that their client is gone."""
        self.draining = True
        for server in self._servers:
            server.close()
        for connection in tuple(self.connections):
            connection.abort()
        deadline = self.loop.time() + 1.0
        while self.connections and self.loop.time() < deadline:
            await asyncio.sleep(0)
        self.sweep.stop()

    def _live(self) -> bool:
        return any(connection.state != UPGRADED for connection in self.connections)

    # ----------------------------------------------------------------- what connections call

    def joined(self, connection: ServerConnection) -> bool:
        """Counts a connection; False when its address has too many."""
        self.connections.add(connection)
        self.sweep.add(connection)
        key = self._capped_as(connection.peer)
        if not key:
            return True
        count = self._per_address.get(key, 0) + 1
        self._per_address[key] = count
        return count <= self.limits.connections_per_address

    def left(self, connection: ServerConnection) -> None:
        """The connection is no more."""
        self.connections.discard(connection)
        self.sweep.discard(connection)
        key = self._capped_as(connection.peer)
        if key:
            count = self._per_address.get(key, 0) - 1
            if count > 0:
                self._per_address[key] = count
            else:
                self._per_address.pop(key, None)
        if self._emptied is not None and not self._emptied.done() and not self._live():
            self._emptied.set_result(None)

    def _capped_as(self, peer: Peer) -> str:
        """What connections of this peer are counted under; empty when they are not."""
        if peer.unix or self._uncapped(peer.address):
            return ""
        address = ipaddress.ip_address(peer.address.partition("%")[0])
        if isinstance(address, ipaddress.IPv6Address):
            if address.ipv4_mapped is not None:
                address = address.ipv4_mapped
            elif not address.is_loopback:
                # A customer is commonly given a /64; its addresses are one client.
                return str(ipaddress.IPv6Network((int(address) >> 64 << 64, 64)))
        return "" if address.is_loopback else str(address)

    def _refresh_date(self, _now: float) -> None:
        second = int(time.time())
        if second != self._date_second:
            self._date_second = second
            self.date_line = b"Date: %b\r\n" % formatdate(second, usegmt=True).encode()
