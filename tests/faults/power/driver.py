"""The product's database code on another SQLite: a driver as SQLAlchemy and kit.db.sqlite know
it, made of apsw, with its files on a PowerDisk.

What a Python VFS cannot do is share memory between connections, so there is one connection at a
time and it keeps the file to itself (locking_mode=exclusive). Everything else is asked for by
kit.db.sqlite itself, word by word; only for the control run is one of its settings changed on
the way.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import apsw
from pysqlite3 import dbapi2

from aipool.kit.db import sqlite
from aipool.kit.db.sqlite import SqliteDatabase
from tests.faults.power.vfs import PowerFileSystem

_ERRORS: tuple[tuple[type[apsw.Error], type[Exception]], ...] = (
    (apsw.ConstraintError, dbapi2.IntegrityError),
    (apsw.BusyError, dbapi2.OperationalError),
    (apsw.FullError, dbapi2.OperationalError),
    (apsw.IOError, dbapi2.OperationalError),
    (apsw.Error, dbapi2.DatabaseError),
)


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except apsw.Error as error:
        for ours, theirs in _ERRORS:
            if isinstance(error, ours):
                raise theirs(str(error)) from error
        raise


class _Cursor:
    """Reads all rows at once; nobody here asks for many."""

    arraysize = 1

    def __init__(self, connection: _Connection) -> None:
        self._connection = connection
        self._rows: list[tuple[Any, ...]] = []
        self._next = 0
        self.description: Sequence[tuple[Any, ...]] | None = None
        self.rowcount = -1
        self.lastrowid: int | None = None

    def execute(self, statement: str, parameters: Any = ()) -> _Cursor:
        return self._run(statement, [parameters])

    def executemany(self, statement: str, sequence: Iterable[Any]) -> _Cursor:
        return self._run(statement, sequence)

    def _run(self, statement: str, sequence: Iterable[Any]) -> _Cursor:
        raw = self._connection.raw
        statement = self._connection.changed(statement)
        self._rows, self._next, self.description = [], 0, None
        before = raw.total_changes()
        with _translated():
            for parameters in sequence:
                given = parameters if isinstance(parameters, Mapping) else tuple(parameters)
                cursor = raw.cursor()
                cursor.exec_trace = self._describe
                self._rows += [tuple(row) for row in cursor.execute(statement, given)]
        self.rowcount = raw.total_changes() - before
        self.lastrowid = raw.last_insert_rowid()
        return self

    def _describe(self, cursor: apsw.Cursor, _statement: str, _bindings: object) -> bool:
        if cursor.get_description():
            self.description = [(name, *[None] * 6) for name, *_ in cursor.get_description()]
        return True

    def fetchone(self) -> tuple[Any, ...] | None:
        rows = self.fetchmany(1)
        return rows[0] if rows else None

    def fetchmany(self, size: int = 1) -> list[tuple[Any, ...]]:
        rows = self._rows[self._next : self._next + size]
        self._next += len(rows)
        return rows

    def fetchall(self) -> list[tuple[Any, ...]]:
        return self.fetchmany(len(self._rows))

    def __iter__(self) -> Iterator[tuple[Any, ...]]:
        return iter(self.fetchall())

    def close(self) -> None:
        self._rows = []


class _Connection:
    def __init__(self, path: str, changes: Mapping[str, str]) -> None:
        self._changes = changes
        with _translated():
            self.raw = apsw.Connection(path, vfs=PowerFileSystem.NAME)
            self.raw.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()

    def changed(self, statement: str) -> str:
        return self._changes.get(statement, statement)

    def cursor(self) -> _Cursor:
        return _Cursor(self)

    def execute(self, statement: str, parameters: Any = ()) -> _Cursor:
        return self.cursor().execute(statement, parameters)

    def create_function(self, name: str, arguments: int, call: Any, **_: Any) -> None:
        self.raw.create_scalar_function(name, call, arguments)

    def commit(self) -> None:
        if self.raw.in_transaction:
            self.execute("COMMIT")

    def rollback(self) -> None:
        if self.raw.in_transaction:
            self.execute("ROLLBACK")

    def close(self) -> None:
        with _translated():
            self.raw.close()


class _Driver:
    """The driver's module: pysqlite3's names, with another `connect`."""

    sqlite_version = apsw.sqlite_lib_version()
    sqlite_version_info = tuple(int(part) for part in sqlite_version.split("."))

    def __init__(self, changes: Mapping[str, str]) -> None:
        self._changes = changes

    def __getattr__(self, name: str) -> Any:
        return getattr(dbapi2, name)

    def connect(self, path: str, **_: Any) -> _Connection:
        return _Connection(path, self._changes)


def open_on_power(path: Path, changes: Mapping[str, str] | None = None) -> SqliteDatabase:
    """The product's database, whose bytes are on the disk of the registered PowerFileSystem.

    changes: statements of kit.db.sqlite that are to read otherwise.
    """
    with mock.patch.object(sqlite, "dbapi2", _Driver(changes or {})):
        return sqlite.open_sqlite(path, busy_timeout_ms=5000)
