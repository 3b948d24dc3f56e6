"""What an operator is told after a change, beside a server and without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.cli import apply, moving, session
from aipool.cli.session import Session, open_session
from aipool.doors.frames import Acknowledged, Changed
from aipool.installation import Owner, RunDirectory
from aipool.kit.db import open_database
from aipool.migrate import MigrationRefused
from tests.moving.dumps import as_json, small
from tests.world import open_world

OWNER = Owner(1, RunDirectory(Path("/nowhere")))


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Session]:
    with open_world(tmp_path):
        pass
    with open_session(tmp_path) as ready:
        yield ready


def change(opened: Session, *, note: bool = True) -> None:
    with opened.change() as tx:
        if note:
            tx.changes.note_tokens([b"d" * 32])


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (Acknowledged(1, ()), "saved; every worker acts on it\n"),
        (
            Acknowledged(1, ("worker 0 (process 7)", "worker 2 (process 9)")),
            "saved; not yet in force on worker 0 (process 7), worker 2 (process 9), which take "
            "it up as soon as they answer\n",
        ),
        (None, "saved; the running server could not be told and takes it up when it can\n"),
    ],
)
def test_the_operator_is_told_who_acts_on_a_change(
    opened: Session,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    answer: Acknowledged | None,
    told: str,
) -> None:
    heard: list[Changed] = []

    def announce(_path: Path, changed: Changed) -> Acknowledged | None:
        heard.append(changed)
        return answer

    monkeypatch.setattr(session, "owner_of", lambda _data_dir: OWNER)
    monkeypatch.setattr(session, "announce", announce)

    change(opened)

    assert heard == [Changed(1, catalogue=False, digests=(b"d" * 32,), everything=False)]
    assert capsys.readouterr().err == told


@pytest.mark.parametrize(("running", "note"), [(True, False), (False, True)])
def test_nobody_is_told_of_nothing_nor_without_a_server(
    opened: Session,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    running: bool,
    note: bool,
) -> None:
    def announce(_path: Path, _changed: Changed) -> Acknowledged | None:
        raise AssertionError("there is nobody to tell")

    monkeypatch.setattr(session, "owner_of", lambda _data_dir: OWNER if running else None)
    monkeypatch.setattr(session, "announce", announce)

    change(opened, note=note)

    assert capsys.readouterr().err == ""


def test_a_running_server_of_an_older_program_is_not_migrated_under_its_feet(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    open_database(f"sqlite:///{tmp_path / 'aipool.db'}").close()
    monkeypatch.setattr(session, "owner_of", lambda _data_dir: OWNER)

    with pytest.raises(MigrationRefused, match="restart it"), open_session(tmp_path):
        pass


def test_workers_are_asked_for_money_only_where_a_server_runs_and_something_is_wanted(
    opened: Session, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def collect(path: Path, budgets: object) -> bool:
        asked.append((path, budgets))
        return True

    monkeypatch.setattr(session, "collect", collect)
    assert opened.collect([("wallet:1", 0)]) is None
    monkeypatch.setattr(session, "owner_of", lambda _data_dir: OWNER)
    assert opened.collect([]) is None
    assert asked == []

    assert opened.collect([("wallet:1", 0)]) is True
    assert asked == [(OWNER.run_directory.link_socket, [("wallet:1", 0)])]


def test_nobody_to_ask_is_no_answer(opened: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(session, "owner_of", lambda _data_dir: OWNER)

    assert opened.collect([("wallet:1", 0)]) is None


@pytest.mark.parametrize("command", ["apply", "import"])
def test_the_workers_are_told_although_nobody_reads_what_is_printed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    """As behind `| head -1`, which hangs up."""

    def hung_up(*_: object, **__: object) -> None:
        raise BrokenPipeError

    told: list[int] = []
    monkeypatch.setattr(
        Session, "tell_workers", lambda _self, _changes, number: told.append(number)
    )
    monkeypatch.setattr(apply, "_show", hung_up)
    monkeypatch.setattr(moving, "show_rows", hung_up)
    with open_world(tmp_path / "data"):
        pass
    file = tmp_path / "file"
    if command == "apply":
        file.write_text("vendors:\n  - {name: box, type: sandbox}\n")
    else:
        as_json(file, small())

    with pytest.raises(BrokenPipeError):
        if command == "apply":
            apply.apply(file, data_dir=tmp_path / "data")
        else:
            moving.import_new_api(file, "7", data_dir=tmp_path / "data")

    assert told
    assert all(told)
