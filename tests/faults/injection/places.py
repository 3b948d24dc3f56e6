"""A small installation to die in, and what its books say afterwards."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Final

import sqlalchemy as sa

from aipool.books.verify import verify
from aipool.kit.db import Database, open_database
from aipool.kit.sealing import load_keyring
from aipool.ledger import service as ledger
from tests.books.rig import CNY, Installation

#: What the user starts with, and the token's own limit.
USER: Final = 1
TOKEN: Final = 5
START_NANO: Final = 100 * CNY

_TABLES: Final = (
    "SELECT account, balance_nano, leased_nano FROM accounts",
    "SELECT idem_key, debit, credit, amount_nano, kind, ref FROM transfers",
    "SELECT budget, window_no, cap, used, leased, frozen FROM budgets",
    "SELECT epoch, budget, window_no, remaining FROM leases WHERE remaining > 0",
    "SELECT epoch, state FROM streams",
)
_CALLS: Final = "SELECT rid, status, charged_nano, written_off_nano, recovered FROM calls_{}"


def make_place(folder: Path, fill: Callable[[Installation], None]) -> None:
    """A data folder with money in it, and what `fill` adds; no process is left."""
    # A child that ends at once leaves behind what it would delete at its exit: so leave it here.
    tempfile.tempdir = str(folder.parent)
    books = Installation(folder)
    books.credit(USER, START_NANO)
    with books.database.write() as tx:
        ledger.set_budget_cap(tx, f"token:{TOKEN}", 50 * CNY)
    load_keyring(folder)
    fill(books)
    books.close()


def copy_of(place: Path, folder: Path) -> Path:
    """The same again, elsewhere."""
    shutil.rmtree(folder, ignore_errors=True)
    # Dates too: an epoch nobody registered is judged by its age.
    shutil.copytree(place, folder, copy_function=shutil.copy2)
    return folder


def open_place(folder: Path, busy_timeout_ms: int = 5000) -> Database:
    """The books of a place."""
    return open_database(f"sqlite:///{folder / 'aipool.db'}", busy_timeout_ms=busy_timeout_ms)


def differences(database: Database) -> list[str]:
    """What the verifier says against the books."""
    return [str(difference) for difference in verify(database).differences]


def state_of(database: Database, folder: Path) -> list[str]:
    """Everything that a crash may not change in the end, in an order of its own."""
    found: list[str] = []
    with database.read() as connection:
        months = connection.execute(sa.text("SELECT month FROM call_months")).scalars().all()
        for sql in (*_TABLES, *(_CALLS.format(month) for month in sorted(months))):
            found += sorted(
                f"{sql[7:40]}: {tuple(row)}" for row in connection.execute(sa.text(sql))
            )
    epochs = folder / "epochs"
    names = sorted(os.listdir(epochs)) if epochs.is_dir() else []
    return [*found, *(f"directory {name}" for name in names)]


def compared(found: list[str], due: list[str]) -> list[str]:
    """How two states differ."""
    extra = [f"there should not be: {line}" for line in found if line not in due]
    missing = [f"there should be: {line}" for line in due if line not in found]
    return extra + missing
