"""Bytes in flight, bounded for a whole process.

Bodies (and, in the client, collected answers) live in memory. Each one charges what has arrived,
not what was announced. Its first `free` bytes are admitted however full the budget is, so that
ordinary requests never wait for large ones; they are counted all the same, so the sum holds.

A reader that wants more than there is pauses and waits its turn. When room appears the waiters go
on in the order they came, one read's worth of room for each, so waking them cannot overrun it.

Readers that are each half done can fill the budget and wait for one another. Request bodies get
out of that by being refused after a while. Answers were paid for, so with `always_one` the first
to wait goes on regardless: it will end, and by ending make room. That costs at most one answer
beyond the capacity.
"""

from collections.abc import Callable

_READ_BYTES_MAX = 256 * 1024  # The largest read uvloop hands over at once.

Step = Callable[[], None]


class Budget:
    """A bound on bytes held at one time by all members together."""

    __slots__ = (
        "_always_one",
        "_favoured",
        "_reading",
        "_waiting",
        "capacity_bytes",
        "free_bytes",
        "used_bytes",
    )

    def __init__(self, capacity_bytes: int, free_bytes: int, *, always_one: bool = False) -> None:
        self.capacity_bytes = capacity_bytes
        self.free_bytes = free_bytes
        self.used_bytes = 0
        self._always_one = always_one
        self._favoured: object = None
        self._waiting: dict[object, Step] = {}
        self._reading: dict[object, Step] = {}

    @property
    def full(self) -> bool:
        """Nothing beyond the free beginnings may be read now."""
        return self.used_bytes >= self.capacity_bytes

    def must_wait(self, member: object) -> bool:
        """This member, past its free beginning, may not read on now."""
        return self.used_bytes >= self.capacity_bytes and member is not self._favoured

    def charge(self, size: int) -> None:
        """Counts bytes that have arrived. The caller asks `must_wait` before it reads on."""
        self.used_bytes += size
        if self.used_bytes >= self.capacity_bytes and self._reading:
            reading, self._reading = self._reading, {}
            for member, pause in reading.items():
                if member is not self._favoured:
                    pause()

    def reading(self, member: object, pause: Step) -> None:
        """Registers a reader past its free beginning: `pause` is called when the budget fills,
        so that no more than one read overruns it. The reader then waits, or leaves."""
        self._reading[member] = pause

    def wait(self, member: object, resume: Step) -> None:
        """Queues a paused reader; `resume` is called once, when it may read on."""
        self._reading.pop(member, None)
        self._waiting[member] = resume
        self._favour_one()

    def leave(self, member: object) -> None:
        """The member reads no more; its bytes stay charged until `release`."""
        self._reading.pop(member, None)
        self._waiting.pop(member, None)
        if member is self._favoured:
            self._favoured = None
            self._favour_one()

    def release(self, size: int) -> None:
        """Gives bytes back and lets waiters go on."""
        self.used_bytes -= size
        room = self.capacity_bytes - self.used_bytes
        while self._waiting and room > 0:
            room -= _READ_BYTES_MAX
            self._waiting.pop(next(iter(self._waiting)))()

    def _favour_one(self) -> None:
        if self._always_one and self._favoured is None and self._waiting:
            self._favoured = next(iter(self._waiting))
            self._waiting.pop(self._favoured)()
