"""How the ledger process's loop reads and writes its database.

    InLoop    SQLite: in the loop itself, because a busy loop starves other threads, and
              nothing takes more than milliseconds
    Beside    PostgreSQL: writes are awaited, reads are made one after the other in a thread;
              a server that does not answer keeps nobody else waiting

Either way a read is answered by a callback, in the order in which the reads were asked for;
so what is told to the workers is told in the order of what was read.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Protocol, TypeVar

import structlog
from sqlalchemy.engine import Connection

from aipool.kit.db import PASSING_ERRORS, Database, SqliteDatabase, Transaction

if TYPE_CHECKING:
    from aipool.kit.db.awaited import AwaitedWrites

log = structlog.get_logger()

#: A batch that waits this long for a row gives up its own rows and tries again. Shorter than
#: the second after which PostgreSQL looks for a deadlock, and ends one of those in it: so it
#: is always the batch that yields, never a person's change.
LOCK_TIMEOUT_MS = 500

T = TypeVar("T")

Read = Callable[[Connection], T]
Write = Callable[[Transaction], T]


class Access(Protocol):
    """What the loop may do with the database."""

    async def write(self, work: Write[T]) -> T:
        """Does the work in a transaction and commits it. Raises what the database raises."""
        ...

    async def get(self, work: Read[T]) -> T:
        """What one moment of the database says. Raises what the database raises."""
        ...

    def read(self, work: Read[T], then: Callable[[T], None], failed: Callable[[], None]) -> None:
        """The same, to a callback; `failed` when the database cannot be read now."""
        ...

    def in_turn(self, then: Callable[[], None]) -> None:
        """Calls back after the reads that were asked for before."""
        ...

    async def close(self) -> None:
        """Nothing is asked any more."""
        ...


class InLoop:
    """See the module."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._trouble = _Trouble()

    async def write(self, work: Write[T]) -> T:
        """See Access."""
        with self._database.write() as tx:
            return work(tx)

    async def get(self, work: Read[T]) -> T:
        """See Access."""
        return self._get(work)

    def read(self, work: Read[T], then: Callable[[T], None], failed: Callable[[], None]) -> None:
        """See Access."""
        try:
            found = self._get(work)
        except PASSING_ERRORS as error:
            self._trouble.met(error)
            failed()
        else:
            self._trouble.over()
            then(found)

    def in_turn(self, then: Callable[[], None]) -> None:
        """See Access."""
        then()

    async def close(self) -> None:
        """See Access."""

    def _get(self, work: Read[T]) -> T:
        with self._database.read() as connection:
            return work(connection)


class Beside:
    """See the module."""

    def __init__(self, database: Database, writes: AwaitedWrites) -> None:
        self._database = database
        self._writes = writes
        self._thread = ThreadPoolExecutor(1, "reading")
        self._trouble = _Trouble()

    async def write(self, work: Write[T]) -> T:
        """See Access."""
        return await self._writes.write(work)

    async def get(self, work: Read[T]) -> T:
        """See Access."""
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._get, work)

    def read(self, work: Read[T], then: Callable[[T], None], failed: Callable[[], None]) -> None:
        """See Access."""

        def answer(done: asyncio.Future[T]) -> None:
            if done.cancelled():
                return
            error = done.exception()
            if error is None:
                self._trouble.over()
                then(done.result())
            elif isinstance(error, PASSING_ERRORS):
                self._trouble.met(error)
                failed()
            else:
                raise error

        loop = asyncio.get_running_loop()
        loop.run_in_executor(self._thread, self._get, work).add_done_callback(answer)

    def in_turn(self, then: Callable[[], None]) -> None:
        """See Access."""
        loop = asyncio.get_running_loop()
        nothing = loop.run_in_executor(self._thread, lambda: None)
        nothing.add_done_callback(lambda _: then())

    async def close(self) -> None:
        """See Access. A read that the server never answers is left behind."""
        self._thread.shutdown(wait=False, cancel_futures=True)
        await self._writes.close()

    def _get(self, work: Read[T]) -> T:
        with self._database.read() as connection:
            return work(connection)


def access_to(database: Database) -> Access:
    """The access that fits this database."""
    if isinstance(database, SqliteDatabase):
        return InLoop(database)
    from aipool.kit.db.awaited import AwaitedWrites
    from aipool.kit.db.postgres import PostgresDatabase

    assert isinstance(database, PostgresDatabase)
    return Beside(database, AwaitedWrites(database, lock_timeout_ms=LOCK_TIMEOUT_MS))


class _Trouble:
    """Tells the log when reading begins to fail, and when it is over; not each time between."""

    def __init__(self) -> None:
        self._is_known = False

    def met(self, error: BaseException) -> None:
        """A read has failed."""
        if not self._is_known:
            log.error("books_not_readable", reason=str(error))
        self._is_known = True

    def over(self) -> None:
        """A read went well."""
        if self._is_known:
            log.info("books_readable_again")
        self._is_known = False
