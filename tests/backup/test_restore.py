"""Restoring a backup: all of it, or nothing."""

from __future__ import annotations

import fcntl
import os
import subprocess
import sys
from pathlib import Path

import pytest

from aipool import migrate
from aipool.backup import archive, keys
from aipool.backup import restore as restoring
from aipool.backup.manifest import Manifest
from aipool.backup.sqlite import SqliteCopies
from aipool.installation import own
from aipool.kit.db import open_database
from aipool.kit.errors import BusinessError
from aipool.kit.secret_files import BadSecret
from aipool.ledger import service as ledger
from aipool.ledger.types import EpochState
from aipool.pool.service import open_secrets
from tests.backup.rig import (
    AT_SECONDS,
    CREDIT_NANO,
    PASSPHRASE,
    assert_books_agree,
    credit,
    lived_in,
    restored,
    settings_of,
    tree,
    written,
)
from tests.world import SECRET, World, open_world

pytestmark = pytest.mark.slow

DATED = "replaced-20270115T080000Z"


@pytest.fixture
def file(world: World, tmp_path: Path) -> Path:
    """A backup with its keys in it."""
    return written(world.data_dir, tmp_path / "b", keys=True).file


@pytest.fixture
def bare(world: World, tmp_path: Path) -> Path:
    """A backup without keys."""
    return written(world.data_dir, tmp_path / "bare").file


def refused(target: Path, file: Path, code: str, **more: object) -> str:
    """Why; and that nothing in or about the folder is another than before."""
    before = tree(target.parent)
    with pytest.raises(BusinessError) as caught:
        restored(target, file, **more)  # type: ignore[arg-type]
    assert caught.value.code == code, caught.value
    assert tree(target.parent) == before
    return str(caught.value)


def altered(file: Path, target: Path, **changes: object) -> Path:
    """The same backup with something else in its manifest, as its writer would have put it."""
    import msgspec

    copy = target.with_name(target.name + ".db")
    with archive.open_archive(file) as opened:
        manifest: Manifest = msgspec.structs.replace(opened.manifest, **changes)
        opened.copy_database(copy)
        sealed = opened.keys() if manifest.keys is not None else b""
    with target.open("wb") as out:
        archive.write(out, manifest, copy, sealed)
    copy.unlink()
    return target


# --- what comes back ------------------------------------------------------------------------


def test_an_empty_folder_becomes_the_installation(world: World, file: Path, tmp_path: Path) -> None:
    target = tmp_path / "new" / "data"

    back = restored(target, file)

    assert not back.report.count
    assert back.aside is None
    assert {path.name for path in back.key_files} == {"pepper", "sealing-1"}
    assert target.stat().st_mode & 0o777 == 0o700
    assert (target / "aipool.db").stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in target.iterdir()) == ["aipool.db", "owner.lock", "secrets"]
    assert keys.read_keys(target) == keys.read_keys(world.data_dir)
    with open_world(target) as it, it.database.read() as connection:
        assert list(open_secrets(connection, it.secrets.keyring).values()) == [SECRET]
    assert_books_agree(target)


def test_all_epochs_are_over_and_what_they_had_leased_is_free(
    world: World, file: Path, tmp_path: Path
) -> None:
    with world.database.read() as connection:
        before = ledger.wallet_balance(connection, 1)
    assert before is not None
    assert before.leased_nano == 800_000
    target = tmp_path / "new"

    assert restored(target, file).epochs == 2

    with open_world(target) as it, it.database.read() as connection:
        after = ledger.wallet_balance(connection, 1)
        assert after is not None
        assert (after.balance_nano, after.leased_nano) == (CREDIT_NANO, 0)
        assert connection.exec_driver_sql("SELECT count(*) FROM leases").scalar() == 0
        assert ledger.epochs_in(connection, EpochState.OPEN) == []
        assert ledger.epochs_in(connection, EpochState.FROZEN) == []


def test_the_number_of_the_installation_grows_at_every_restore(
    world: World, file: Path, tmp_path: Path
) -> None:
    first = restored(tmp_path / "1", file)
    assert first.installation == AT_SECONDS
    again = written(tmp_path / "1", tmp_path / "again", keys=True)
    assert again.manifest.installation == AT_SECONDS
    assert restored(tmp_path / "2", again.file).installation == AT_SECONDS + 1


