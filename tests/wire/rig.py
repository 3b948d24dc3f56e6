"""What the wire's tests stand on: a server whose application is a script, and raw sockets."""

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import uvloop

from aipool.wire.client import Failure, HttpClient, Origin
from aipool.wire.limits import Limits
from aipool.wire.server import Exchange, HttpServer

PATIENCE_SECONDS = 10.0
HOST = b"Host: test\r\n"
GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /a HTTP/1.1\r\n" + HOST
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
QUICK = Limits(sweep_seconds=0.02)


def run(coroutine: Coroutine[Any, Any, None]) -> None:
    """Runs a test's coroutine on uvloop, as the product does, and bounds it."""

    async def bounded() -> None:
        async with asyncio.timeout(60):
            await coroutine

    uvloop.run(bounded())


async def until(condition: Callable[[], bool]) -> None:
    """Waits until something has become true."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        while not condition():
            await asyncio.sleep(0.002)


async def quiet(read: Callable[[], int]) -> int:
    """Waits until a number has stopped changing, by turns of the loop; gives it."""
    async with asyncio.timeout(PATIENCE_SECONDS):
        seen, calm = read(), 0
        while calm < 30:
            await asyncio.sleep(0.01)
            calm = calm + 1 if read() == seen else 0
            seen = read()
    return seen


class Call:
    """One exchange as the scripted application saw it."""

    def __init__(self, app: "App", exchange: Exchange) -> None:
        self.app = app
        self.exchange = exchange
        self.body: bytes | None = None
        self.gone = 0
        self.writable_calls: list[bool] = []

    def body_complete(self) -> None:
        self.body = self.exchange.body
        self.app.respond(self)

    def client_gone(self) -> None:
        self.gone += 1

    def writable(self, ok: bool) -> None:
        self.writable_calls.append(ok)


def echo(call: Call) -> None:
    """Answers with what was asked."""
    exchange = call.exchange
    body = b"%b %b [%b]" % (exchange.method, exchange.target, call.body or b"")
    exchange.answer(200, b"Content-Type: text/plain\r\n", body)


class App:
    """Records every exchange; `begin` and `respond` are what it does with them."""

    def __init__(
        self,
        respond: Callable[[Call], None] = echo,
        begin: Callable[[Call], None] = lambda call: None,
    ) -> None:
        self.respond = respond
        self.begin = begin
        self.calls: list[Call] = []

    def __call__(self, exchange: Exchange) -> None:
        call = Call(self, exchange)
        exchange.listener = call
        self.calls.append(call)
        self.begin(call)


def refusal(status: int, code: str, message: str, _target: bytes) -> tuple[bytes, bytes]:
    return b"Content-Type: text/plain\r\n", f"{status} {code} {message}".encode()


@asynccontextmanager
async def serving(
    app: App, limits: Limits | None = None, **options: Any
) -> AsyncIterator[tuple[HttpServer, int]]:
    """A server on loopback; gives (server, port)."""
    tls = options.pop("tls", None)
    server = HttpServer(app, refusal, limits, **options)
    _, port = await server.listen_tcp("127.0.0.1", 0, tls)
    try:
        yield server, port
    finally:
        await server.close()


class Raw:
    """A client that is only a socket."""

    def __init__(self, sock: socket.socket) -> None:
        self.sock = sock
        self.loop = asyncio.get_running_loop()

    async def send(self, data: bytes) -> None:
        await self.loop.sock_sendall(self.sock, data)

    async def receive(self, size: int = 65536) -> bytes:
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self.loop.sock_recv(self.sock, size)

    async def receive_until(self, mark: bytes) -> bytes:
        seen = b""
        while mark not in seen:
            piece = await self.receive()
            assert piece, seen
            seen += piece
        return seen

    async def receive_all(self) -> bytes:
        """Everything up to the end of the connection; a reset counts as an end."""
        seen = b""
        try:
            while piece := await self.receive():
                seen += piece
        except ConnectionResetError:
            pass
        return seen

    def shut_write(self) -> None:
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self) -> None:
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        self.sock.close()

    def close(self) -> None:
        self.sock.close()


@asynccontextmanager
async def connected(port: int, *, receive_buffer_bytes: int = 0) -> AsyncIterator["Raw"]:
    sock = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    sock.setblocking(False)
    if receive_buffer_bytes:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer_bytes)
    try:
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", port))
        yield Raw(sock)
    finally:
        sock.close()


async def ask(port: int, data: bytes, *, shut: bool = True) -> bytes:
    """Sends bytes on a connection of their own; gives all that comes back."""
    async with connected(port) as raw:
        try:
            await raw.send(data)
            if shut:
                raw.shut_write()
        except OSError:
            pass
        return await raw.receive_all()


def post(body: bytes) -> bytes:
    """A request that carries this body."""
    return POST + b"Content-Length: %d\r\n\r\n" % len(body) + body


def statuses(answers: bytes) -> list[int]:
    """The statuses of a run of answers, found by their Content-Length."""
    found = []
    while answers:
        head, blank, rest = answers.partition(b"\r\n\r\n")
        assert blank and head.startswith(b"HTTP/1.1 "), answers[:200]
        status = int(head[9:12])
        found.append(status)
        length = 0
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length: "):
                length = int(line[16:])
        answers = rest[length:]
    return found


class Upstream:
    """A fake upstream: each connection is handled by a script over raw bytes."""

    def __init__(self, script: Callable[["Peer"], Coroutine[Any, Any, None]]) -> None:
        self.script = script
        self.connections = 0
        self.port = 0
        self.failures: list[BaseException] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._server: asyncio.Server | None = None

    async def __aenter__(self) -> "Upstream":
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        assert self._server is not None
        self._server.close()
        for task in tuple(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            await self.script(Peer(reader, writer, self.connections))
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            self._tasks.discard(task)
            writer.close()


class Peer:
    """The upstream's end of one connection."""

    def __init__(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, number: int
    ) -> None:
        self.reader = reader
        self.writer = writer
        self.number = number

    async def request(self) -> bytes:
        """The next request, head and body."""
        head = await self.reader.readuntil(b"\r\n\r\n")
        for line in head.lower().split(b"\r\n"):
            if line.startswith(b"content-length: "):
                head += await self.reader.readexactly(int(line[16:]))
        return head

    async def write(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    def reset(self) -> None:
        self.writer.transport.abort()


class Answer:
    """A listener that remembers, and can be awaited."""

    def __init__(self, *, stream: bool = False) -> None:
        self.stream = stream
        self.status = 0
        self.headers: dict[bytes, bytes] = {}
        self.chunks: list[bytes] = []
        self.body: bytes | None = None
        self.failure: Failure | None = None
        self.ends = 0
        self.ended = asyncio.Event()

    def response(self, status: int, headers: dict[bytes, bytes]) -> bool:
        self.status = status
        self.headers = headers
        return self.stream

    def data(self, chunk: bytes) -> None:
        self.chunks.append(chunk)

    def complete(self, body: bytes) -> None:
        self.body = body
        self.ends += 1
        self.ended.set()

    def failed(self, failure: Failure) -> None:
        self.failure = failure
        self.ends += 1
        self.ended.set()

    async def end(self) -> "Answer":
        async with asyncio.timeout(PATIENCE_SECONDS):
            await self.ended.wait()
        return self


def head(method: bytes = b"POST", *, length: int = 0, target: bytes = b"/v1/x") -> bytes:
    return b"%b %b HTTP/1.1\r\nHost: up\r\nContent-Length: %d\r\n\r\n" % (method, target, length)


async def fetch(client: HttpClient, origin: Origin, body: bytes = b"", **options: Any) -> Answer:
    answer = Answer(stream=options.pop("stream", False))
    client.request(origin, head(length=len(body)), body, answer, **options)
    return await answer.end()


async def with_upstream(
    script: Callable[[Peer], Coroutine[Any, Any, None]],
    test: Callable[[HttpClient, Origin, Upstream], Coroutine[Any, Any, None]],
    limits: Limits = QUICK,
) -> None:
    client = HttpClient(limits)
    async with Upstream(script) as upstream:
        await test(client, Origin("127.0.0.1", upstream.port), upstream)
        await client.close()
        assert client.open_count == 0


def answering(*answers: bytes) -> Callable[[Peer], Coroutine[Any, Any, None]]:
    """A script that gives these answers, one a request, then closes."""

    async def script(peer: Peer) -> None:
        for answer in answers:
            await peer.request()
            await peer.write(answer)

    return script


class Flood:
    """A script that streams far more than any buffer holds, and counts what it could write."""

    BYTES = 400 * 65536

    def __init__(self) -> None:
        self.sent_bytes = 0

    async def __call__(self, peer: Peer) -> None:
        await peer.request()
        await peer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        while self.sent_bytes < self.BYTES:
            await peer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            self.sent_bytes += 65536
        await peer.write(b"0\r\n\r\n")
        await peer.reader.read()


async def forever(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.write(OK)
