"""`aipool restore FILE`: a backup becomes the installation, or everything stays as it is.

Everything is judged before anything is touched, on a database in a work folder that nobody
else knows: it is checked against its hash, read from end to end, brought to this program's
form, its secrets are opened with the keys, its epochs are closed and what they had leased
returned, and the books are verified. Only then, holding the lock of the owner:

    1  keys that are missing are written (a database without its keys would be half)
    2  the database is put in place, in one step (copies.Copies)
    3  the journals of the old epochs and the old database go into a dated folder

A crash before 2 leaves the old installation, a crash after it the new one: the journals of
epochs that the new books do not know, or know as closed, are no concern of a server. What lies
in the work folder then is sorted by the next restore.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from aipool import migrate
from aipool.backup import keys
from aipool.backup.archive import Archive, open_archive
from aipool.backup.choose import copies_of
from aipool.backup.copies import REPLACED, Copies, damaged
from aipool.backup.files import sync_folder
from aipool.backup.manifest import Manifest
from aipool.backup.tables import installation
from aipool.books.epochs import DIRECTORY_NAME, Epochs
from aipool.books.verify import Report, verify
from aipool.config import Settings
from aipool.installation import AlreadyOwned, own, owner_of
from aipool.kit.clock import iso
from aipool.kit.db import Database, Transaction, open_database
from aipool.kit.errors import Conflict, Invalid, NotFound
from aipool.kit.sealing import Keyring, Unsealable
from aipool.ledger import service as ledger
from aipool.ledger.types import EpochState
from aipool.pool.service import open_secrets

#: Beside the copy: what migrating and verifying add to it, and a margin.
_SPARE_BYTES: Final = 64 << 20

_COPY_NAME: Final = "database"
_ASIDE_NAME: Final = "aside"


@dataclass(frozen=True, slots=True)
class Restored:
    """An installation that is back. migrated: the steps before and after.  epochs: how many
    were closed.  key_files: those written.  aside: the folder where what was there before is
    kept, None when nothing was.  old_database: how the server calls what was replaced."""

    manifest: Manifest
    migrated: migrate.Migrated
    epochs: int
    installation: int
    report: Report
    key_files: tuple[Path, ...]
    aside: Path | None
    old_database: str | None


def restore(
    settings: Settings,
    file: Path,
    *,
    passphrase: Callable[[], str],
    replace: bool,
    at_seconds: int,
) -> Restored:
    """Puts a backup in place. passphrase: asked only when keys must come from the backup.

    Raises BusinessError, BadSecret and MigrationRefused; the data folder is then as it was.
    """
    copies = copies_of(settings)
    with open_archive(file) as archive:
        manifest = archive.manifest
        _check_kind_and_step(manifest, copies)
        _refuse_while_used(settings.data_dir)
        _refuse_what_is_there(settings, copies, replace=replace)
        known = _find_keys(settings.data_dir, archive, passphrase)
        with _work_folder(copies, at_seconds) as work:
            try:
                return _restore(settings, copies, archive, known, work, replace)
            finally:
                copies.discard()


def _restore(
    settings: Settings,
    copies: Copies,
    archive: Archive,
    known: dict[str, bytes],
    work: _Work,
    replace: bool,
) -> Restored:
    manifest, data_dir, copy = archive.manifest, settings.data_dir, work.folder / _COPY_NAME
    try:
        _check_space(work.folder, 2 * manifest.database.size_bytes + _SPARE_BYTES)
        archive.copy_database(copy)
        database = open_database(copies.stage(copy))
        try:
            stands = _make_it_stand(database, manifest, known, work.at_seconds)
        finally:
            database.close()
        copies.seal(copy)
        with _owned(data_dir):
            _refuse_live_workers(data_dir)
            _refuse_what_is_there(settings, copies, replace=replace)
            written, old = _put_in_place(data_dir, copies, known, work, copy)
            # Still ours: a server that started now would have epochs there.
            aside = _tidy(data_dir, work)
    except OSError as error:
        raise Invalid(
            "restore_failed",
            f"the restore failed, and nothing was changed: {error.strerror or error}",
        ) from None
    return Restored(manifest, *stands, written, aside, old)


def _put_in_place(
    data_dir: Path, copies: Copies, known: dict[str, bytes], work: _Work, copy: Path
) -> tuple[tuple[Path, ...], str | None]:
    """Keys, then the database. The files of the keys that were written, which are taken away
    again when the database cannot be put in place; and how a server calls the old database."""
    written = keys.put_in_place(data_dir, known)
    try:
        old = copies.put_in_place(copy, work.aside, _dated(work.at_seconds))
    except Exception:
        keys.take_away(data_dir, written)
        raise
    return written, old


def _tidy(data_dir: Path, work: _Work) -> Path | None:
    """The new installation is in place; what belonged to the old one goes where it is kept."""
    try:
        _set_epochs_aside(data_dir, work.aside)
        return work.finish()
    except OSError as error:
        raise Invalid(
            "restore_untidy",
            "the backup is in place and may be served; what it replaced could not be put into a "
            f"folder of its own and is in {work.folder}: {error.strerror or error}",
        ) from None


@contextlib.contextmanager
def _owned(data_dir: Path) -> Iterator[None]:
    """Holds the lock of the owner; the file is as it was when the block is refused."""
    lock = data_dir / "owner.lock"
    before = lock.read_bytes() if lock.exists() else None
    try:
        with own(data_dir):
            try:
                yield
            except BaseException:
                if before is not None:
                    lock.write_bytes(before)
                raise
    except AlreadyOwned:
        _refuse_while_used(data_dir)
        raise


# --- what is refused ------------------------------------------------------------------------


def _check_kind_and_step(manifest: Manifest, copies: Copies) -> None:
    if manifest.database_kind != copies.kind:
        raise Conflict(
            "backup_of_another_kind",
            f"the backup is of a {manifest.database_kind} database and this installation uses "
            f"{copies.kind}: set AIPOOL_DATABASE_URL to one of that kind",
        )
    steps = migrate.steps()
    if manifest.migration_step not in steps:
        raise Invalid(
            "backup_newer",
            f"the backup was made by AI-POOL {manifest.product_version}, with the database at "
            f"step {manifest.migration_step}, and this program knows steps up to {steps[-1]}: "
            "restore it with that program",
        )


def _refuse_while_used(data_dir: Path) -> None:
    owner = owner_of(data_dir)
    if owner is not None:
        raise Conflict(
            "server_running",
            f"a server runs on {data_dir} (process {owner.pid}): stop it, and restore again",
        )
    _refuse_live_workers(data_dir)


def _refuse_live_workers(data_dir: Path) -> None:
    """A worker outlives its supervisor by moments; its journal belongs to the old books."""
    epochs = Epochs(data_dir)
    if any(epochs.is_held(epoch) for epoch in epochs.present()):
        raise Conflict(
            "server_running",
            f"a worker of a server that ended still runs on {data_dir}: wait a moment",
        )


def _refuse_what_is_there(settings: Settings, copies: Copies, *, replace: bool) -> None:
    if copies.is_in_place() and not replace:
        raise Conflict(
            "database_in_place",
            f"there is a database already ({settings.data_dir}): --replace sets it aside, under "
            "a dated name, and restores the backup",
        )


def _find_keys(data_dir: Path, archive: Archive, passphrase: Callable[[], str]) -> dict[str, bytes]:
    """Every key the backup needs: those in place, and for the rest those in the backup."""
    manifest = archive.manifest
    compared = keys.compare(data_dir, manifest.key_fingerprints)
    if compared.others:
        raise another_installation(compared.others)
    if not compared.missing:
        return compared.present
    if manifest.keys is None:
        names = ", ".join(map(str, compared.missing))
        raise NotFound(
            "keys_missing",
            f"the backup holds no keys and these are not in place: {names}. Put them there as "
            "they were when the backup was made; without them its tokens and secrets are lost",
        )
    opened = keys.open_keys(archive.keys(), passphrase(), manifest.keys_are_bound_to())
    if opened.keys() != manifest.key_fingerprints.keys():
        raise damaged("its keys are not those that it names")
    return opened


def another_installation(paths: tuple[Path, ...]) -> Conflict:
    """The refusal of keys that do not open what the backup holds."""
    return Conflict(
        "keys_of_another_installation",
        f"these keys are of another installation than the backup: {', '.join(map(str, paths))}. "
        "Restore into another folder, or put the right keys there",
    )


def _check_space(folder: Path, needed: int) -> None:
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise Invalid(
            "disk_full",
            f"a restore needs {needed >> 20} MiB free in {folder.parent} and there are "
            f"{free >> 20} MiB",
        )


# --- the database, before anybody uses it ---------------------------------------------------


def _make_it_stand(
    database: Database, manifest: Manifest, known: dict[str, bytes], at_seconds: int
) -> tuple[migrate.Migrated, int, int, Report]:
    """Makes of a copy a database that stands by itself, and proves it."""
    with database.read() as connection:
        step = migrate.current_step(connection)
    if step != manifest.migration_step:
        raise damaged(f"it is at step {step} and its manifest says {manifest.migration_step}")
    migrated = migrate.migrate(database)
    with database.read() as connection:
        try:
            open_secrets(connection, Keyring(keys.sealing_keys(known)))
        except Unsealable as error:
            raise Conflict(
                "keys_of_another_installation",
                f"the keys are of another installation than the backup: {error}",
            ) from None
    with database.write() as tx:
        epochs = _close_epochs(tx, at_seconds * 1000)
        number = _count_installation(tx, at_seconds)
    report = verify(database)
    if report.count:
        first = "; ".join(map(str, report.differences[:3]))
        raise damaged(f"its books do not agree, {report.count} differences: {first}")
    return migrated, epochs, number, report


def _close_epochs(tx: Transaction, at_ms: int) -> int:
    """No epoch goes on in a restored database: what they had leased returns, of the frozen
    ones too, whose journals nobody will decide about any more."""
    streams = [
        stream
        for state in (EpochState.OPEN, EpochState.FROZEN)
        for stream in ledger.epochs_in(tx.connection, state)
    ]
    for stream in streams:
        ledger.close_epoch(tx, stream.epoch, at_ms)
    return len(streams)


def _count_installation(tx: Transaction, at_seconds: int) -> int:
    """The next number: above the backup's, and above that of any restore before now."""
    before = tx.connection.execute(sa.select(installation.c.number)).scalar_one()
    number = max(int(before) + 1, at_seconds)
    tx.connection.execute(sa.update(installation).values(number=number))
    return number


