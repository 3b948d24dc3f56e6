"""The real platform for tests: `aipool serve` with all its processes, and fake vendors beside it.

The platform runs on a data folder and ports of its own. Customers and tokens are made through the
product's own use cases while it runs, as the command line makes them. What a test asks goes over
real sockets; what it believes comes from the database and from the fake vendor's books.
"""

from __future__ import annotations

import contextlib
import http.client
import itertools
import json
import os
import re
import select
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from aipool import config
from aipool.accounts import service as accounts
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import TokenTerms
from aipool.apply.credit import book_opening_credit
from aipool.apply.document import read_document
from aipool.apply.plan import Secrets, carry_out
from aipool.audit.types import Act
from aipool.books.verify import verify
from aipool.calls import service as calls
from aipool.calls.types import CallRow
from aipool.cli.session import Session
from aipool.groups import service as groups
from aipool.kit.clock import now_ms
from aipool.kit.db import Database, open_database
from aipool.kit.digests import load_pepper
from aipool.kit.outbound import Vet
from aipool.kit.sealing import load_keyring
from aipool.ledger import service as ledger
from aipool.ledger.types import Wallet
from aipool.pool import service as pool
from tests.chats import (
    CHAT,
    PRICE,
    PRICE_YAML,
    Reply,
    charge,
    cny,
    head,
    is_whole,
    messages,
    parse_reply,
    wish,
)
from tests.fakes.thread import VendorThread
from tests.waiting import PATIENCE_SECONDS, eventually

__all__ = [
    "CHAT",
    "PATIENCE_SECONDS",
    "PRICE",
    "PRICE_YAML",
    "Customer",
    "Platform",
    "Reply",
    "VendorThread",
    "charge",
    "cny",
    "eventually",
    "head",
    "messages",
    "parse_reply",
    "platform",
    "simple_catalogue",
    "wish",
]

