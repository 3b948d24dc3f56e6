"""The file of a backup: a tar that any tar can list, in one exact form.

    manifest.json     what is in it (backup.manifest)
    database          the copy of the database
    keys              sealed by a passphrase; only with --with-keys

A reader never trusts a name or a size in it. Each header must be, byte for byte, the one that
this program would have written for that member, and the length of the file must be the sum of
its parts; so links, devices, paths, sparse and further members have no form they could come
in, and a file that was cut is known before a byte of it is used. Members are copied in pieces.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from aipool.backup.manifest import MANIFEST_BYTES_MAX, Manifest, Member, decode, not_a_backup
from aipool.kit.errors import Invalid

MANIFEST_NAME: Final = "manifest.json"
DATABASE_NAME: Final = "database"
KEYS_NAME: Final = "keys"
KEYS_BYTES_MAX: Final = 64 * 1024

_BLOCK: Final = tarfile.BLOCKSIZE
_END: Final = bytes(2 * _BLOCK)
_PIECE_BYTES: Final = 1 << 20


def measure(path: Path) -> Member:
    """The length and the SHA-256 of a file."""
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256")
        return Member(file.tell(), digest.hexdigest())


def measure_bytes(content: bytes) -> Member:
    """The length and the SHA-256 of what is in memory."""
    return Member(len(content), hashlib.sha256(content).hexdigest())


def write(target: BinaryIO, manifest: Manifest, database: Path, keys: bytes) -> None:
    """Writes a whole backup. Raises OSError, such as for a full disk."""
    text = manifest.encode()
    _write_member(target, MANIFEST_NAME, text)
    target.write(_header(DATABASE_NAME, manifest.database.size_bytes))
    with database.open("rb") as source:
        while piece := source.read(_PIECE_BYTES):
            target.write(piece)
    target.write(_padding(manifest.database.size_bytes))
    if manifest.keys is not None:
        _write_member(target, KEYS_NAME, keys)
    target.write(_END)


def _write_member(target: BinaryIO, name: str, content: bytes) -> None:
    target.write(_header(name, len(content)) + content + _padding(len(content)))


def _header(name: str, size_bytes: int) -> bytes:
    """Nothing but the name and the size differs between two headers."""
    info = tarfile.TarInfo(name)
    info.size = size_bytes
    info.mode = 0o600
    # GNU's form writes any size into one block.
    return info.tobuf(tarfile.GNU_FORMAT)


def _padding(size_bytes: int) -> bytes:
    return bytes(-size_bytes % _BLOCK)


class Archive:
    """A backup that is open for reading; `manifest` is read and the form of the file checked."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        text_size = self._read_header(0, MANIFEST_NAME)
        if text_size > MANIFEST_BYTES_MAX:
            raise not_a_backup("its manifest is too long")
        self.manifest = decode(self._read(_BLOCK, text_size))
        self._database_at = _after(0, text_size)
        database, keys = self.manifest.database, self.manifest.keys
        self._keys_at = end = _after(self._database_at, database.size_bytes)
        if keys is not None:
            if keys.size_bytes > KEYS_BYTES_MAX:
                raise not_a_backup("its keys are too long")
            end = _after(self._keys_at, keys.size_bytes)
        found = os.fstat(file.fileno()).st_size
        if found != end + len(_END):
            raise Invalid(
                "backup_damaged",
                f"the backup is damaged: it must have {end + len(_END)} bytes and has {found}; "
                "it was cut, or something was added",
            )
        self._expect_header(self._database_at, DATABASE_NAME, database)
        if keys is not None:
            self._expect_header(self._keys_at, KEYS_NAME, keys)

    def copy_database(self, target: Path) -> None:
        """Writes the database to a new file (mode 0600) and syncs it. Raises Invalid when it
        is damaged, OSError when it cannot be written."""
        member = self.manifest.database
        digest = hashlib.sha256()
        descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as written:
            at, left = self._database_at + _BLOCK, member.size_bytes
            while left:
                piece = self._read(at, min(left, _PIECE_BYTES))
                digest.update(piece)
                written.write(piece)
                at, left = at + len(piece), left - len(piece)
            written.flush()
            os.fsync(written.fileno())
        _compare(DATABASE_NAME, digest.hexdigest(), member)

    def keys(self) -> bytes:
        """The sealed keys. Raises Invalid when they are damaged."""
        member = self.manifest.keys
        assert member is not None  # asked only when there are some
        content = self._read(self._keys_at + _BLOCK, member.size_bytes)
        _compare(KEYS_NAME, hashlib.sha256(content).hexdigest(), member)
        return content

    def _read_header(self, at: int, name: str) -> int:
        """The size of the member whose header stands here."""
        block = self._read(at, _BLOCK)
        try:
            size = tarfile.TarInfo.frombuf(block, "ascii", "strict").size
        except (tarfile.TarError, ValueError):
            raise not_a_backup("it does not begin like one") from None
        if size < 0 or block != _header(name, size):
            raise not_a_backup(f"{name} is not where it must be")
        return size

    def _expect_header(self, at: int, name: str, member: Member) -> None:
        if self._read_header(at, name) != member.size_bytes:
            raise not_a_backup(f"{name} is not as long as its manifest says")

    def _read(self, at: int, count: int) -> bytes:
        self._file.seek(at)
        content = self._file.read(count)
        if len(content) != count:
            raise not_a_backup("it ends too early")
        return content


@contextlib.contextmanager
def open_archive(path: Path) -> Iterator[Archive]:
    """Opens a backup. Raises Invalid for what is none; a pipe or device is never waited for."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        raise Invalid("file_unreadable", f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise not_a_backup(f"{path} is not a file")
    with os.fdopen(descriptor, "rb") as file:
        yield Archive(file)


def looks_like_one(path: Path) -> bool:
    """Whether a file is a backup, whole or not, or is empty: nothing that anybody would miss,
    who asks for a new backup in its place."""
    if not path.is_file():
        return False
    with path.open("rb") as file:
        start = file.read(_BLOCK)
    return not start or start.startswith(MANIFEST_NAME.encode() + b"\0")


def _after(at: int, size_bytes: int) -> int:
    """Where the member after one of this size begins."""
    return at + _BLOCK + size_bytes + (-size_bytes % _BLOCK)


def _compare(name: str, found: str, member: Member) -> None:
    if found != member.sha256:
        raise Invalid(
            "backup_damaged",
            f"the backup is damaged: its {name} is not what was written (SHA-256 {found})",
        )
