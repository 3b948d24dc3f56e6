"""Room that is kept for a full disk, and logs that cannot be written."""

from __future__ import annotations

import contextlib
import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from aipool.kit.ballast import Ballast, is_full
from aipool.kit.logging import LossyStream

MB = 1 << 20


def test_it_takes_the_room_it_says_and_gives_it_up_once(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast", MB)
    assert not ballast.is_there()
    assert ballast.make()
    assert ballast.is_there()
    found = (tmp_path / "ballast").stat()
    assert (found.st_size, found.st_blocks * 512 >= MB) == (MB, True)
    assert ballast.release()
    assert not ballast.release()
    assert not ballast.is_there()


def test_another_size_is_made_anew(tmp_path: Path) -> None:
    assert Ballast(tmp_path / "ballast", MB).make()
    assert Ballast(tmp_path / "ballast", 2 * MB).make()
    assert (tmp_path / "ballast").stat().st_size == 2 * MB
    assert os.listdir(tmp_path) == ["ballast"]


def test_it_is_not_made_where_there_is_no_room_for_it_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ballast = Ballast(tmp_path / "ballast", MB)
    room = SimpleNamespace(f_bavail=2 * MB // 4096 - 1, f_frsize=4096)
    monkeypatch.setattr(os, "statvfs", lambda _: room)
    assert not ballast.make()
    room.f_bavail += 1
    assert ballast.make()


def test_a_half_of_it_is_taken_away_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "no room")

    monkeypatch.setattr(os, "posix_fallocate", full)
    assert not Ballast(tmp_path / "ballast", MB).make()
    assert os.listdir(tmp_path) == []


def test_none_is_always_there(tmp_path: Path) -> None:
    ballast = Ballast(tmp_path / "ballast", 0)
    assert ballast.make()
    assert ballast.is_there()
    assert os.listdir(tmp_path) == []


def test_a_full_disk_is_known_by_its_errors() -> None:
    assert is_full(OSError(errno.ENOSPC, "")) and is_full(OSError(errno.EFBIG, ""))
    assert not is_full(OSError(errno.EIO, ""))


def test_lines_that_cannot_be_written_are_lost_and_nothing_else() -> None:
    stream = LossyStream(full := open("/dev/full", "w", buffering=1))  # noqa: SIM115
    for _ in range(1000):
        stream.write("a line\n" * 100)
        stream.flush()
    with contextlib.suppress(OSError):
        full.close()
