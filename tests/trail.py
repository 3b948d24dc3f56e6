"""For tests that count what a request leaves in the trail."""

from __future__ import annotations

from aipool.audit import service as audit
from aipool.audit.types import Entry, Wanted
from aipool.kit.db import Database


def newest_row(database: Database) -> int:
    """The id of the newest row, 0 = there is none."""
    with database.read() as connection:
        found = audit.search(connection, Wanted(), limit=1)
    return found[0].id if found else 0


def rows_since(database: Database, row_id: int) -> list[Entry]:
    """What was written after that row, the oldest first."""
    return [entry for entry in audit.stream(database) if entry.id > row_id]