# PR_SET_PDEATHSIG, which outlives exec: tests that are killed leave no platform behind.
_DIE_WITH_THE_TESTS = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)
os.execv(sys.argv[1], sys.argv[1:])
"""

ROOT = Path(__file__).resolve().parents[1]


@dataclass
class Customer:
    """Somebody with money and a token."""

    user_id: int
    phone: str
    token_id: int
    token: str


@dataclass
class Platform:
    """One running platform."""

    data_dir: Path
    run_dir: Path
    workers: int
    environment: dict[str, str]
    demo: bool = False
    vendors: list[VendorThread] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.process: subprocess.Popen[bytes] | None = None
        self.address = ("", 0)
        #: How many calls of killed workers there are.
        self.recovered = 0
        #: Calls whose vendors did not speak so that one could understand them.
        self.odd: set[str] = set()
        self._phones = itertools.count(13_900_000_000)
        self._database: Database | None = None

    # --- its life -------------------------------------------------------------------------

    @property
    def url(self) -> str:
        return f"http://{self.address[0]}:{self.address[1]}"

    def _environ(self) -> dict[str, str]:
        return {
            "PATH": os.environ["PATH"],
            "HOME": str(self.run_dir),
            "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(ROOT))),
            "XDG_RUNTIME_DIR": str(self.run_dir),
            "AIPOOL_DATA_DIR": str(self.data_dir),
            "AIPOOL_PRIVATE_UPSTREAMS": "127.0.0.0/8",
            "AIPOOL_METRICS_PORT": "0",
            **self.environment,
        }

    def start(self) -> None:
        """Starts it and waits until it serves."""
        command = [sys.executable, "-S", "-c", _DIE_WITH_THE_TESTS, sys.executable]
        command += ["-m", "aipool.cli", "serve", "--port", "0"]
        command += ["--workers", str(self.workers)] + ["--demo"] * self.demo
        said = len(self.log)
        out, err = self.run_dir / "stdout", self.run_dir / "stderr"
        with out.open("wb") as stdout, err.open("ab") as stderr:
            self.process = subprocess.Popen(
                command,
                env=self._environ(),
                cwd=self.run_dir,
                stdout=stdout,
                stderr=stderr,
                start_new_session=True,
            )

        def address() -> re.Match[str] | None:
            assert self.process is not None
            assert self.process.poll() is None, self.log
            return re.search(r"serves on http://([\d.]+):(\d+)", self.log[said:])

        found = eventually(address, "the platform serves", 30)
        self.address = (found[1], int(found[2]))

    def stop(self, number: int = signal.SIGTERM) -> int:
        """Ends it; its exit status."""
        process, self.process = self.process, None
        if process is None:
            return 0
        process.send_signal(number)
        try:
            return process.wait(PATIENCE_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise

    @property
    def log(self) -> str:
        """What it wrote on standard error."""
        path = self.run_dir / "stderr"
        return path.read_text("utf-8", "replace") if path.exists() else ""

    @property
    def stdout(self) -> str:
        return (self.run_dir / "stdout").read_text()

    def pids(self, module: str) -> list[int]:
        """Its processes that run this module: gateway, books or control."""
        assert self.process is not None
        found = []
        for entry in Path("/proc").iterdir():
            with contextlib.suppress(OSError, ValueError):
                parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
                command = (entry / "cmdline").read_bytes()
                if parent == self.process.pid and f"aipool.{module}.main".encode() in command:
                    found.append(int(entry.name))
        return sorted(found)

    def cli(self, *arguments: str, status: int = 0, stdin: str = "") -> str:
        """Runs a command of the product; what it printed, both streams."""
        done = subprocess.run(
            [sys.executable, "-m", "aipool.cli", *arguments],
            env=self._environ(),
            cwd=self.run_dir,
            input=stdin.encode(),
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=30,
            check=False,
        )
        said = done.stdout.decode()
        assert done.returncode == status, said
        return said

    # --- what is in it ----------------------------------------------------------------------

    @property
    def database(self) -> Database:
        if self._database is None:
            settings = config.load({"data_dir": str(self.data_dir)}, self._environ())
            self._database = open_database(settings.database_url_effective)
        return self._database

    def session(self) -> Session:
        """What a command of the product works with: its changes reach the running workers."""
        settings = config.load({"data_dir": str(self.data_dir)}, self._environ())
        secrets = Secrets(load_keyring(self.data_dir), load_pepper(self.data_dir))
        vet = Vet(settings.private_upstreams)
        return Session(settings, self.database, secrets, vet, Act("test", now_ms()))

    def heal(self) -> None:
        """Every upstream key is as if a person had just enabled it."""
        session = self.session()
        with session.change() as tx:
            for key in pool.list_keys(tx.connection):
                pool.clear_health(tx, session.act, key, why="healed")

    def apply(self, text: str) -> None:
        """What `aipool apply` does, before the start."""
        assert self.process is None
        it = self.session()
        document = read_document(text, os.environ)
        carry_out(it.database, document, it.act, it.secrets, it.vet, dry_run=False)

    def customer(
        self, credit: str | int = "10", *, group: str = "default", **terms: Any
    ) -> Customer:
        """A user with this much money (CNY as text, nano as a number) and a token."""
        session = self.session()
        act = session.act
        phone = f"+86{next(self._phones)}"
        amount = credit if isinstance(credit, int) else int(float(credit) * 1e9)
        with session.change() as tx:
            user = accounts.create_user(tx, act, phone=phone, password_hash="x")
            if amount:
                book_opening_credit(tx, act, user, amount)
            else:
                ledger.open_wallet(tx, user.id)
            default = groups.default_group(tx, act)
            found = groups.find_group(tx.connection, group) if group != "default" else default
            assert found is not None
            groups.grant(tx, act, user.id, found)
            wanted = TokenTerms("t", found.id, **terms)
            token, secret = api_tokens.create_token(tx, act, session.secrets.pepper, user, wanted)
        return Customer(user.id, phone, token.id, secret)

    def row(self, rid: str) -> CallRow:
        """The call, once it is in the books."""

        def found() -> CallRow | None:
            with self.database.read() as connection:
                return calls.get(connection, rid)

        return eventually(found, f"the call {rid} in the books")

    def newest(self, customer: Customer) -> CallRow:
        """The customer's newest call, once there is one."""

        def found() -> list[CallRow]:
            with self.database.read() as connection:
                return calls.recent(connection, token_id=customer.token_id, limit=1)

        return eventually(found, "a call in the books")[0]

    def rows(self, customer: Customer | None = None) -> list[CallRow]:
        with self.database.read() as connection:
            token_id = customer.token_id if customer is not None else None
            return calls.recent(connection, token_id=token_id, limit=100_000)

    def wallet(self, customer: Customer) -> Wallet:
        with self.database.read() as connection:
            found = ledger.wallet_balance(connection, customer.user_id)
        assert found is not None
        return found

    def moved(self, rid: str) -> dict[str, int]:
        """What was transferred for a call, by kind."""
        with self.database.read() as connection:
            rows = connection.execute(
                sa.text("SELECT kind, amount_nano FROM transfers WHERE ref = :rid"), {"rid": rid}
            )
            return {row.kind: row.amount_nano for row in rows}

    # --- calls ------------------------------------------------------------------------------

    def connect(self) -> socket.socket:
        return socket.create_connection(self.address, timeout=PATIENCE_SECONDS)

    def ask(
        self,
        method: str,
        path: str,
        body: bytes | Mapping[str, Any] | None = None,
        headers: Mapping[str, str] | None = None,
        *,
        token: str | None = None,
    ) -> Reply:
        """One request on a connection of its own."""
        connection = http.client.HTTPConnection(*self.address, timeout=PATIENCE_SECONDS)
        sent = {"content-type": "application/json"} if body is not None else {}
        if token is not None:
            sent["authorization"] = f"Bearer {token}"
        if isinstance(body, Mapping):
            body = json.dumps(body).encode()
        try:
            connection.request(method, path, body, {**sent, **(headers or {})})
            response = connection.getresponse()
            return Reply(
                response.status,
                {name.lower(): value for name, value in response.getheaders()},
                response.read(),
            )
        finally:
            connection.close()

    def chat(
        self,
        customer: Customer | str,
        body: bytes | Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
    ) -> Reply:
        """One chat completion."""
        token = customer if isinstance(customer, str) else customer.token
        return self.ask("POST", CHAT, body, headers, token=token)

    def leave(
        self,
        customer: Customer,
        body: Mapping[str, Any],
        when: Callable[[bytes], object],
        *,
        abruptly: bool = True,
    ) -> bytes:
        """Starts a call and hangs up when this is true of what has come; gives what has.

        abruptly: with a reset; otherwise with a mere end, after which a client might still read.
        """
        raw = json.dumps(body).encode()
        with self.connect() as sock:
            sock.sendall(head(customer.token, len(raw)) + raw)
            got = b""
            while not when(got):
                if select.select([sock], [], [], 0.005)[0]:
                    piece = sock.recv(65536)
                    assert piece, got
                    got += piece
            if abruptly:
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            return got

    def raw(self, data: bytes, seconds: float = PATIENCE_SECONDS) -> bytes:
        """Sends bytes as they are; everything that comes back until the connection closes
        or a whole answer with a length is there."""
        with self.connect() as sock:
            with contextlib.suppress(OSError):
                sock.sendall(data)
            got = b""
            deadline = time.monotonic() + seconds
            while time.monotonic() < deadline and not is_whole(got):
                if not select.select([sock], [], [], 0.1)[0]:
                    continue
                try:
                    piece = sock.recv(65536)
                except ConnectionResetError:
                    break
                if not piece:
                    break
                got += piece
            return got

    # --- at the end -------------------------------------------------------------------------

    def check_books(self) -> None:
        """The books agree with themselves and with those of the vendors."""
        report = verify(self.database)
        assert not report.count, list(report.lines())
        assert report.recovered == self.recovered, "a call was left to be recovered"
        with self.database.read() as connection:
            assert connection.execute(sa.text("SELECT count(*) FROM leases")).scalar() == 0
        for row in self.rows():
            if row.rid not in self.odd:
                self._compare(row)

    def _compare(self, row: CallRow) -> None:
        """A call that went well is charged what its vendor says it served; one that did not, at
        most that."""
        number = row.upstream_request_id.removeprefix("req-fake-")
        if not number.isdigit() or row.vendor_id > len(self.vendors):
            return
        # The catalogue's vendors stand in the order of the fake ones.
        entry = self.vendors[row.vendor_id - 1].books.entries[int(number) - 1]
        served = (entry.billed_input, entry.billed_output)
        used = (row.input_tokens, row.output_tokens)
        if row.status == 200 and not row.error:
            assert used == served, (row, entry)
        else:
            assert used <= served, (row, entry)

    def close(self) -> None:
        if self._database is not None:
            self._database.close()
            self._database = None


