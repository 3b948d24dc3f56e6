"""An event loop that does nothing by itself.

The real code asks it for the time, for timers and for futures; the schedule of a simulation
decides when a timer fires and when a task goes on. A timer may fire at any moment: nothing
that is true may depend on how long something took.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Coroutine, Generator
from typing import Any


class Timer:
    """What call_later gives."""

    __slots__ = ("_loop", "_work")

    def __init__(self, loop: Loop, work: Callable[[], object]) -> None:
        self._loop = loop
        self._work = work

    def cancel(self) -> None:
        """It does not fire any more."""
        if self in self._loop.timers:
            self._loop.timers.remove(self)

    def fire(self) -> None:
        """Its time has come."""
        self.cancel()
        self._work()


class Future:
    """As much of a future as asyncio.sleep needs."""

    __slots__ = ("_done",)

    def __init__(self) -> None:
        self._done = False

    def cancelled(self) -> bool:
        return False

    def done(self) -> bool:
        return self._done

    def set_result(self, _: object) -> None:
        self._done = True

    def __await__(self) -> Generator[Future, None, None]:
        while not self._done:
            yield self


class Task:
    """A coroutine that goes on when it is told to."""

    def __init__(self, coroutine: Coroutine[Any, Any, None]) -> None:
        self._coroutine = coroutine
        self._waits_for: Future | None = None
        self.done = False

    def step(self) -> None:
        """Runs until it waits for something that is not there yet."""
        while not self.done and (self._waits_for is None or self._waits_for.done()):
            try:
                self._waits_for = self._coroutine.send(None)
            except StopIteration:
                self.done = True

    def wake(self) -> None:
        """A pause that it makes is over."""
        if self._waits_for is not None:
            self._waits_for.set_result(None)
        self.step()

    def drop(self) -> None:
        """Its process is gone."""
        self.done = True
        self._coroutine.close()


class Loop:
    """The loop of one process."""

    def __init__(self, on_task: Callable[[], None] = lambda: None) -> None:
        self.timers: list[Timer] = []
        self._soon: deque[Callable[[], object]] = deque()
        self._on_task = on_task

    def time(self) -> float:
        """Nobody here looks at a clock."""
        return 0.0

    def call_later(self, _seconds: float, work: Callable[..., object], *args: object) -> Timer:
        """It fires when the schedule says so."""
        timer = Timer(self, lambda: work(*args))
        self.timers.append(timer)
        return timer

    def call_soon(self, work: Callable[..., object], *args: object) -> None:
        """At the end of this turn."""
        self._soon.append(lambda: work(*args))

    def create_future(self) -> Future:
        return Future()

    def create_task(self, coroutine: Coroutine[Any, Any, None]) -> None:
        """The one task that is begun here is to connect, and the schedule does that."""
        coroutine.close()
        self._on_task()

    def end_turn(self) -> None:
        """Runs what was to come soon."""
        while self._soon:
            self._soon.popleft()()
