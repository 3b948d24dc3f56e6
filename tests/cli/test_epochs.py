"""Deciding what no program may: an epoch with a damaged journal, and a clock that leapt."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from typer.testing import CliRunner, Result

from aipool.audit.tables import audit_entries
from aipool.books.recovery import Recovery
from aipool.cli.app import app
from aipool.kit.clock import now_ms
from aipool.ledger import service as ledger
from aipool.ledger.rules import day_of
from tests.books.rig import CNY, FakeWorker, Installation, hold, installation, outcome
from tests.cli.test_commands import good, refused

EPOCH, NAME = 7, f"{7:016x}"
START = 100 * CNY

Run = Callable[..., Result]


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Installation]:
    with installation(tmp_path / "data") as made:
        made.credit(1, START)
        yield made


@pytest.fixture
def run(books: Installation, monkeypatch: pytest.MonkeyPatch) -> Run:
    for name, value in books.environment.items():
        monkeypatch.setenv(name, value)

    def invoke(*words: str, stdin: str = "") -> Result:
        return CliRunner().invoke(app, list(words), input=stdin, prog_name="aipool")

    return invoke


@pytest.fixture
def worker(books: Installation) -> FakeWorker:
    """Worker 7 with a lease, and one call under way that holds 1000 nano of it."""
    one = FakeWorker(books, EPOCH)
    one.connect()
    one.lease(1, CNY)
    one.write(hold(1, 1000))
    return one


def freeze(books: Installation, worker: FakeWorker) -> None:
    """A call's end had reached the disk, and is damaged."""
    bad = hold(1, 500)
    worker.write(bad)
    damaged = worker.position + 30
    worker.write(outcome(bad, 50, 0))
    worker.sync()
    with worker.segment.open("r+b") as file:
        file.seek(damaged)
        file.write(b"\xff\xff")
    worker.die()
    Recovery(books.database, books.epochs).sweep()


def trail(books: Installation) -> list[tuple[str, str]]:
    with books.database.read() as connection:
        rows = connection.execute(sa.select(audit_entries)).all()
    return [(row.action, row.target) for row in rows]


def test_epochs_are_listed_with_who_lives_and_what_is_leased(
    run: Run, books: Installation, worker: FakeWorker
) -> None:
    leased = books.balance(1)[1]

    (row,) = json.loads(good(run("ledger", "epochs", "-o", "json")).stdout)

    assert (row["epoch"], row["state"], row["pid"], row["alive"]) == (NAME, "open", 4242, True)
    assert row["leased"] == f"{leased / CNY:g}"
    assert row["budgets"] == 1
    assert row["since"].startswith("1970-01-01")
    freeze(books, worker)
    (row,) = json.loads(good(run("ledger", "epochs", "-o", "json")).stdout)
    assert (row["state"], row["alive"]) == ("frozen", False)


def test_a_frozen_epoch_is_released_with_its_leases_and_its_journal_is_kept(
    run: Run, books: Installation, worker: FakeWorker
) -> None:
    freeze(books, worker)
    balance, leased = books.balance(1)
    assert leased > 0

    result = good(run("ledger", "release", NAME, "--yes", "-o", "json"))

    assert "had reached the disk" in result.stderr
    assert "lost       2 calls that were under way there (at most 0.0000015 CNY)" in result.stderr
    assert books.balance(1) == (balance, 0)
    answer = json.loads(result.stdout)
    assert answer["freed"] == f"{leased / CNY:g}"
    assert list(Path(answer["journal"]).iterdir())
    Recovery(books.database, books.epochs).tidy()
    assert Path(answer["journal"]).is_dir()
    assert json.loads(run("ledger", "epochs", "-o", "json").stdout) == []
    assert trail(books) == [("ledger.release", f"epoch:{NAME}")]
    assert "is over" in refused(run("ledger", "release", NAME, "--yes"))


def test_nothing_is_released_unless_somebody_says_so(
    run: Run, books: Installation, worker: FakeWorker
) -> None:
    freeze(books, worker)
    before = books.balance(1)

    result = run("ledger", "release", NAME, stdin="n\n")

    assert result.exit_code == 1
    assert "There is no terminal to ask on; use --yes" in result.stderr
    assert books.balance(1) == before
    assert worker.directory.is_dir()
    assert trail(books) == []


def test_an_epoch_whose_worker_lives_is_not_released(
    run: Run, books: Installation, worker: FakeWorker
) -> None:
    before = books.balance(1)

    text = refused(run("ledger", "release", NAME, "--yes"))

    assert "its worker (process 4242) lives" in text
    assert books.balance(1) == before
    worker.die()
    assert "a running server recovers" in refused(run("ledger", "release", NAME, "--yes"))
    assert books.balance(1) == before


@pytest.mark.parametrize("name", ["8", "x" * 16, f"{8:016x}", ""])
def test_an_epoch_that_is_not_there_is_refused(run: Run, books: Installation, name: str) -> None:
    assert run("ledger", "release", name, "--yes").exit_code == 1
    assert trail(books) == []


def test_the_clock_is_confirmed_once_somebody_believes_it(run: Run, books: Installation) -> None:
    today = day_of(now_ms())
    with books.database.write() as tx:
        ledger.set_day(tx, today - 3, frozen=True)

    assert "Is the clock right? There is no terminal" in run("ledger", "confirm-clock").stderr
    with books.database.read() as connection:
        assert ledger.today(connection) == (today - 3, True)
    assert trail(books) == []

    said = good(run("ledger", "confirm-clock", "--yes")).stderr

    assert "the day of the limits is frozen at 20" in said
    assert "what resets until then begins anew" in said
    with books.database.read() as connection:
        assert ledger.today(connection) == (today, False)
    assert trail(books) == [("ledger.confirm_clock", "calendar")]
    assert "nothing to confirm" in good(run("ledger", "confirm-clock", "--yes")).stderr


def test_a_clock_that_is_behind_moves_no_day_back(run: Run, books: Installation) -> None:
    later = day_of(now_ms()) + 3
    with books.database.write() as tx:
        ledger.set_day(tx, later, frozen=True)

    said = good(run("ledger", "confirm-clock", "--yes")).stderr

    assert "until the clock has passed it" in said
    with books.database.read() as connection:
        assert ledger.today(connection) == (later, False)


def test_before_the_first_day_there_is_nothing_to_confirm(run: Run, books: Installation) -> None:
    assert "nothing to confirm" in good(run("ledger", "confirm-clock", "--yes")).stderr
