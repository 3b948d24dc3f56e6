"""One JSON line for each call that did not end well: allow-listed fields, bounded in rate.

No header, body, token or key can get here: a line is made of the fields below and nothing
else. A burst of failures writes a bounded number of lines and then says how many it kept
to itself.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Protocol

import msgspec

LINES_PER_SECOND = 20

_encode = msgspec.json.Encoder().encode


class Lines(Protocol):
    """Where lines go."""

    def write(self, text: str, /) -> int:
        """Write a line."""

    def flush(self) -> None:
        """Let it be seen."""


class CallLog:
    """Writes to `stream`; `clock` gives unix seconds."""

    def __init__(self, stream: Lines, clock: Callable[[], float] = time.time) -> None:
        self._stream = stream
        self._clock = clock
        self._second = 0
        self._lines = 0
        self._kept = 0

    def call(
        self,
        *,
        rid: str,
        status: int,
        code: str,
        path: str,
        model: str = "",
        token_id: int = 0,
        attempts: int = 0,
        duration_ms: int = 0,
        address: str = "",
    ) -> None:
        """A call that ended with anything but a 2xx."""
        self._write(
            {
                "event": "call",
                "request_id": rid,
                "status": status,
                "code": code,
                "path": path,
                "model": model[:200],
                "token_id": token_id,
                "attempts": attempts,
                "duration_ms": duration_ms,
                "address": address,
            }
        )

    def event(self, event: str, **fields: str | int) -> None:
        """Something an operator should know of."""
        self._write({"event": event, **fields})

    def _write(self, fields: dict[str, str | int]) -> None:
        now = self._clock()
        second = int(now)
        if second != self._second:
            kept, self._kept = self._kept, 0
            self._second, self._lines = second, 0
            if kept:
                self._line(now, {"event": "lines_kept", "count": kept})
        self._lines += 1
        if self._lines > LINES_PER_SECOND:
            self._kept += 1
            return
        self._line(now, fields)

    def _line(self, now: float, fields: dict[str, str | int]) -> None:
        line = _encode({"at": f"{now:.3f}", **fields}).decode("utf-8", "replace")
        self._stream.write(line + "\n")
        self._stream.flush()
