"""Which day it is for the windows of budgets, whatever is done to the clock.

The day moves forward only, and it is kept in the database before anybody acts on it; so no
window is ever gone back to, and none is begun twice. A clock that is set back leaves the
day where it is until it has caught up.

A clock that leaps far ahead would begin windows that are not due, and they could not be
taken back. So a leap of more than 36 hours, against the time that has really passed,
freezes the day where it is and is an alarm; it goes on when the clock comes back to where
it should be, or when a person confirms it (`aipool ledger confirm-clock`). Time that this
process spent stopped, or the machine asleep, has really passed and is no leap.

Pure: both clocks are arguments.
"""

from __future__ import annotations

from typing import NamedTuple

from aipool.ledger.rules import DAY_SECONDS

LEAP_SECONDS = 36 * 3600


class Day(NamedTuple):
    """What is kept: the day, in days since 1970-01-01, and whether it is frozen."""

    number: int
    frozen: bool


class Calendar:
    """The day of one ledger process.

    kept: what the database says, None before the first day.  unix_seconds: the wall
    clock.  passed_seconds: a clock that nobody sets and that runs while the machine sleeps.
    """

    def __init__(self, kept: Day | None, unix_seconds: float, passed_seconds: float) -> None:
        today = int(unix_seconds // DAY_SECONDS)
        self.day = kept or Day(today, frozen=False)
        # The wall clock less the passed time, as it was when both were last believed;
        # None = frozen by an earlier process, so that only a person can tell.
        self._offset: float | None = unix_seconds - passed_seconds
        if self.day.frozen:
            self._offset = None

    def look(self, unix_seconds: float, passed_seconds: float) -> Day:
        """What the day should be now. It is so once it is kept: see `keep`."""
        offset = unix_seconds - passed_seconds
        if self._offset is None or offset - self._offset > LEAP_SECONDS:
            return Day(self.day.number, frozen=True)
        # Never lower: a clock that was set back and is put right again has not leapt.
        self._offset = max(self._offset, offset)
        return Day(max(self.day.number, int(unix_seconds // DAY_SECONDS)), frozen=False)

    def keep(self, day: Day) -> None:
        """The database has it: act on it."""
        self.day = day

    def confirm(self, day: Day, unix_seconds: float, passed_seconds: float) -> None:
        """A person has looked at the clock and believes it."""
        self.day = day
        self._offset = unix_seconds - passed_seconds


def seconds_to_midnight(unix_seconds: float) -> float:
    """How long the UTC day still lasts."""
    return DAY_SECONDS - unix_seconds % DAY_SECONDS
