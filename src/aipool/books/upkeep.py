"""What the ledger process does on the side: checkpoints of the database's log, and of the
system accounts, and room on the disk.

All of it runs in one thread with connections of their own, so that the books never wait for
them. Only this process moves the write-ahead log into the main file: no other writer pays
for it, and readers elsewhere cannot be surprised by it.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from aipool.kit.ballast import Ballast
from aipool.kit.db import Database, SqliteDatabase
from aipool.ledger import service as ledger

log = structlog.get_logger()

#: The log is moved, as far as readers let it, after so many commits of this process, and
#: after so long for the sake of what others wrote.
COMMITS = 100
LOG_SECONDS_MAX = 30.0
#: A file above this is waited for and cut.
LOG_BYTES_MAX = 64 * 1024 * 1024


class LogMover:
    """Moves the write-ahead log into the main file, when it is worth it.

    How much the log holds cannot be told from its size: a log that was moved is written
    again from its beginning, and the file stays as long as it ever was. Its index would
    tell, but must not be opened by a process that uses the database: closing any descriptor
    of a file drops the locks that SQLite holds on it.
    """

    def __init__(self, database: SqliteDatabase) -> None:
        self._database = database
        self._commits = 0
        self._at = 0.0

    def is_due(self, commits: int, now: float) -> bool:
        """Is it worth it? commits: of this process so far.  now: in any running clock."""
        return commits - self._commits >= COMMITS or now - self._at >= LOG_SECONDS_MAX

    def move(self, commits: int, now: float) -> None:
        """Do it."""
        self._commits, self._at = commits, now
        self._database.checkpoint(truncate=self._log_bytes() > LOG_BYTES_MAX)

    def _log_bytes(self) -> int:
        try:
            return Path(f"{self._database.path}-wal").stat().st_size
        except FileNotFoundError:
            return 0


class RoomKeeper:
    """Keeps room on the disk of the data folder (kit.ballast), and says when there is none."""

    def __init__(self, ballast: Ballast) -> None:
        self._ballast = ballast
        self._was_there: bool | None = None

    def look(self) -> None:
        """Makes the ballast when it is missing and there is room again."""
        there = self._ballast.make()
        was_there, self._was_there = self._was_there, there
        if was_there is None and not there:
            log.warning("disk_nearly_full", todo="make room: a full disk will cut calls off")
        elif was_there and not there:
            log.error("disk_full", todo="make room: no calls are admitted until then")
        elif was_there is False and there:
            log.info("disk_has_room")

    def give(self, error: Exception) -> bool:
        """When this error says that the disk is full: is there room now that was kept?"""
        return "disk is full" in str(error) and self._ballast.release()


def balance(database: Database) -> int:
    """Moves the system accounts' checkpoints; the sum of all accounts in nano, which is 0.

    The fold is read without the write lock, for after a busy minute it takes a while.
    """
    with database.write() as tx:
        settled = ledger.settled_seq(tx)
    with database.read(patient=True) as connection:
        folded = ledger.fold(connection, settled)
    if folded.imbalance_nano:
        log.critical("ledger_imbalance", imbalance_nano=folded.imbalance_nano)
    else:
        with database.write() as tx:
            ledger.keep_checkpoints(tx, folded)
    return folded.imbalance_nano
