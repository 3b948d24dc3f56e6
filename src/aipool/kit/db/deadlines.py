"""A bound on how long statements of a reader may take, all of them together.

    deadline = Deadline(2.0)
    with deadline.over(connection):
        connection.execute(…)          raises TookTooLong when the time is up

What was cut off has read and changed nothing; the connection's read is over all the same.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

#: Steps of SQLite's machine between two looks at the clock: some 50 µs.
_STEPS = 4_000
#: PostgreSQL's word for a statement that was cancelled.
_CANCELLED = "57014"


class TookTooLong(Exception):
    """The time was up before the statement ended."""


class Deadline:
    """seconds: from now on."""

    def __init__(self, seconds: float) -> None:
        self._end = time.monotonic() + seconds

    @property
    def is_over(self) -> bool:
        """Is the time up?"""
        return time.monotonic() >= self._end

    @contextmanager
    def over(self, connection: Connection) -> Iterator[None]:
        """For the length of a block. Raises TookTooLong."""
        if self.is_over:
            raise TookTooLong
        if connection.dialect.name == "sqlite":
            with self._over_sqlite(connection):
                yield
            return
        left_ms = max(1, int(1000 * (self._end - time.monotonic())))
        connection.exec_driver_sql(f"SET LOCAL statement_timeout = {left_ms}")
        try:
            yield
        except sa.exc.DBAPIError as error:
            if getattr(error.orig, "sqlstate", None) == _CANCELLED:
                raise TookTooLong from None
            raise

    @contextmanager
    def _over_sqlite(self, connection: Connection) -> Iterator[None]:
        driver: Any = connection.connection.driver_connection
        driver.set_progress_handler(lambda: self.is_over, _STEPS)
        try:
            yield
        except sa.exc.OperationalError as error:
            if "interrupted" in str(error.orig):
                raise TookTooLong from None
            raise
        finally:
            driver.set_progress_handler(None, 0)
