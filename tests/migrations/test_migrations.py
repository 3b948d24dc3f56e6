"""The steps lead to exactly what the program's tables say."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from alembic import command
from alembic.config import Config
from sqlalchemy.engine import Connection

from aipool import migrate
from aipool.accounts.store import people, sessions, ways
from aipool.accounts.types import Role, Status, User, UserId
from aipool.kit.db import Database, open_database
from aipool.migrations.schema import metadata
from aipool.pool import store
from aipool.vendors.types import NO_SETTINGS, Ordering
from tests import postgres


@pytest.fixture
def url(tmp_path: Path, kind: str) -> Iterator[str]:
    """A database without tables."""
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'a.db'}"
        return
    with postgres.empty() as on_the_server:
        yield on_the_server


@pytest.fixture
def database(url: str) -> Iterator[Database]:
    opened = open_database(url)
    yield opened
    opened.close()


def schema(database: Database) -> dict[str, str]:
    """Every table, index and trigger as SQL, blanks evened out. Columns and constraints of a
    table in no order: one that was added later stands last."""
    with database.read() as connection:
        if connection.dialect.name == "postgresql":
            return _schema_on_a_server(connection)
        rows = connection.exec_driver_sql(
            "SELECT name, sql FROM sqlite_master "
            "WHERE sql IS NOT NULL AND name NOT LIKE 'alembic%' AND name NOT LIKE 'sqlite%'"
        ).all()
    return {name: _in_order(sql) for name, sql in rows}


_PARTS = {
    "column": "SELECT attrelid::regclass || '.' || attname, format_type(atttypid, atttypmod)"
    " || ' ' || attnotnull || ' ' || coalesce(collname, '-')"
    " || ' ' || coalesce(pg_get_expr(adbin, adrelid), '-') FROM pg_attribute"
    " JOIN pg_class ON pg_class.oid = attrelid"
    " LEFT JOIN pg_collation ON pg_collation.oid = attcollation"
    " LEFT JOIN pg_attrdef ON adrelid = attrelid AND adnum = attnum"
    " WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND attnum > 0"
    " AND NOT attisdropped",
    "constraint": "SELECT conrelid::regclass || '.' || conname, pg_get_constraintdef(oid)"
    # What is never NULL is seen at the column; its constraint keeps the name of a renamed one.
    " FROM pg_constraint WHERE connamespace = 'public'::regnamespace AND contype <> 'n'",
    "index": "SELECT indexname, indexdef FROM pg_indexes WHERE schemaname = 'public'",
    "trigger": "SELECT tgrelid::regclass || '.' || tgname, pg_get_triggerdef(oid)"
    " FROM pg_trigger WHERE NOT tgisinternal",
}


def _schema_on_a_server(connection: Connection) -> dict[str, str]:
    """The same as PostgreSQL tells it."""
    return {
        f"{part} {name}" if part != "trigger" else name.partition(".")[2]: text
        for part, query in _PARTS.items()
        for name, text in connection.exec_driver_sql(query.replace("%", "%%"))
        if "alembic" not in name
    }


@contextmanager
def other_place(tmp_path: Path, kind: str) -> Iterator[str]:
    """Another database without tables."""
    if kind == "sqlite":
        yield f"sqlite:///{tmp_path / 'b.db'}"
        return
    with postgres.empty() as on_the_server:
        yield on_the_server


def _in_order(sql: str) -> str:
    """The parts between the outer brackets of CREATE TABLE, sorted."""
    sql = " ".join(sql.split()).replace("( ", "(").replace(" )", ")").replace('"', "")
    if not sql.startswith("CREATE TABLE"):
        return sql
    head, _, rest = sql.partition("(")
    body, tail = rest[: rest.rindex(")")], rest[rest.rindex(")") :]
    parts, depth, part = [], 0, ""
    for character in body:
        depth += (character == "(") - (character == ")")
        if character == "," and not depth:
            parts.append(part.strip())
            part = ""
        else:
            part += character
    return head + "(" + ", ".join(sorted([*parts, part.strip()])) + tail


def test_the_migrated_schema_is_that_of_the_tables(
    database: Database, tmp_path: Path, kind: str
) -> None:
    migrate.migrate(database)
    with other_place(tmp_path, kind) as other:
        made = open_database(other)
        with made.write() as tx:
            metadata.create_all(tx.connection)

        assert schema(database) == schema(made)
        assert any(name.startswith("prices_no_") for name in schema(database))
        made.close()


@pytest.mark.parametrize("kind", ["postgres"], indirect=True)
def test_text_is_in_the_order_of_its_characters_numbers(database: Database) -> None:
    migrate.migrate(database)

    texts = [found for found in schema(database).values() if found.startswith("text ")]

    assert texts
    assert all(" C " in found for found in texts)


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


@pytest.mark.slow
def test_processes_that_start_together_migrate_once(url: str) -> None:
    program = (
        "import sys; from aipool.kit.db import open_database; from aipool.migrate import migrate; "
        "database = open_database(sys.argv[1]); migrate(database); database.close()"
    )
    started = [subprocess.Popen([sys.executable, "-c", program, url]) for _ in range(3)]

    assert [process.wait(60) for process in started] == [0, 0, 0]
    database = open_database(url)
    assert migrate.pending(database) == []
    database.close()


# --- what is there goes along ---------------------------------------------------------------------


def upgrade(database: Database, step: str) -> None:
    """Up to this step, as an older program would have left it."""
    config = Config()
    config.set_main_option("script_location", "aipool:migrations")
    config.set_main_option("path_separator", "os")
    with database.write() as tx:
        config.attributes["connection"] = tx.connection
        command.upgrade(config, step)


def test_a_keys_proxy_becomes_a_part_of_its_configuration(database: Database) -> None:
    upgrade(database, "0004")
    with database.write() as tx:
        for statement in (
            "INSERT INTO vendors VALUES (3, 'mm', 'minimax', 'https://a.example/v1', 7)",
            "INSERT INTO prices VALUES (1, 1, 1, 1, 1)",
            "INSERT INTO models (id, name, kind, context_tokens, max_output_tokens, enabled,"
            " price_id, created_at_ms) VALUES (1, 'm', 'chat', 9, 9, TRUE, 1, 1)",
            "INSERT INTO routes VALUES (1, 0, 3, 'm', 1, '[]')",
            *(
                "INSERT INTO upstream_keys (id, vendor_id, name, position, is_default, enabled,"
                " sealed_secret, last4, proxy_url, config, created_at_ms) VALUES"
                f" ({number}, 3, 'key{number}', {number}, FALSE, TRUE, 's', '',"
                f" '{proxy}', '{{}}', 5)"
                for number, proxy in ((1, "http://10.0.0.1:3128"), (2, ""))
            ),
        ):
            tx.connection.exec_driver_sql(statement)

    migrate.migrate(database)

    with database.read() as connection:
        first, second = store.list_keys(connection)
        (vendor,) = store.list_vendors(connection)
        routed = connection.exec_driver_sql("SELECT vendor_id FROM routes").scalar()
    assert (first.settings.proxy, second.settings) == ("http://10.0.0.1:3128", NO_SETTINGS)
    assert (first.edited_at_ms, first.generation, first.expires_at) == (5, 1, 0)
    assert (vendor.id, vendor.base_url, vendor.ordering) == (
        3,
        "https://a.example/v1",
        Ordering.PRIORITY,
    )
    assert routed == 3


def test_the_id_of_a_deleted_vendor_is_not_given_again(database: Database) -> None:
    migrate.migrate(database)
    with database.write() as tx:
        made = [
            store.insert_vendor(
                tx.connection, name=name, vendor_type="minimax", base_url="https://a", at_ms=1
            )
            for name in ("a", "b")
        ]
        store.delete_vendor(tx.connection, made[-1].id)
        last = store.insert_vendor(
            tx.connection, name="c", vendor_type="minimax", base_url="https://a", at_ms=1
        )

    assert last.id > made[-1].id


def test_codes_that_were_asked_for_go_on_counting(database: Database) -> None:
    upgrade(database, "0012")
    with database.write() as tx:
        digest = "BLOB" if tx.connection.dialect.name == "sqlite" else "BYTEA"
        for number in (1, 2):
            tx.connection.exec_driver_sql(
                "INSERT INTO verification_codes VALUES"
                f" ({number}, {number}, 'reset', 'a@b.example', 'n',"
                f" CAST('d' AS {digest}), 5, TRUE)"
            )

    migrate.migrate(database)

    with database.read() as connection:
        assert ways.asked_times(connection, address="a@b.example", since_ms=0) == [2, 1]


def test_people_and_their_tokens_go_along(database: Database) -> None:
    upgrade(database, "0006")
    with database.write() as tx:
        for statement in (
            "INSERT INTO users VALUES (7, '+8613800138001', 'h', 'root', 'active', 5)",
            "INSERT INTO access_tokens (id, user_id, digest, created_at_ms)"
            " VALUES (3, 7, CAST('d' AS {}), 6)".format(
                "BLOB" if tx.connection.dialect.name == "sqlite" else "BYTEA"
            ),
        ):
            tx.connection.exec_driver_sql(statement)

    migrate.migrate(database)

    with database.read() as connection:
        user = people.user_by_phone(connection, "+8613800138001")
        (token,) = sessions.access_tokens_of(connection, 7)
    assert user == User(UserId(7), "+8613800138001", Role.ROOT, Status.ACTIVE, 5)
    assert (token.id, token.is_sensitive, token.read_only, token.expires_at_ms) == (
        3,
        True,
        False,
        None,
    )
