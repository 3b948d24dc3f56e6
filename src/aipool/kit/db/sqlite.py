"""SQLite: a file, written by one at a time.

Every writer, whatever its process, takes the write lock first (`BEGIN IMMEDIATE`). Readers
never wait: the journal is a write-ahead log. Checkpoints, which move that log into the main
file, are made by the ledger process alone (`SqliteDatabase.checkpoint`), so no other writer
pays for one.

SQLite comes from the `pysqlite3` wheel, which carries its own: versions before 3.51.3 can
corrupt a write-ahead log when two connections write and checkpoint at the same moment.
"""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import sqlalchemy as sa
from pysqlite3 import dbapi2
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

from aipool.kit.db.database import Database, DatabaseBusy, DatabaseUnusable, Transaction
from aipool.kit.db.schema import bump_revision

SQLITE_VERSION_LEAST = (3, 51, 3)

#: Open connections of one process at most; the console's readers are the many.
_READERS_MAX = 16
_WRITERS_MAX = 4


class Checkpoint(NamedTuple):
    """What a checkpoint did. `blocked`: a reader or writer kept it from finishing."""

    blocked: bool
    log_pages: int
    moved_pages: int


class SqliteDatabase(Database):
    """A handle on one file."""

    def __init__(self, path: Path, *, busy_timeout_ms: int) -> None:
        self.path = path
        self.name = str(path)
        self._readers = _engine(path, busy_timeout_ms, _READERS_MAX, "BEGIN", query_only=True)
        self._writers = _engine(path, busy_timeout_ms, _WRITERS_MAX, "BEGIN IMMEDIATE")

    @contextmanager
    def read(self, *, patient: bool = False) -> Iterator[Connection]:
        """See Database. Nothing is ever cut short here."""
        with self._readers.connect() as connection:
            yield connection

    @contextmanager
    def write(self, *, patient: bool = False) -> Iterator[Transaction]:
        """See Database."""
        with self._writers.connect() as connection:
            try:
                connection.begin()
            except sa.exc.OperationalError as error:
                raise _busy_or(error) from error
            transaction = Transaction(connection)
            yield transaction
            transaction.finish()
            revision = bump_revision(connection) if transaction.changes else 0
            connection.commit()
            transaction.revision = revision

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See Database. The lock is on a file beside the database."""
        path = self.path.with_name(self.path.name + ".migrating")
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield
        finally:
            os.close(descriptor)

    def checkpoint(self, *, truncate: bool = False) -> Checkpoint:
        """Moves the write-ahead log into the main file, as far as readers let it.

        truncate: wait for readers and cut the log to nothing; for shutdown and a log
        that has grown large.
        """
        mode = "TRUNCATE" if truncate else "PASSIVE"
        ((blocked, log_pages, moved_pages),) = self._pragma(f"wal_checkpoint({mode})")
        return Checkpoint(bool(blocked), log_pages, moved_pages)

    def close(self) -> None:
        """Closes the idle connections. The last handle on the file also checkpoints it."""
        self._readers.dispose()
        self._writers.dispose()

    def _pragma(self, text: str) -> list[tuple[Any, ...]]:
        """Outside a transaction. A PRAGMA does its work while its rows are read."""
        raw = self._writers.raw_connection()
        try:
            return list(raw.cursor().execute(f"PRAGMA {text}").fetchall())
        finally:
            raw.close()


def open_sqlite(path: Path, *, busy_timeout_ms: int) -> SqliteDatabase:
    """Opens the file, making an empty private one (mode 0600) when there is none.

    Raises DatabaseUnusable for a file that cannot be opened and a SQLite that is too old.
    """
    refuse_old_sqlite(dbapi2.sqlite_version)
    try:
        path.touch(mode=0o600)
        if stat.S_IMODE(path.stat().st_mode) != 0o600:
            path.chmod(0o600)
        _prepare_file(path, busy_timeout_ms)
    except OSError as error:
        raise DatabaseUnusable(f"cannot open the database {path}: {error.strerror}") from error
    except dbapi2.DatabaseError as error:
        raise DatabaseUnusable(f"cannot open the database {path}: {error}") from error
    return SqliteDatabase(path, busy_timeout_ms=busy_timeout_ms)


def sqlite_path(url: str) -> Path:
    """The file a database URL names. Raises DatabaseUnusable when it names none."""
    parsed = sa.engine.make_url(url)
    if parsed.get_backend_name() != "sqlite" or parsed.database in (None, "", ":memory:"):
        shown = parsed.render_as_string(hide_password=True)
        raise DatabaseUnusable(
            f"cannot use the database {shown}: give a file as sqlite:////absolute/path"
        )
    return Path(str(parsed.database))


def refuse_old_sqlite(version: str) -> None:
    """Raises DatabaseUnusable for a SQLite that can corrupt its write-ahead log."""
    if tuple(int(part) for part in version.split(".")) < SQLITE_VERSION_LEAST:
        least = ".".join(map(str, SQLITE_VERSION_LEAST))
        raise DatabaseUnusable(
            f"SQLite {version} can corrupt a write-ahead log and is not used; "
            f"{least} or newer comes with the pysqlite3 wheel"
        )


def _prepare_file(path: Path, busy_timeout_ms: int) -> None:
    """Makes a new file a write-ahead-logged one. Both settings are kept in the file; they
    are set only when missing, because setting them waits for whoever is writing."""
    connection = dbapi2.connect(str(path), isolation_level=None)
    try:
        connection.execute(f"PRAGMA busy_timeout = {busy_timeout_ms:d}")
        if connection.execute("PRAGMA journal_mode").fetchone() != ("wal",):
            # Takes effect on an empty file only, so it stands before the first write.
            connection.execute("PRAGMA auto_vacuum = INCREMENTAL")
            connection.execute("PRAGMA journal_mode = WAL")
    finally:
        connection.close()


def _engine(
    path: Path, busy_timeout_ms: int, size: int, begin: str, *, query_only: bool = False
) -> Engine:
    engine = sa.create_engine(
        sa.engine.URL.create("sqlite+pysqlite", database=str(path)),
        module=dbapi2,
        # Digests, phone numbers and sealed secrets stay out of error messages.
        hide_parameters=True,
        # Ten times as fast as the standard library's, which a publication would notice.
        json_serializer=to_json,
        json_deserializer=msgspec.json.decode,
        poolclass=QueuePool,
        pool_size=1,
        max_overflow=size - 1,
        # No implicit BEGIN by the driver: the listener below says which one.
        connect_args={"isolation_level": None, "check_same_thread": False},
    )
    sa.event.listen(engine, "connect", _connection_setup(busy_timeout_ms, query_only))

    def start(connection: Connection) -> None:
        connection.exec_driver_sql(begin)

    sa.event.listen(engine, "begin", start)
    return engine


def to_json(value: Any) -> str:
    """The text of a JSON column."""
    return msgspec.json.encode(value).decode()


def _connection_setup(busy_timeout_ms: int, query_only: bool) -> Callable[[Any, Any], None]:
    statements = [
        f"PRAGMA busy_timeout = {busy_timeout_ms:d}",
        "PRAGMA synchronous = FULL",
        "PRAGMA foreign_keys = ON",
        "PRAGMA wal_autocheckpoint = 0",
    ]
    if query_only:
        statements.append("PRAGMA query_only = ON")

    def set_up(connection: Any, _record: Any) -> None:
        cursor = connection.cursor()
        for statement in statements:
            cursor.execute(statement).fetchall()
        cursor.close()

    return set_up


def _busy_or(error: sa.exc.OperationalError) -> Exception:
    text = str(error.orig)
    if "locked" in text or "busy" in text:
        return DatabaseBusy("another process is writing to the database and did not finish in time")
    return error
