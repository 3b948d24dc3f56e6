"""`aipool backup FILE`: one moment of an installation in one file, beside a running server.

The copy of the database is made beside FILE, read from end to end, and packed into
`FILE.partial`, which takes the name FILE when it is whole and on the disk. So FILE is never
half a backup, and an older backup of that name is there until the new one is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from aipool import __version__, migrate
from aipool.backup import archive, keys
from aipool.backup.choose import copies_of
from aipool.backup.copies import Copies
from aipool.backup.files import new_file, sync_folder
from aipool.backup.manifest import FORMAT, Manifest, fingerprint
from aipool.config import Settings
from aipool.kit.clock import iso
from aipool.kit.errors import Conflict, Invalid, NotFound
from aipool.kit.secret_files import FOLDER_NAME


@dataclass(frozen=True, slots=True)
class Written:
    """A backup that is there. key_files: the keys it cannot be used without."""

    file: Path
    size_bytes: int
    manifest: Manifest
    key_files: tuple[Path, ...]


def check_target(settings: Settings, file: Path, *, force: bool) -> None:
    """Raises what can be told before a passphrase is asked for."""
    if not settings.data_dir.is_dir():
        raise Invalid(
            "no_installation",
            f"there is no installation in {settings.data_dir}: name another folder with "
            "--data-dir or AIPOOL_DATA_DIR",
        )
    if file.is_dir():
        raise Invalid("not_a_file", f"{file} is a folder: name a file in it")
    if not file.parent.is_dir():
        raise NotFound("folder_unknown", f"there is no folder {file.parent}")
    if os.path.lexists(file):
        if not force:
            raise Conflict(
                "file_exists",
                f"{file} is there already: name another file, or replace it with --force",
            )
        if not archive.looks_like_one(file):
            raise Conflict(
                "file_is_no_backup", f"{file} is no backup: --force replaces a backup only"
            )


def backup(
    settings: Settings, file: Path, *, passphrase: str | None, force: bool, at_seconds: int
) -> Written:
    """Writes a backup. passphrase: seals the keys, which are then in it; None leaves them out.

    Raises BusinessError and BadSecret; nothing is left of a backup that fails.
    """
    check_target(settings, file, force=force)
    if passphrase is not None:
        keys.check_passphrase(passphrase)
    needed = keys.read_keys(settings.data_dir)
    copies = copies_of(settings)
    partial = file.with_name(file.name + ".partial")
    copy = file.with_name(file.name + ".partial-database")
    try:
        with _writing(partial) as descriptor, _removed_at_the_end(partial, copy):
            manifest = _fill(descriptor, copy, copies, needed, passphrase, at_seconds)
            check_target(settings, file, force=force)
            partial.replace(file)
            sync_folder(file.parent)
    except OSError as error:
        raise Invalid(
            "backup_failed", f"cannot write {file}: {error.strerror or error}; nothing is left"
        ) from None
    folder = settings.data_dir / FOLDER_NAME
    return Written(file, file.stat().st_size, manifest, tuple(folder / name for name in needed))


def _fill(
    descriptor: int,
    copy: Path,
    copies: Copies,
    needed: Mapping[str, bytes],
    passphrase: str | None,
    at_seconds: int,
) -> Manifest:
    os.close(new_file(copy))
    facts = copies.copy_out(copy)
    if facts.step not in migrate.steps():
        raise migrate.MigrationRefused(
            f"the database is at step {facts.step}, which this program does not know: "
            "make the backup with the program that runs on it"
        )
    manifest = Manifest(
        format=FORMAT,
        product_version=__version__,
        migration_step=facts.step,
        database_kind=copies.kind,
        created_at=iso(at_seconds),
        installation=facts.installation,
        key_fingerprints={name: fingerprint(key) for name, key in needed.items()},
        database=archive.measure(copy),
        keys=None,
    )
    sealed = b""
    if passphrase is not None:
        sealed = keys.seal_keys(needed, passphrase, manifest.keys_are_bound_to())
        manifest = manifest.with_keys(archive.measure_bytes(sealed))
    with os.fdopen(descriptor, "wb", closefd=False) as target:
        archive.write(target, manifest, copy, sealed)
        target.flush()
    os.fsync(descriptor)
    return manifest


@contextlib.contextmanager
def _writing(partial: Path) -> Iterator[int]:
    """The new, locked file; two backups into one file are refused, what is left of one that
    was killed is not."""
    with contextlib.suppress(FileNotFoundError):
        left = os.open(partial, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
        try:
            fcntl.flock(left, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict(
                "backup_running", f"another backup is being written to {partial}"
            ) from None
        finally:
            os.close(left)
    descriptor = new_file(partial)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _removed_at_the_end(partial: Path, copy: Path) -> Iterator[None]:
    try:
        yield
    finally:
        beside_it = (copy.with_name(copy.name + ending) for ending in ("-journal", "-wal", "-shm"))
        for path in (partial, copy, *beside_it):
            with contextlib.suppress(OSError):
                path.unlink()
