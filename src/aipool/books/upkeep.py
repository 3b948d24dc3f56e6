"""What the ledger process does on the side: checkpoints of the database's log, and of the
system accounts.

Both run in one thread with connections of their own, so that the books never wait for
them. Only this process moves the write-ahead log into the main file: no other writer pays
for it, and readers elsewhere cannot be surprised by it.
"""

from __future__ import annotations

import struct
from pathlib import Path

import structlog

from aipool.kit.db import Database
from aipool.ledger import service as ledger

log = structlog.get_logger()

#: With this much to move the log is moved as far as readers let it; a file above the
#: other is waited for and cut.
LOG_BYTES = 8 * 1024 * 1024
LOG_BYTES_MAX = 64 * 1024 * 1024

# The index beside the log (SQLite's "WAL-mode file format", section 2): the page size, how
# many pages the log holds, and how many of those are in the main file already.
_PAGE_SIZE_AT, _PAGES_AT, _MOVED_AT = 14, 16, 96


def log_bytes(database: Database) -> int:
    """What the write-ahead log holds that is not in the main file.

    Not the file's size: a log that was moved is written again from its beginning, and the
    file stays as long as it ever was.
    """
    try:
        with Path(f"{database.path}-shm").open("rb") as file:
            index = file.read(_MOVED_AT + 4)
    except FileNotFoundError:
        return 0
    if len(index) < _MOVED_AT + 4:
        return 0
    page_bytes: int = struct.unpack_from("=H", index, _PAGE_SIZE_AT)[0]
    pages: int = struct.unpack_from("=I", index, _PAGES_AT)[0]
    moved: int = struct.unpack_from("=I", index, _MOVED_AT)[0]
    return max(pages - moved, 0) * (page_bytes if page_bytes != 1 else 65_536)


def move_log(database: Database) -> None:
    """Moves the log into the main file, when it is worth it."""
    try:
        size = Path(f"{database.path}-wal").stat().st_size
    except FileNotFoundError:
        return
    if size > LOG_BYTES_MAX:
        database.checkpoint(truncate=True)
    elif log_bytes(database) > LOG_BYTES:
        database.checkpoint()


def balance(database: Database) -> int:
    """Moves the system accounts' checkpoints; the sum of all accounts in nano, which is 0.

    The fold is read without the write lock, for after a busy minute it takes a while.
    """
    with database.read() as connection:
        folded = ledger.fold(connection)
    if folded.imbalance_nano:
        log.critical("ledger_imbalance", imbalance_nano=folded.imbalance_nano)
    else:
        with database.write() as tx:
            ledger.keep_checkpoints(tx, folded)
    return folded.imbalance_nano
