"""A journal on a disk that is watched, and that fails when it is told to."""

from __future__ import annotations

import asyncio
import errno
import os
import time
from collections.abc import Callable
from pathlib import Path

from aipool.books.journal import read
from aipool.doors import records
from aipool.doors.records import Lost, Record, Returned, Synced
from aipool.gateway.disk import RealDisk
from aipool.gateway.journal import Journal
from aipool.kit.ballast import Ballast

GB = 1 << 30


def entry(number: int, text: str = "") -> Returned:
    return Returned(f"wallet:{text}", number, 1)


class FaultyDisk(RealDisk):
    """The real one, watched, that fails as long as it is told to."""

    def __init__(self) -> None:
        self.writes: list[bytes] = []
        self.synced: list[int] = []
        self.sync_failed: list[int] = []
        self.room: int | None = None
        self.kept_room: Ballast | None = None
        self.piece: int | None = None
        self.opens = True
        self.syncs = True
        self.folders: list[Path] = []
        self.folder_fails = False
        self.cuts = True
        self.closed: list[int] = []
        self.before_sync: Callable[[], None] = lambda: None

    def open(self, path: Path) -> int:
        if not self.opens:
            raise OSError(errno.ENOSPC, "no room")
        return super().open(path)

    def write(self, fd: int, data: bytes) -> int:  # type: ignore[override]
        if self.kept_room is not None and not self.kept_room.is_there():
            self.room = None
        if self.room is not None:
            if not self.room:
                raise OSError(errno.ENOSPC, "no room")
            data = data[: self.room]
            self.room -= len(data)
        elif self.piece is not None:
            data = data[: self.piece]
        done = os.write(fd, data)
        self.writes.append(data[:done])
        return done

    def truncate(self, fd: int, size: int) -> None:
        if not self.cuts:
            raise OSError(errno.EIO, "cannot cut")
        os.ftruncate(fd, size)

    def sync(self, fd: int) -> None:  # type: ignore[override]
        self.before_sync()
        if not self.syncs:
            self.sync_failed.append(fd)
            raise OSError(errno.EIO, "bad disk")
        self.synced.append(fd)
        os.fdatasync(fd)

    def sync_folder(self, path: Path) -> None:
        if self.folder_fails:
            raise OSError(errno.EIO, "bad disk")
        super().sync_folder(path)
        self.folders.append(path)

    def close(self, fd: int) -> None:
        self.closed.append(fd)
        os.close(fd)


class Rig:
    """A journal in a folder, with a loop that turns when the test says so."""

    def __init__(
        self, folder: Path, *, bytes_max: int = GB, ballast: Ballast | None = None
    ) -> None:
        self.folder = folder
        folder.mkdir(exist_ok=True)
        self.loop = asyncio.new_event_loop()
        self.disk = FaultyDisk()
        self.open_calls: list[bytes] = []
        self.told: list[str] = []
        self.events: list[str] = []
        self.journal = Journal(
            self.loop,
            folder,
            still_open=lambda: self.open_calls,
            bytes_max=bytes_max,
            ballast=ballast,
            tell=lambda event, _: self.events.append(event),
            disk=self.disk,
        )

    def admits(self) -> bool:
        return self.journal.admitting

    def turn(self) -> None:
        """One turn of the loop."""
        self.loop.call_soon(self.loop.stop)
        self.loop.run_forever()

    def until(self, claim: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not claim():
            assert time.monotonic() < deadline
            self.turn()
            time.sleep(0.001)

    def add(self, record: Record, name: str = "") -> int:
        """Appends a record; `told` learns what became of it."""
        return self.journal.append(
            records.encode(record),
            lambda: self.told.append(f"{name} written"),
            lambda: self.told.append(f"{name} failed"),
        )

    def read(self, high_water: int = 0) -> list[tuple[int, Record]]:
        """What a reader finds, without what the journal wrote for itself."""
        return [
            (end, record)
            for end, record in read(self.folder, high_water)
            if not isinstance(record, Synced | Lost)
        ]

    def newest(self) -> list[Record]:
        """What stands in the last segment."""
        path = self.folder / self.segments[-1]
        found = records.read(path.read_bytes(), int(path.stem, 16))
        return [record for _, record in found if not isinstance(record, Synced | Lost)]

    @property
    def syncing(self) -> bool:
        thread = self.journal._syncer._thread
        return thread is not None and thread.is_alive()

    def sync(self) -> None:
        """Until the disk has everything."""
        end = self.journal._written
        self.until(lambda: self.journal._synced >= end)

    @property
    def segments(self) -> list[str]:
        return sorted(path.name for path in self.folder.glob("*.seg"))

    def close(self) -> None:
        if self.syncing:
            self.journal.close()
        for segment in self.journal._segments:
            os.close(segment.fd)
        self.loop.close()
