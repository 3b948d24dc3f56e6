"""For what is asked outside of calls: a small vendor in a thread, that answers each path as a test
says and keeps its own books of what it was asked; and an installation that has one key of it."""

from __future__ import annotations

import contextlib
import ipaddress
import json
import socket
import threading
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, TypeVar

import uvloop

from aipool import config
from aipool.config import Settings
from aipool.control import asking
from aipool.control.asking import Clients, Subject
from aipool.pool import service as pool
from aipool.pool.types import KeyTerms
from aipool.vendors.types import KeySettings
from tests.world import World

T = TypeVar("T")

LOOPBACK = (ipaddress.ip_network("127.0.0.0/8"),)
SECRET = "sk-canary-0123456789abcdefghij"

COMPLETION = {
    "id": "c1",
    "object": "chat.completion",
    "choices": [{"index": 0, "message": {"role": "assistant", "content": "pong"}}],
    "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
}


@dataclass
class Asked:
    """One request, as the vendor got it."""

    method: str
    target: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        return self.target.partition("?")[0]

    @property
    def json(self) -> Any:
        return json.loads(self.body)


Handler = Callable[["Answering"], None]


class Answering(BaseHTTPRequestHandler):
    """One request being answered."""

    protocol_version = "HTTP/1.1"

    def say(self, status: int, value: Any = b"", headers: dict[str, str] | None = None) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.send_response(status)
        for name, text in (headers or {}).items():
            self.send_header(name, text)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _serve(self) -> None:
        vendor: SmallVendor = self.server.vendor  # type: ignore[attr-defined]
        length = int(self.headers.get("Content-Length", 0))
        headers = {name.lower(): value for name, value in self.headers.items()}
        vendor.books.append(Asked(self.command, self.path, headers, self.rfile.read(length)))
        answer = vendor.answers.get(self.path.partition("?")[0])
        with contextlib.suppress(OSError):  # whoever asked has gone
            if answer is None:
                self.say(404, {"error": {"message": "there is nothing here"}})
            else:
                answer(self)

    do_GET = do_POST = _serve  # noqa: N815 - as the library calls them

    def log_message(self, format: str, *args: Any) -> None:
        """Its books are enough."""


@dataclass
class SmallVendor:
    port: int
    answers: dict[str, Handler] = field(default_factory=dict)
    books: list[Asked] = field(default_factory=list)

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    def says(
        self, path: str, status: int, value: Any = b"", headers: dict[str, str] | None = None
    ) -> None:
        self.answers[path] = lambda answering: answering.say(status, value, headers)

    def serves(self, *models: str) -> None:
        """Answers calls, and lists these models."""
        self.says("/v1/chat/completions", 200, COMPLETION)
        self.says("/v1/models", 200, {"object": "list", "data": [{"id": name} for name in models]})


@contextmanager
def small_vendor() -> Iterator[SmallVendor]:
    """A vendor while the block runs."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    server.daemon_threads = True
    server.block_on_close = False
    vendor = SmallVendor(server.server_address[1])
    server.vendor = vendor  # type: ignore[attr-defined]
    thread = threading.Thread(target=lambda: server.serve_forever(0.01), daemon=True)
    thread.start()
    try:
        yield vendor
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@contextmanager
def tunnel() -> Iterator[tuple[str, list[bytes]]]:
    """A proxy for one tunnel: its address, and the lines that asked for it."""
    lines: list[bytes] = []
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        with contextlib.suppress(OSError):
            near, _ = listener.accept()
            head = b""
            while b"\r\n\r\n" not in head:
                head += near.recv(4096)
            lines.append(head.partition(b"\r\n")[0])
            host, _, port = lines[0].split(b" ")[1].decode().rpartition(":")
            far = socket.create_connection((host, int(port)))
            near.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
            back = threading.Thread(target=pour, args=(far, near), daemon=True)
            back.start()
            pour(near, far)
            back.join()
            near.close()
            far.close()

    def pour(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)

    thread = threading.Thread(target=serve, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}", lines
    finally:
        listener.close()
        thread.join(5)


# --- an installation ------------------------------------------------------------------------------


def settings_of(world: World, **other: Any) -> Settings:
    made = config.load({"data_dir": world.data_dir}, {})
    return replace(made, private_upstreams=other.get("private_upstreams", LOOPBACK))


def subject(
    world: World,
    base_url: str,
    *,
    vendor_type: str = "openai_compatible",
    secret: str = SECRET,
    low_balance: str = "",
    **settings: Any,
) -> Subject:
    """A vendor at this address with one key, ready to be asked with."""
    with world.database.write() as tx:
        made, _ = pool.put_vendor(
            tx,
            world.act,
            world.vet,
            name="small",
            vendor_type=vendor_type,
            base_url=base_url,
            low_balance=low_balance,
        )
        terms = KeyTerms("k", secret, KeySettings(**settings))
        pool.put_key(tx, world.act, world.secrets.keyring, world.vet, made, terms)
    return again(world)


def again(world: World) -> Subject:
    """The same, as it is by now."""
    with world.database.read() as connection:
        made = pool.get_vendor(connection, "small")
        key = pool.key_named(connection, made, "k")
        return asking.subject_of(connection, world.secrets.keyring, made, key)


def asked(world: World, ask: Callable[[Clients], Awaitable[T]], **settings: Any) -> T:
    async def run() -> T:
        async with asking.open_clients(settings_of(world, **settings)) as clients:
            return await ask(clients)

    return uvloop.run(run())
