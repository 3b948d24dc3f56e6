"""Ids of requests: unique without asking anybody, and ordered by time as text."""

from __future__ import annotations

import os

#: 40 bits of chance per process; two of a million processes meet once in a lifetime.
_CHANCE_BYTES = 5
_COUNT_MASK = (1 << 32) - 1


class RequestIds:
    """Makes request ids for one process.

    `req_`, 12 hex digits of unix milliseconds, 10 of the process's own chance, 8 of a
    count: within one process and one millisecond they are in the order they were made.
    """

    __slots__ = ("_chance", "_count")

    def __init__(self, chance: bytes | None = None) -> None:
        self._chance = (chance or os.urandom(_CHANCE_BYTES)).hex()
        self._count = 0

    def new(self, at_ms: int) -> str:
        """An id for a request that arrived at this unix millisecond."""
        self._count = (self._count + 1) & _COUNT_MASK
        return f"req_{at_ms:012x}{self._chance}{self._count:08x}"
