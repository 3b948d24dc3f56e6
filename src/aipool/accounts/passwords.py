"""Hashing passwords: argon2id, slow and large on purpose.

One hash takes tens of milliseconds and 19 MiB, so it is made before a transaction
begins, never inside one.
"""

from __future__ import annotations

from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

# OWASP's first choice for argon2id: 19 MiB, two passes, one lane.
_hasher = PasswordHasher(time_cost=2, memory_cost=19 * 1024, parallelism=1)


def hash_password(password: str) -> str:
    """The text to store, with its parameters and salt in it."""
    return _hasher.hash(password)


def password_matches(password_hash: str, password: str) -> bool:
    """Is this the password that was hashed?"""
    try:
        return _hasher.verify(password_hash, password)
    except (VerificationError, InvalidHashError):
        return False
