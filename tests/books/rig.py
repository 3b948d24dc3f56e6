"""A real ledger process on a real database, and workers as it sees them.

The process is started as the supervisor starts it. A worker here is an epoch directory
with a real lock and a real journal, and a blocking socket that speaks doors.frames. While
no process is started, what a worker says is written directly, by the same `record`.
"""

from __future__ import annotations

import atexit
import fcntl
import itertools
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

import sqlalchemy as sa

from aipool.books import verify
from aipool.books.epochs import Epochs
from aipool.books.record import record
from aipool.books.requests import Answer, Borrow, Open, Request, append_of
from aipool.catalog.tables import prices
from aipool.config import Settings, load
from aipool.doors import frames, records
from aipool.doors.frames import (
    Acquire,
    Applied,
    Fenced,
    Granted,
    Hello,
    Need,
    Ping,
    Pong,
    Publish,
    Recorded,
    Ship,
    Welcome,
)
from aipool.doors.outcome import Outcome, UsageSource
from aipool.doors.records import Hold, Progress, Returned, Synced
from aipool.installation import run_directory
from aipool.kit.clock import now_ms
from aipool.kit.db import Database, open_database, open_sqlite
from aipool.ledger import service as ledger
from aipool.ledger.rules import day_of
from aipool.ledger.types import EpochState, Refused, TransferKind
from aipool.migrate import migrate
from aipool.rating.rate import rate
from aipool.rating.types import Price, Usage
from tests.postgres import place
from tests.waiting import PATIENCE_SECONDS, eventually

CNY = 1_000_000_000
# 1 nano a token in, 2 nano a token out: charges are easy to read.
PRICE = Price(1, 1_000_000, 1_000_000, 2_000_000)

_count = itertools.count()


@cache
def _migrated() -> Path:
    """A database with all tables and the price of the tests, made once."""
    folder = Path(tempfile.mkdtemp(prefix="aipool-books-"))
    atexit.register(shutil.rmtree, folder)
    database = open_sqlite(folder / "aipool.db", busy_timeout_ms=5000)
    _prepared(database)
    database.checkpoint(truncate=True)
    database.close()
    return folder / "aipool.db"


def _prepared(database: Database) -> None:
    migrate(database)
    with database.write() as tx:
        tx.connection.execute(
            sa.insert(prices).values(
                id=PRICE.id,
                input_nano=PRICE.input_nano,
                cached_input_nano=PRICE.cached_input_nano,
                output_nano=PRICE.output_nano,
                created_at_ms=0,
            )
        )


