"""The worker's append-only file: what it promised and what it settled, before it happens.

A record goes into the file before its consequence leaves the process: H before the first
byte to a vendor, S before the last byte to the client. The file belongs to the kernel once
written, so kill -9 loses nothing; a background fsync every 20 ms bounds what a power cut
can take. doors.records says what the bytes mean.

All records of one turn of the event loop go out in one write. So a caller says what is to
happen afterwards (`then`), and it happens after that write, in order, in the same turn's
tail; nothing waits for the disk.

When a write fails, the half-written tail is cut off again. Where the disk is full, the
room that was kept for this (kit.ballast) is given up and the write is done again, so that
what has begun can end; admission stops until there is such room again. Otherwise what was
to follow is told (`failed`), and admission stops until a write succeeds.

When an fsync fails, its pages may be gone whatever a second fsync says: the segment is left
as it is, a new one begins, and admission stops until that one has been synced. After either
failure a record L at the head of the new segment says of which positions no later F speaks.

A segment is deleted once it is recorded and a later one, with the calls that are open at
its head, is on the disk (gateway.disk).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from asyncio import AbstractEventLoop
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from aipool.doors import records
from aipool.doors.records import (
    HEAD_BYTES,
    LOCK_NAME,
    SEGMENT_BYTES,
    SEGMENT_SUFFIX,
    Lost,
    Synced,
    frame,
)
from aipool.gateway.disk import Disk, RealDisk, Syncer
from aipool.kit.ballast import Ballast, is_full


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


@dataclass(slots=True)
class _Segment:
    """first: its first position.  head_end: where the calls open at its beginning have been
    repeated: once that is on the disk, no older segment is needed for them; None = this
    cannot be relied on."""

    first: int
    path: Path
    fd: int
    head_end: int | None = None


class Journal:
    """The journal of one epoch, written by one event loop.

    still_open: the H and P payloads of the calls now open, written again at the head of
    each new segment so that old segments can go.
    bytes_max: the most that may lie unrecorded; beyond it `admitting` is False.
    ballast: room kept for the time when the disk is full.
    tell: an event and its reason, for the operator, when admission stops or goes on.
    """

    def __init__(
        self,
        loop: AbstractEventLoop,
        folder: Path,
        *,
        still_open: Callable[[], list[bytes]],
        bytes_max: int,
        ballast: Ballast | None = None,
        tell: Callable[[str, str], None] = lambda _event, _reason: None,
        disk: Disk | None = None,
        syncer: Syncer | None = None,
    ) -> None:
        self._loop = loop
        self._folder = folder
        self._still_open = still_open
        self._bytes_max = bytes_max
        self._ballast = ballast or Ballast(folder / "none", 0)
        self._tell_operator = tell
        self._disk = disk or RealDisk()
        self._syncer = syncer or Syncer(self._disk)

        self.position = 0
        self.high_water = 0
        self.admitting = True
        self._write_failed = False
        self._sync_failed = False
        self._disk_full = False
        self._had_ballast = False  # where there never was room for it, nobody waits for it

        self._segments: list[_Segment] = []
        self._written = 0  # the position up to which the last segment has bytes
        self._synced = 0
        self._generation = 0  # how many failed syncs there were
        self._lost: list[Lost] = []
        self._doubt: int | None = None  # lost from here on; no segment says so yet
        self._pending: list[bytes] = []
        self._then: list[tuple[Callable[[], None], Callable[[], None] | None]] = []
        self._scheduled = False
        self._closing = False
        self._begin_segment(0)
        self._segments[0].head_end = 0
        self._syncer.start(
            lambda position: self._on_loop(self._on_synced, position),
            lambda error: self._on_loop(self._on_sync_failed, error),
        )

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
        self._drop_segments()
        self._judge()

    def tick(self) -> None:
        """Each second: look at the bounds, and while something is broken, try again."""
        there = self._ballast.is_there()
        self._had_ballast = self._had_ballast or there
        self._disk_full = self._had_ballast and not there
        self._judge("the disk is full" if self._disk_full else "")
        if self._write_failed or self._sync_failed:
            self.append(records.encode(Synced(self._synced)))

    def close(self) -> None:
        """Write and sync what is left; the lock stays until the process ends."""
        self._flush()
        self._closing = True
        self._syncer.stop()

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
        """Append records that end at `position`; False when they are not in the journal."""
        error = self._append(data)
        if error is not None and is_full(error) and self._ballast.release():
            self._had_ballast = self._disk_full = True
            self._judge(str(error))
            error = self._append(data)
        if error is not None:
            # The lost records keep their positions: what comes next begins another segment.
            if self._doubt is None:
                self._doubt = self._written
            self._write_failed = True
            self._judge(str(error))
            return False
        if self._write_failed:
            self._write_failed = False
            self._judge()
        return True

    def _append(self, data: bytes) -> OSError | None:
        """Begins a segment first when the last one is full, is not to be trusted, or does not
        end where these bytes begin. After an error everything is as it was before."""
        start = self.position - len(data)
        begun: _Segment | None = None
        try:
            if start != self._written or start - self._segments[-1].first > SEGMENT_BYTES:
                begun = self._begin_segment(start)
                data += self._head(start)
            fd = self._segments[-1].fd
            done = self._disk.write(fd, data)
            while done < len(data):
                done += self._disk.write(fd, data[done:])
        except OSError as error:
            self._undo(begun, start)
            return error
        if begun is not None:
            begun.head_end = self.position = start + len(data)
            self._lost, self._doubt = self._losses(start), None
        self._written = self.position
        self._syncer.written(self._written, fd, self._generation)
        return None

    def _begin_segment(self, position: int) -> _Segment:
        path = self._folder / f"{position:016x}{SEGMENT_SUFFIX}"
        segment = _Segment(position, path, self._disk.open(path))
        self._segments.append(segment)
        folders = [self._folder]
        if not self._synced:
            # Nor is the epoch's folder itself known to be on the disk.
            folders += [self._folder.parent, self._folder.parent.parent]
        self._syncer.begun(folders, self._generation)
        return segment

    def _head(self, position: int) -> bytes:
        """What a segment that begins here repeats: what is lost, and the calls now open, so
        that no older segment is needed for them."""
        frames: list[bytes] = []
        end = self.position
        for payload in (*map(records.encode, self._losses(position)), *self._still_open()):
            frames.append(records.frame(payload, end))
            end += len(frames[-1])
        return b"".join(frames)

    def _losses(self, position: int) -> list[Lost]:
        """What is lost of the segments there are, before one that begins here."""
        oldest = self._segments[0].first
        lost = [one for one in self._lost if one.end > oldest]
        if self._doubt is not None:
            lost.append(Lost(self._doubt, position))
        return lost

    def _undo(self, begun: _Segment | None, start: int) -> None:
        """Cut off what was written in part."""
        if begun is not None:
            self._segments.remove(begun)
            with contextlib.suppress(OSError):
                self._drop(begun)
            return
        if start != self._written:
            return
        last = self._segments[-1]
        try:
            self._disk.truncate(last.fd, start - last.first)
        except OSError:
            # The tail stays torn, and nothing may follow it.
            self._doubt, self._written = start, -1

    def _drop_segments(self) -> None:
        """Delete what is older than the newest segment from which everything can be read."""
        if len(self._segments) == 1:
            return
        oldest = 0
        for index, segment in enumerate(self._segments):
            head_end = segment.head_end
            if (
                head_end is not None
                and head_end <= self._synced
                and segment.first <= self.high_water
            ):
                oldest = index
        dropped, self._segments = self._segments[:oldest], self._segments[oldest:]
        for segment in dropped:
            # One that stays is deleted with the folder, when the epoch is over.
            with contextlib.suppress(OSError):
                self._drop(segment)

    def _drop(self, segment: _Segment) -> None:
        self._syncer.retired(segment.fd)
        self._disk.remove(segment.path)

    def _judge(self, reason: str = "") -> None:
        unrecorded = self.position - self.high_water
        broken = self._write_failed or self._sync_failed or self._disk_full
        admitting = not broken and unrecorded < self._bytes_max
        if admitting == self.admitting:
            return
        self.admitting = admitting
        if admitting:
            self._tell_operator("journal_goes_on", "")
        else:
            why = reason or f"{unrecorded} bytes are not in the books"
            self._tell_operator("journal_stopped", why)

    # --- what the syncing thread tells ------------------------------------------------------

    def _on_loop(self, what: Callable[..., None], *args: object) -> None:
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
        self._drop_segments()
        if self._sync_failed:
            self._sync_failed = False
            self._judge()

    def _on_sync_failed(self, error: OSError) -> None:
        """What was not synced is in doubt for ever: the next record begins a new segment."""
        self._sync_failed = True
        self._generation += 1
        self._written = -1
        self._doubt = self._synced if self._doubt is None else min(self._doubt, self._synced)
        for segment in self._segments:
            if segment.head_end is not None and segment.head_end > self._synced:
                segment.head_end = None
        self._judge(str(error))
