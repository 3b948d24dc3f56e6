"""The steps lead to exactly what the program's tables say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool import migrate
from aipool.kit.db import Database, open_database
from aipool.migrations.schema import metadata


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = open_database(f"sqlite:///{tmp_path / 'a.db'}")
    yield opened
    opened.close()


def schema(database: Database) -> dict[str, str]:
    """Every table, index and trigger as SQL, blanks evened out."""
    with database.read() as connection:
        rows = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master "
            "WHERE sql IS NOT NULL AND name NOT LIKE 'alembic%' AND name NOT LIKE 'sqlite%'"
        ).all()
    return {name: " ".join(sql.split()) for name, sql in rows}


def test_the_migrated_schema_is_that_of_the_tables(database: Database, tmp_path: Path) -> None:
    migrate.migrate(database)
    made = open_database(f"sqlite:///{tmp_path / 'b.db'}")
    with made.write() as tx:
        metadata.create_all(tx.connection)

    assert schema(database) == schema(made)
    assert any(name.startswith("prices_no_") for name in schema(database))
    made.close()


def test_migrating_twice_is_migrating_once(database: Database) -> None:
    first = migrate.migrate(database)
    before = schema(database)
    second = migrate.migrate(database)

    assert (first.before, first.after) == ("", migrate.steps()[-1])
    assert (second.before, second.after) == (first.after, first.after)
    assert schema(database) == before
    assert migrate.pending(database) == []


def test_an_empty_database_lacks_every_step(database: Database) -> None:
    assert migrate.pending(database) == migrate.steps()


def test_a_newer_database_is_refused_and_left_alone(database: Database) -> None:
    migrate.migrate(database)
    with database.write() as tx:
        tx.connection.exec_driver_sql("UPDATE alembic_version SET version_num = '9999'")
    before = schema(database)

    for look in (migrate.migrate, migrate.pending):
        with pytest.raises(migrate.MigrationRefused, match="9999"):
            look(database)
    assert schema(database) == before


def test_a_step_that_fails_leaves_the_database_as_it_was(database: Database) -> None:
    with database.write() as tx:
        # In the way of the first step's last table.
        tx.connection.exec_driver_sql("CREATE TABLE api_tokens (id INTEGER)")
    before = schema(database)

    with pytest.raises(Exception, match="already exists"):
        migrate.migrate(database)

    assert schema(database) == before
    assert migrate.pending(database) == migrate.steps()


def test_processes_that_start_together_migrate_once(tmp_path: Path) -> None:
    program = (
        "import sys; from aipool.kit.db import open_database; from aipool.migrate import migrate; "
        "database = open_database(sys.argv[1]); migrate(database); database.close()"
    )
    url = f"sqlite:///{tmp_path / 'a.db'}"
    started = [subprocess.Popen([sys.executable, "-c", program, url]) for _ in range(3)]

    assert [process.wait(60) for process in started] == [0, 0, 0]
    database = open_database(url)
    assert migrate.pending(database) == []
    database.close()
