"""Backups of a database on a server, with the programs of that server."""

from __future__ import annotations

import functools
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from aipool.backup import keys, postgres
from aipool.backup.restore import Restored, restore
from aipool.backup.write import Written, backup
from aipool.config import Settings
from aipool.doors.frames import Need
from aipool.kit.db import open_database
from aipool.kit.digests import load_pepper
from aipool.kit.errors import BusinessError
from aipool.kit.sealing import load_keyring
from aipool.ledger import service as ledger
from aipool.ledger.types import Lend, LendRule
from aipool.migrate import migrate
from tests.backup.rig import (
    AT_SECONDS,
    CREDIT_NANO,
    DAY,
    LEASED_NANO,
    OPEN_EPOCH,
    PASSPHRASE,
    credit,
    lived_in,
    settings_of,
)
from tests.backup.rig import written as written_of_sqlite
from tests.postgres import empty, programs, server


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keys, "_ARGON2_KIB", 1024)
    monkeypatch.setenv("PATH", f"{programs()}{os.pathsep}{os.environ['PATH']}")


@pytest.fixture
def url() -> Iterator[str]:
    """A database of this test alone, with a wallet in it, part of which a worker leased."""
    name = server().create(_lived_in())
    yield server().url(name)
    server().drop(name)


@functools.cache
def _lived_in() -> str:
    name = server().create()
    database = open_database(server().url(name))
    migrate(database)
    with database.write() as tx:
        credit(tx, 1, "start")
        ledger.open_epoch(tx, OPEN_EPOCH, worker=0, pid=1, at_ms=1)
        chain = (Need("wallet:1", 0, LEASED_NANO, LEASED_NANO),)
        ledger.apply(tx, [Lend(OPEN_EPOCH, (chain,), LendRule(1, 1, DAY))])
    database.close()
    return name


def settings_at(data_dir: Path, url: str) -> Settings:
    return settings_of(data_dir, {"AIPOOL_DATABASE_URL": url})


def written(data_dir: Path, url: str, file: Path) -> Written:
    load_pepper(data_dir)
    load_keyring(data_dir)
    return backup(
        settings_at(data_dir, url), file, passphrase=PASSPHRASE, force=False, at_seconds=AT_SECONDS
    )


def restored(data_dir: Path, url: str, file: Path, *, replace: bool = False) -> Restored:
    return restore(
        settings_at(data_dir, url),
        file,
        passphrase=lambda: PASSPHRASE,
        replace=replace,
        at_seconds=AT_SECONDS,
    )


def databases() -> set[str]:
    with server().connect("postgres") as connection:
        return {row[0] for row in connection.execute("SELECT datname FROM pg_database")}


def wallet(url: str) -> tuple[int, int]:
    database = open_database(url)
    with database.read() as connection:
        found = ledger.wallet_balance(connection, 1)
    database.close()
    assert found is not None
    return found.balance_nano, found.leased_nano


def test_an_empty_database_becomes_the_installation(url: str, tmp_path: Path) -> None:
    made = written(tmp_path / "old", url, tmp_path / "b")
    assert made.manifest.database_kind == "postgresql"
    before = databases()

    with empty() as target:
        back = restored(tmp_path / "new", target, tmp_path / "b")

        assert wallet(target) == (CREDIT_NANO, 0)
        assert (back.epochs, back.installation, back.old_database) == (1, AT_SECONDS, None)
        assert not back.report.count
    assert databases() == before
    assert keys.read_keys(tmp_path / "new") == keys.read_keys(tmp_path / "old")
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == ["owner.lock", "secrets"]


@pytest.mark.slow
def test_a_database_that_is_not_there_is_made(url: str, tmp_path: Path) -> None:
    written(tmp_path / "old", url, tmp_path / "b")
    with empty() as target:
        name = psycopg.conninfo.conninfo_to_dict(target)["dbname"]
        server().drop(str(name))

        restored(tmp_path / "new", target, tmp_path / "b")

        assert wallet(target) == (CREDIT_NANO, 0)


