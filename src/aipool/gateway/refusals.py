"""Which refusals get a row: the first of a minute each one, the others one row together. Pure.

A program that goes on calling with an empty wallet is refused thousands of times a minute. Its
owner needs to see that it is, not each time: beyond the first ROWS_PER_MINUTE of a token, what is
refused is counted by token and code, and when the minute is over, one row says how often. Its
other fields are those of the first that it stands for.

What a worker has counted and not yet written is lost when the worker is killed: it is no money.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from aipool.doors.outcome import Outcome

#: Refusals of one token that get a row of their own, a minute.
ROWS_PER_MINUTE = 60
MINUTE_SECONDS = 60.0
#: Rows that are being counted at once: beyond them a refusal is in the metrics only.
_COUNTED_MAX = 10_000


class _Counted:
    """The first refusal of a kind that got no row of its own, and how many there were."""

    __slots__ = ("calls", "first")

    def __init__(self, first: Outcome) -> None:
        self.first = first
        self.calls = 0


class Refusals:
    """Of one worker. share: of ROWS_PER_MINUTE, this worker's own part."""

    __slots__ = ("_began", "_counted", "_rows", "_share")

    def __init__(self, share: int = ROWS_PER_MINUTE) -> None:
        self._share = share
        self._began = 0.0
        self._rows: dict[int, int] = {}
        self._counted: dict[tuple[int, str], _Counted] = {}

    def row_of(self, token_id: int, code: str, outcome: Callable[[], Outcome]) -> Outcome | None:
        """The row to write for one more refusal of this token; None when it is counted.

        outcome: makes the fact of it, which costs more than counting.
        """
        rows = self._rows.get(token_id, 0)
        if rows < self._share:
            self._rows[token_id] = rows + 1
            return outcome()
        kind = (token_id, code)
        counted = self._counted.get(kind)
        if counted is None:
            if len(self._counted) >= _COUNTED_MAX:
                return None
            counted = self._counted[kind] = _Counted(outcome())
        counted.calls += 1
        return None

    def due(self, now: float, *, at_once: bool = False) -> list[Outcome]:
        """The rows of the minute, once it is over. now: monotonic seconds."""
        if not at_once and now - self._began < MINUTE_SECONDS:
            return []
        counted, self._counted = self._counted, {}
        self._rows.clear()
        self._began = now
        return [msgspec.structs.replace(one.first, calls=one.calls) for one in counted.values()]
