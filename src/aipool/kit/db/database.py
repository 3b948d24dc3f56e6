"""What every database can do, and how it fails. See the package.

DatabaseUnusable            it cannot be used from here; says why and what to do
└── DatabaseUnreachable     it does not answer now; it may in a moment
DatabaseBusy                another writer did not finish in time
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, TypeVar

import sqlalchemy as sa
from pysqlite3 import dbapi2
from sqlalchemy.engine import Connection

T = TypeVar("T")


class DatabaseUnusable(Exception):
    """The database cannot be used here; the message says why and what to do."""


class DatabaseUnreachable(DatabaseUnusable):
    """The database's server does not answer, or cannot serve now; it may in a moment."""


class DatabaseBusy(Exception):
    """Another writer kept a lock for longer than is waited for."""


#: What passes by itself, so that trying again is right: a full disk, a locked database, a
#: server that is being started again.
PASSING_ERRORS: tuple[type[Exception], ...] = (
    DatabaseBusy,
    DatabaseUnreachable,
    sa.exc.OperationalError,
    dbapi2.OperationalError,
)

#: The tables refuse what was written.
REFUSED_ERRORS: tuple[type[Exception], ...] = (
    sa.exc.IntegrityError,
    sa.exc.DataError,
    dbapi2.IntegrityError,
    dbapi2.DataError,
)


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

    __slots__ = ("_last", "changes", "connection", "revision")

    def __init__(self, connection: Connection) -> None:
        self.connection = connection
        self.changes = Changes()
        self.revision = 0
        self._last: dict[Callable[[Connection, list[Any]], None], list[Any]] = {}

    def write_last(self, write: Callable[[Connection, list[T]], None], item: T) -> None:
        """Hands `item` to `write`, with all others of the same, when everything else is written.

        For what locks a row that every writer needs: it is locked once and for a moment, and
        nobody who has it waits for another row.
        """
        self._last.setdefault(write, []).append(item)

    @contextmanager
    def part(self) -> Iterator[None]:
        """What is done in it is done whole, or, when it raises, not at all: also what was to be
        written last. The rest of the transaction stays."""
        noted = {write: len(items) for write, items in self._last.items()}
        try:
            with self.connection.begin_nested():
                yield
        except BaseException:
            self._last = {
                write: items[: noted[write]]
                for write, items in self._last.items()
                if write in noted
            }
            raise

    def finish(self) -> None:
        """Writes what comes last; whoever commits calls it."""
        while self._last:
            write = next(iter(self._last))
            write(self.connection, self._last.pop(write))


class Database(ABC):
    """A handle on one database; safe to share between threads.

    name: how people know it, without a secret.
    """

    name: str

    @abstractmethod
    def read(self, *, patient: bool = False) -> AbstractContextManager[Connection]:
        """A connection that sees one moment of the database and cannot write.

        patient: one statement may take as long as it needs, as those who read everything do.
        """

    @abstractmethod
    def write(self, *, patient: bool = False) -> AbstractContextManager[Transaction]:
        """A transaction that no other `write` runs beside: committed at the end, undone on
        an exception. Raises DatabaseBusy when the others do not finish in time."""

    @abstractmethod
    def alone(self) -> AbstractContextManager[None]:
        """Waits until nobody else is in here: for migrations, which others must wait for."""

    @abstractmethod
    def close(self) -> None:
        """Closes the idle connections."""
