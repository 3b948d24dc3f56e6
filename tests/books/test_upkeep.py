"""The database's log stays short, and somebody watches that the accounts add up."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.books import upkeep
from aipool.kit.db import SqliteDatabase
from aipool.ledger import service as ledger
from tests.books.rig import CNY, Installation


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path / "data")
    installation.credit(1, CNY)
    yield installation
    installation.close()


def file(books: Installation) -> SqliteDatabase:
    assert isinstance(books.database, SqliteDatabase)
    return books.database


def wal_bytes(books: Installation) -> int:
    """How long the file is, whatever of it is in use."""
    return Path(f"{file(books).path}-wal").stat().st_size


def write_pages(books: Installation, count: int) -> None:
    """Makes the log grow by about this many pages of 4 KiB."""
    with books.database.write() as tx:
        tx.connection.exec_driver_sql("CREATE TABLE IF NOT EXISTS filling (bytes)")
        for _ in range(count):
            tx.connection.exec_driver_sql("INSERT INTO filling VALUES (randomblob(4000))")


def test_the_log_is_moved_after_many_commits_or_a_long_time(books: Installation) -> None:
    mover = upkeep.LogMover(file(books))

    mover.move(commits=10, now=100.0)

    assert not mover.is_due(10 + upkeep.COMMITS - 1, 100.0)
    assert mover.is_due(10 + upkeep.COMMITS, 100.0)
    assert mover.is_due(10, 100.0 + upkeep.LOG_SECONDS_MAX)


def test_a_moved_log_is_used_again_from_its_beginning(books: Installation) -> None:
    write_pages(books, 2400)
    size = wal_bytes(books)

    upkeep.LogMover(file(books)).move(commits=1, now=0.0)
    write_pages(books, 1000)

    assert wal_bytes(books) == size


def test_a_log_that_is_much_too_long_is_cut(
    books: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(upkeep, "LOG_BYTES_MAX", 1024 * 1024)
    write_pages(books, 600)

    upkeep.LogMover(file(books)).move(commits=1, now=0.0)

    assert wal_bytes(books) == 0


def test_accounts_that_add_up_are_checkpointed(books: Installation) -> None:
    assert upkeep.balance(books.database) == 0

    with books.database.read() as connection:
        rows = connection.exec_driver_sql("SELECT * FROM account_checkpoints").fetchall()
        assert [tuple(row) for row in rows] == [("cash:test", 1, -CNY)]
        assert ledger.system_balance(connection, "cash:test") == -CNY
    books.assert_books_agree()


def test_accounts_that_do_not_add_up_are_told_and_not_checkpointed(
    books: Installation, capsys: pytest.CaptureFixture[str]
) -> None:
    with books.database.write() as tx:
        tx.connection.exec_driver_sql("UPDATE accounts SET balance_nano = balance_nano + 7")

    assert upkeep.balance(books.database) == 7
    assert "ledger_imbalance" in capsys.readouterr().out
    with books.database.read() as connection:
        count = connection.exec_driver_sql("SELECT count(*) FROM account_checkpoints").scalar()
    assert count == 0
