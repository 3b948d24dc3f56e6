"""A database in a file takes another's place."""

from __future__ import annotations

from pathlib import Path

import pytest
from pysqlite3 import dbapi2

from aipool.backup.files import sync_folder
from aipool.backup.sqlite import SqliteCopies
from tests.backup.rig import credit
from tests.world import World


@pytest.fixture
def world(world: World) -> World:
    """Nobody has it open, and the last that was written is still in the log."""
    with world.database.write() as tx:
        credit(tx, 1, "in the log")
    world.database.close()
    return world


@pytest.fixture
def copies(world: World, tmp_path: Path) -> SqliteCopies:
    """With a copy of the database beside it, to take its place."""
    made = SqliteCopies(world.data_dir / "aipool.db")
    (tmp_path / "copy").touch()
    made.copy_out(tmp_path / "copy")
    return made


def test_nobody_writes_to_the_old_database_while_it_is_replaced(
    copies: SqliteCopies, world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was written then would be in neither."""
    path, said = world.data_dir / "aipool.db", []

    def sync_and_try(folder: Path) -> None:
        sync_folder(folder)
        if (tmp_path / "copy").exists() and folder == path.parent:
            connection = dbapi2.connect(str(path), timeout=0)
            try:
                connection.execute("UPDATE users SET role = 'root'")
            except dbapi2.OperationalError as error:
                said.append(str(error))
            finally:
                connection.close()

    monkeypatch.setattr("aipool.backup.sqlite.sync_folder", sync_and_try)
    copies.put_in_place(tmp_path / "copy", tmp_path / "aside", "")

    assert said[-1] == "database is locked"


def test_the_old_database_is_whole_without_its_log(
    copies: SqliteCopies, world: World, tmp_path: Path
) -> None:
    copies.put_in_place(tmp_path / "copy", tmp_path / "aside", "")

    assert copies.was_put_in_place(tmp_path / "aside")
    assert [path.name for path in (tmp_path / "aside").iterdir()] == ["aipool.db"]
    with dbapi2.connect(str(tmp_path / "aside/aipool.db")) as connection:
        assert connection.execute("SELECT count(*) FROM transfers").fetchone() == (2,)


def test_a_log_that_was_taken_away_before_a_crash_is_given_back(
    world: World, tmp_path: Path
) -> None:
    path, aside = world.data_dir / "aipool.db", tmp_path / "aside"
    log = path.with_name("aipool.db-wal")
    log.write_bytes(b"log")
    copies = SqliteCopies(path)
    copies._keep_in(aside)
    log.unlink()

    assert not copies.was_put_in_place(aside)

    assert log.read_bytes() == b"log"


def test_a_rename_that_fails_leaves_the_old_database_with_its_log(
    world: World, tmp_path: Path
) -> None:
    """A damaged one, whose log could not be moved into it."""
    path, aside = world.data_dir / "aipool.db", tmp_path / "aside"
    path.write_bytes(b"no database at all, and longer than a header" * 100)
    log = path.with_name("aipool.db-journal")
    log.write_bytes(b"log")

    with pytest.raises(OSError, match="missing"):
        SqliteCopies(path).put_in_place(tmp_path / "missing", aside, "")

    assert log.read_bytes() == b"log"
