"""Which copies fit the database of an installation."""

from __future__ import annotations

from aipool.backup.copies import Copies
from aipool.backup.sqlite import SqliteCopies
from aipool.config import Settings
from aipool.kit.db import open_database, sqlite_path


def copies_of(settings: Settings) -> Copies:
    """Raises DatabaseUnusable for a database that cannot be used from here."""
    url = settings.database_url_effective
    if url.partition("://")[0].partition("+")[0] != "postgresql":
        return SqliteCopies(sqlite_path(url))
    # Nothing is connected yet; the URL is checked, and whether the driver is installed.
    open_database(url).close()
    from aipool.backup.postgres import PostgresCopies

    return PostgresCopies("postgresql://" + url.partition("://")[2], settings.data_dir)
