"""The operator's interface for tests: the real application, served over a Unix socket."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from aipool import config
from aipool.accounts import sessions, setup, tables
from aipool.accounts.types import Role, User
from aipool.apply.plan import Secrets
from aipool.audit.types import Act
from aipool.config import Settings
from aipool.control.app import create_app
from aipool.control.asking import open_clients
from aipool.control.main import Server
from aipool.kit.clock import now_ms
from aipool.kit.db import Database
from tests.control.rig import Answer, ask
from tests.world import World, open_world

SECRET = "sk-canary-0123456789abcdef-4321"
OTHER_SECRET = "sk-canary-another-0123456789-8765"
#: What a browser says of itself, and a page of ours adds, with a change.
BY_A_PAGE_OF_OURS = {
    "Origin": "http://pool.example",
    "Sec-Fetch-Site": "same-origin",
    "X-AIPool": "1",
}
_numbers = count(1)
_phones = count(1)


@dataclass
class Said:
    """An answer, its body read."""

    status: int
    headers: dict[str, str]
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Api:
    """Asks as the root account does, or as a person at a browser (`signed_in`); `said` is every
    body that was answered. user: who asks, None = the root account.  cookie: of their session."""

    path: Path
    token: str
    world: World
    said: list[str] = field(default_factory=list)
    user: User | None = None
    cookie: str = ""

    def ask(
        self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Said:
        given = self.credentials() if headers is None else dict(headers)
        sent = None
        if body is not None:
            sent = body if isinstance(body, bytes) else json.dumps(body).encode()
            given.setdefault("Content-Type", "application/json")
        answer: Answer = ask(self.path, method, target, sent, given)
        self.said.append(answer.body + repr(answer.headers))
        return Said(answer.status, answer.headers, answer.body)

    def credentials(self) -> dict[str, str]:
        """What this client says with everything that it asks for."""
        if not self.cookie:
            return {"Authorization": f"Bearer {self.token}"}
        return {"Cookie": f"{sessions.COOKIE}={self.cookie}", **BY_A_PAGE_OF_OURS}

    def signed_in(
        self, role: Role = Role.USER, user: User | None = None, *, stepped_up: bool = True
    ) -> Api:
        """A person at a browser, new unless named, who has just logged in."""
        act, pepper = Act("test", now_ms()), self.world.secrets.pepper
        with self.world.database.write() as tx:
            user = user or self.world.user(tx, f"+86139{next(_phones):08}", role)
            session, cookie = sessions.open_session(tx, act, pepper, user)
            if not stepped_up:
                tx.connection.execute(
                    tables.sessions.update()
                    .where(tables.sessions.c.id == session.id)
                    .values(stepped_up_until_ms=0)
                )
        return Api(self.path, "", self.world, self.said, user, cookie)

    def program(self, user: User, *, read_only: bool = False, sensitive: bool = True) -> Api:
        """A program of somebody, with an access token of its own."""
        with self.world.database.write() as tx:
            _, token = sessions.create_access_token(
                tx,
                Act("test", now_ms()),
                self.world.secrets.pepper,
                user,
                name=f"p{next(_numbers)}",
                read_only=read_only,
                is_sensitive=sensitive,
            )
        return Api(self.path, token, self.world, self.said, user)

    def good(self, method: str, target: str, body: Any = None) -> Any:
        """What a request is answered that must go well."""
        said = self.ask(method, target, body)
        assert said.status in (200, 201, 204), (said.status, said.text)
        return said.json if said.text else None

    def refused(self, status: int, method: str, target: str, body: Any = None) -> dict[str, Any]:
        """The problem that a request must meet."""
        said = self.ask(method, target, body)
        assert said.status == status, (said.status, said.text)
        assert said.headers["content-type"] == "application/problem+json"
        found: dict[str, Any] = said.json
        assert found["status"] == status
        return found


def vendor_of(opened: Api, **fields: Any) -> dict[str, Any]:
    """A new vendor with one key, its default one."""
    given = {"name": f"v{next(_numbers)}", "type": "deepseek", "api_key": SECRET, **fields}
    made: dict[str, Any] = opened.good("POST", "/api/vendors", given)
    return made


def key_of(opened: Api, vendor: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """One more key of the vendor."""
    target = f"/api/vendors/{vendor['id']}/keys"
    made: dict[str, Any] = opened.good("POST", target, {"api_key": SECRET, **fields})
    return made


def keys_of(opened: Api, vendor: dict[str, Any]) -> list[dict[str, Any]]:
    """The vendor's keys, as they are listed."""
    found: list[dict[str, Any]] = opened.good("GET", f"/api/keys?vendor={vendor['id']}")["keys"]
    return found


@contextmanager
def api(
    data_dir: Path, flags: dict[str, object] | None = None, environ: dict[str, str] | None = None
) -> Iterator[Api]:
    """The interface of an installation of its own, with its root account."""
    with open_world(data_dir) as world:
        settings = config.load({"data_dir": data_dir, **(flags or {})}, environ or {})
        with _served(world, settings) as path:
            yield Api(path, make_root(world.database, world.secrets, world.act), world)


def make_root(database: Database, secrets: Secrets, act: Act) -> str:
    """The access token of a new root account."""
    with database.write() as tx:
        secret = setup.issue_link(tx, act, secrets.pepper)
        assert secret is not None
        phone = "+8613800138000"
        _, token = setup.create_root(
            tx, act, secrets.pepper, secret=secret, phone=phone, password_hash="x"
        )
    return token


@contextmanager
def _served(world: World, settings: Settings) -> Iterator[Path]:
    path = world.data_dir / "api.sock"
    servers: list[Server] = []
    started = threading.Event()

    async def serve(listener: socket.socket) -> None:
        secrets = world.secrets
        async with open_clients(settings) as clients:
            app = create_app(world.database, settings, secrets.pepper, secrets.keyring, clients)
            servers.append(Server(app, on_started=started.set))
            await servers[0].serve(sockets=[listener])
            await app.state.messenger.close()

    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=lambda: asyncio.run(serve(listener)))
        thread.start()
        try:
            assert started.wait(20)
            yield path
        finally:
            servers[0].stop()
            thread.join(20)
