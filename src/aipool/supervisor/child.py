"""One child process as the supervisor sees it, and how long its successor waits."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import subprocess
from collections import deque
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Timing:
    """How patient the supervisor is, in seconds."""

    silent: float = 5.0  # between two heartbeats
    starting: float = 60.0  # between two heartbeats, until it is ready
    recovering: float = 600.0  # until it is ready, with heartbeats: it reads its journals back
    stopping: float = 10.0  # after SIGTERM, for what has nothing to drain
    drain_margin: float = 5.0  # above the drain limit, which the worker keeps by itself
    crowded_deaths: int = 5  # this many …
    crowded_window: float = 10.0  # … in this time begin the pauses below
    pauses: tuple[float, ...] = (1.0, 2.0, 4.0, 8.0)

    def problem(self, process: Process, now: float) -> str | None:
        """Why the process must be ended, or None."""
        ready = process.is_ready.is_set()
        patience = self.silent if ready else self.starting
        if now - process.last_heard > patience:
            return f"has not been heard of for {patience:g} s"
        if not ready and now - process.started_at > self.recovering:
            return f"is not ready after {self.recovering:g} s"
        return None


@dataclass(slots=True, eq=False)
class Process:
    """A running child. `ended` and `is_ready` are set once; times are the loop's.

    condemned: it has been sent SIGKILL for a problem that was told to the operator.
    """

    name: str
    popen: subprocess.Popen[bytes]
    started_at: float
    last_heard: float
    condemned: bool = False
    is_ready: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)

    @property
    def title(self) -> str:
        """How the operator's log calls it: `worker 0 (process 123)`."""
        return f"{self.name} (process {self.pid})"

    @property
    def pid(self) -> int:
        """The process id; not reused by the system before we have waited for the process."""
        return self.popen.pid

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if not self.ended.is_set():
            self.popen.send_signal(number)

    async def wait(self, seconds: float) -> bool:
        """True when the process has ended within that time."""
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self.ended.wait(), seconds)
        return self.ended.is_set()

    async def wait_ready(self) -> bool:
        """True when it is ready, False when it ended before that."""
        waiters = [asyncio.ensure_future(e.wait()) for e in (self.is_ready, self.ended)]
        try:
            await asyncio.wait(waiters, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for waiter in waiters:
                waiter.cancel()
        return self.is_ready.is_set() and not self.ended.is_set()

    @property
    def how_it_ended(self) -> str:
        """`was ended by SIGKILL`, `ended with status 3`."""
        status = self.popen.returncode
        if status is not None and status < 0:
            return f"was ended by {signal.Signals(-status).name}"
        return f"ended with status {status}"


class Backoff:
    """When a place may be filled again: at once, but with pauses where processes keep dying.

    `crowded_deaths` deaths within `crowded_window` begin the pauses; each further death takes
    the next longer one; a process that lived for a whole window ends them.
    """

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._deaths: deque[float] = deque(maxlen=timing.crowded_deaths)
        self._step = -1

    def died(self, *, started_at: float, now: float) -> float:
        """Seconds to wait before the next start."""
        timing = self._timing
        if now - started_at >= timing.crowded_window:
            self._deaths.clear()
            self._step = -1
        self._deaths.append(now)
        crowded = (
            len(self._deaths) == timing.crowded_deaths
            and now - self._deaths[0] <= timing.crowded_window
        )
        if crowded or self._step >= 0:
            self._step = min(self._step + 1, len(timing.pauses) - 1)
            return timing.pauses[self._step]
        return 0.0
