"""The directories of epochs, and who is alive.

A worker holds a lock on `DATA_DIR/epochs/<epoch>/lock` for its whole life. The kernel
frees the lock when the process dies, however it dies, and keeps it for one that is
stopped or slow; so whether a worker lives is a question without a clock in it.
"""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

from aipool.doors.records import LOCK_NAME

DIRECTORY_NAME = "epochs"


class Epochs:
    """The directories of all epochs of one installation."""

    def __init__(self, data_dir: Path) -> None:
        self.root = data_dir / DIRECTORY_NAME

    def directory(self, epoch: int) -> Path:
        """Where an epoch keeps its lock and its journal."""
        return self.root / f"{epoch:016x}"

    def is_held(self, epoch: int) -> bool:
        """Whether the worker of this epoch is alive."""
        lock = _open(self.directory(epoch) / LOCK_NAME)
        if lock is None:
            return False
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        finally:
            os.close(lock)
        return False

    def take(self, epoch: int) -> int | None:
        """The lock of a dead worker as a descriptor to close, or None while it lives.

        Raises FileNotFoundError when the epoch has no lock to take.
        """
        lock = _open(self.directory(epoch) / LOCK_NAME)
        if lock is None:
            raise FileNotFoundError(self.directory(epoch) / LOCK_NAME)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            return None
        return lock

    def present(self) -> Iterator[int]:
        """The epochs that have a directory."""
        try:
            names = sorted(path.name for path in self.root.iterdir())
        except FileNotFoundError:
            return
        for name in names:
            if len(name) == 16 and all(digit in "0123456789abcdef" for digit in name):
                yield int(name, 16)

    def age_seconds(self, epoch: int, now_seconds: float) -> float:
        """How long ago something was made or removed in the directory; 0 without one."""
        try:
            return now_seconds - self.directory(epoch).stat().st_mtime
        except FileNotFoundError:
            return 0.0

    def remove(self, epoch: int) -> None:
        """Deletes the directory and all in it."""
        shutil.rmtree(self.directory(epoch), ignore_errors=True)


def _open(path: Path) -> int | None:
    try:
        return os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
