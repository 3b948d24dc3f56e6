"""Another program holds the database's write lock: calls go on from what is lent, and nothing is
lost, wrong or ended."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
from pysqlite3 import dbapi2

from aipool.kit.db import DatabaseBusy, open_database
from aipool.ledger import service as ledger
from aipool.ledger.types import TransferKind
from tests.platform import Platform, eventually, messages, platform, simple_catalogue

pytestmark = pytest.mark.slow

LOCKED_SECONDS = 3.0


@contextmanager
def locked(running: Platform) -> Iterator[None]:
    """Nobody else can write, nor begin to."""
    connection = dbapi2.connect(str(running.data_dir / "aipool.db"), isolation_level=None)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        yield
        connection.execute("ROLLBACK")
    finally:
        connection.close()


def test_calls_go_on_from_leases_while_the_database_is_locked_and_money_in_waits() -> None:
    with platform(catalogue=simple_catalogue, workers=2) as running:
        customer = running.customer()
        ask = {"model": "m", **messages("hi")}
        answered = [running.chat(customer, ask).rid for _ in range(8)]
        processes = [running.pids(module) for module in ("gateway", "books", "control")]
        impatient = open_database(
            f"sqlite:///{running.data_dir / 'aipool.db'}", busy_timeout_ms=100
        )

        def credit() -> None:
            with impatient.write() as tx:
                ledger.credit_wallet(
                    tx,
                    user_id=customer.user_id,
                    amount_nano=1,
                    source="cash:test",
                    kind=TransferKind.CREDIT,
                    idem_key="credit:late",
                    ref="",
                    actor="test",
                    at_ms=0,
                )

        with locked(running):
            until = time.monotonic() + LOCKED_SECONDS
            while time.monotonic() < until:
                reply = running.chat(customer, ask)
                assert reply.status in (200, 503), reply.body
                if reply.status == 200:
                    answered.append(reply.rid)
                else:
                    assert reply.error["code"] == "ledger_unavailable"
                    assert int(reply.headers["retry-after"]) > 0
            with pytest.raises(DatabaseBusy, match="another process is writing"):
                credit()
        served = len(answered) - 8
        assert served > 0, "what was lent is spent"

        credit()
        impatient.close()
        assert running.chat(customer, ask).status == 200
        eventually(
            lambda: {row.rid for row in running.rows(customer)} >= set(answered),
            "every answer is in the books",
        )
        assert [running.pids(module) for module in ("gateway", "books", "control")] == processes
