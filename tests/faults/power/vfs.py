"""A disk in memory under a real SQLite, whose power can be cut at any moment.

SQLite writes through a file system of its own making (a VFS). This one keeps, for each file, what
the process sees, what is certainly on the disk, and every write and truncation since the last
sync. `image` is what a power cut at this moment leaves: all that was synced; of what came later,
each write by chance whole, torn at a border of 512 bytes, or not at all. A name that was removed
may be there again until the folder is synced, and a new one missing.

A sync can be made to fail. Then chance decides at once what of the writes reached the disk, and no
later sync brings back the rest: that is what an operating system does that has marked the pages
clean. A disk can be full: then writes beyond the size a file has fail.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

import apsw

KEPT: Final = 0.4
TORN: Final = 0.2
SECTOR_BYTES: Final = 512

#: As the unix VFS answers: bytes beside those written are not harmed by a power cut.
_SECTOR_SIZE: Final = 4096
_POWERSAFE_OVERWRITE: Final = 0x1000

#: (offset, bytes), or (size, None) for a truncation.
_Change = tuple[int, bytes | None]


@dataclass(slots=True)
class _Stored:
    """A file. seen: by the process.  safe: synced.  changes: since the sync, in order.
    named: its name is on the disk too."""

    seen: bytearray = field(default_factory=bytearray)
    safe: bytes = b""
    changes: list[_Change] = field(default_factory=list)
    named: bool = False


class PowerDisk:
    """The files. moment: called before each write, truncation, sync and removal, with its
    name: what a test does there happens in the middle of a commit.

    failing_sync: the number (from 1) of the sync that fails, 0 = none.
    """

    def __init__(self, chance: random.Random) -> None:
        self.chance = chance
        self.files: dict[str, _Stored] = {}
        self.removed: dict[str, _Stored] = {}
        self.moment: Callable[[str], None] = lambda _: None
        self.syncs = 0
        self.failing_sync = 0
        self.full = False

    def put(self, name: str, content: bytes) -> None:
        """A file that has been on the disk for long."""
        self.files[name] = _Stored(bytearray(content), content, [], named=True)

    def image(self) -> dict[str, bytes]:
        """What is on the disk when the power is cut now, by name."""
        found = {
            name: stored for name, stored in self.removed.items() if self.chance.random() < 0.5
        }
        found |= {
            name: stored
            for name, stored in self.files.items()
            if stored.named or self.chance.random() < 0.5
        }
        return {name: self._left_of(stored) for name, stored in found.items()}

    def _left_of(self, stored: _Stored) -> bytes:
        left = bytearray(stored.safe)
        for where, data in stored.changes:
            fate = self.chance.random()
            if fate < KEPT:
                _apply(left, where, data)
            elif fate < KEPT + TORN and data is not None:
                borders = range(SECTOR_BYTES - where % SECTOR_BYTES, len(data), SECTOR_BYTES)
                if borders:
                    _apply(left, where, data[: self.chance.choice(borders)])
        return bytes(left)

    # --- what the file system is asked ------------------------------------------------------

    def write(self, name: str, offset: int, data: bytes) -> None:
        """Write, into what the process sees."""
        self.moment("write")
        stored = self.files[name]
        if self.full and offset + len(data) > len(stored.seen):
            raise apsw.FullError
        _apply(stored.seen, offset, data)
        stored.changes.append((offset, data))

    def truncate(self, name: str, size: int) -> None:
        """Cut a file off."""
        self.moment("truncate")
        stored = self.files[name]
        _apply(stored.seen, size, None)
        stored.changes.append((size, None))

    def sync(self, name: str) -> None:
        """Make everything safe, the names too: SQLite syncs the folder with a new file."""
        self.moment("sync")
        self.syncs += 1
        stored = self.files[name]
        if self.syncs == self.failing_sync:
            stored.safe = self._left_of(stored)
            stored.changes.clear()
            raise apsw.IOError
        safe = bytearray(stored.safe)
        for where, data in stored.changes:
            _apply(safe, where, data)
        stored.safe = bytes(safe)
        stored.changes.clear()
        if not stored.named:
            stored.named = True
            self.removed.clear()

    def remove(self, name: str, *, sync: bool) -> None:
        """Remove a name."""
        self.moment("remove")
        self.removed[name] = self.files.pop(name)
        if sync:
            self.removed.clear()


def _apply(content: bytearray, where: int, data: bytes | None) -> None:
    if data is None:
        del content[where:]
        return
    if len(content) < where:
        content.extend(bytes(where - len(content)))
    content[where : where + len(data)] = data


class _OpenFile:
    """An open file, by the names SQLite gives to what it asks. One process, so no locks."""

    def __init__(self, disk: PowerDisk, name: str, delete_on_close: bool) -> None:
        self._disk = disk
        self._name = name
        self._delete_on_close = delete_on_close
        self._stored = disk.files.setdefault(name, _Stored())

    def xRead(self, amount: int, offset: int) -> bytes:
        return bytes(self._stored.seen[offset : offset + amount])

    def xWrite(self, data: bytes, offset: int) -> None:
        self._disk.write(self._name, offset, bytes(data))

    def xTruncate(self, size: int) -> None:
        self._disk.truncate(self._name, size)

    def xSync(self, _flags: int) -> None:
        self._disk.sync(self._name)

    def xFileSize(self) -> int:
        return len(self._stored.seen)

    def xLock(self, _level: int) -> None:
        pass

    def xUnlock(self, _level: int) -> None:
        pass

    def xCheckReservedLock(self) -> bool:
        return False

    def xFileControl(self, _op: int, _pointer: int) -> bool:
        return False

    def xSectorSize(self) -> int:
        return _SECTOR_SIZE

    def xDeviceCharacteristics(self) -> int:
        return _POWERSAFE_OVERWRITE

    def xClose(self) -> None:
        if self._delete_on_close:
            self._disk.files.pop(self._name, None)


class PowerFileSystem(apsw.VFS):
    """The VFS of that disk: `apsw.Connection(name, vfs=NAME)`."""

    NAME: Final = "power"

    def __init__(self) -> None:
        self.disk = PowerDisk(random.Random(0))
        self._temporary = 0
        super().__init__(self.NAME, "")

    def xOpen(self, name: object, flags: list[int]) -> _OpenFile:  # type: ignore[override]
        flags[1] = flags[0]
        temporary = bool(flags[0] & apsw.SQLITE_OPEN_DELETEONCLOSE)
        if isinstance(name, apsw.URIFilename):
            path = name.filename()
        elif name is None:
            self._temporary += 1
            path = f"temporary {self._temporary}"
        else:
            path = str(name)
        return _OpenFile(self.disk, path, temporary)

    def xDelete(self, name: str, syncdir: bool) -> None:
        if name in self.disk.files:
            self.disk.remove(name, sync=bool(syncdir))

    def xAccess(self, name: str, _flags: int) -> bool:
        return name in self.disk.files

    def xFullPathname(self, name: str) -> str:
        return name
