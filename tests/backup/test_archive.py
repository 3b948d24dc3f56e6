"""The file of a backup: read only in the one form it is written in."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from aipool.backup import archive
from aipool.backup.archive import DATABASE_NAME, KEYS_NAME, MANIFEST_NAME, open_archive
from aipool.backup.manifest import FORMAT, Manifest, decode
from aipool.kit.errors import BusinessError, Invalid

DATABASE = b"a database" * 1000
KEYS = b"sealed keys"
PRINT = "0" * 64


def manifest_of(database: bytes = DATABASE, *, keys: bytes | None = KEYS) -> Manifest:
    return Manifest(
        format=FORMAT,
        product_version="1",
        migration_step="0001",
        database_kind="sqlite",
        created_at="2026-11-22T00:00:00Z",
        installation=1,
        key_fingerprints={"pepper": PRINT, "sealing-1": PRINT},
        database=archive.measure_bytes(database),
        keys=archive.measure_bytes(keys) if keys is not None else None,
    )


@pytest.fixture
def file(tmp_path: Path) -> Path:
    source = tmp_path / "source"
    source.write_bytes(DATABASE)
    path = tmp_path / "backup"
    with path.open("wb") as target:
        archive.write(target, manifest_of(), source, KEYS)
    return path


def refused(path: Path, target: Path) -> BusinessError:
    """Why this is not read; nothing of the database is taken for one."""
    with pytest.raises(Invalid) as caught, open_archive(path) as opened:
        opened.copy_database(target)
        opened.keys()
    return caught.value


def a_tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w", format=tarfile.GNU_FORMAT) as tar:
        for info, content in members:
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def test_what_was_written_is_read(file: Path, tmp_path: Path) -> None:
    with open_archive(file) as opened:
        assert opened.manifest == manifest_of()
        opened.copy_database(tmp_path / "copy")
        assert opened.keys() == KEYS

    assert (tmp_path / "copy").read_bytes() == DATABASE
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o600


def test_any_tar_lists_it(file: Path) -> None:
    with tarfile.open(file) as tar:
        assert tar.getnames() == [MANIFEST_NAME, DATABASE_NAME, KEYS_NAME]
        found = tar.extractfile(DATABASE_NAME)
        assert found is not None
        assert found.read() == DATABASE


def test_the_same_content_is_the_same_bytes(file: Path, tmp_path: Path) -> None:
    again = io.BytesIO()
    archive.write(again, manifest_of(), tmp_path / "source", KEYS)
    assert again.getvalue() == file.read_bytes()


def test_a_changed_byte_is_found_wherever_it_is(file: Path, tmp_path: Path) -> None:
    whole = file.read_bytes()
    for at in range(0, len(whole) - 2 * tarfile.BLOCKSIZE, 97):
        if _is_padding(whole, at):
            continue
        changed = bytearray(whole)
        changed[at] ^= 1
        file.write_bytes(changed)
        target = tmp_path / "copy"
        target.unlink(missing_ok=True)
        try:
            refused(file, target)
        except pytest.fail.Exception:
            # A word of the manifest that stands by itself, such as the version.
            with open_archive(file) as opened:
                assert opened.manifest != manifest_of(), at


def _is_padding(whole: bytes, at: int) -> bool:
    """Between the end of a member and the next block there are zeros that nobody reads."""
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        return not any(
            info.offset <= at < info.offset_data + info.size for info in tar.getmembers()
        )


@pytest.mark.parametrize("left", [0, 1, 511, 512, 600, 2000, 9000, -1, -1024])
def test_a_file_that_was_cut_is_refused_before_anything_is_written(
    file: Path, tmp_path: Path, left: int
) -> None:
    file.write_bytes(file.read_bytes()[:left])
    refused(file, tmp_path / "copy")
    assert not (tmp_path / "copy").exists()


def test_bytes_behind_the_end_are_refused(file: Path, tmp_path: Path) -> None:
    with file.open("ab") as more:
        more.write(b"\0" * 512)
    assert refused(file, tmp_path / "copy").code == "backup_damaged"


@pytest.mark.parametrize("name", ["../outside", "/etc/passwd", "database/../../x", "database"])
def test_members_of_other_names_have_no_form_to_come_in(
    file: Path, tmp_path: Path, name: str
) -> None:
    text = manifest_of(keys=None).encode()
    tar = a_tar(
        tmp_path / "t",
        (tarfile.TarInfo(MANIFEST_NAME), text),
        (tarfile.TarInfo(name), DATABASE),
    )
    assert refused(tar, tmp_path / "copy").code in {"not_a_backup", "backup_damaged"}
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE, tarfile.DIRTYPE]
)
def test_a_member_that_is_no_file_is_refused(file: Path, tmp_path: Path, kind: bytes) -> None:
    whole = bytearray(file.read_bytes())
    info = tarfile.TarInfo(DATABASE_NAME)
    info.size, info.mode, info.type, info.linkname = len(DATABASE), 0o600, kind, "/etc/passwd"
    at = whole.index(b"database\0")
    whole[at : at + 512] = info.tobuf(tarfile.GNU_FORMAT)
    file.write_bytes(whole)

    assert refused(file, tmp_path / "copy").code == "not_a_backup"
    assert not (tmp_path / "copy").exists()


@pytest.mark.parametrize(
    "content", [b"", b"x", b"PK\x03\x04" + bytes(600), bytes(4096), os.urandom(2048)]
)
def test_a_file_that_is_no_backup_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "f"
    path.write_bytes(content)
    assert refused(path, tmp_path / "copy").code == "not_a_backup"


def test_a_member_that_says_it_is_huge_is_never_read(tmp_path: Path) -> None:
    info = tarfile.TarInfo(MANIFEST_NAME)
    info.size, info.mode = 1 << 50, 0o600
    path = tmp_path / "f"
    path.write_bytes(info.tobuf(tarfile.GNU_FORMAT) + bytes(2048))
    assert refused(path, tmp_path / "copy").code == "not_a_backup"


def test_a_folder_a_pipe_and_a_missing_file_are_refused(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        assert refused(path, tmp_path / "copy").code == "not_a_backup"
    assert refused(tmp_path / "none", tmp_path / "copy").code == "file_unreadable"


def test_a_newer_format_is_told_from_a_damaged_file() -> None:
    newer = manifest_of().encode().replace(b'"format": 1', b'"format": 2, "more": {}')
    with pytest.raises(Invalid) as caught:
        decode(newer)
    assert caught.value.code == "backup_newer"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"[]",
        b'{"format": 1}',
        manifest_of().encode().replace(b'"sealing-1"', b'"../../x"'),
        manifest_of().encode().replace(PRINT.encode(), b"short", 1),
        manifest_of().encode().replace(b'"size_bytes": 1', b'"size_bytes": -1'),
        manifest_of().encode().replace(b'"format": 1', b'"format": 0'),
    ],
)
def test_a_manifest_that_cannot_be_is_refused(text: bytes) -> None:
    with pytest.raises(Invalid) as caught:
        decode(text)
    assert caught.value.code == "not_a_backup"
