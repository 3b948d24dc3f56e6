"""What time it is. Read at the edge, and an argument of everything that decides."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


def now_seconds() -> int:
    """Unix time in whole seconds."""
    return time.time_ns() // 1_000_000_000


def iso(seconds: int) -> str:
    """Unix seconds as people and JSON read them: `2026-11-22T10:00:00Z`."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def iso_ms(milliseconds: int) -> str:
    """Unix milliseconds, to the millisecond: `2026-11-22T10:00:00.123Z`."""
    moment = datetime.fromtimestamp(milliseconds // 1000, UTC)
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{milliseconds % 1000:03d}Z"