@pytest.mark.slow
def test_what_was_there_is_kept_under_a_dated_name(url: str, tmp_path: Path) -> None:
    written(tmp_path / "data", url, tmp_path / "b")
    database = open_database(url)
    with database.write() as tx:
        credit(tx, 1, "after the backup")
    database.close()
    with pytest.raises(BusinessError) as caught:
        restored(tmp_path / "data", url, tmp_path / "b")
    assert caught.value.code == "database_in_place"
    assert wallet(url) == (2 * CREDIT_NANO, LEASED_NANO)

    back = restored(tmp_path / "data", url, tmp_path / "b", replace=True)
    again = restored(tmp_path / "data", url, tmp_path / "b", replace=True)

    assert wallet(url) == (CREDIT_NANO, 0)
    assert back.old_database is not None
    assert back.old_database.endswith("_replaced_20270115t080000z")
    assert again.old_database == back.old_database + "_2"
    assert wallet(server().url(back.old_database)) == (2 * CREDIT_NANO, LEASED_NANO)
    for name in (back.old_database, again.old_database):
        server().drop(str(name))


@pytest.mark.slow
def test_a_backup_beside_a_writer_is_one_moment(url: str, tmp_path: Path) -> None:
    stop, done = threading.Event(), [0]

    def work() -> None:
        database = open_database(url)
        while not stop.is_set():
            with database.write() as tx:
                credit(tx, 1, f"credit {done[0]}")
            done[0] += 1
        database.close()

    writer = threading.Thread(target=work)
    writer.start()
    try:
        written(tmp_path / "old", url, tmp_path / "b")
    finally:
        stop.set()
        writer.join()

    with empty() as target:
        back = restored(tmp_path / "new", target, tmp_path / "b")
    assert not back.report.count
    assert back.report.wallets_nano == back.report.transfers * CREDIT_NANO
    assert 1 <= back.report.transfers <= done[0] + 1


@pytest.mark.slow  # the server waits some seconds for whoever is about to leave
def test_while_anybody_is_connected_nothing_is_restored(url: str, tmp_path: Path) -> None:
    written(tmp_path / "data", url, tmp_path / "b")
    before = databases()
    with psycopg.connect(url), pytest.raises(BusinessError) as caught:
        restored(tmp_path / "data", url, tmp_path / "b", replace=True)
    assert caught.value.code == "database_in_use"
    assert databases() == before
    assert wallet(url) == (CREDIT_NANO, LEASED_NANO)


def test_a_backup_of_the_other_kind_is_refused(url: str, tmp_path: Path) -> None:
    with lived_in(tmp_path / "sqlite"):
        written_of_sqlite(tmp_path / "sqlite", tmp_path / "b", keys=True)
    with pytest.raises(BusinessError) as caught:
        restored(tmp_path / "new", url, tmp_path / "b", replace=True)
    assert caught.value.code == "backup_of_another_kind"


def test_without_the_programs_it_is_said_what_to_install(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(BusinessError, match="pg_dump is not on PATH: install") as caught:
        written(tmp_path / "old", url, tmp_path / "b")
    assert caught.value.code == "program_missing"
    assert [path.name for path in tmp_path.iterdir()] == ["old"]


def test_a_dump_that_is_damaged_leaves_no_database_behind(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = postgres.PostgresCopies.copy_out

    def cut(self: postgres.PostgresCopies, target: Path) -> object:
        facts = real(self, target)
        os.truncate(target, target.stat().st_size // 2)
        return facts

    monkeypatch.setattr(postgres.PostgresCopies, "copy_out", cut)
    written(tmp_path / "data", url, tmp_path / "b")
    before = databases()
    with pytest.raises(BusinessError) as caught:
        restored(tmp_path / "data", url, tmp_path / "b", replace=True)
    assert caught.value.code == "backup_damaged"
    assert databases() == before


def test_a_password_is_on_no_command_line(
    url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server trusts its socket, so any password will do; the program tells what it got."""
    program = tmp_path / "bin" / "pg_dump"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\necho "$*" > {tmp_path}/words\necho "$PGPASSWORD" >&2\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")

    with pytest.raises(BusinessError, match="s3cret"):
        written(tmp_path / "old", url + "&password=s3cret", tmp_path / "b")

    assert "s3cret" not in (tmp_path / "words").read_text()
