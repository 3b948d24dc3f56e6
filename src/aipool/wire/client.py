"""The HTTP/1.1 client: requests to upstreams over kept-alive connections.

A request that finds an idle connection is written at once, in the caller's own turn: no task, no
timer. One that does not gets a task that connects, and goes out when that is done.
"""

import asyncio
import ssl

from aipool.wire.budget import Budget
from aipool.wire.connect import ConnectError, Vet, open_socket
from aipool.wire.deadlines import Sweep
from aipool.wire.limits import Limits
from aipool.wire.pool import Pool
from aipool.wire.request import Failure, FailureKind, Origin, Request, ResponseListener
from aipool.wire.resolver import Resolver, SystemResolver
from aipool.wire.transports import attach
from aipool.wire.upstream import UpstreamConnection

__all__ = ["Failure", "FailureKind", "HttpClient", "Origin", "Request", "ResponseListener"]


class HttpClient:
    """Sends requests from one event loop.

    tls: the context of TLS origins; certificates and names are always verified.
    vet: asked for every address, also of literals, before it is connected to; False blocks.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        vet: Vet = lambda address: True,
        resolver: Resolver | None = None,
        sweep: Sweep | None = None,
        loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        self.limits = limits or Limits()
        self.loop = loop or asyncio.get_running_loop()
        self.sweep = sweep or Sweep(self.loop, self.limits.sweep_seconds)
        self.answers = Budget(
            self.limits.answers_in_flight_bytes, self.limits.body_free_bytes, always_one=True
        )
        self._tls = tls
        if tls is not None and (tls.verify_mode != ssl.CERT_REQUIRED or not tls.check_hostname):
            raise ValueError("a client's TLS context must verify certificates and names")
        self._vet = vet
        self._own_resolver = None if resolver else SystemResolver(self.loop, self.limits)
        self._resolver: Resolver = resolver or self._own_resolver  # type: ignore[assignment]
        self.pool = Pool(self.limits.idle_per_origin)
        self._open: set[UpstreamConnection] = set()
        self._connecting: set[asyncio.Task[None]] = set()
        self.closed = False
        self._time = self.loop.time
        self.sweep.start()

    def request(
        self,
        origin: Origin,
        head: bytes,
        body: bytes,
        listener: ResponseListener,
        *,
        first_byte_seconds: float | None = None,
        idle_seconds: float | None = None,
        total_seconds: float | None = None,
    ) -> Request:
        """Sends a request; its answer and its end are told to the listener, never from within
        this call.

        head: the whole request head, request line to blank line, with its Content-Length.
        first_byte_seconds: until the first byte of the answer's body; idle_seconds: between two
        reads of it; total_seconds: in all. Each defaults to the limits.
        """
        limits = self.limits
        now = self._time()
        request = Request(
            origin,
            head,
            body,
            listener,
            now + (limits.first_byte_seconds if first_byte_seconds is None else first_byte_seconds),
            limits.idle_seconds if idle_seconds is None else idle_seconds,
            now + (limits.total_seconds if total_seconds is None else total_seconds),
        )
        connection = self.pool.take(origin)
        if connection is not None:
            connection.send(request, now)
        else:
            self.connect(request)
        return request

    def idle_count(self, origin: Origin) -> int:
        """How many connections to this origin wait for a request."""
        return self.pool.count(origin)

    @property
    def open_count(self) -> int:
        """How many connections are open, idle or not."""
        return len(self._open)

    async def close(self) -> None:
        """Closes every connection; requests in flight fail."""
        self.closed = True
        connecting = tuple(self._connecting)
        for task in connecting:
            task.cancel()
        await asyncio.gather(*connecting, return_exceptions=True)
        for connection in tuple(self._open):
            connection.abort()
        deadline = self._time() + 1.0
        while self._open and self._time() < deadline:
            await asyncio.sleep(0)
        if self._own_resolver is not None:
            self._own_resolver.close()
        self.sweep.stop()

    # ----------------------------------------------------------------- what connections call

    def connect(self, request: Request) -> None:
        """Sends a request over a fresh connection."""
        task = self.loop.create_task(self._connect(request))
        request.connecting = task
        self._connecting.add(task)
        task.add_done_callback(lambda task: self._connect_ended(task, request))

    def opened(self, connection: UpstreamConnection) -> None:
        """The connection is up."""
        self._open.add(connection)
        self.pool.opened(connection)
        self.sweep.add(connection)

    def lost(self, connection: UpstreamConnection) -> None:
        """The connection is no more."""
        self._open.discard(connection)
        self.sweep.discard(connection)
        self.pool.lost(connection)

    async def _connect(self, request: Request) -> None:
        try:
            connection = await self._connection_to(request.origin, request.ends_at)
        except ConnectError as error:
            self._unconnected(request, error.kind, error.detail)
        except TimeoutError:
            self._unconnected(request, FailureKind.TIMEOUT_CONNECT, "no connection in time")
        except ssl.SSLError as error:
            self._unconnected(request, FailureKind.TLS, str(error))
        except OSError as error:
            self._unconnected(request, FailureKind.CONNECT, str(error))
        else:
            if connection.closed:  # before anybody could be told that it was open
                self._unconnected(request, FailureKind.CONNECT, "closed as soon as it was open")
                return
            request.connecting = None
            connection.send(request, self._time())

    def _connect_ended(self, task: asyncio.Task[None], request: Request) -> None:
        self._connecting.discard(task)
        if task.cancelled():
            self._unconnected(request, FailureKind.CONNECT, "the client is closing")

    def _unconnected(self, request: Request, kind: FailureKind, detail: str) -> None:
        request.connecting = None
        if not request.cancelled:
            request.over().failed(Failure(kind, detail, sent=request.replayed, answered=False))

    def _context(self) -> ssl.SSLContext:
        """Made when the first TLS origin is asked for: reading the system's authorities takes
        tens of milliseconds."""
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls

    async def _connection_to(self, origin: Origin, ends_at: float) -> UpstreamConnection:
        seconds = min(self.limits.connect_seconds, ends_at - self._time())
        connection = UpstreamConnection(self, origin)
        async with asyncio.timeout(seconds):
            sock = await open_socket(self.loop, origin, self._resolver, self._vet, self.limits)
            try:
                await attach(
                    self.loop,
                    lambda: connection,
                    sock,
                    tls=self._context() if origin.tls else None,
                    server_hostname=origin.server_hostname or origin.host,
                )
            except BaseException:
                sock.close()
                raise
        return connection