# --- the folders ----------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Work:
    """The folder a restore works in. aside: in it, what the restored database replaces."""

    folder: Path
    copies: Copies
    at_seconds: int

    @property
    def aside(self) -> Path:
        """What is replaced is gathered here, and gets its dated name at the end."""
        return self.folder / _ASIDE_NAME

    def finish(self) -> Path | None:
        """Names what was replaced and removes the rest; also what a restore that ended in
        the middle left. The folder with the dated name, if there is one."""
        kept = None
        if self.aside.is_dir() and self.copies.was_put_in_place(self.aside):
            kept = _free_name(self.folder.parent / _dated(self.at_seconds))
            self.aside.rename(kept)
            sync_folder(kept.parent)
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()
        return kept


@contextlib.contextmanager
def _work_folder(copies: Copies, at_seconds: int) -> Iterator[_Work]:
    """The work folder, ours alone and empty; at the end it is gone, and so are the folders
    above it that had to be made, unless there is something in them now."""
    folder = copies.work_folder
    made = [path for path in folder.parents if not path.exists()]
    for path in (*reversed(made), folder):
        path.mkdir(mode=0o700, exist_ok=True)
    lock = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise Conflict("restore_running", "another restore is at work here") from None
        work = _Work(folder, copies, at_seconds)
        work.finish()
        try:
            yield work
        finally:
            with contextlib.suppress(OSError):
                work.finish()
            for path in (folder, *made):
                with contextlib.suppress(OSError):
                    path.rmdir()
    finally:
        os.close(lock)


def _set_epochs_aside(data_dir: Path, aside: Path) -> None:
    epochs = data_dir / DIRECTORY_NAME
    if epochs.is_dir() and any(epochs.iterdir()):
        aside.mkdir(mode=0o700, exist_ok=True)
        shutil.move(epochs, aside / DIRECTORY_NAME)
        sync_folder(aside)
        sync_folder(data_dir)


def _dated(at_seconds: int) -> str:
    return REPLACED + iso(at_seconds).replace("-", "").replace(":", "")


def _free_name(path: Path) -> Path:
    names = (path, *(path.with_name(f"{path.name}-{number}") for number in range(2, 1000)))
    return next(name for name in names if not name.exists())