@contextlib.contextmanager
def platform(
    *,
    catalogue: Callable[[list[VendorThread]], str] | None = None,
    vendors: int = 1,
    workers: int = 1,
    demo: bool = False,
    environment: Mapping[str, str] | None = None,
    verify_books: bool = True,
    data_dir: Path | None = None,
) -> Iterator[Platform]:
    """A platform that runs; at the end it is stopped, and its books are compared.

    catalogue: the YAML of what it sells, given its fake vendors.  data_dir: where it lives,
    else in a folder of its own.
    """
    threads = [VendorThread() for _ in range(vendors)]
    # Short, for the sockets between the processes.
    with tempfile.TemporaryDirectory(prefix="aip-", dir="/tmp") as folder:
        run_dir = Path(folder)
        data_dir = data_dir or run_dir / "data"
        made = Platform(data_dir, run_dir, workers, dict(environment or {}), demo, threads)
        try:
            if "AIPOOL_DATABASE_URL" not in made.environment:
                _install(data_dir)
            if catalogue is not None:
                made.apply(catalogue(threads))
            made.start()
            yield made
            if made.process is not None:
                assert made.stop() == 0, made.log
            if verify_books:
                made.check_books()
            assert "Traceback" not in made.log, made.log
        finally:
            if made.process is not None:
                os.killpg(made.process.pid, signal.SIGKILL)
                made.process.wait()
            made.close()
            for thread in threads:
                thread.stop()


def _install(data_dir: Path) -> None:
    from tests.world import open_world

    with open_world(data_dir):
        pass


def simple_catalogue(threads: list[VendorThread]) -> str:
    """Each fake vendor with two keys, and one model `m` that all of them serve."""
    lines = ["vendors:"]
    for index, thread in enumerate(threads):
        lines += [
            f"  - name: v{index}",
            "    type: openai_compatible",
            f"    base_url: {thread.base_url}",
            "    keys:",
            f"      - {{name: a, api_key: sk-canary-v{index}-a-0123456789}}",
            f"      - {{name: b, api_key: sk-canary-v{index}-b-0123456789}}",
        ]
    routes = ", ".join(f"{{vendor: v{index}}}" for index in range(len(threads)))
    lines += [
        "models:",
        "  - name: m",
        "    context: 100000",
        "    max_output_tokens: 1000",
        f"    price: {PRICE_YAML}",
        f"    routes: [{routes}]",
    ]
    return "\n".join(lines)