class Installation:
    """A data folder with a migrated database, and the ledger process on it.

    kind: of its database; one on a server goes when the installation is closed.
    """

    def __init__(self, data_dir: Path, kind: str = "sqlite") -> None:
        data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        self.data_dir = data_dir
        self.environment = {"XDG_RUNTIME_DIR": str(data_dir), "AIPOOL_DATA_DIR": str(data_dir)}
        self._place = place(kind, _prepared)
        self.url = self._place.__enter__()
        if self.url:
            self.environment["AIPOOL_DATABASE_URL"] = self.url
        self.settings: Settings = load({"metrics_port": 0}, self.environment)
        self.epochs = Epochs(data_dir)
        if not self.url:
            shutil.copy(_migrated(), data_dir / "aipool.db")
        self.database: Database = open_database(self.settings.database_url_effective)
        self.link_path = run_directory(data_dir, self.environment).link_socket
        self.process: subprocess.Popen[bytes] | None = None
        self.heartbeat = -1
        self._lifeline = -1
        self.workers: list[FakeWorker] = []

    def start(self) -> None:
        """Starts the ledger process and waits until it is ready."""
        launch_read, launch_write = os.pipe()
        beat_read, beat_write = os.pipe()
        life_read, life_write = os.pipe()
        launch = {
            "role": "ledger",
            "index": 0,
            "settings": self.settings.to_json(),
            "heartbeat": beat_write,
            "lifeline": life_read,
            "listener": None,
            "parent": os.getpid(),
        }
        os.write(launch_write, json.dumps(launch).encode())
        os.close(launch_write)
        environment = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": os.pathsep.join(sys.path),
            "AIPOOL_LAUNCH_FD": str(launch_read),
            "XDG_RUNTIME_DIR": self.environment["XDG_RUNTIME_DIR"],
        }
        with (self.data_dir / "ledger.log").open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "aipool.books.main"],
                env=environment,
                pass_fds=(launch_read, beat_write, life_read),
                stderr=log,
            )
        for descriptor in (launch_read, beat_write, life_read):
            os.close(descriptor)
        self.heartbeat, self._lifeline = beat_read, life_write
        os.set_blocking(beat_read, False)
        self.wait_said("ready")

    def wait_said(self, line: str) -> None:
        """Waits until the process says this to its supervisor."""
        said = b""

        def heard() -> bool:
            nonlocal said
            assert self.process is not None
            assert self.process.poll() is None, self.log()
            try:
                said += os.read(self.heartbeat, 65536)
            except BlockingIOError:
                return False
            return f"{line}\n".encode() in said

        eventually(heard, line)

    def kill(self) -> None:
        """kill -9."""
        self._end(signal.SIGKILL)

    def stop(self) -> int:
        """SIGTERM; the exit code."""
        return self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(PATIENCE_SECONDS)
        os.close(self.heartbeat)
        os.close(self._lifeline)
        self.process = None
        return code

    def log(self) -> str:
        """What the process wrote to stderr."""
        return (self.data_dir / "ledger.log").read_text()

    def ask(self, request: Request) -> Answer:
        """What the process would answer, in a transaction of its own."""
        with self.database.write() as tx:
            batch = record(
                tx, [request], at_ms=now_ms(), slice_max_nano=2 * CNY, day=day_of(now_ms())
            )
        return batch.answers[0]

    def credit(self, user_id: int, amount_nano: int) -> None:
        """Money for a user, out of nowhere but `cash:test`."""
        with self.database.write() as tx:
            booked = ledger.credit_wallet(
                tx,
                user_id=user_id,
                amount_nano=amount_nano,
                source="cash:test",
                kind=TransferKind.CREDIT,
                idem_key=f"credit:{user_id}:{time.monotonic_ns()}",
                ref="",
                actor="test",
                at_ms=now_ms(),
            )
        assert not isinstance(booked, Refused)

    def debit(self, user_id: int, amount_nano: int) -> None:
        """Takes money from a user."""
        with self.database.write() as tx:
            moved = ledger.adjust_wallet(
                tx,
                user_id=user_id,
                amount_nano=-amount_nano,
                idem_key=f"debit:{user_id}:{time.monotonic_ns()}",
                ref="",
                actor="test",
                at_ms=now_ms(),
            )
        assert not isinstance(moved, Refused)

    def has_wallet(self, user_id: int) -> bool:
        """Whether the user ever had money."""
        with self.database.read() as connection:
            return ledger.wallet_balance(connection, user_id) is not None

    def balance(self, user_id: int) -> tuple[int, int]:
        """A wallet's balance and how much of it is leased, in nano."""
        with self.database.read() as connection:
            wallet = ledger.wallet_balance(connection, user_id)
        assert wallet is not None
        return wallet.balance_nano, wallet.leased_nano

    def close(self) -> None:
        """Ends everything."""
        for worker in self.workers:
            worker.die()
        if self.process is not None:
            self.kill()
        self.database.close()
        self._place.__exit__(None, None, None)

    def open_epochs(self) -> list[int]:
        """The epochs that are not over, as the books say."""
        with self.database.read() as connection:
            return [one.epoch for one in ledger.epochs_in(connection, EpochState.OPEN)]

    def assert_books_agree(self) -> None:
        """The verifier finds no difference."""
        report = verify.verify(self.database)
        assert report.differences == []


