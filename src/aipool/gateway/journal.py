"""The worker's append-only file: what it promised and what it settled, before it happens.

A record goes into the file before its consequence leaves the process: H before the first
byte to a vendor, S before the last byte to the client. The file belongs to the kernel once
written, so kill -9 loses nothing; a background fsync every 20 ms bounds what a power cut
can take. doors.records says what the bytes mean.

All records of one turn of the event loop go out in one write. So a caller says what is to
happen afterwards (`then`), and it happens after that write, in order, in the same turn's
tail; nothing waits for the disk.

When a write fails, the half-written tail is cut off again, what was to follow is told
(`failed`), and admission stops until a write succeeds. When an fsync fails, its pages may
be gone whatever a second fsync says: the segment is left as it is, a new one begins, and
admission stops until that one has been synced.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import threading
from asyncio import AbstractEventLoop
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from aipool.doors import records
from aipool.doors.records import (
    HEAD_BYTES,
    LOCK_NAME,
    SEGMENT_BYTES,
    SEGMENT_SUFFIX,
    Synced,
    frame,
)

SYNC_INTERVAL_SECONDS = 0.02


class Disk(Protocol):
    """The file system as the journal uses it; replaced where faults are injected."""

    def open(self, path: Path) -> int:
        """A new file to append to."""

    def write(self, fd: int, data: bytes) -> int:
        """Append; may write less. Raises OSError."""

    def truncate(self, fd: int, size: int) -> None:
        """Cut the file off."""

    def sync(self, fd: int) -> None:
        """Wait until the data are on the disk. Raises OSError."""

    def close(self, fd: int) -> None:
        """Close a file."""


class RealDisk:
    """The operating system's."""

    def open(self, path: Path) -> int:
        """See Disk."""
        return os.open(
            path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600
        )

    write = staticmethod(os.write)
    truncate = staticmethod(os.ftruncate)
    sync = staticmethod(os.fdatasync)
    close = staticmethod(os.close)


