"""Brings the database to the form this program needs: at every start, and on request.

One process at a time, behind a lock (`Database.alone`); all missing steps in one
transaction, so a step that fails leaves the database as it was. A database that is
already newer than the program is refused: guessing at unknown columns loses money.

Alembic is loaded only when there is something to do.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.kit.db import Database

_VERSIONS = Path(__file__).parent / "migrations" / "versions"
_NOTHING_YET = ""


class MigrationRefused(Exception):
    """The database cannot be brought to this program's form; the message says why."""


@dataclass(frozen=True, slots=True)
class Migrated:
    """From which step to which; equal when there was nothing to do. "" = an empty file."""

    before: str
    after: str


def steps() -> list[str]:
    """The numbers of all steps this program knows, in order."""
    return sorted(path.name.partition("_")[0] for path in _VERSIONS.glob("[0-9]*_*.py"))


def current_step(connection: Connection) -> str:
    """The step the database is at; "" when it is empty."""
    if not sa.inspect(connection).has_table("alembic_version"):
        return _NOTHING_YET
    number = connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalar()
    return str(number or _NOTHING_YET)


def pending(database: Database) -> list[str]:
    """The steps that are missing. Raises MigrationRefused for a database that is newer."""
    with database.read() as connection:
        return _missing(current_step(connection))


def migrate(database: Database) -> Migrated:
    """Makes the missing steps; safe to call at any time and from several processes.

    Raises MigrationRefused for a database that is newer than the program.
    """
    newest = steps()[-1]
    if not pending(database):
        return Migrated(newest, newest)
    with database.alone(), database.write(patient=True) as tx:
        before = current_step(tx.connection)
        if _missing(before):
            _upgrade(tx.connection)
    return Migrated(before, newest)


def _missing(current: str) -> list[str]:
    known = steps()
    if current and current not in known:
        raise MigrationRefused(
            f"the database is at step {current} and this program knows steps up to {known[-1]}: "
            "use the newer program again, or restore a backup from before the upgrade"
        )
    return [step for step in known if step > current]


def _upgrade(connection: Connection) -> None:
    from alembic import command
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "aipool:migrations")
    config.set_main_option("path_separator", "os")
    config.attributes["connection"] = connection
    command.upgrade(config, "head")