@contextmanager
def installation(data_dir: Path, kind: str = "sqlite") -> Iterator[Installation]:
    """An installation whose process is ended and whose books are verified."""
    with_process = Installation(data_dir, kind)
    try:
        yield with_process
        with_process.assert_books_agree()
    finally:
        with_process.close()


class FakeWorker:
    """One epoch: a lock, a journal, a connection."""

    def __init__(self, of: Installation, epoch: int, *, index: int = 0, pid: int = 4242) -> None:
        self.of = of
        self.epoch = epoch
        self.index = index
        self.pid = pid
        self.position = 0
        self.shipped = 0
        self.unshipped: list[tuple[int, bytes]] = []
        self.published: list[Publish] = []
        self.number = 0
        self.directory = of.epochs.directory(epoch)
        self.directory.mkdir(parents=True)
        self.lock = os.open(self.directory / records.LOCK_NAME, os.O_CREAT | os.O_RDWR)
        fcntl.flock(self.lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        self.segment = self.directory / f"{0:016x}{records.SEGMENT_SUFFIX}"
        self.segment.touch()
        self.socket: socket.socket | None = None
        self._splitter = frames.Splitter()
        self._heard: list[frames.FromLedger] = []
        of.workers.append(self)

    # --- the line ---------------------------------------------------------------------------

    def connect(self, applied: int = 0) -> Welcome | Fenced:
        """Says Hello; the answer."""
        if self.socket is not None:
            self.hang_up()
        if self.of.process is None:
            answer = self.of.ask(Open(self.epoch, self.index, self.pid))
            assert isinstance(answer, Welcome | Fenced)
            return answer
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.settimeout(PATIENCE_SECONDS)
        self.socket.connect(str(self.of.link_path))
        self._splitter = frames.Splitter()
        self._heard = []
        self.send(Hello(self.epoch, self.index, self.pid, applied))
        heard = self.hear(Welcome, Fenced)
        assert isinstance(heard, Welcome | Fenced)
        answer = heard
        if isinstance(answer, Welcome):
            self.shipped = answer.high_water
            self.unshipped = [one for one in self.unshipped if one[0] > answer.high_water]
        return answer

    def hang_up(self) -> None:
        """Closes the connection; the lock stays."""
        assert self.socket is not None
        self.socket.close()
        self.socket = None

    def die(self) -> None:
        """The process is gone: no connection, no lock."""
        if self.socket is not None:
            self.hang_up()
        self.unlock()

    def unlock(self) -> None:
        """Gives up the lock, as a process that ends does."""
        if self.lock >= 0:
            os.close(self.lock)
            self.lock = -1

    def send(self, message: frames.FromWorker) -> None:
        assert self.socket is not None
        self.socket.sendall(frames.pack(message))

    def hear(self, *kinds: type) -> frames.FromLedger:
        """The next message of these kinds; Publish is applied, Ping answered meanwhile."""
        while True:
            for message in list(self._heard):
                if isinstance(message, kinds):
                    self._heard.remove(message)
                    return message
            assert self.socket is not None
            data = self.socket.recv(1 << 20)
            if not data:
                raise ConnectionResetError
            for payload in self._splitter.feed(data):
                self._take(frames.from_ledger.decode(payload))

    def _take(self, message: frames.FromLedger) -> None:
        if isinstance(message, Ping):
            self.send(Pong())
        elif isinstance(message, Publish):
            self.published.append(message)
            self._heard.append(message)
        else:
            self._heard.append(message)

    def apply(self, message: Publish) -> None:
        """Says that it acts on what was published."""
        self.send(Applied(message.revision))

    # --- money ------------------------------------------------------------------------------

    def acquire(self, *chains: tuple[Need, ...]) -> Granted:
        """Asks under the next number."""
        self.number += 1
        message = Acquire(self.number, chains)
        if self.of.process is None:
            direct = self.of.ask(Borrow(self.epoch, message))
            assert isinstance(direct, Granted)
            return direct
        self.send(message)
        answer = self.hear(Granted)
        assert isinstance(answer, Granted)
        return answer

    def lease(self, user_id: int, nano: int) -> Granted:
        """A lease on a wallet alone."""
        return self.acquire((Need(f"wallet:{user_id}", 0, nano, nano),))

    # --- the journal ------------------------------------------------------------------------

    def write(self, item: records.Record) -> int:
        """Appends a record; the position of its end."""
        payload = records.encode(item)
        data = records.frame(payload, self.position)
        with self.segment.open("ab") as file:
            file.write(data)
        self.position += len(data)
        if isinstance(item, Outcome | Returned):
            self.unshipped.append((self.position, payload))
        return self.position

    def sync(self) -> None:
        """An F record for everything so far."""
        self.write(Synced(self.position))

    def rotate(self) -> None:
        """Begins a new segment here."""
        self.segment = self.directory / f"{self.position:016x}{records.SEGMENT_SUFFIX}"
        self.segment.touch()

    def ship(self) -> None:
        """Sends everything unshipped, and forgets nothing."""
        self.send(self._next_ship())

    def _next_ship(self) -> Ship:
        end = self.unshipped[-1][0]
        return Ship(self.shipped, end, tuple(entry for _, entry in self.unshipped))

    def ship_and_wait(self) -> Recorded:
        """Ships and waits for the commit."""
        if self.of.process is None:
            answer: object = self.of.ask(append_of(self.epoch, self._next_ship()))
        else:
            self.ship()
            answer = self.hear(Recorded)
        assert isinstance(answer, Recorded)
        self.shipped = answer.high_water
        self.unshipped = [one for one in self.unshipped if one[0] > answer.high_water]
        return answer


def new_rid(at_ms: int) -> str:
    """A request id as the gateway makes them: ordered by time, then by count."""
    return f"req_{at_ms:011x}{os.getpid():016x}{next(_count):06x}"


def hold(
    user_id: int, hold_nano: int, *, token_id: int = 0, limited: bool = False, stream: bool = False
) -> Hold:
    """A call that holds money."""
    at_ms = now_ms()
    budgets = [(f"wallet:{user_id}", 0)]
    if limited:
        budgets.append((f"token:{token_id}", 0))
    return Hold(
        new_rid(at_ms),
        at_ms,
        user_id,
        token_id,
        1,
        "gpt-4o-mini",
        "chat",
        stream,
        hold_nano,
        tuple(budgets),
        PRICE,
        1_000_000,
        "203.0.113.7",
    )


def progress(of: Hold, input_tokens: int, output_tokens: int) -> Progress:
    """A stream that has relayed this much."""
    return Progress(of.rid, input_tokens, output_tokens, 1, 1)


def outcome(of: Hold, input_tokens: int, output_tokens: int, *, status: int = 200) -> Outcome:
    """How that call ended, rated as it should be."""
    usage = Usage(input_tokens, 0, output_tokens, 0)
    return Outcome(
        rid=of.rid,
        at_ms=of.at_ms,
        duration_ms=120,
        first_token_ms=40,
        user_id=of.user_id,
        token_id=of.token_id,
        group_id=of.group_id,
        model=of.model,
        endpoint=of.endpoint,
        stream=of.stream,
        status=status,
        error="" if status < 400 else "upstream_error",
        input_tokens=input_tokens,
        cached_tokens=0,
        output_tokens=output_tokens,
        reasoning_tokens=0,
        usage_source=UsageSource.VENDOR,
        price_id=of.price.id,
        multiplier_ppm=of.multiplier_ppm,
        charge_nano=rate(usage, of.price, of.multiplier_ppm),
        hold_nano=of.hold_nano,
        budgets=of.budgets,
        cost_nano=0,
        vendor_id=1,
        key_id=1,
        upstream_model="gpt-4o-mini",
        upstream_request_id="",
        attempts=(),
        ip=of.ip,
        user_agent="test",
        recovered=False,
    )
