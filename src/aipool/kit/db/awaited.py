"""Writing to PostgreSQL without keeping an event loop waiting: asyncpg beneath SQLAlchemy.

The work is written as for any database, in plain calls; each statement of it lets the loop
run while the server works (`AsyncConnection.run_sync`). No advisory lock is taken: the work
locks the rows that it decides on.

Nothing here is tried again. Who writes must be able to write the same twice, because a
connection that ends in the middle of a commit does not tell what became of it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import asyncpg  # type: ignore[import-untyped]
from sqlalchemy.ext.asyncio import AsyncConnection, AsyncEngine, create_async_engine

from aipool.kit.db.database import DatabaseUnreachable, Transaction
from aipool.kit.db.postgres import (
    APPLICATION,
    CONNECT_SECONDS,
    STATEMENT_MS,
    PostgresDatabase,
    session_settings,
    shown_cause,
    translated,
    unreachable,
)

#: The server ends a statement before; this is for one that is stopped or has vanished.
_ANSWER_SECONDS = STATEMENT_MS / 1000 + 2
_CONNECTIONS_MAX = 2
#: Texts of statements kept ready by each connection: more than the books have.
_PREPARED_MAX = 512

T = TypeVar("T")


class AwaitedWrites:
    """Writes to one database from one event loop."""

    def __init__(self, database: PostgresDatabase, *, lock_timeout_ms: int) -> None:
        self._url = database.url
        self._name = database.name
        self._settings = session_settings(lock_timeout_ms)
        self._engine: AsyncEngine = create_async_engine(
            "postgresql+asyncpg://",
            async_creator=self._connect,
            connect_args={"prepared_statement_cache_size": _PREPARED_MAX},
            hide_parameters=True,
            pool_size=1,
            max_overflow=_CONNECTIONS_MAX - 1,
        )

    async def write(self, work: Callable[[Transaction], T]) -> T:
        """Does the work and commits it. Raises DatabaseBusy and DatabaseUnreachable."""
        try:
            async with self._engine.connect() as connection:
                return await self._write_on(connection, work)
        except Exception as error:
            better = translated(error, self._name)
            if better is error:
                raise
            raise better from shown_cause(better, error)

    async def close(self) -> None:
        """Closes the idle connections."""
        await self._engine.dispose()

    async def _write_on(self, connection: AsyncConnection, work: Callable[[Transaction], T]) -> T:
        def all_of_it(plain: Any) -> T:
            transaction = Transaction(plain)
            result = work(transaction)
            transaction.finish()
            return result

        raw = (await connection.get_raw_connection()).driver_connection
        assert raw is not None
        try:
            # Not left to the first statement: those of kit.bulk go past SQLAlchemy.
            await connection.begin()
            result = await connection.run_sync(all_of_it)
            await connection.commit()
        except Exception as error:
            away = isinstance(translated(error, self._name), DatabaseUnreachable)
            if not away and not raw.is_closed():
                raise
            if not connection.invalidated:
                # It may hang as well as be dead: nothing more is asked of it.
                await connection.invalidate()
            raise unreachable(error, self._name) from error
        return result

    async def _connect(self) -> Any:
        return await asyncpg.connect(
            self._url,
            timeout=CONNECT_SECONDS,
            command_timeout=_ANSWER_SECONDS,
            statement_cache_size=_PREPARED_MAX,
            server_settings={**self._settings, "application_name": APPLICATION},
        )
