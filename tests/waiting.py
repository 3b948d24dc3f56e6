"""Waiting for something to become true, with a bound, instead of sleeping and hoping."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TypeVar

PATIENCE_SECONDS = 20.0

T = TypeVar("T")


def eventually(
    claim: Callable[[], T | None], what: str = "", seconds: float = PATIENCE_SECONDS
) -> T:
    """Waits until a claim holds, and gives what it said."""
    deadline = time.monotonic() + seconds
    while True:
        said = claim()
        if said:
            return said
        assert time.monotonic() < deadline, f"never happened: {what or claim}"
        time.sleep(0.005)
