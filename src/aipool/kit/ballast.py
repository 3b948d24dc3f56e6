"""Room that is kept on a disk for the time when it is full: a file of nothing, given up then.

What has begun must be able to end, and its records need room. So a file of some megabytes is
made while there is plenty. The first process that finds the disk full deletes it, in one call,
and goes on; that it is missing says to everybody that nothing new should be begun. It is made
again when there is room for it twice.

The space is really taken (posix_fallocate), which costs a moment and writes nothing on most
file systems.
"""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path

#: Besides "no space": the quota of a user, and the greatest size of a file.
_FULL_ERRORS = frozenset((errno.ENOSPC, errno.EDQUOT, errno.EFBIG))


def is_full(error: OSError) -> bool:
    """Does this say that there is no room?"""
    return error.errno in _FULL_ERRORS


class Ballast:
    """A file of `size_bytes`; 0 = none is wanted, and all is always well."""

    def __init__(self, path: Path, size_bytes: int) -> None:
        self._path = path
        self._size_bytes = size_bytes

    def is_there(self) -> bool:
        """Is there room for what is new?"""
        return not self._size_bytes or self._path.exists()

    def make(self) -> bool:
        """Makes the file when it is missing, or of another size, and there is room for it
        twice; is it there now?"""
        if not self._size_bytes:
            return True
        try:
            if self._path.exists() and self._path.stat().st_size == self._size_bytes:
                return True
            room = os.statvfs(self._path.parent)
            if room.f_bavail * room.f_frsize < 2 * self._size_bytes:
                return self._path.exists()
            self._make()
        except OSError:
            return False
        return True

    def release(self) -> bool:
        """Gives the room up; was there any?"""
        try:
            self._path.unlink()
        except OSError:
            return False
        return True

    def _make(self) -> None:
        """Under another name first: a half of it must not look like the whole."""
        new = self._path.with_name(self._path.name + ".new")
        descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            os.posix_fallocate(descriptor, 0, self._size_bytes)
            new.replace(self._path)
        except OSError:
            with contextlib.suppress(OSError):
                new.unlink()
            raise
        finally:
            os.close(descriptor)
