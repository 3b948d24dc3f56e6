"""Idle connections to upstreams, most recently used first.

The newest is taken first, so that under a falling load the older ones age out and the rest stay
warm. Ages are watched by the sweep: an idle connection carries its own deadline.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aipool.wire.request import Origin

if TYPE_CHECKING:
    from aipool.wire.upstream import UpstreamConnection


class Stack:
    """The idle connections to one origin. Its open connections hold on to it."""

    __slots__ = ("_idle", "_max", "open_count")

    def __init__(self, idle_max: int) -> None:
        self._idle: list[UpstreamConnection] = []
        self._max = idle_max
        self.open_count = 0

    def __len__(self) -> int:
        return len(self._idle)

    def take(self) -> UpstreamConnection | None:
        """An idle connection that is, as far as can be told, alive."""
        idle = self._idle
        while idle:
            connection = idle.pop()
            if not connection.closed:
                return connection
        return None

    def put(self, connection: UpstreamConnection) -> bool:
        """Keeps a connection; False when there are enough of them."""
        if len(self._idle) >= self._max:
            return False
        self._idle.append(connection)
        return True

    def forget(self, connection: UpstreamConnection) -> None:
        """The connection ended; takes it out if it was idle."""
        if connection in self._idle:
            self._idle.remove(connection)


class Pool:
    """A stack of idle connections for each origin that has any connection."""

    __slots__ = ("_per_origin_max", "_stacks")

    def __init__(self, per_origin_max: int) -> None:
        self._stacks: dict[Origin, Stack] = {}
        self._per_origin_max = per_origin_max

    def take(self, origin: Origin) -> UpstreamConnection | None:
        """An idle connection to the origin, if there is one."""
        stack = self._stacks.get(origin)
        return None if stack is None else stack.take()

    def opened(self, connection: UpstreamConnection) -> None:
        """A connection is up."""
        stack = connection.stack
        stack.open_count += 1
        self._stacks[connection.origin] = stack

    def lost(self, connection: UpstreamConnection) -> None:
        """A connection ended; the last one takes its origin's stack with it."""
        stack = connection.stack
        stack.forget(connection)
        stack.open_count -= 1
        if not stack.open_count and self._stacks.get(connection.origin) is stack:
            del self._stacks[connection.origin]

    def stack(self, origin: Origin) -> Stack:
        """Where connections to this origin rest."""
        stack = self._stacks.get(origin)
        return Stack(self._per_origin_max) if stack is None else stack

    def count(self, origin: Origin) -> int:
        """How many connections to this origin are idle."""
        return len(self._stacks.get(origin, ()))
