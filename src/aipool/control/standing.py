"""Whoever asks for a change is still who they were when it is made.

The door (control.access) finds out who asks, and a change waits for its turn after that: behind a
hash, and behind every other writer. Meanwhile the session may end, the password may be reset, the
role may be taken away; and a thief who asks all the time for an access token would have one that
outlives all of it. So what a change reads first, in its own transaction, is whether its caller is
there as they came in. Nobody can forget it: the routes are given no other way to write.

Refusals (kit.errors):
    login_needed                                             401
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from contextvars import ContextVar

from sqlalchemy.engine import Connection

from aipool.accounts import sessions
from aipool.accounts.callers import Caller
from aipool.kit.clock import now_ms
from aipool.kit.db import Database, Transaction
from aipool.kit.errors import Unauthenticated

_let_in: ContextVar[Caller | None] = ContextVar("let_in", default=None)


@contextmanager
def asking(caller: Caller | None) -> Iterator[None]:
    """While the block runs, and in what it starts, this is who asks. None: nobody has to be there,
    as whoever logs in."""
    before = _let_in.set(caller)
    try:
        yield
    finally:
        _let_in.reset(before)


class Standing(Database):
    """A database as routes have it: like the one it stands for, but for callers who are gone."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.name = database.name

    def read(self, *, patient: bool = False) -> AbstractContextManager[Connection]:
        """As there."""
        return self._database.read(patient=patient)

    @contextmanager
    def write(self, *, patient: bool = False) -> Iterator[Transaction]:
        """As there; raises Unauthenticated for whoever could not come in again as they did."""
        with self._database.write(patient=patient) as tx:
            caller = _let_in.get()
            if caller is not None and not sessions.stands(tx.connection, caller, now_ms()):
                raise Unauthenticated("login_needed", "your session ended just now: log in again")
            yield tx

    def alone(self) -> AbstractContextManager[None]:
        """As there."""
        return self._database.alone()

    def close(self) -> None:
        """As there."""
        self._database.close()
