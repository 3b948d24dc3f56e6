"""The journals of workers on a disk that can lose what it was not made to keep.

A journal is the bytes of real records (doors.records). kill -9 loses nothing of it; a power
cut keeps what was synced, and of the rest as much as chance says, perhaps with rubbish where
the rest was. `Disk` stands where books.epochs stands: directories, and locks that the kernel
frees when a process dies and at no other time.
"""

from __future__ import annotations

import itertools
import os
import random
from collections.abc import Iterator

from aipool.doors import records
from aipool.doors.records import SEGMENT_SUFFIX, Synced, frame


class Journal:
    """One epoch's directory: a journal in one segment."""

    def __init__(self, epoch: int) -> None:
        self.name = f"{epoch:016x}"
        self.data = bytearray()
        self.synced = 0
        #: Up to where it is whole; the end, unless the power was cut.
        self.kept = 1 << 62
        self._tell_synced = False

    def append(self, payload: bytes) -> int:
        """Adds a record; the position of its end."""
        if self._tell_synced:
            self._tell_synced = False
            self._add(records.encode(Synced(self.synced)))
        self._add(payload)
        return len(self.data)

    def _add(self, payload: bytes) -> None:
        self.data += frame(payload, len(self.data))

    def sync(self) -> None:
        """What is there survives from now on, and the next record says so."""
        if self.synced < len(self.data):
            self.synced = len(self.data)
            self._tell_synced = True

    def cut_power(self, rng: random.Random) -> None:
        """The machine stops. What was synced is there when it comes back."""
        was = bytes(self.data)
        kept = rng.randint(self.synced, len(was))
        length = min(len(was) - kept, rng.choice((0, 0, 3, 9, 400)))
        rubbish = bytes(length) if rng.random() < 0.5 else rng.randbytes(length)
        self.data[kept:] = rubbish
        # Rubbish may happen to be what stood there.
        same = (a == b for a, b in zip(rubbish, was[kept:], strict=False))
        self.kept = kept + sum(itertools.takewhile(bool, same))

    # --- as a directory, for those who read it back ---------------------------------------

    def iterdir(self) -> Iterator[_Segment]:
        """Its files."""
        yield _Segment(bytes(self.data))


class _Segment:
    def __init__(self, data: bytes) -> None:
        self.name = f"{0:016x}{SEGMENT_SUFFIX}"
        self._data = data

    def read_bytes(self) -> bytes:
        return self._data


class Disk:
    """Every epoch's directory, and which of them are locked."""

    def __init__(self) -> None:
        self.journals: dict[int, Journal] = {}
        self.held: set[int] = set()

    def claim(self, epoch: int) -> Journal:
        """A new directory with its lock held."""
        self.held.add(epoch)
        journal = self.journals[epoch] = Journal(epoch)
        return journal

    # --- as books.epochs.Epochs -----------------------------------------------------------

    def directory(self, epoch: int) -> Journal:
        return self.journals[epoch]

    def is_held(self, epoch: int) -> bool:
        return epoch in self.held

    def take(self, epoch: int) -> int | None:
        if epoch in self.held:
            return None
        if epoch not in self.journals:
            raise FileNotFoundError(epoch)
        return os.open(os.devnull, os.O_RDONLY)

    def remove(self, epoch: int) -> None:
        self.journals.pop(epoch, None)
