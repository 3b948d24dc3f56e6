"""PostgreSQL: a server, on this machine or elsewhere.

Writers that take decisions on what they read (`PostgresDatabase.write`: people, recovery,
upkeep) run one after the other, behind an advisory lock, as they do on SQLite. The books
write beside them (kit.db.awaited): they lock each row that they decide on, streams before
wallets before budgets, and each of these in the order of its key, so no two wait for each
other. Whoever writes here takes its rows in that order too.

Whatever a server that is away does to a connection, here it becomes one of two errors
(`translated`): DatabaseBusy, try again; or DatabaseUnreachable, try again later. What a
commit said is not known when the connection ended in its middle, and the error says so.

    postgresql://user@host/name            the password in PGPASSFILE, or in the URL
    postgresql://user@/name?host=/run/pg   through a Unix socket
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import msgspec
import psycopg
import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import QueuePool

from aipool.kit.db.database import (
    Database,
    DatabaseBusy,
    DatabaseUnreachable,
    DatabaseUnusable,
    Transaction,
)
from aipool.kit.db.schema import bump_revision
from aipool.kit.db.sqlite import to_json

VERSION_LEAST = 13
CONNECT_SECONDS = 2
STATEMENT_MS = 30_000
APPLICATION = "aipool"

#: Open connections of one process at most; the console's readers are the many.
_READERS_MAX = 16
_WRITERS_MAX = 4

#: Advisory locks are numbers; these are "aipool" and which.
_WRITING = 0x6169706F6F6C_0001
_MIGRATING = 0x6169706F6F6C_0002

# Classes and codes of SQLSTATE, as PostgreSQL's manual lists them.
_LOCKED = {"55P03", "40001", "40P01", "57014"}
_AWAY = {"57P01", "57P02", "57P03", "57P05", "25P03", "25006"}
_AWAY_CLASSES = {"08", "53", "58"}
_REFUSALS = {"22": sa.exc.DataError, "23": sa.exc.IntegrityError}


class Refusal(Exception):
    """What the server said of a row it refused, without the row."""


class PostgresDatabase(Database):
    """A handle on one database of a server. Connects when it is first used."""

    def __init__(self, url: str, *, lock_timeout_ms: int) -> None:
        self.url = url
        self.name = shown(url)
        self._readers = self._engine(lock_timeout_ms, _READERS_MAX, read_only=True)
        self._writers = self._engine(lock_timeout_ms, _WRITERS_MAX)

    @contextmanager
    def read(self, *, patient: bool = False) -> Iterator[Connection]:
        """See Database."""
        with self._translating(), self._readers.connect() as connection:
            if patient:
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            yield connection

    @contextmanager
    def write(self, *, patient: bool = False) -> Iterator[Transaction]:
        """See Database. What the books write goes on beside it."""
        with self._translating(), self._writers.connect() as connection:
            connection.begin()
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_WRITING})")
            if patient:
                connection.exec_driver_sql("SET LOCAL statement_timeout = 0")
            transaction = Transaction(connection)
            yield transaction
            transaction.finish()
            revision = bump_revision(connection) if transaction.changes else 0
            self._commit(connection)
            transaction.revision = revision

    @contextmanager
    def alone(self) -> Iterator[None]:
        """See Database."""
        with self._translating(), self._writers.connect() as connection:
            for name in ("lock", "statement", "idle_in_transaction_session"):
                connection.exec_driver_sql(f"SET LOCAL {name}_timeout = 0")
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_MIGRATING})")
            yield

    def close(self) -> None:
        """See Database."""
        self._readers.dispose()
        self._writers.dispose()

    def _commit(self, connection: Connection) -> None:
        try:
            connection.commit()
        except Exception as error:
            away = translated(error, self.name)
            if isinstance(away, DatabaseUnreachable):
                raise DatabaseUnreachable(
                    f"{away}; whether the last change was made is not known: look first"
                ) from error
            raise

    @contextmanager
    def _translating(self) -> Iterator[None]:
        try:
            yield
        except Exception as error:
            better = translated(error, self.name)
            if better is error:
                raise
            raise better from shown_cause(better, error)

    def _engine(self, lock_timeout_ms: int, size: int, *, read_only: bool = False) -> Engine:
        settings = session_settings(lock_timeout_ms)

        def connect() -> psycopg.Connection[Any]:
            connection = psycopg.connect(
                self.url,
                connect_timeout=CONNECT_SECONDS,
                application_name=APPLICATION,
                options=" ".join(f"-c {name}={value}" for name, value in settings.items()),
                # A server that vanished without a word is noticed.
                keepalives_idle=10,
                keepalives_interval=5,
                keepalives_count=3,
                tcp_user_timeout=20_000,
            )
            _refuse_unfit(connection, self.name)
            if read_only:
                connection.isolation_level = psycopg.IsolationLevel.REPEATABLE_READ
                connection.read_only = True
            return connection

        return sa.create_engine(
            "postgresql+psycopg://",
            creator=connect,
            # One after the other, as kit.bulk hands them over.
            paramstyle="format",
            # Digests, phone numbers and sealed secrets stay out of error messages.
            hide_parameters=True,
            json_serializer=to_json,
            json_deserializer=msgspec.json.decode,
            poolclass=QueuePool,
            pool_size=1,
            max_overflow=size - 1,
            # The server may have been started again since.
            pool_pre_ping=True,
        )


def open_postgres(url: str, *, lock_timeout_ms: int) -> PostgresDatabase:
    """A handle; the server need not run yet. Raises DatabaseUnusable for a URL that is none."""
    plain = "postgresql://" + url.partition("://")[2]
    try:
        words = psycopg.conninfo.conninfo_to_dict(plain)
    except psycopg.Error as error:
        # What is wrong may be the password: nothing of the URL is shown.
        raise DatabaseUnusable(
            "cannot read the database's URL: give it as postgresql://user@host/name, "
            "with %XX for characters that mean something in a URL"
        ) from error
    if not words.get("dbname"):
        raise DatabaseUnusable(f"the URL {shown(plain)} names no database: …/name is missing")
    return PostgresDatabase(plain, lock_timeout_ms=lock_timeout_ms)


def shown(url: str) -> str:
    """The URL as it may be shown: who, where and which, and nothing else."""
    words = psycopg.conninfo.conninfo_to_dict(url)
    user = f"{words['user']}@" if words.get("user") else ""
    port = f":{words['port']}" if words.get("port") else ""
    return f"postgresql://{user}{words.get('host') or ''}{port}/{words.get('dbname') or ''}"


def session_settings(lock_timeout_ms: int) -> dict[str, str]:
    """What each connection asks of the server."""
    return {
        "synchronous_commit": "on",
        "statement_timeout": str(STATEMENT_MS),
        "idle_in_transaction_session_timeout": str(STATEMENT_MS),
        "lock_timeout": str(lock_timeout_ms),
    }


def translated(error: Exception, name: str) -> Exception:
    """What an error of a driver means; the error itself when it is somebody's mistake.

    A refusal by the tables becomes SQLAlchemy's, whoever ran the statement, and loses the
    values that PostgreSQL shows: digests and phone numbers stay out of error messages.
    """
    if isinstance(error, DatabaseBusy | DatabaseUnusable):
        return error
    cause = error.orig if isinstance(error, sa.exc.DBAPIError) else error
    if cause is None:
        return error
    state = getattr(cause, "sqlstate", None)
    if state in _LOCKED:
        return DatabaseBusy("another process is writing to the database and did not finish in time")
    if isinstance(cause, psycopg.DataError) and state is None:
        return sa.exc.DataError(None, None, Refusal(_first_line(cause)))
    if state is None:
        lost = isinstance(cause, OSError | psycopg.OperationalError) or (
            isinstance(error, sa.exc.DBAPIError) and error.connection_invalidated
        )
        return unreachable(cause, name) if lost else error
    if state in _AWAY or state[:2] in _AWAY_CLASSES:
        return unreachable(cause, name)
    if state[:2] in _REFUSALS:
        return _REFUSALS[state[:2]](None, None, Refusal(_first_line(cause)))
    return error


def shown_cause(better: Exception, error: Exception) -> Exception | None:
    """What is told beside a translated error: not what a refusal came of, which shows the row."""
    return None if isinstance(better, sa.exc.DBAPIError) else error


def _first_line(cause: object) -> str:
    """What was violated. The lines after it show the values."""
    return str(cause).partition("\n")[0]


def unreachable(cause: BaseException, name: str) -> DatabaseUnreachable:
    """The error of a database that ended a connection, or did not begin one."""
    reason = " ".join(str(cause).split()) or type(cause).__name__
    return DatabaseUnreachable(f"the database {name} cannot be reached: {reason}")


def _refuse_unfit(connection: psycopg.Connection[Any], name: str) -> None:
    version = connection.info.server_version
    problem = ""
    if version < VERSION_LEAST * 10_000:
        problem = f"PostgreSQL {version // 10_000} is too old; {VERSION_LEAST} or newer is needed"
    elif connection.info.parameter_status("server_encoding") != "UTF8":
        problem = "it does not keep text as UTF8: CREATE DATABASE … ENCODING 'UTF8' makes one"
    if problem:
        connection.close()
        raise DatabaseUnusable(f"the database {name} cannot be used: {problem}")
