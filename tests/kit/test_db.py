"""The database: who waits for whom, what a transaction leaves, what is refused."""

from __future__ import annotations

import stat
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from aipool.kit import db
from aipool.kit.db import (
    DatabaseBusy,
    DatabaseUnusable,
    SqliteDatabase,
    open_database,
    open_sqlite,
)

things = sa.Table("things", sa.MetaData(), sa.Column("id", db.Int64, primary_key=True))


@pytest.fixture
def database(tmp_path: Path) -> Iterator[SqliteDatabase]:
    opened = open_sqlite(tmp_path / "a.db", busy_timeout_ms=50)
    with opened.write() as tx:
        db.revision_table.create(tx.connection)
        things.create(tx.connection)
    yield opened
    opened.close()


def pragma(database: SqliteDatabase, name: str) -> object:
    with database.write() as tx:
        return tx.connection.exec_driver_sql(f"PRAGMA {name}").scalar()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("journal_mode", "wal"),
        ("synchronous", 2),
        ("foreign_keys", 1),
        ("wal_autocheckpoint", 0),
        ("auto_vacuum", 2),
        ("busy_timeout", 50),
    ],
)
def test_every_connection_is_set_up(database: SqliteDatabase, name: str, value: object) -> None:
    assert pragma(database, name) == value


def test_the_file_and_its_log_are_private(database: SqliteDatabase) -> None:
    for path in (database.path, database.path.with_name("a.db-wal")):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_file_that_others_could_read_is_closed_to_them(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.touch(mode=0o644)

    open_database(f"sqlite:///{path}").close()

    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_an_exception_undoes_everything(database: SqliteDatabase) -> None:
    with pytest.raises(KeyError), database.write() as tx:
        tx.connection.execute(things.insert())
        tx.changes.note_catalogue()
        raise KeyError

    with database.read() as connection:
        assert connection.execute(sa.select(things)).all() == []
        assert db.current_revision(connection) == 0


def test_a_noted_change_bumps_the_revision_with_its_commit(database: SqliteDatabase) -> None:
    with database.write() as tx:
        tx.changes.note_tokens([b"digest"])
    assert tx.revision == 1
    with database.write() as tx:
        tx.changes.note_everything()
    assert tx.revision == 2

    with database.read() as connection:
        assert db.current_revision(connection) == 2


def test_a_transaction_that_noted_nothing_leaves_the_revision(database: SqliteDatabase) -> None:
    with database.write() as tx:
        tx.connection.execute(things.insert())

    assert tx.revision == 0
    with database.read() as connection:
        assert db.current_revision(connection) == 0


def test_a_second_writer_is_refused_when_the_lock_is_not_to_be_had(
    database: SqliteDatabase,
) -> None:
    with database.write(), pytest.raises(DatabaseBusy), database.write():
        pass


def test_a_reader_never_waits_for_a_writer_and_sees_one_moment(database: SqliteDatabase) -> None:
    with database.read() as connection:
        assert connection.execute(sa.select(things)).all() == []
        with database.write() as tx:
            tx.connection.execute(things.insert())

            other = open_database(f"sqlite:///{database.path}", busy_timeout_ms=0)
            with other.read() as beside:
                assert beside.execute(sa.select(things)).all() == []
            other.close()

        assert connection.execute(sa.select(things)).all() == []
    with database.read() as connection:
        assert len(connection.execute(sa.select(things)).all()) == 1


def test_a_reader_cannot_write(database: SqliteDatabase) -> None:
    with database.read() as connection, pytest.raises(sa.exc.OperationalError):
        connection.execute(things.insert())


def test_error_messages_do_not_show_values(database: SqliteDatabase) -> None:
    with pytest.raises(sa.exc.IntegrityError) as caught, database.write() as tx:
        tx.connection.execute(things.insert().values(id=424242))
        tx.connection.execute(things.insert().values(id=424242))

    assert "424242" not in str(caught.value)


def test_writers_in_threads_lose_no_update(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'b.db'}")
    with database.write() as tx:
        db.revision_table.create(tx.connection)

    def bump() -> None:
        for _ in range(10):
            with database.write() as tx:
                tx.changes.note_catalogue()

    threads = [threading.Thread(target=bump) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    with database.read() as connection:
        assert db.current_revision(connection) == 40
    database.close()


def test_a_checkpoint_moves_the_log_and_can_cut_it(database: SqliteDatabase) -> None:
    with database.write() as tx:
        tx.connection.execute(things.insert())
    log = database.path.with_name("a.db-wal")
    assert log.stat().st_size > 0

    done = database.checkpoint(truncate=True)

    assert not done.blocked
    assert log.stat().st_size == 0


def test_an_append_only_table_refuses_change_and_removal(tmp_path: Path) -> None:
    facts = db.append_only(
        sa.Table("facts", sa.MetaData(), sa.Column("id", db.Int64, primary_key=True))
    )
    database = open_database(f"sqlite:///{tmp_path / 'c.db'}")
    with database.write() as tx:
        facts.create(tx.connection)
        tx.connection.execute(facts.insert().values(id=1))

    for statement in (sa.update(facts).values(id=2), sa.delete(facts)):
        with pytest.raises(sa.exc.IntegrityError, match="append-only"), database.write() as tx:
            tx.connection.execute(statement)
    database.close()


@pytest.mark.parametrize("url", ["mysql://localhost/aipool", "sqlite://", "sqlite:///:memory:"])
def test_a_database_of_another_kind_is_refused_readably(url: str) -> None:
    with pytest.raises(DatabaseUnusable, match="sqlite:////absolute/path"):
        open_database(url)


def test_a_password_in_a_refused_url_is_not_shown() -> None:
    with pytest.raises(DatabaseUnusable) as caught:
        open_database("mysql://me:hunter2@localhost/aipool")

    assert "hunter2" not in str(caught.value)


@pytest.mark.parametrize("version", ["3.40.1", "3.51.2"])
def test_an_old_sqlite_is_refused_by_name(version: str) -> None:
    with pytest.raises(DatabaseUnusable, match=version):
        db.refuse_old_sqlite(version)


@pytest.mark.parametrize("version", ["3.51.3", "3.53.4", "4.0.0"])
def test_a_mended_sqlite_is_used(version: str) -> None:
    db.refuse_old_sqlite(version)


def test_a_file_that_is_no_database_is_refused_readably(tmp_path: Path) -> None:
    path = tmp_path / "a.db"
    path.write_bytes(b"not a database at all, but long enough to look at" * 100)

    with pytest.raises(DatabaseUnusable, match="cannot open"):
        open_database(f"sqlite:///{path}")


def test_a_missing_folder_is_refused_readably(tmp_path: Path) -> None:
    with pytest.raises(DatabaseUnusable, match="cannot open"):
        open_database(f"sqlite:///{tmp_path / 'no' / 'a.db'}")
