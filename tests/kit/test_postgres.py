"""PostgreSQL: who waits for whom, what becomes of its errors, what is refused."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from aipool.kit import db
from aipool.kit.bulk import BulkStatement
from aipool.kit.db import DatabaseBusy, DatabaseUnreachable, DatabaseUnusable, open_database
from aipool.kit.db.awaited import AwaitedWrites
from aipool.kit.db.postgres import PostgresDatabase, open_postgres
from tests import postgres
from tests.postgres import Server

things = sa.Table(
    "things",
    sa.MetaData(),
    sa.Column("id", db.Int64, primary_key=True),
    sa.Column("name", db.Text, unique=True),
)
facts = db.append_only(
    sa.Table("facts", sa.MetaData(), sa.Column("id", db.Int64, primary_key=True))
)

ADD = BulkStatement(sa.insert(things), ("id", "name"))


def prepare(database: db.Database) -> None:
    with database.write() as tx:
        for table in (db.revision_table, things, facts):
            table.create(tx.connection)


@pytest.fixture
def database() -> Iterator[PostgresDatabase]:
    with postgres.fresh(prepare) as url:
        opened = open_postgres(url, lock_timeout_ms=50)
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def mortal() -> Iterator[Server]:
    """A server of their own, for tests that kill it."""
    made = Server()
    made.start()
    yield made
    made.remove()


def names(database: PostgresDatabase) -> list[str]:
    with database.read() as connection:
        return list(connection.execute(sa.select(things.c.name).order_by(things.c.name)).scalars())


def add(*rows: tuple[int, str]) -> object:
    return lambda tx: ADD.run(tx.connection, rows)


# --- as on SQLite -----------------------------------------------------------------------------


def test_an_exception_undoes_everything(database: PostgresDatabase) -> None:
    with pytest.raises(KeyError), database.write() as tx:
        tx.connection.execute(things.insert())
        tx.changes.note_catalogue()
        raise KeyError

    assert names(database) == []
    with database.read() as connection:
        assert db.current_revision(connection) == 0


def test_a_noted_change_bumps_the_revision_with_its_commit(database: PostgresDatabase) -> None:
    for revision in (1, 2):
        with database.write() as tx:
            tx.changes.note_everything()
        assert tx.revision == revision


def test_a_second_writer_is_refused_when_its_turn_does_not_come(database: PostgresDatabase) -> None:
    with database.write(), pytest.raises(DatabaseBusy), database.write():
        pass


def test_a_reader_sees_one_moment_and_cannot_write(database: PostgresDatabase) -> None:
    with database.read() as connection:
        assert connection.execute(sa.select(things)).all() == []
        with database.write() as tx:
            tx.connection.execute(things.insert().values(name="a"))
        assert connection.execute(sa.select(things)).all() == []

    assert names(database) == ["a"]
    with pytest.raises(DatabaseUnreachable, match="read-only"), database.read() as connection:
        connection.execute(things.insert())


def test_writers_in_threads_lose_no_update() -> None:
    with postgres.fresh(prepare) as url:
        database = open_database(url)

        def bump() -> None:
            for _ in range(5):
                with database.write() as tx:
                    tx.changes.note_catalogue()

        threads = [threading.Thread(target=bump) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        with database.read() as connection:
            assert db.current_revision(connection) == 20
        database.close()


@pytest.mark.parametrize(
    "statement", ["UPDATE facts SET id = 2", "DELETE FROM facts", "TRUNCATE facts"]
)
def test_an_append_only_table_refuses_change_and_removal(
    database: PostgresDatabase, statement: str
) -> None:
    with database.write() as tx:
        tx.connection.execute(facts.insert().values(id=1))

    with pytest.raises(sa.exc.IntegrityError, match="append-only"), database.write() as tx:
        tx.connection.exec_driver_sql(statement)


@pytest.mark.parametrize(
    "tampering",
    [
        "DROP TRIGGER facts_no_delete ON facts",
        "ALTER TABLE facts DISABLE TRIGGER facts_no_update",
        "CREATE OR REPLACE FUNCTION refuse_change() RETURNS trigger LANGUAGE plpgsql"
        " AS 'BEGIN RETURN NEW; END'",
    ],
)
def test_a_guard_that_was_taken_off_is_missed(database: PostgresDatabase, tampering: str) -> None:
    with database.read() as connection:
        assert db.missing_guards(connection, "facts") == []

    with database.write() as tx:
        tx.connection.exec_driver_sql(tampering)

        assert len(db.missing_guards(tx.connection, "facts")) == 1
    with database.write() as tx:
        for statement in db.append_only_statements("facts", "postgresql")[:1]:
            tx.connection.execute(sa.text(statement))


def test_text_is_in_the_order_of_its_characters_numbers(database: PostgresDatabase) -> None:
    wanted = ["B", "a", "a-1", "a1", "b", "ä"]
    with database.write() as tx:
        ADD.run(tx.connection, list(enumerate(reversed(wanted))))

    assert names(database) == wanted == sorted(wanted)


def test_error_messages_do_not_show_values(database: PostgresDatabase) -> None:
    def plainly(connection: sa.Connection, rows: list[tuple[int, str]]) -> None:
        connection.execute(things.insert(), [{"id": number, "name": name} for number, name in rows])

    for run in (ADD.run, plainly):
        with pytest.raises(sa.exc.IntegrityError) as caught, database.write() as tx:
            run(tx.connection, [(1, "+8613800138001"), (2, "+8613800138001")])
        assert "+86138" not in str(caught.value)
        assert caught.value.__cause__ is None


# --- URLs and servers ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:hunter2@localhost",
        "postgresql://me:hunter2@localhost:port/aipool",
        "postgresql://me:hunter2@localhost/aipool?nonsense=1",
        "postgresql://me:hunter2@127.0.0.1:1/aipool",
        "mysql://me:hunter2@localhost/aipool",
    ],
)
def test_what_cannot_be_used_is_told_in_one_line_without_the_password(url: str) -> None:
    with pytest.raises(DatabaseUnusable) as caught:
        opened = open_database(url)
        try:
            with opened.read():
                pass
        finally:
            opened.close()

    assert "hunter2" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_that_keeps_no_utf8_is_refused(database: PostgresDatabase) -> None:
    with postgres.server().connect("postgres") as connection:
        connection.execute(
            "CREATE DATABASE latin TEMPLATE template0 ENCODING 'SQL_ASCII' LOCALE 'C'"
            + (" LOCALE_PROVIDER 'libc'" if connection.info.server_version >= 150000 else "")
        )
    opened = open_database(postgres.server().url("latin"))
    try:
        with pytest.raises(DatabaseUnusable, match="UTF8"), opened.read():
            pass
    finally:
        opened.close()
        postgres.server().drop("latin")


def test_a_server_that_was_started_again_is_simply_used(mortal: Server) -> None:
    database = open_postgres(mortal.url(mortal.create()), lock_timeout_ms=50)
    prepare(database)
    mortal.stop()
    try:
        with pytest.raises(DatabaseUnreachable), database.write():
            pass
    finally:
        mortal.start()

    assert names(database) == []
    database.close()


# --- beside an event loop -------------------------------------------------------------------------


def awaiting(database: PostgresDatabase, *works: object) -> list[object]:
    """Does the works one after the other; what each gave or raised."""

    async def run() -> list[object]:
        writes = AwaitedWrites(database, lock_timeout_ms=50)
        said: list[object] = []
        for work in works:
            try:
                said.append(await writes.write(work))  # type: ignore[arg-type]
            except Exception as error:
                said.append(error)
        await writes.close()
        return said

    return asyncio.run(run())


def test_awaited_work_is_committed_whole_or_not_at_all(database: PostgresDatabase) -> None:
    said = awaiting(database, add((1, "a"), (2, "b")), add((3, "c"), (4, "a")), add((5, "e")))

    assert isinstance(said[1], sa.exc.IntegrityError)
    assert names(database) == ["a", "b", "e"]


def test_a_row_that_somebody_keeps_is_not_waited_for(database: PostgresDatabase) -> None:
    with database.write() as tx:
        tx.connection.execute(things.insert().values(id=1, name="a"))

        (said,) = awaiting(database, add((2, "a")))

    assert isinstance(said, DatabaseBusy)


def test_a_connection_that_ends_in_between_is_told_and_replaced(mortal: Server) -> None:
    database = open_postgres(mortal.url(mortal.create()), lock_timeout_ms=50)
    prepare(database)

    def cut(tx: db.Transaction) -> None:
        ADD.run(tx.connection, [(1, "lost")])
        with mortal.connect("postgres") as connection:
            connection.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE state = 'idle in transaction'"
            )

    def cut_in_its_middle(tx: db.Transaction) -> None:
        cut(tx)
        ADD.run(tx.connection, [(2, "lost too")])

    said = awaiting(database, cut, add((3, "kept")), cut_in_its_middle, add((4, "too")))

    assert [isinstance(one, DatabaseUnreachable) for one in said] == [True, False, True, False]
    assert names(database) == ["kept", "too"]
    database.close()
