"""Writing a backup, also beside others who write."""

from __future__ import annotations

import fcntl
import os
import subprocess
import threading
import time
from pathlib import Path

import pytest

from aipool.backup import keys
from aipool.backup.archive import open_archive
from aipool.backup.manifest import fingerprint
from aipool.backup.sqlite import SqliteCopies
from aipool.kit.db import open_database
from aipool.kit.errors import BusinessError
from aipool.kit.secret_files import BadSecret
from tests.backup.rig import CREDIT_NANO, credit, restored, tree, written
from tests.world import SECRET, World


def refused(world: World, file: Path, code: str, **more: bool) -> str:
    before = tree(world.data_dir.parent)
    with pytest.raises(BusinessError) as caught:
        written(world.data_dir, file, **more)
    assert caught.value.code == code
    assert tree(world.data_dir.parent) == before
    return str(caught.value)


def test_a_backup_says_what_it_is_and_is_private(world: World, tmp_path: Path) -> None:
    made = written(world.data_dir, tmp_path / "b")

    assert made.file.stat().st_mode & 0o777 == 0o600
    assert made.size_bytes == made.file.stat().st_size
    assert made.manifest.database_kind == "sqlite"
    assert made.manifest.installation == 1
    assert made.manifest.key_fingerprints["pepper"] == fingerprint(world.secrets.pepper)
    assert made.key_files == tuple(
        world.data_dir / "secrets" / name for name in ("pepper", "sealing-1")
    )
    with open_archive(made.file) as opened:
        assert opened.manifest == made.manifest
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "data"]


@pytest.mark.parametrize("with_keys", [False, True])
def test_no_key_and_no_secret_can_be_read_in_a_backup(
    world: World, tmp_path: Path, with_keys: bool
) -> None:
    whole = written(world.data_dir, tmp_path / "b", keys=with_keys).file.read_bytes()

    for key in keys.read_keys(world.data_dir).values():
        assert key not in whole
        assert key.hex().encode() not in whole
    assert SECRET.encode() not in whole


def test_a_backup_beside_a_writer_is_one_moment_and_the_writer_goes_on(
    world: World, tmp_path: Path
) -> None:
    with world.database.read() as connection:
        user_id = connection.exec_driver_sql("SELECT id FROM users").scalar_one()
    stop, done, longest = threading.Event(), [0], [0.0]

    def work() -> None:
        database = open_database(f"sqlite:///{world.data_dir / 'aipool.db'}", busy_timeout_ms=50)
        while not stop.is_set():
            begun = time.monotonic()
            with database.write() as tx:
                credit(tx, user_id, f"credit {done[0]}")
            longest[0] = max(longest[0], time.monotonic() - begun)
            done[0] += 1
        database.close()

    writer = threading.Thread(target=work)
    writer.start()
    try:
        for number in range(3):
            while done[0] < 10 * number + 5:
                time.sleep(0.005)
            written(world.data_dir, tmp_path / f"{number}")
    finally:
        stop.set()
        writer.join()

    counts = []
    for number in range(3):
        # Its keys are in place in the folder it came from.
        target = tmp_path / f"target-{number}"
        (target / "secrets").mkdir(parents=True)
        for path in (world.data_dir / "secrets").iterdir():
            os.link(path, target / "secrets" / path.name)
        back = restored(target, tmp_path / f"{number}")
        assert not back.report.count
        assert back.report.wallets_nano == back.report.transfers * CREDIT_NANO
        counts.append(back.report.transfers)
    assert counts == sorted(set(counts))
    assert counts[-1] <= done[0] + 1


def test_a_backup_under_a_checkpoint_of_another_process_is_whole(
    world: World, tmp_path: Path
) -> None:
    world.database.close()
    held = open_database(f"sqlite:///{world.data_dir / 'aipool.db'}")
    with held.write() as tx:
        tx.connection.exec_driver_sql("UPDATE users SET password_hash = 'in the log'")
    assert (world.data_dir / "aipool.db-wal").stat().st_size

    written(world.data_dir, tmp_path / "b")

    assert b"in the log" in (tmp_path / "b").read_bytes()
    held.close()


