"""The database: how it is opened, read and written. The only file that speaks SQLite.

Every writer, whatever its process, takes the write lock first (`BEGIN IMMEDIATE`), loads
the rows it names, decides, writes and commits; so no decision is taken on rows that
change under it. Readers see one moment of the database and never wait: the journal is a
write-ahead log. Checkpoints, which move that log into the main file, are made by the
ledger process alone (`Database.checkpoint`), so no other writer pays for one.

    database = open_database("sqlite:////srv/aipool/aipool.db")
    with database.read() as connection: …
    with database.write() as transaction:
        transaction.connection.execute(…)
        transaction.changes.note_catalogue()
    transaction.revision       the revision the workers must reach to act on it

SQLite comes from the `pysqlite3` wheel, which carries its own: versions before 3.51.3 can
corrupt a write-ahead log when two connections write and checkpoint at the same moment.
"""

from __future__ import annotations

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

SQLITE_VERSION_LEAST = (3, 51, 3)
BUSY_TIMEOUT_MS = 5000

#: Open connections of one process at most; the console's readers are the many.
_READERS_MAX = 16
_WRITERS_MAX = 4

#: One place for the names of constraints, so that a migration can name what it drops.
metadata = sa.MetaData(
    naming_convention={
        "ix": "ix_%(table_name)s_%(column_0_N_name)s",
        "uq": "uq_%(table_name)s_%(column_0_N_name)s",
        "ck": "ck_%(table_name)s_%(constraint_name)s",
        "fk": "fk_%(table_name)s_%(column_0_N_name)s",
        "pk": "pk_%(table_name)s",
    }
)

#: A signed 64-bit integer. SQLite numbers a row by itself only for the type INTEGER,
#: which is 64 bits wide there.
Int64 = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

#: One row: how often what the workers know was changed. It is bumped inside the
#: transaction of the change, so a revision and its content are visible together.
revision_table = sa.Table(
    "revision",
    metadata,
    sa.Column("id", Int64, primary_key=True),
    sa.Column("number", Int64, nullable=False),
    sa.CheckConstraint("id = 1", name="one_row"),
)


class DatabaseUnusable(Exception):
    """The database cannot be opened here; the message says why and what to do."""


class DatabaseBusy(Exception):
    """Another writer kept the write lock for longer than the busy timeout."""


class Changes:
    """What a transaction changed of the things that workers keep in memory."""

    __slots__ = ("catalogue", "digests", "everything")

    def __init__(self) -> None:
        self.catalogue = False
        self.digests: set[bytes] = set()
        self.everything = False

    def note_catalogue(self) -> None:
        """Groups, models, prices, routes, vendors or upstream keys: a new snapshot."""
        self.catalogue = True

    def note_tokens(self, digests: Iterator[bytes] | list[bytes] | tuple[bytes, ...]) -> None:
        """These API tokens must be forgotten and fetched again."""
        self.digests.update(digests)

    def note_everything(self) -> None:
        """Every API token must be forgotten: cheaper than naming all of a user's or a group's."""
        self.everything = True

    def __bool__(self) -> bool:
        return self.catalogue or self.everything or bool(self.digests)


class Transaction:
    """One write in progress. `revision` is 0 until a commit with changes has given it one."""

    __slots__ = ("changes", "connection", "revision")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.changes = Changes()
        self.revision = 0


class Checkpoint(NamedTuple):
    """What a checkpoint did. `blocked`: a reader or writer kept it from finishing."""

    blocked: bool
    log_pages: int
    moved_pages: int


class Database:
    """A handle on one database; safe to share between threads."""

    def __init__(self, path: Path, *, busy_timeout_ms: int) -> None:
        self.path = path
        self._readers = _engine(path, busy_timeout_ms, _READERS_MAX, "BEGIN", query_only=True)
        self._writers = _engine(path, busy_timeout_ms, _WRITERS_MAX, "BEGIN IMMEDIATE")

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A connection that sees one moment of the database and cannot write."""
        with self._readers.connect() as connection:
            yield connection

    @contextmanager
    def write(self) -> Iterator[Transaction]:
        """A transaction that holds the write lock: committed at the end, undone on an
        exception. Raises DatabaseBusy when the lock is not to be had in time."""
        with self._writers.connect() as connection:
            try:
                connection.begin()
            except sa.exc.OperationalError as error:
                raise _busy_or(error) from error
            transaction = Transaction(connection)
            yield transaction
            revision = _bump_revision(connection) if transaction.changes else 0
            connection.commit()
            transaction.revision = revision

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


def open_database(url: str, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> Database:
    """Opens the database, making an empty private file (mode 0600) when there is none.

    url: `sqlite:////absolute/path`. Raises DatabaseUnusable for another kind of
    database, for a file that cannot be opened, and for a SQLite that is too old.
    """
    refuse_old_sqlite(dbapi2.sqlite_version)
    path = sqlite_path(url)
    try:
        path.touch(mode=0o600)
        if stat.S_IMODE(path.stat().st_mode) != 0o600:
            path.chmod(0o600)
        _prepare_file(path, busy_timeout_ms)
    except OSError as error:
        raise DatabaseUnusable(f"cannot open the database {path}: {error.strerror}") from error
    except dbapi2.DatabaseError as error:
        raise DatabaseUnusable(f"cannot open the database {path}: {error}") from error
    return Database(path, busy_timeout_ms=busy_timeout_ms)


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


def current_revision(connection: Connection) -> int:
    """The newest committed revision; 0 before the first change."""
    number = connection.execute(sa.select(revision_table.c.number)).scalar()
    return int(number) if number is not None else 0


def append_only_statements(table: str) -> list[str]:
    """The triggers (SQLite's words) that refuse to change or delete a row of this table."""
    return [
        f"CREATE TRIGGER {table}_no_{act.lower()} BEFORE {act} ON {table} "
        f"BEGIN SELECT RAISE(ABORT, '{table} is append-only'); END"
        for act in ("UPDATE", "DELETE")
    ]


def append_only(table: sa.Table) -> sa.Table:
    """The table, whose rows are never changed nor deleted once it is created."""
    for statement in append_only_statements(table.name):
        trigger = sa.DDL(statement)  # type: ignore[no-untyped-call]
        sa.event.listen(table, "after_create", trigger.execute_if(dialect="sqlite"))
    return table


def _bump_revision(connection: Connection) -> int:
    table = revision_table
    bump = sa.update(table).values(number=table.c.number + 1).returning(table.c.number)
    number = connection.execute(bump).scalar()
    if number is None:
        connection.execute(sa.insert(table).values(id=1, number=1))
        return 1
    return int(number)


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
        json_serializer=_to_json,
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


def _to_json(value: Any) -> str:
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
