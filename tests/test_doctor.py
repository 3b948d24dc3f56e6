"""The doctor finds what is wrong, says what to do, and changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from aipool import config, doctor
from aipool.doctor import State
from aipool.kit.clock import now_ms
from aipool.kit.db import open_database
from aipool.kit.secret_files import FOLDER_NAME, PEPPER_NAME
from aipool.pool import store
from tests.world import open_world


def examine(data_dir: Path) -> dict[str, doctor.Finding]:
    settings = config.load({"data_dir": data_dir}, {})
    return {finding.check: finding for finding in doctor.examine(settings)}


def make(data_dir: Path) -> None:
    data_dir.chmod(0o700)
    with open_world(data_dir) as world, world.database.write() as tx:
        store.insert_vendor(
            tx.connection,
            name="inward",
            vendor_type="openai_compatible",
            base_url="http://127.0.0.1:9000/v1",
            at_ms=1,
        )
        store.insert_vendor(
            tx.connection, name="box", vendor_type="sandbox", base_url="http://sandbox/v1", at_ms=1
        )


def test_a_sound_installation_has_nothing_bad_but_what_was_put_there(tmp_path: Path) -> None:
    make(tmp_path)

    found = examine(tmp_path)

    bad = {check for check, finding in found.items() if finding.state is State.BAD}
    assert bad <= {"vendor inward", "disk"}
    assert "AIPOOL_PRIVATE_UPSTREAMS" in found["vendor inward"].detail
    assert found["vendor box"].state is State.GOOD
    assert found["server"].detail == "not running"
    assert found["migrations"].state is State.GOOD


def test_open_folders_and_files_are_bad(tmp_path: Path) -> None:
    make(tmp_path)
    tmp_path.chmod(0o755)
    (tmp_path / FOLDER_NAME / PEPPER_NAME).chmod(0o644)

    found = examine(tmp_path)

    assert found["data folder"].state is State.BAD
    assert found[f"secret {PEPPER_NAME}"].state is State.BAD
    assert "chmod 600" in found[f"secret {PEPPER_NAME}"].detail


def test_a_folder_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    found = examine(tmp_path / "none")

    assert found["data folder"].state is State.DOUBT
    assert not (tmp_path / "none").exists()


def test_missing_steps_are_a_doubt_and_a_newer_database_is_bad(tmp_path: Path) -> None:
    database = open_database(f"sqlite:///{tmp_path / 'aipool.db'}")
    assert examine(tmp_path)["migrations"].state is State.DOUBT

    with database.write() as tx:
        tx.connection.exec_driver_sql("CREATE TABLE alembic_version (version_num TEXT)")
        tx.connection.exec_driver_sql("INSERT INTO alembic_version VALUES ('9999')")
    assert examine(tmp_path)["migrations"].state is State.BAD
    database.close()


def test_a_clock_that_went_back_is_bad(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path)
    with open_world(tmp_path) as world, world.database.write() as tx:
        world.vendor(tx)
    assert examine(tmp_path)["clock"].state is State.GOOD

    monkeypatch.setattr(doctor, "now_ms", lambda: now_ms() - 100 * 365 * 86_400_000)

    assert examine(tmp_path)["clock"].state is State.BAD


def test_a_file_that_is_no_database_is_a_finding(tmp_path: Path) -> None:
    tmp_path.chmod(0o700)
    (tmp_path / "aipool.db").write_bytes(b"x" * 5000)

    assert examine(tmp_path)["database"].state is State.BAD


@pytest.mark.parametrize(("check", "limit"), [("open files", 100), ("open files", 1 << 20)])
def test_few_open_files_are_a_doubt(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, check: str, limit: int
) -> None:
    monkeypatch.setattr("resource.getrlimit", lambda _what: (limit, limit))

    expected = State.GOOD if limit > 4096 else State.DOUBT
    assert examine(tmp_path)[check].state is expected