def test_keys_in_place_are_used_and_no_passphrase_is_asked_for(
    world: World, file: Path, bare: Path, tmp_path: Path
) -> None:
    for number, one in enumerate((file, bare)):
        target = tmp_path / f"t{number}"
        keys.put_in_place(target, keys.read_keys(world.data_dir))

        def never() -> str:
            raise AssertionError("asked")

        back = restoring.restore(
            settings_of(target), one, passphrase=never, replace=False, at_seconds=1
        )
        assert back.key_files == ()


def test_a_restore_that_is_repeated_leads_to_the_same_books(
    world: World, file: Path, tmp_path: Path
) -> None:
    target = tmp_path / "new"
    restored(target, file)
    refused(target, file, "database_in_place")

    back = restored(target, file, replace=True)

    assert back.aside == target / DATED
    assert not back.report.count
    assert_books_agree(target)


def test_what_was_there_is_kept_whole_under_a_dated_name(
    world: World, file: Path, tmp_path: Path
) -> None:
    """The log of the old database goes with it, and so do the journals of its workers."""
    with world.database.write() as tx:
        credit(tx, 1, "after the backup")
    assert (world.data_dir / "aipool.db-wal").stat().st_size
    world.database.close()

    back = restored(world.data_dir, file, replace=True)

    assert back.aside == world.data_dir / DATED
    assert sorted(path.name for path in back.aside.iterdir()) == ["aipool.db", "epochs"]
    assert (back.aside / "epochs/0000000000000005/0.journal").read_bytes() == b"calls"
    assert not (world.data_dir / "epochs").exists()
    with open_world(back.aside) as old, old.database.read() as connection:
        wallet = ledger.wallet_balance(connection, 1)
    assert wallet is not None
    assert (wallet.balance_nano, wallet.leased_nano) == (2 * CREDIT_NANO, 800_000)
    with open_world(world.data_dir) as new, new.database.read() as connection:
        wallet = ledger.wallet_balance(connection, 1)
    assert wallet is not None
    assert wallet.balance_nano == CREDIT_NANO


def test_two_restores_of_one_second_keep_both_of_what_they_replaced(
    world: World, file: Path
) -> None:
    world.database.close()
    first = restored(world.data_dir, file, replace=True)
    second = restored(world.data_dir, file, replace=True)
    assert {first.aside, second.aside} == {
        world.data_dir / DATED,
        world.data_dir / f"{DATED}-2",
    }


def test_a_log_without_its_database_is_never_taken_for_the_new_one_s(
    world: World, file: Path, tmp_path: Path
) -> None:
    """Somebody removed the damaged database by hand, and forgot what belongs to it."""
    with world.database.write() as tx:
        credit(tx, 1, "in the log")
    log = (world.data_dir / "aipool.db-wal").read_bytes()
    target = tmp_path / "new"
    target.mkdir()
    (target / "aipool.db-wal").write_bytes(log)

    back = restored(target, file)

    assert back.aside is not None
    assert (back.aside / "aipool.db-wal").read_bytes() == log
    assert not (target / "aipool.db-wal").exists()
    assert_books_agree(target)


def test_a_damaged_database_is_replaced_and_kept_with_its_log(
    world: World, file: Path, tmp_path: Path
) -> None:
    world.database.close()
    (world.data_dir / "aipool.db").write_bytes(b"SQLite format 3\0" + os.urandom(9000))
    (world.data_dir / "aipool.db-wal").write_bytes(b"log")
    before = tree(world.data_dir)

    back = restored(world.data_dir, file, replace=True)

    assert back.aside is not None
    for name in ("aipool.db", "aipool.db-wal"):
        assert (back.aside / name).read_bytes() == before[name]
    assert_books_agree(world.data_dir)


