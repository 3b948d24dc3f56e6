"""One periodic sweep instead of a timer for every request.

Whoever can run late carries a `deadline` attribute, in loop time, and sets it as its state
changes: an attribute store costs nothing beside `call_later`. Each `interval_seconds` the sweep
looks at every member and calls `expired(now)` on those that are late. So a deadline fires up to
one interval after it is due and never before; members that stamp it from `Sweep.now` may fire up
to one interval early as well.
"""

import asyncio
from collections.abc import Callable
from typing import Protocol

NEVER = float("inf")


class Member(Protocol):
    """What can be late."""

    deadline: float

    def expired(self, now: float) -> None:
        """The deadline has passed. Set a new one or end; it is called again until then."""


class Sweep:
    """The members that may be late, and the one timer that looks at them."""

    def __init__(self, loop: asyncio.AbstractEventLoop, interval_seconds: float) -> None:
        self.loop = loop
        self.interval_seconds = interval_seconds
        self.now = loop.time()
        self.members: set[Member] = set()
        self.add: Callable[[Member], None] = self.members.add
        self.discard: Callable[[Member], None] = self.members.discard
        self._timer: asyncio.TimerHandle | None = None
        self._ticks: list[Callable[[float], None]] = []

    def start(self) -> None:
        """Begins sweeping; idempotent."""
        if self._timer is None:
            self._timer = self.loop.call_later(self.interval_seconds, self._sweep)

    def stop(self) -> None:
        """Ends sweeping; nothing is late any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def each_tick(self, tick: Callable[[float], None]) -> None:
        """Calls `tick(now)` on every sweep, before the members are looked at."""
        self._ticks.append(tick)

    def _sweep(self) -> None:
        # The next sweep is booked first: a member that raises must not end all deadlines.
        self._timer = self.loop.call_later(self.interval_seconds, self._sweep)
        now = self.now = self.loop.time()
        for tick in self._ticks:
            tick(now)
        late = [member for member in self.members if member.deadline <= now]
        for member in late:
            # An earlier one may have given this one more time, or ended it.
            if member.deadline <= now:
                try:
                    member.expired(now)
                except Exception as error:  # noqa: BLE001 - one member must not end the deadlines of all
                    self.loop.call_exception_handler(
                        {"message": "a deadline's handler failed", "exception": error}
                    )
