"""The disk under a worker's journal: what is asked of it, and the thread that waits for it.

What is written belongs to the kernel at once and to the disk after a sync. Waiting for that takes
milliseconds, so a thread does it, every 20 ms while there is something to wait for:

    1  the segments that were finished meanwhile, and the folder, whose entry is what makes
       a new segment be found again after a power cut
    2  the segment that is written to now
    3  then it says up to which position all of that is safe

When a sync fails, its pages may be gone whatever a second sync says: a descriptor that
failed is never synced again, and nothing is called safe until the journal has gone on in a new
segment (another `generation`) and that one has been synced.
"""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple, Protocol

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

    def sync_folder(self, path: Path) -> None:
        """Wait until the names in a folder are on the disk. Raises OSError."""

    def close(self, fd: int) -> None:
        """Close a file."""

    def remove(self, path: Path) -> None:
        """Delete a file."""


class RealDisk:
    """The operating system's."""

    def open(self, path: Path) -> int:
        """See Disk."""
        return os.open(
            path, os.O_CREAT | os.O_EXCL | os.O_APPEND | os.O_WRONLY | os.O_CLOEXEC, 0o600
        )

    def sync_folder(self, path: Path) -> None:
        """See Disk."""
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)

    def remove(self, path: Path) -> None:
        """See Disk."""
        path.unlink(missing_ok=True)

    write = staticmethod(os.write)
    truncate = staticmethod(os.ftruncate)
    sync = staticmethod(os.fdatasync)
    close = staticmethod(os.close)


class _Tail(NamedTuple):
    """How far the journal is written. generation: how many failures it has gone past."""

    position: int
    fd: int
    generation: int


class Syncer:
    """Syncs what a journal has written.

    `begun`, `written`, `retired` and `stop` are called by the journal, in its thread; `step` runs
    in the syncing one. synced: told how far everything is safe.  failed: told that it is not.
    """

    def __init__(self, disk: Disk) -> None:
        self._disk = disk
        self._synced: Callable[[int], None] = lambda _: None
        self._failed: Callable[[OSError], None] = lambda _: None
        # One assignment replaces all of it, so the syncing thread never sees a half.
        self._tail = _Tail(0, -1, 0)
        # In order, so that a descriptor is synced before it is closed.
        self._chores: deque[Callable[[], None]] = deque()
        self._handled: set[int] = set()  # descriptors synced or closed in this step
        self._bad: set[int] = set()  # descriptors that failed
        self._failed_generation = -1
        self._dirty = threading.Event()
        self._stopping = False
        self._thread: threading.Thread | None = None

    def start(self, synced: Callable[[int], None], failed: Callable[[OSError], None]) -> None:
        """Begin to sync beside the caller."""
        self._synced, self._failed = synced, failed
        self._thread = threading.Thread(target=self._run, name="journal-sync", daemon=True)
        self._thread.start()

    # --- the journal's thread -------------------------------------------------------------

    def begun(self, folders: Sequence[Path], generation: int) -> None:
        """A new segment was made: these folders have a name more, and what was written
        before it is finished. Called before anything is `written` to it."""
        last = self._tail
        if last.fd >= 0:
            self._chores.append(partial(self._finish, last.fd, last.generation))
        self._chores.extend([partial(self._note, folder, generation) for folder in folders])

    def written(self, position: int, fd: int, generation: int) -> None:
        """The journal ends here now."""
        self._tail = _Tail(position, fd, generation)
        if not self._dirty.is_set():
            self._dirty.set()

    def retired(self, fd: int) -> None:
        """Nobody needs this segment any more. Closed here, so that its number is not given
        to another file while it is being synced."""
        self._chores.append(partial(self._close, fd))

    def stop(self) -> None:
        """Sync once more, and end."""
        self._stopping = True
        self._dirty.set()
        if self._thread is not None:
            self._thread.join()

    # --- the syncing thread ---------------------------------------------------------------

    def _run(self) -> None:
        pause = threading.Event()
        stopping = False
        while not stopping:
            self._dirty.wait()
            self._dirty.clear()
            stopping = self._stopping
            self.step()
            if not stopping:
                pause.wait(SYNC_INTERVAL_SECONDS)

    def step(self) -> None:
        """Sync what there is to sync, and say so."""
        # Read before the chores are: then they contain all that this end depends on.
        position, fd, generation = self._tail
        self._handled.clear()
        try:
            while self._chores:
                self._chores.popleft()()
            if fd >= 0 and fd not in self._handled and fd not in self._bad:
                self._sync(fd, generation)
        except OSError as error:
            self._failed(error)
            return
        if generation > self._failed_generation:
            self._synced(position)

    def _finish(self, fd: int, generation: int) -> None:
        self._handled.add(fd)
        if fd not in self._bad:
            self._sync(fd, generation)

    def _note(self, folder: Path, generation: int) -> None:
        try:
            self._disk.sync_folder(folder)
        except OSError:
            self._failed_generation = max(self._failed_generation, generation)
            raise

    def _sync(self, fd: int, generation: int) -> None:
        try:
            self._disk.sync(fd)
        except OSError:
            self._bad.add(fd)
            self._failed_generation = max(self._failed_generation, generation)
            raise

    def _close(self, fd: int) -> None:
        self._handled.add(fd)
        self._bad.discard(fd)
        self._disk.close(fd)