def test_an_older_backup_is_brought_to_this_programs_form(tmp_path: Path) -> None:
    data_dir = tmp_path / "old"
    data_dir.mkdir()
    database = open_database(f"sqlite:///{data_dir / 'aipool.db'}")
    with pytest.MonkeyPatch.context() as patch:
        # A program that knew the first steps only.
        from alembic import command

        upgrade = command.upgrade
        patch.setattr(command, "upgrade", lambda config, _: upgrade(config, "0002"))
        migrate.migrate(database)
    with database.read() as connection:
        assert migrate.current_step(connection) == "0002"
    database.close()
    keys.put_in_place(data_dir, {"pepper": os.urandom(32), "sealing-1": os.urandom(32)})
    made = written(data_dir, tmp_path / "b", keys=True)
    assert (made.manifest.migration_step, made.manifest.installation) == ("0002", 0)

    back = restored(tmp_path / "new", tmp_path / "b")

    assert (back.migrated.before, back.migrated.after) == ("0002", migrate.steps()[-1])
    assert_books_agree(tmp_path / "new")


def test_a_database_outside_the_data_folder_comes_back_where_it_was(
    world: World, file: Path, tmp_path: Path
) -> None:
    place = tmp_path / "elsewhere" / "books.db"
    settings = settings_of(tmp_path / "new", {"AIPOOL_DATABASE_URL": f"sqlite:///{place}"})
    for replace in (False, True):
        back = restoring.restore(
            settings, file, passphrase=lambda: PASSPHRASE, replace=replace, at_seconds=AT_SECONDS
        )
    assert back.aside == place.parent / DATED
    assert sorted(path.name for path in place.parent.iterdir()) == ["books.db", DATED]
    assert (tmp_path / "new/secrets/pepper").exists()


# --- what is refused, and changes nothing ---------------------------------------------------


