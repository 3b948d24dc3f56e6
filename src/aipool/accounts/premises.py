"""What coming in and looking after oneself have in common: the database and the secrets of one
installation, its settings, what slices above do, and the memory of who tried."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic

from sqlalchemy.engine import Connection

from aipool.accounts import passwords
from aipool.accounts.failed_logins import FailedLogins
from aipool.accounts.sessions import SessionsEnd, untold
from aipool.accounts.throttle import Throttle, Try
from aipool.accounts.types import User, UserId
from aipool.audit.types import Act
from aipool.kit.db import Database, Transaction
from aipool.kit.errors import TooMany
from aipool.kit.sealing import Keyring
from aipool.site.rules import Values
from aipool.site.service import Site


@dataclass(frozen=True, slots=True)
class Hooks:
    """What slices above do when something happens here, in the same transaction.

    opened: there is a new account.  sessions_end: sessions are about to be gone.
    balance_nano: what an account holds, None = it has no wallet.
    """

    opened: Callable[[Transaction, Act, User], None] = lambda _tx, _act, _user: None
    sessions_end: SessionsEnd = untold
    balance_nano: Callable[[Connection, UserId], int | None] = lambda _connection, _user_id: None


NO_HOOKS = Hooks()


@dataclass(frozen=True)
class Premises:
    """One object a process. clock: monotonic seconds."""

    database: Database
    pepper: bytes
    keyring: Keyring
    site: Site
    hooks: Hooks = NO_HOOKS
    clock: Callable[[], float] = monotonic
    throttle: Throttle = field(default_factory=Throttle)
    failed_logins: FailedLogins = field(default_factory=FailedLogins)

    def values(self) -> Values:
        """The settings of the site that are in force."""
        with self.database.read() as connection:
            return self.site.values(connection)

    def matches(self, stored: str, password: str, tried: Try) -> bool:
        """Is it the password that was hashed? Raises TooMany when too many ask at once; then it
        was no try."""
        try:
            return passwords.password_matches(stored, password)
        except TooMany:
            self.throttle.not_made(tried)
            raise