def test_a_file_that_is_there_is_kept_unless_it_is_to_be_replaced(
    world: World, tmp_path: Path
) -> None:
    file = tmp_path / "b"
    for there in (b"", written(world.data_dir, tmp_path / "other").file.read_bytes()[:700]):
        file.write_bytes(there)
        assert "--force" in refused(world, file, "file_exists")

        written(world.data_dir, file, force=True)

        with open_archive(file):
            pass


def test_what_is_no_backup_is_never_replaced(world: World, tmp_path: Path) -> None:
    """Such as the database itself, by a word too few on the command line."""
    file = tmp_path / "notes"
    file.write_bytes(b"precious")
    for there in (file, world.data_dir / "aipool.db", world.data_dir / "secrets/pepper"):
        refused(world, there, "file_is_no_backup", force=True)


def test_a_file_that_cannot_be_is_refused(world: World, tmp_path: Path) -> None:
    assert "is a folder" in refused(world, tmp_path, "not_a_file")
    assert "no folder" in refused(world, tmp_path / "none/b", "folder_unknown")


def test_a_folder_without_an_installation_is_refused(tmp_path: Path) -> None:
    with pytest.raises(BusinessError, match="no installation"):
        written(tmp_path / "none", tmp_path / "b")
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadSecret):
        written(tmp_path / "empty", tmp_path / "b")
    assert [path.name for path in tmp_path.iterdir()] == ["empty"]


def test_an_installation_that_lost_a_key_is_told_so(world: World, tmp_path: Path) -> None:
    (world.data_dir / "secrets/pepper").unlink()
    with pytest.raises(BadSecret, match="pepper is missing"):
        written(world.data_dir, tmp_path / "b")
    assert not (world.data_dir / "secrets/pepper").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


def test_a_damaged_database_is_found_when_it_is_backed_up(world: World, tmp_path: Path) -> None:
    world.database.close()
    path = world.data_dir / "aipool.db"
    whole = bytearray(path.read_bytes())
    for at in range(8 * 4096, len(whole), 4096):
        whole[at : at + 100] = os.urandom(100)
    path.write_bytes(whole)

    with pytest.raises(BusinessError, match="damaged"):
        written(world.data_dir, tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data"]


def test_a_full_disk_leaves_nothing_and_says_so(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    mount = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(small)],
        capture_output=True,
        check=False,
    )
    if mount.returncode:
        pytest.skip("a small file system needs the right to mount one")
    try:
        with pytest.raises(BusinessError, match=r"[Nn]o space left"):
            written(world.data_dir, small / "b")
        assert list(small.iterdir()) == []
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_backup_into_the_same_file_at_the_same_time_is_refused(
    world: World, tmp_path: Path
) -> None:
    partial = tmp_path / "b.partial"
    with partial.open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        refused(world, tmp_path / "b", "backup_running")


def test_what_a_killed_backup_left_is_in_nobodys_way(world: World, tmp_path: Path) -> None:
    for name in ("b.partial", "b.partial-database", "b.partial-database-journal"):
        (tmp_path / name).write_bytes(b"half")
    written(world.data_dir, tmp_path / "b")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["b", "data"]


def test_an_older_backup_is_kept_when_the_new_one_fails(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "b"
    written(world.data_dir, file)
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(SqliteCopies, "copy_out", full)
    refused(world, file, "backup_failed", force=True)

    assert file.read_bytes() == before


def test_a_passphrase_that_protects_nothing_is_refused(world: World, tmp_path: Path) -> None:
    from aipool.backup.write import backup
    from tests.backup.rig import settings_of

    with pytest.raises(BusinessError) as caught:
        backup(
            settings_of(world.data_dir), tmp_path / "b", passphrase="", force=False, at_seconds=1
        )
    assert caught.value.code == "passphrase_too_short"
    assert [path.name for path in tmp_path.iterdir()] == ["data"]