def test_without_keys_anywhere_the_files_are_named(bare: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    said = refused(target, bare, "keys_missing")
    assert f"{target}/secrets/pepper" in said
    assert f"{target}/secrets/sealing-1" in said
    assert not target.exists()


def test_one_missing_key_is_named_alone(world: World, bare: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    found = keys.read_keys(world.data_dir)
    keys.put_in_place(target, {"pepper": found["pepper"]})
    said = refused(target, bare, "keys_missing")
    assert f"{target}/secrets/sealing-1" in said
    assert "pepper" not in said


@pytest.mark.parametrize("name", ["pepper", "sealing-1"])
@pytest.mark.parametrize("kind", ["file", "bare"])
def test_keys_of_another_installation_are_named_and_left_alone(
    world: World, tmp_path: Path, request: pytest.FixtureRequest, name: str, kind: str
) -> None:
    backup: Path = request.getfixturevalue(kind)
    target = tmp_path / "new"
    found = keys.read_keys(world.data_dir)
    keys.put_in_place(target, {**found, name: os.urandom(32)})

    said = refused(target, backup, "keys_of_another_installation", replace=True)

    assert f"{target}/secrets/{name}." in said
    assert said.count("/secrets/") == 1


def test_a_folder_of_another_installation_is_left_alone(file: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    with lived_in(tmp_path / "other" / "data"):
        pass
    refused(tmp_path / "other/data", file, "database_in_place")
    refused(tmp_path / "other/data", file, "keys_of_another_installation", replace=True)


def test_keys_that_do_not_open_the_secrets_are_found_even_if_the_manifest_says_they_do(
    world: World, bare: Path, tmp_path: Path
) -> None:
    from aipool.backup.manifest import fingerprint

    target = tmp_path / "new"
    found = {**keys.read_keys(world.data_dir), "sealing-1": os.urandom(32)}
    keys.put_in_place(target, found)
    prints = {name: fingerprint(key) for name, key in found.items()}
    other = altered(bare, tmp_path / "altered", key_fingerprints=prints)

    refused(target, other, "keys_of_another_installation")


def test_a_key_file_that_cannot_be_used_is_named(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    (target / "secrets").mkdir(parents=True)
    (target / "secrets/pepper").write_text("nothing of the kind")
    before = tree(tmp_path)
    with pytest.raises(BadSecret, match="secrets/pepper"):
        restored(target, file)
    assert tree(tmp_path) == before


@pytest.mark.parametrize("passphrase", ["", "wrong", PASSPHRASE.upper()])
def test_a_wrong_passphrase_is_refused_in_constant_words(
    file: Path, tmp_path: Path, passphrase: str
) -> None:
    said = refused(tmp_path / "new", file, "passphrase_wrong", passphrase=passphrase)
    assert said == "the passphrase does not open the keys of this backup"


def test_while_a_server_runs_nothing_is_restored(world: World, file: Path) -> None:
    with own(world.data_dir):
        said = refused(world.data_dir, file, "server_running", replace=True)
    assert str(os.getpid()) in said


def test_while_a_worker_outlives_its_server_nothing_is_restored(world: World, file: Path) -> None:
    with (world.data_dir / "epochs/0000000000000005/lock").open("r+") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(world.data_dir, file, "server_running", replace=True)


def test_while_a_command_has_the_database_open_nothing_is_restored(
    world: World, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from aipool.backup import sqlite

    monkeypatch.setattr(sqlite, "_BUSY_SECONDS", 0.05)
    (world.data_dir / "owner.lock").write_bytes(b"whoever was the last")
    with world.database.read():
        (world.data_dir / "aipool.db-shm").touch()
        before = tree(world.data_dir)
        del before["aipool.db-shm"]  # who reads writes here
        with pytest.raises(BusinessError) as caught:
            restored(world.data_dir, file, replace=True)
        after = tree(world.data_dir)
        del after["aipool.db-shm"]
    assert caught.value.code == "database_in_use"
    assert after == before


def test_keys_that_were_written_are_taken_away_when_the_database_cannot_be_put_in_place(
    world: World, file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(SqliteCopies, "put_in_place", fail)
    target = tmp_path / "new"
    with pytest.raises(BusinessError, match="nothing was changed"):
        restored(target, file)
    assert [path.name for path in target.iterdir()] == ["owner.lock"]


def test_a_backup_of_a_newer_program_is_refused(file: Path, tmp_path: Path) -> None:
    newer = altered(file, tmp_path / "n", migration_step="9999", product_version="7.0")
    said = refused(tmp_path / "new", newer, "backup_newer")
    assert "7.0" in said


def test_a_backup_of_another_kind_of_database_is_refused(file: Path, tmp_path: Path) -> None:
    other = altered(file, tmp_path / "n", database_kind="postgresql")
    refused(tmp_path / "new", other, "backup_of_another_kind")


def test_a_damaged_database_in_the_backup_is_refused(file: Path, tmp_path: Path) -> None:
    whole = bytearray(file.read_bytes())
    whole[50_000] ^= 0xFF
    damaged = tmp_path / "damaged"
    damaged.write_bytes(whole)
    refused(tmp_path / "new", damaged, "backup_damaged")


def test_books_that_do_not_agree_are_not_put_in_place(world: World, tmp_path: Path) -> None:
    with world.database.write() as tx:
        tx.connection.exec_driver_sql("UPDATE accounts SET balance_nano = balance_nano + 1")
    file = written(world.data_dir, tmp_path / "wrong", keys=True).file
    said = refused(tmp_path / "new", file, "backup_damaged")
    assert "L-01" in said


def test_a_disk_too_small_is_told_before_anything_is_written(
    file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import shutil

    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=1000))
    refused(tmp_path / "new", file, "disk_full")


def test_two_restores_at_once_are_one(file: Path, tmp_path: Path) -> None:
    target = tmp_path / "new"
    work = target / "aipool.db.restoring"
    work.mkdir(parents=True)
    lock = os.open(work, os.O_RDONLY)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        refused(target, file, "restore_running")
    finally:
        os.close(lock)
    restored(target, file)


# --- a crash anywhere -----------------------------------------------------------------------


@pytest.mark.slow
def test_a_crash_at_any_step_leaves_the_old_installation_or_the_new_one(
    world: World, file: Path, tmp_path: Path
) -> None:
    """Each run dies one step later, at whatever changes a file; the next one is clean."""
    with world.database.write() as tx:
        credit(tx, 1, "after the backup")
    world.database.close()
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("crash.py")), str(world.data_dir), str(file)],
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    seen = done.stdout.split()
    assert seen.count("old") > 5
    assert seen.count("new") > 2
    assert "half" not in seen
    # Once the new one is there it stays.
    assert sorted(seen, key=["old", "new"].index) == seen
