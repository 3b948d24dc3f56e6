"""A connection between a worker (or a writer) and the ledger process: bytes on their way.

Each direction keeps its order. When it breaks, what was on its way to the worker is lost;
what was on its way to the books may still arrive, even after the worker has connected again.
Bytes arrive in pieces, and a message may be cut by the break.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from typing import Protocol, cast


class End(Protocol):
    """The real protocol on one side."""

    def data_received(self, data: bytes) -> None: ...

    def connection_lost(self, exc: Exception | None) -> None: ...


class Side:
    """The transport that one end writes to."""

    def __init__(self, on_close: Callable[[], None]) -> None:
        self.sent: deque[bytes] = deque()
        self.open = True
        self._on_close = on_close

    def write(self, data: bytes) -> None:
        if self.open:
            self.sent.append(data)

    def close(self) -> None:
        if self.open:
            self._on_close()


class Cable:
    """near: the worker's end.  far: the end in the books. soon: runs work at the end of the
    turn of the books' loop."""

    def __init__(self, near: End, far: End, soon: Callable[[Callable[[], object]], object]) -> None:
        self._near = near
        self._far = far
        self._soon = soon
        self.near_side = Side(self.break_)
        self.far_side = Side(self._hung_up)

    def connect(self) -> None:
        """Both ends learn of it."""
        self._far.connection_made(cast(asyncio.Transport, self.far_side))  # type: ignore[attr-defined]
        self._near.connection_made(cast(asyncio.Transport, self.near_side))  # type: ignore[attr-defined]

    @property
    def over(self) -> bool:
        """Nothing more comes of it."""
        return not (self.near_side.open or self.far_side.open)

    def to_books(self, cut: int | None = None) -> bool:
        """The next bytes arrive there; `cut`: only so many of them. False: there are none."""
        sent, far = self.near_side.sent, self.far_side
        if not far.open:
            sent.clear()
            return False
        if sent:
            self._far.data_received(_next(sent, cut))
            return True
        if not self.near_side.open:
            far.open = False
            self._far.connection_lost(None)
            return True
        return False

    def to_worker(self, cut: int | None = None) -> bool:
        """The next bytes arrive there. False: there are none."""
        sent, near = self.far_side.sent, self.near_side
        if not near.open:
            sent.clear()
            return False
        if sent:
            self._near.data_received(_next(sent, cut))
            return True
        if not self.far_side.open:
            near.open = False
            self._near.connection_lost(None)
            return True
        return False

    def break_(self) -> None:
        """The worker's end is gone, and with it what was on its way there."""
        self.far_side.sent.clear()
        if self.near_side.open:
            self.near_side.open = False
            self._near.connection_lost(None)

    def kill_near(self) -> None:
        """The worker's process is gone; it hears of nothing."""
        self.far_side.sent.clear()
        self.near_side.open = False

    def kill_far(self) -> None:
        """The ledger process is gone; what it had said may still arrive."""
        self.near_side.sent.clear()
        self.far_side.open = False

    def lose_late_bytes(self) -> None:
        """What a broken connection still had for the books does not arrive after all."""
        if not self.near_side.open:
            self.near_side.sent.clear()

    def _hung_up(self) -> None:
        """The books hang up: what they wrote arrives, and they hear nothing more."""
        self.far_side.open = False
        self._soon(lambda: self._far.connection_lost(None))


def _next(sent: deque[bytes], cut: int | None) -> bytes:
    data = sent.popleft()
    if cut is None or not 0 < cut < len(data):
        return data
    sent.appendleft(data[cut:])
    return data[:cut]
