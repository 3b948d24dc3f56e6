"""Hashing passwords: argon2id, slow and large on purpose.

One hash takes tens of milliseconds and 19 MiB, so it is made before a transaction begins, never
inside one, and only a few at a time in one process: a flood of logins must not take the cores
that calls run on. Whoever finds the queue full is asked to come again.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from aipool.kit.errors import TooMany

# OWASP's first choice for argon2id: 19 MiB, two passes, one lane.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

#: Hashes at a time in one process (security S-07), and those that wait for their turn.
AT_ONCE_MAX = 2
WAITING_MAX = 16

#: What a password is compared with when there is no account, so that this takes as long.
NOBODYS_HASH = (
    "$argon2id$v=19$m=19456,t=2,p=1$YWlwb29sLW5vYm9keS0wMQ$"
    "QUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUFBQUE"
)


class Turns:
    """A few at a time, a few more that wait."""

    def __init__(self, at_once: int, waiting: int) -> None:
        self._running = threading.Semaphore(at_once)
        self._places = threading.Semaphore(at_once + waiting)

    @contextmanager
    def turn(self) -> Iterator[None]:
        """Raises TooMany when too many wait already."""
        if not self._places.acquire(blocking=False):
            raise TooMany(
                "busy",
                "too many people log in at the same moment: try again in a second",
                wait_seconds=1,
                status=503,
            )
        try:
            with self._running:
                yield
        finally:
            self._places.release()


_turns = Turns(AT_ONCE_MAX, WAITING_MAX)


def hash_password(password: str) -> str:
    """The text to store, with its parameters and salt in it. Raises TooMany."""
    with _turns.turn():
        return _hasher.hash(password)


def password_matches(password_hash: str, password: str) -> bool:
    """Is this the password that was hashed? Raises TooMany."""
    with _turns.turn():
        try:
            return _hasher.verify(password_hash, password)
        except (VerificationError, InvalidHashError):
            return False
