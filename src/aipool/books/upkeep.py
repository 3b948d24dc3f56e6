"""What the ledger process does on the side: checkpoints of the database's log, and of the
system accounts.

Both run in one thread with connections of their own, so that the books never wait for
them. Only this process moves the write-ahead log into the main file: no other writer pays
for it, and readers elsewhere cannot be surprised by it.
"""

from __future__ import annotations

from pathlib import Path

import structlog

from aipool.kit.db import Database
from aipool.ledger import service as ledger

log = structlog.get_logger()

#: Above this the log is moved as far as readers let it; above the other it is waited for.
LOG_BYTES = 4 * 1024 * 1024
LOG_BYTES_MAX = 64 * 1024 * 1024


def log_bytes(database: Database) -> int:
    """The size of the write-ahead log now."""
    try:
        return Path(f"{database.path}-wal").stat().st_size
    except FileNotFoundError:
        return 0


def move_log(database: Database) -> None:
    """Moves the log into the main file, when it is worth it."""
    size = log_bytes(database)
    if size > LOG_BYTES_MAX:
        database.checkpoint(truncate=True)
    elif size > LOG_BYTES:
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