def claim_epoch(root: Path, epoch: int) -> tuple[Path, int]:
    """A new epoch's directory and the descriptor that keeps its lock.

    The lock is taken before anybody knows of the epoch, and the kernel gives it up only
    when this process is gone: who can take it knows that the epoch is over. Must be called
    after the last fork.
    """
    folder = root / f"{epoch:016x}"
    folder.mkdir(mode=0o700, parents=True)
    lock = os.open(folder / LOCK_NAME, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    return folder, lock


class Journal:
    """The journal of one epoch, written by one event loop.

    still_open: the H and P payloads of the calls now open, written again at the head of
    each new segment so that old segments can go.
    bytes_max: the most that may lie unrecorded; beyond it `admitting` is False.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        folder: Path,
        *,
        still_open: Callable[[], list[bytes]],
        bytes_max: int,
        disk: Disk | None = None,
    ) -> None:
        self._loop = loop
        self._folder = folder
        self._still_open = still_open
        self._bytes_max = bytes_max
        self._disk = disk or RealDisk()

        self.position = 0
        self.high_water = 0
        self.admitting = True
        self._write_failed = False
        self._sync_failed = False

        self._segments: list[tuple[int, Path, int]] = []  # (first position, path, descriptor)
        self._written = 0  # the position up to which the last segment has bytes
        self._pending: list[bytes] = []
        self._then: list[tuple[Callable[[], None], Callable[[], None] | None]] = []
        self._scheduled = False

        # What the syncing thread reads: one assignment replaces both values.
        self._tail = (0, -1)
        self._retired: list[int] = []  # descriptors it closes, so that none is reused under it
        self._unsyncable = -1  # the descriptor whose sync failed: it is never synced again
        self._synced = 0
        self._dirty = threading.Event()
        self._closing = False
        self._begin_segment(0)
        self._syncer = threading.Thread(target=self._sync_forever, name="journal-sync", daemon=True)
        self._syncer.start()

    def append(
        self,
        payload: bytes,
        then: Callable[[], None] | None = None,
        failed: Callable[[], None] | None = None,
    ) -> int:
        """Add a record; gives the position of its end.

        then: called once the record is written, in the tail of this turn of the loop.
        failed: called instead when it could not be; without it `then` is called anyway
        (a settlement goes on: it is shipped from memory).
        """
        position = self.position
        self._pending.append(frame(payload, position))
        self.position = position = position + HEAD_BYTES + len(payload)
        if then is not None:
            self._then.append((then, failed))
        if not self._scheduled:
            self._scheduled = True
            self._loop.call_soon(self._flush)
        return position

    def recorded(self, high_water: int) -> None:
        """Everything up to here is in the books: segments that end there may go."""
        self.high_water = high_water
        while len(self._segments) > 1 and self._segments[1][0] <= high_water:
            _, path, fd = self._segments.pop(0)
            self._retired.append(fd)
            path.unlink(missing_ok=True)
        self._judge()

    def tick(self) -> None:
        """Each second: look at the bound, and while something is broken, try again."""
        self._judge()
        if self._write_failed or self._sync_failed:
            self.append(records.encode(Synced(self._synced)))

    def close(self) -> None:
        """Write and sync what is left; the lock stays until the process ends."""
        self._flush()
        self._closing = True
        self._dirty.set()
        self._syncer.join()

    # --- writing ------------------------------------------------------------------------

    def _flush(self) -> None:
        self._scheduled = False
        pending, self._pending = self._pending, []
        then, self._then = self._then, []
        written = not pending or self._write(b"".join(pending))
        for go_on, failed in then:
            try:
                if written or failed is None:
                    go_on()
                else:
                    failed()
            except Exception as mistake:  # noqa: BLE001 - of one call; the others go on
                self._loop.call_exception_handler(
                    {"message": "what follows a journal record failed", "exception": mistake}
                )

    def _write(self, data: bytes) -> bool:
        """Append records that end at `position`; begin a segment first when the last one is
        full, is not to be trusted, or does not end where they begin."""
        try:
            start = self.position - len(data)
            if start != self._written or start - self._segments[-1][0] > SEGMENT_BYTES:
                self._begin_segment(start)
                data += self._repeated()
            fd = self._segments[-1][2]
            done = self._disk.write(fd, data)
            while done < len(data):
                done += self._disk.write(fd, data[done:])
        except OSError:
            self._write_failed = True
            self._cut_tail()
            self._judge()
            return False
        self._written = self.position
        self._tail = (self._written, fd)
        if not self._dirty.is_set():
            self._dirty.set()
        if self._write_failed:
            self._write_failed = False
            self._judge()
        return True

    def _repeated(self) -> bytes:
        """The calls now open, once more, so that no older segment is needed for them."""
        frames: list[bytes] = []
        for payload in self._still_open():
            frames.append(records.frame(payload, self.position))
            self.position += len(frames[-1])
        return b"".join(frames)

    def _begin_segment(self, position: int) -> None:
        if self._segments and self._segments[-1][2] != self._unsyncable:
            last = self._segments[-1][2]
            try:
                self._disk.sync(last)
            except OSError:
                # As when the syncing thread finds it; the new segment begins all the same.
                self._unsyncable = last
                self._sync_failed = True
                self._judge()
        path = self._folder / f"{position:016x}{SEGMENT_SUFFIX}"
        fd = self._disk.open(path)
        self._segments.append((position, path, fd))
        self._written = position
        self._tail = (position, fd)

    def _cut_tail(self) -> None:
        """Cut a half-written record off. The lost records keep their positions, so what
        comes next does not begin where the segment ends, and begins a new one."""
        first, _, fd = self._segments[-1]
        # A tail that cannot be cut either stays torn; recovery stops there and says so.
        with contextlib.suppress(OSError):
            self._disk.truncate(fd, self._written - first)

    def _judge(self) -> None:
        unrecorded = self.position - self.high_water
        broken = self._write_failed or self._sync_failed
        self.admitting = not broken and unrecorded < self._bytes_max

    # --- syncing ------------------------------------------------------------------------

    def _sync_forever(self) -> None:
        """Runs in its own thread: syncs what was written, then says how far."""
        pause = threading.Event()
        closing = False
        while not closing:
            self._dirty.wait()
            self._dirty.clear()
            closing = self._closing
            while self._retired:
                fd = self._retired.pop()
                self._disk.close(fd)
                if fd == self._unsyncable:
                    self._unsyncable = -1
            position, fd = self._tail
            if fd == self._unsyncable:
                continue
            try:
                self._disk.sync(fd)
            except OSError:
                self._unsyncable = fd
                self._tell(self._on_sync_failed)
            else:
                self._tell(self._on_synced, position)
            if not closing:
                pause.wait(SYNC_INTERVAL_SECONDS)

    def _tell(self, what: Callable[..., None], *args: int) -> None:
        if not self._closing:
            # The loop may have closed in between, when the process is ending anyway.
            with contextlib.suppress(RuntimeError):
                self._loop.call_soon_threadsafe(what, *args)

    def _on_synced(self, position: int) -> None:
        """An F record goes out with the next records; by itself it changes nothing."""
        if position <= self._synced:
            return
        self._synced = position
        framed = records.frame(records.encode(Synced(position)), self.position)
        self.position += len(framed)
        self._pending.append(framed)
        if self._sync_failed and position > self._segments[-1][0]:
            self._sync_failed = False
            self._judge()

    def _on_sync_failed(self) -> None:
        """Never synced again: the next record begins a new segment."""
        self._sync_failed = True
        self._written = -1
        self._judge()
