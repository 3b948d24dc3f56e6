"""The lock on the data folder and the private folder of the sockets."""

from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from aipool.installation import (
    SOCKET_PATH_BYTES_MAX,
    AlreadyOwned,
    InstallationError,
    own,
    owner_of,
    run_directory,
)


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    folder = tmp_path / "run"
    folder.mkdir()
    return {"XDG_RUNTIME_DIR": str(folder)}


def test_the_sockets_lie_in_a_private_folder(tmp_path: Path, environ: dict[str, str]) -> None:
    folder = run_directory(tmp_path / "data", environ)

    assert folder.path.parent == tmp_path / "run"
    assert stat.S_IMODE(folder.path.stat().st_mode) == 0o700
    names = {folder.control_socket, folder.link_socket, folder.sandbox_socket}
    assert {path.parent for path in names} == {folder.path} and len(names) == 3


def test_each_installation_has_a_folder_of_its_own(tmp_path: Path, environ: dict[str, str]) -> None:
    one, other = (run_directory(tmp_path / name, environ) for name in ("a", "b"))

    assert one != other
    assert one == run_directory(tmp_path / "b" / ".." / "a", environ)


def test_a_long_runtime_folder_is_passed_over_for_a_short_one(tmp_path: Path) -> None:
    deep = tmp_path / ("x" * 100)
    deep.mkdir()

    folder = run_directory(tmp_path, {"XDG_RUNTIME_DIR": str(deep)})

    try:
        assert deep not in folder.path.parents
        assert len(os.fsencode(folder.control_socket)) <= SOCKET_PATH_BYTES_MAX
    finally:
        folder.path.rmdir()


def test_a_folder_open_to_others_is_closed(tmp_path: Path, environ: dict[str, str]) -> None:
    path = run_directory(tmp_path, environ).path
    path.chmod(0o755)

    run_directory(tmp_path, environ)

    assert stat.S_IMODE(path.stat().st_mode) == 0o700


def test_a_link_put_in_our_place_is_refused(tmp_path: Path, environ: dict[str, str]) -> None:
    path = run_directory(tmp_path, environ).path
    path.rmdir()
    path.symlink_to(tmp_path)

    with pytest.raises(InstallationError, match="belongs to somebody else"):
        run_directory(tmp_path, environ)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a folder of somebody else's")
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, environ: dict[str, str]) -> None:
    path = run_directory(tmp_path, environ).path
    os.chown(path, 65534, 65534)

    with pytest.raises(InstallationError, match="belongs to somebody else"):
        run_directory(tmp_path, environ)


def test_an_installation_has_one_owner_at_a_time(tmp_path: Path, environ: dict[str, str]) -> None:
    data_dir = tmp_path / "data"

    with own(data_dir, environ) as owner:
        assert owner_of(data_dir) == owner
        with pytest.raises(AlreadyOwned, match=rf"process {os.getpid()}"), own(data_dir, environ):
            pass
        assert owner_of(data_dir) == owner

    assert owner_of(data_dir) is None
    with own(data_dir, environ):
        assert owner_of(data_dir) is not None


def test_the_data_folder_is_made_private(tmp_path: Path, environ: dict[str, str]) -> None:
    with own(tmp_path / "a" / "b", environ):
        assert stat.S_IMODE((tmp_path / "a" / "b").stat().st_mode) == 0o700


def test_a_data_folder_that_cannot_be_is_refused_in_one_line(
    tmp_path: Path, environ: dict[str, str]
) -> None:
    (tmp_path / "file").touch()

    with (
        pytest.raises(InstallationError, match="the data folder cannot be used"),
        own(tmp_path / "file" / "data", environ),
    ):
        pass
