"""Money that comes in, killed anywhere: booked whole or not at all, and once when asked again."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import Final

import sqlalchemy as sa

from aipool.kit.db import Transaction, database, sqlite
from aipool.ledger import core, service, store
from aipool.ledger.types import Refused, TransferKind
from tests.books.rig import CNY, FakeWorker, Installation
from tests.faults.injection.children import KILLED, asked, ended, fork
from tests.faults.injection.places import (
    TOKEN,
    USER,
    compared,
    copy_of,
    differences,
    make_place,
    open_place,
    state_of,
)
from tests.faults.injection.points import Survey, Trap

MODULES: Final[tuple[ModuleType, ...]] = (service, core, store, database, sqlite)

Step = tuple[str, Callable[[Transaction], object]]


def _credit(key: str, user_id: int, amount_nano: int, tx: Transaction) -> object:
    return service.credit_wallet(
        tx,
        user_id=user_id,
        amount_nano=amount_nano,
        source="cash:bank",
        kind=TransferKind.CREDIT,
        idem_key=key,
        ref="order",
        actor="test",
        at_ms=1_700_000_000_000,
    )


def _adjust(key: str, user_id: int, amount_nano: int, tx: Transaction) -> object:
    return service.adjust_wallet(
        tx,
        user_id=user_id,
        amount_nano=amount_nano,
        idem_key=key,
        ref="ticket",
        actor="test",
        at_ms=1_700_000_000_000,
    )


#: Each in a transaction of its own, in this order; the key says what it moves, "" = no money.
STEPS: Final[tuple[Step, ...]] = (
    ("pay:1", partial(_credit, "pay:1", USER, 30 * CNY)),
    ("pay:2", partial(_credit, "pay:2", USER + 1, 7 * CNY)),
    ("up:1", partial(_adjust, "up:1", USER, 3 * CNY)),
    ("down:1", partial(_adjust, "down:1", USER + 1, -2 * CNY)),
    ("pay:1", partial(_credit, "pay:1", USER, 30 * CNY)),
    ("", lambda tx: service.set_budget_cap(tx, f"token:{TOKEN}", 40 * CNY)),
    ("", lambda tx: service.set_window_limit(tx, f"token:{TOKEN}/day", 4 * CNY)),
)


def _fill(books: Installation) -> None:
    """Some of it is lent, so that not all may be taken away."""
    worker = FakeWorker(books, 21)
    worker.connect()
    worker.lease(USER, CNY)


class MoneyIn:
    """The scenario: see the module."""

    name = "credit"
    parts = ("writer",)

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._log = folder / "log"
        self._place = folder / "place"
        self._acknowledged = folder / "acknowledged"
        self._due: list[str] = []

    def modules_of(self, _part: str) -> tuple[ModuleType, ...]:
        """Whose lines are points."""
        return MODULES

    def prepare(self) -> list[str]:
        """Make the place, and see what becomes of it undisturbed."""
        if ended(fork(partial(make_place, self._place, _fill), self._log)):
            return [self._log.read_text()]
        self._due = self._after(copy_of(self._place, self._folder / "due"), [])
        return []

    def run(self, part: str, device: Survey | Trap, survey: Path) -> tuple[bool, list[str]]:
        """Book it with the device, look, and book it all again without."""
        folder = copy_of(self._place, self._folder / "work")
        self._acknowledged.write_text("")

        def work() -> None:
            device.begin()
            books = open_place(folder)
            for key, step in STEPS:
                with books.write() as tx:
                    answer = step(tx)
                assert not isinstance(answer, Refused), answer
                with self._acknowledged.open("a") as file:
                    file.write(f"{key}\n")
            if isinstance(device, Survey):
                device.save(survey)

        status = ended(fork(work, self._log))
        if status not in (0, KILLED):
            return False, [f"booking ended with {status}:\n{self._log.read_text()[-2000:]}"]
        promised = self._acknowledged.read_text().split("\n")[:-1]
        return status == KILLED, compared(self._after(folder, promised), self._due)

    def _after(self, folder: Path, promised: list[str]) -> list[str]:
        """The state when all was asked for again; before that, what was acknowledged is there and
        at most one thing besides."""

        def question() -> list[str]:
            books = open_place(folder)
            problems = differences(books)
            with books.read() as connection:
                sql = sa.text("SELECT idem_key FROM transfers")
                booked = set(connection.execute(sql).scalars())
            problems += [
                f"{key} was acknowledged, and lost" for key in promised if key not in booked | {""}
            ]
            unasked = {key for key, _ in STEPS[len(promised) + 1 :]} - set(promised)
            problems += [f"{key} is booked too early" for key in sorted(booked & unasked)]
            for _, step in STEPS:
                with books.write() as tx:
                    step(tx)
            return [*problems, *state_of(books, folder), *differences(books)]

        return asked(question, self._log, self._folder / "answers")
