"""The books in a real database, written by the real statements.

The same worlds run on it as on books in memory; the tables are read back when a world is at
rest, and the verifier of the books looks at them too.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from aipool.calls.service import get
from aipool.catalog.tables import prices
from aipool.kit.db import Database, open_database
from aipool.ledger.tables import accounts, budgets, leases, streams, transfers, window_limits
from aipool.ledger.types import BudgetChange, EpochState, StreamRow, Transfer, WalletRow
from aipool.migrate import migrate
from tests.postgres import place
from tests.simulation.profile import PRICES


@contextmanager
def new_database(kind: str) -> Iterator[Database]:
    """A migrated database of this kind ("sqlite", "postgres"), gone at the end."""
    with tempfile.TemporaryDirectory() as folder, place(kind, _migrated) as url:
        database = open_database(url or f"sqlite:///{folder}/aipool.db")
        migrate(database)
        yield database
        database.close()


def _migrated(database: Database) -> None:
    migrate(database)


class SqlBooks:
    """database: migrated and empty, of any kind."""

    def __init__(self, database: Database) -> None:
        self.read = database.read
        self.write = database.write
        self.watch: Callable[[Any], None] = lambda _: None
        self._database = database
        with database.write() as tx:
            for price in PRICES:
                tx.connection.execute(
                    sa.insert(prices).values(
                        id=price.id,
                        input_nano=price.input_nano,
                        cached_input_nano=price.cached_input_nano,
                        output_nano=price.output_nano,
                        created_at_ms=0,
                    )
                )
        self.refresh()

    @property
    def streams(self) -> dict[int, StreamRow]:
        """As they are now."""
        table = streams.c
        columns = (table.epoch, table.worker, table.pid, table.high_water, table.last_request,
                   table.last_reply, table.state)  # fmt: skip
        with self.read() as connection:
            rows = connection.execute(sa.select(*columns))
            return {row[0]: StreamRow(*row[:6], EpochState(row[6])) for row in rows}

    @property
    def transfers(self) -> list[Transfer]:
        """As they are now, in their order."""
        columns = [transfers.c[name] for name in Transfer._fields]
        with self.read() as connection:
            rows = connection.execute(sa.select(*columns).order_by(transfers.c.seq))
            return [Transfer(*row) for row in rows]

    def refresh(self) -> None:
        """Reads back what is compared."""
        with self.read() as connection:

            def rows(*columns: Any) -> Any:
                return connection.execute(sa.select(*columns))

            c = accounts.c
            self.wallets = {
                row[0]: WalletRow(*row)
                for row in rows(c.account, c.balance_nano, c.leased_nano, c.floor_nano)
            }
            b = budgets.c
            self.budgets = {
                (row[0], row[1]): BudgetChange._make((*row[:5], bool(row[5])))
                for row in rows(b.budget, b.window_no, b.cap, b.used, b.leased, b.frozen)
            }
            self.leases: dict[int, dict[tuple[str, int], int]] = {}
            for epoch, budget, window, left in rows(
                leases.c.epoch, leases.c.budget, leases.c.window_no, leases.c.remaining
            ):
                self.leases.setdefault(epoch, {})[budget, window] = left
            self.limits = {
                row[0]: row[1] for row in rows(window_limits.c.budget, window_limits.c.cap)
            }
            self.calls = self._calls(connection)

    def _calls(self, connection: Any) -> dict[str, Any]:
        months = connection.execute(sa.text("SELECT month FROM call_months")).scalars()
        found: dict[str, Any] = {}
        for month in list(months):
            rids = connection.execute(sa.text(f"SELECT rid FROM calls_{month}")).scalars()
            for rid in list(rids):
                row = get(connection, rid)
                assert row is not None
                found[rid] = row
        return found
