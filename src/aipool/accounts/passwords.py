"""Hashing passwords: argon2id, slow and large on purpose.

One hash takes tens of milliseconds and 19 MiB, so it is made before a transaction begins, never
inside one, and only a few at a time in one process: a flood of logins must not take the cores
that calls run on. Whoever finds the queue full is asked to come again. And where the system can
do that, calls go first on those cores: a hash is computed in a thread that gives way.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from aipool.kit.errors import TooMany

# OWASP's first choice for argon2id: 19 MiB, two passes, one lane.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)

#: Hashes at a time in one process (security S-07), and those that wait for their turn.
AT_ONCE_MAX = 2
WAITING_MAX = 16

#: Of a thread that hashes, where 19 is the last: on a full machine a login takes seconds then, and
#: is let in all the same.
_NICENESS = 19

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
    return _computed(lambda: _hasher.hash(password))


def password_matches(password_hash: str, password: str) -> bool:
    """Is this the password that was hashed? Raises TooMany."""
    try:
        return _computed(lambda: _hasher.verify(password_hash, password))
    except (VerificationError, InvalidHashError):
        return False


_T = TypeVar("_T")


def _computed(compute: Callable[[], _T]) -> _T:
    """In a thread of its own, as nobody may go back to a higher priority. Raises TooMany."""
    with _turns.turn(), ThreadPoolExecutor(1, initializer=_give_way) as thread:
        return thread.submit(compute).result()


def _give_way() -> None:
    # Elsewhere a priority is a process's, and a thread's id is none of a process.
    # Where it is not allowed, a hash is computed all the same.
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
