"""Copies of a database in a file.

**Out** with SQLite's own backup, all pages in one step: it reads one moment of the write-ahead
log, and writers go on beside it; in several steps it would begin again at every commit. The
log cannot be shortened meanwhile, so it grows by what is written while the copy is made.

**In** by one rename. A write-ahead log belongs to whatever file has the name before its
`-wal`, so the old database's must be gone before the new one takes the name, and nobody may
write one in between: the old database is taken alone, its log moved into it, and held locked
until the rename is done. One that is too damaged for that goes aside with its log, as it is.
"""

from __future__ import annotations

import contextlib
import os
import shutil
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from pysqlite3 import dbapi2

from aipool.backup.copies import Facts, damaged
from aipool.backup.files import sync_file, sync_folder
from aipool.kit.errors import Conflict, Invalid

_BUSY_SECONDS: Final = 5.0
_COMPANIONS: Final = ("-wal", "-shm", "-journal")
_BUSY_CODES: Final = (dbapi2.SQLITE_BUSY, dbapi2.SQLITE_LOCKED)
_FULL: Final = dbapi2.SQLITE_FULL
#: How SQLite says so: an error of `Connection.backup` carries no code.
_FULL_SAID: Final = "database or disk is full"


class SqliteCopies:
    """See copies.Copies. path: the file of the database."""

    kind = "sqlite"

    def __init__(self, path: Path) -> None:
        self._path = path
        self.work_folder = path.with_name(path.name + ".restoring")

    def copy_out(self, target: Path) -> Facts:
        """See Copies."""
        if not self._path.is_file():
            raise Invalid("no_installation", f"there is no database at {self._path}")
        try:
            # Not mode=ro: whoever reads a write-ahead log shares its index.
            with (
                closing(_connect(self._path, "mode=rw")) as live,
                closing(_connect(target, "mode=rw")) as copy,
            ):
                # It is synced as a whole, and thrown away when something goes wrong.
                copy.execute("PRAGMA synchronous = OFF")
                live.execute("PRAGMA query_only = ON")
                live.backup(copy)
        except dbapi2.DatabaseError as error:
            raise _refusal(error) from None
        return _examine(target)

    def is_in_place(self) -> bool:
        """See Copies."""
        return self._path.exists()

    def stage(self, copy: Path) -> str:
        """See Copies. The copy itself is the database."""
        _examine(copy)
        return f"sqlite:///{copy}"

    def seal(self, copy: Path) -> None:
        """See Copies."""
        with closing(_connect(copy, "mode=rw")) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        sync_file(copy)

    def put_in_place(self, copy: Path, aside: Path, name: str) -> None:
        """See Copies; the old database goes into the folder `aside`."""
        del name
        self._keep_in(aside)
        with contextlib.ExitStack() as stack:
            if self._path.exists():
                stack.enter_context(self._alone(aside))
            try:
                for path in self._companions():
                    path.unlink(missing_ok=True)
                sync_folder(self._path.parent)
                copy.replace(self._path)
            except OSError:
                self.was_put_in_place(aside)
                raise
            sync_folder(self._path.parent)

    def _keep_in(self, aside: Path) -> None:
        """Gives all that there is of the old database a second name."""
        there = [path for path in (self._path, *self._companions()) if path.exists()]
        if there:
            aside.mkdir(mode=0o700, exist_ok=True)
            for path in there:
                _keep(path, aside / path.name)
            sync_folder(aside)
            sync_folder(aside.parent)

    @contextmanager
    def _alone(self, aside: Path) -> Iterator[None]:
        """Nobody else has the old database open, nor opens it, while the block runs; its log
        is moved into it. Raises Conflict when somebody has. A damaged one keeps its log."""
        with closing(_connect(self._path, "mode=rw")) as connection:
            try:
                connection.execute("PRAGMA journal_mode = DELETE").fetchall()
                connection.execute("BEGIN EXCLUSIVE")
            except dbapi2.DatabaseError as error:
                if _code(error) in _BUSY_CODES:
                    raise Conflict(
                        "database_in_use",
                        f"another program has {self._path} open: let it finish, and restore again",
                    ) from None
                # What is closed later would remove a log by its name: that of the new one.
                connection.close()
            else:
                for path in self._companions():
                    (aside / path.name).unlink(missing_ok=True)
            yield

    def was_put_in_place(self, aside: Path) -> bool:
        """See Copies. Until the rename, what is kept is another name of what is in place."""
        kept = aside / self._path.name
        if kept.exists():
            replaced = not (self._path.exists() and kept.samefile(self._path))
        else:
            replaced = self._path.exists()
        if not replaced:
            for path in self._companions():
                if (aside / path.name).exists() and not path.exists():
                    _keep(aside / path.name, path)
        return replaced

    def _companions(self) -> list[Path]:
        return [self._path.with_name(self._path.name + ending) for ending in _COMPANIONS]

    def discard(self) -> None:
        """See Copies. The copy is in the work folder, which is removed as a whole."""


def _connect(path: Path, mode: str) -> Any:
    return dbapi2.connect(
        f"file:{quote(str(path))}?{mode}", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
    )


def _examine(copy: Path) -> Facts:
    """Reads every page of a copy. Raises Invalid when it is not sound, or not ours."""
    try:
        with closing(_connect(copy, "mode=ro&immutable=1")) as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()[0]
            if found != "ok":
                raise damaged(str(found))
            tables = {
                name
                for (name,) in connection.execute(
                    "SELECT name FROM sqlite_master WHERE name IN ('alembic_version', "
                    "'installation')"
                )
            }
            if "alembic_version" not in tables:
                raise damaged("it is not one of AI-POOL")
            step = connection.execute("SELECT version_num FROM alembic_version").fetchone()
            number = None
            if "installation" in tables:
                number = connection.execute("SELECT number FROM installation").fetchone()
    except dbapi2.DatabaseError as error:
        raise _refusal(error) from None
    return Facts(str(step[0]) if step else "", int(number[0]) if number else 0)


def _keep(source: Path, target: Path) -> None:
    """A second name for a file, or a copy of it where a file cannot have two."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copy2(source, target)


def _code(error: Exception) -> int:
    return int(getattr(error, "sqlite_errorcode", 0)) & 0xFF


def _refusal(error: Exception) -> Exception:
    """A full disk is the world's fault, a database that does not read is damaged."""
    code = _code(error)
    if code == _FULL or str(error) == _FULL_SAID:
        return OSError(28, "No space left on device")
    if code in _BUSY_CODES:
        return Conflict("database_in_use", "the database is locked by another program")
    return damaged(str(error))
