"""The database: how it is opened, read and written. The only package that speaks to drivers.

Every writer loads the rows it names, decides, writes and commits, and nothing changes under
its decision: on SQLite it has the one write lock (kit.db.sqlite), on PostgreSQL the lock of
its kind or of its rows (kit.db.postgres). Readers see one moment of the database and never
wait.

    database = open_database("sqlite:////srv/aipool/aipool.db")
    with database.read() as connection: …
    with database.write() as transaction:
        transaction.connection.execute(…)
        transaction.changes.note_catalogue()
    transaction.revision       the revision the workers must reach to act on it
"""

from __future__ import annotations

from aipool.kit.db.database import (
    PASSING_ERRORS,
    REFUSED_ERRORS,
    Changes,
    Database,
    DatabaseBusy,
    DatabaseUnreachable,
    DatabaseUnusable,
    Transaction,
)
from aipool.kit.db.deadlines import Deadline, TookTooLong
from aipool.kit.db.schema import (
    Int64,
    Text,
    append_only,
    append_only_statements,
    current_revision,
    metadata,
    missing_guards,
    revision_table,
    whole_sum,
)
from aipool.kit.db.sqlite import (
    SQLITE_VERSION_LEAST,
    Checkpoint,
    SqliteDatabase,
    open_sqlite,
    refuse_old_sqlite,
    sqlite_path,
)

__all__ = [
    "BUSY_TIMEOUT_MS",
    "PASSING_ERRORS",
    "REFUSED_ERRORS",
    "SQLITE_VERSION_LEAST",
    "Changes",
    "Checkpoint",
    "Database",
    "DatabaseBusy",
    "DatabaseUnreachable",
    "DatabaseUnusable",
    "Deadline",
    "Int64",
    "SqliteDatabase",
    "Text",
    "TookTooLong",
    "Transaction",
    "append_only",
    "append_only_statements",
    "current_revision",
    "metadata",
    "missing_guards",
    "open_database",
    "open_sqlite",
    "refuse_old_sqlite",
    "revision_table",
    "sqlite_path",
    "whole_sum",
]

BUSY_TIMEOUT_MS = 5000


def open_database(url: str, *, busy_timeout_ms: int = BUSY_TIMEOUT_MS) -> Database:
    """Opens the database a URL names; a file of SQLite is made when there is none.

    busy_timeout_ms: how long a writer waits for others. Raises DatabaseUnusable for another
    kind of database, and for what this kind refuses; a password is in none of its messages.
    """
    kind = url.partition("://")[0].partition("+")[0]
    if kind == "sqlite":
        return open_sqlite(sqlite_path(url), busy_timeout_ms=busy_timeout_ms)
    if kind != "postgresql":
        raise DatabaseUnusable(
            "cannot use a database of this kind: give sqlite:////absolute/path or "
            "postgresql://user@host/name"
        )
    try:
        from aipool.kit.db.postgres import open_postgres
    except ImportError as error:
        raise DatabaseUnusable(
            f"PostgreSQL needs more than is installed ({error.name} is missing): "
            "pip install 'aipool[postgres]'"
        ) from error
    return open_postgres(url, lock_timeout_ms=busy_timeout_ms)
