"""A limit of calls that is lowered: what was lent while it was being lowered is asked back too."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from aipool.cli.session import Session
from aipool.ledger import service as ledger
from aipool.ledger.rules import concurrency_budget
from aipool.ledger.types import Epoch, Lend, LendRule
from tests.cli.test_commands import Run, good, make_user, run
from tests.cli.test_limits import world

__all__ = ["run"]

BUSY = concurrency_budget("group-1-user-1")


@dataclass(frozen=True)
class Wanted:
    """A need of places under the old limit."""

    budget: str
    window: int
    least: int
    want: int
    cap: int


def lend_places() -> None:
    """A worker that still has the old limit lends itself places of it."""
    with world() as opened, opened.database.write() as tx:
        epoch = Epoch(7)
        ledger.open_epoch(tx, epoch, worker=0, pid=1, at_ms=1)
        need = Wanted(BUSY, 0, 1, 1, 50)
        ledger.apply(tx, [Lend(epoch, [[need]], LendRule(1, 1, 20_000))])
        assert ledger.leases_of(tx.connection, epoch)[BUSY, 0] > 1


def test_places_lent_while_a_group_is_being_changed_are_asked_back(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    make_user()
    good(run("group", "set", "default", "--concurrency", "50"))
    asked: list[list[tuple[str, int]]] = []

    def collect(self: Session, budgets: Sequence[tuple[str, int]]) -> bool:
        if not asked:
            lend_places()
        asked.append(list(budgets))
        return True

    monkeypatch.setattr(Session, "collect", collect)
    good(run("group", "set", "default", "--concurrency", "1"))

    assert (BUSY, 0) in asked[-1], f"they stay with the worker while it is busy: asked {asked}"
