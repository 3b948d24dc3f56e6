"""`aipool backup` and `aipool restore` as they are typed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

from aipool.backup import keys
from aipool.cli import session
from aipool.cli.app import app
from tests.backup.rig import PASSPHRASE, lived_in
from tests.world import World


@pytest.fixture
def world(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(keys, "_ARGON2_KIB", 1024)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("AIPOOL_DATA_DIR", str(tmp_path / "data"))
    with lived_in(tmp_path / "data") as lived:
        yield lived


def run(*words: str, stdin: str = "") -> Result:
    result = CliRunner().invoke(app, list(words), input=stdin, prog_name="aipool")
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result


def refused(result: Result) -> str:
    assert result.exit_code == 1, result.output
    assert result.stdout == ""
    assert result.stderr.startswith("aipool: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the person at the terminal types, in order."""
    typed: list[str] = []

    def ask(*, from_stdin: bool, prompt: str) -> str:
        assert not from_stdin
        assert prompt
        return typed.pop(0)

    monkeypatch.setattr(session, "secret_from", ask)
    return typed


def test_a_backup_without_keys_tells_which_files_to_keep_and_how_to_restore(world: World) -> None:
    done = run("backup", "b.tar")

    assert done.exit_code == 0
    assert "No key is in it" in done.stderr
    for name in ("pepper", "sealing-1"):
        assert str(world.data_dir / "secrets" / name) in done.stderr
    assert "aipool restore b.tar" in done.stderr


def test_a_passphrase_is_asked_for_twice_and_then_restores(
    world: World, tmp_path: Path, answers: list[str]
) -> None:
    answers += [PASSPHRASE, PASSPHRASE]
    assert run("backup", "b.tar", "--with-keys").exit_code == 0
    assert answers == []

    answers += [PASSPHRASE]
    done = run("restore", "b.tar", "--data-dir", "new", "-o", "json")

    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["epochs_closed"] == 2
    assert len(told["keys_written"]) == 2
    assert "The books agree." in done.stderr
    assert "aipool serve --data-dir" in done.stderr


def test_two_passphrases_that_differ_are_refused(world: World, answers: list[str]) -> None:
    answers += [PASSPHRASE, PASSPHRASE + "x"]
    assert "not the same" in refused(run("backup", "b.tar", "--with-keys"))
    assert [path.name for path in Path().iterdir()] == ["data"]


@pytest.mark.parametrize("line", ["", "\n", "short\n"])
def test_an_empty_or_short_passphrase_is_refused(world: World, line: str) -> None:
    result = run("backup", "b.tar", "--with-keys", "--passphrase-stdin", stdin=line)
    assert "at least 12 characters" in refused(result)
    assert [path.name for path in Path().iterdir()] == ["data"]


def test_without_a_terminal_a_passphrase_comes_from_standard_input_only(world: World) -> None:
    assert "no terminal" in refused(run("backup", "b.tar", "--with-keys"))


def test_what_a_person_gets_wrong_is_one_line(world: World, tmp_path: Path) -> None:
    assert "is a folder" in refused(run("backup", "."))
    assert "no folder" in refused(run("backup", "none/b.tar"))
    assert "no installation" in refused(run("backup", "b.tar", "--data-dir", "none"))
    assert "cannot read" in refused(run("restore", "none"))
    assert "is not a file" in refused(run("restore", "."))
    (tmp_path / "text").write_text("not a backup")
    assert "not a backup" in refused(run("restore", "text"))
    assert run("backup", "b.tar").exit_code == 0
    assert "--force" in refused(run("backup", "b.tar"))
    assert "--replace" in refused(run("restore", "b.tar"))
    assert run("backup").exit_code == 2
    assert run("restore", "b.tar", "--passphrase", "secret").exit_code == 2
