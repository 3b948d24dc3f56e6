"""The use cases of the ledger on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.kit.db import REFUSED_ERRORS, Database, Transaction
from aipool.ledger import service as ledger
from aipool.ledger.types import (
    EpochState,
    GiveBack,
    Moved,
    RefusalReason,
    Refused,
    TransferKind,
    Wallet,
)
from tests.books.rig import Installation


@pytest.fixture
def books(tmp_path: Path, kind: str) -> Iterator[Installation]:
    installation = Installation(tmp_path / "data", kind)
    yield installation
    installation.assert_books_agree()
    installation.close()


@pytest.fixture
def database(books: Installation) -> Database:
    return books.database


def credit(tx: Transaction, amount: int, key: str = "opening:1", user: int = 1) -> Moved | Refused:
    return ledger.credit_wallet(
        tx,
        user_id=user,
        amount_nano=amount,
        source="expense:promo",
        kind=TransferKind.OPENING,
        idem_key=key,
        ref="",
        actor="root",
        at_ms=1,
    )


def adjust(tx: Transaction, amount: int, key: str = "adjust:1") -> Moved | Refused:
    return ledger.adjust_wallet(
        tx, user_id=1, amount_nano=amount, idem_key=key, ref="", actor="root", at_ms=1
    )


def tables(connection: Connection) -> list[list[sa.Row]]:
    names = ("accounts", "transfers", "budgets", "leases", "streams")
    return [list(connection.exec_driver_sql(f"SELECT * FROM {name}")) for name in names]


def test_the_same_credit_twice_is_booked_once_and_answered_alike(database: Database) -> None:
    with database.write() as tx:
        first = credit(tx, 500)
    with database.write() as tx:
        credit(tx, 70, "other")
        second = credit(tx, 500)

    assert first == second == Moved(500)
    with database.read() as connection:
        assert ledger.wallet_balance(connection, 1) == Wallet(570, 0)
        assert ledger.system_balance(connection, "expense:promo") == -570


def test_another_credit_under_a_used_key_is_refused(database: Database) -> None:
    with database.write() as tx:
        credit(tx, 500)
        refused = credit(tx, 600)

    assert refused == Refused(RefusalReason.KEY_USED_OTHERWISE, 0)


def test_staff_cannot_take_leased_money_nor_go_below_zero(database: Database) -> None:
    with database.write() as tx:
        credit(tx, 500)
        refused = adjust(tx, -501)
        moved = adjust(tx, -200, "adjust:2")

    assert refused == Refused(RefusalReason.NOT_ENOUGH_FREE, 500)
    assert moved == Moved(300)


def test_a_balance_cannot_grow_without_bound(database: Database) -> None:
    with database.write() as tx:
        for number in range(1000):
            assert credit(tx, 10**15, f"k{number}") == Moved((number + 1) * 10**15)
        refused = credit(tx, 1, "one more")

    assert refused == Refused(RefusalReason.BALANCE_TOO_LARGE, 10**18)


@pytest.mark.parametrize(
    "statement", ["UPDATE transfers SET amount_nano = 1", "DELETE FROM transfers"]
)
def test_a_transfer_is_never_changed_nor_removed(database: Database, statement: str) -> None:
    with database.write() as tx:
        credit(tx, 500)

    with pytest.raises(sa.exc.IntegrityError, match="append-only"), database.write() as tx:
        tx.connection.exec_driver_sql(statement)


@pytest.mark.parametrize(
    "statement",
    [
        "UPDATE accounts SET balance_nano = -1",
        "UPDATE accounts SET leased_nano = 501",
        "UPDATE accounts SET leased_nano = -1",
        "INSERT INTO budgets (budget, cap, used) VALUES ('token:1', 5, 6)",
        "INSERT INTO leases (epoch, budget, remaining) VALUES (1, 'wallet:1', -1)",
        "INSERT INTO transfers (at_ms, debit, credit, amount_nano, kind, ref, idem_key, actor)"
        " VALUES (1, 'a', 'b', 0, 'usage', '', 'k', '')",
        "INSERT INTO transfers (at_ms, debit, credit, amount_nano, kind, ref, idem_key, actor)"
        " VALUES (1, 'a', 'b', 5, 'usage', '', 'opening:1', '')",
    ],
)
def test_the_tables_themselves_refuse_what_breaks_an_invariant(
    database: Database, statement: str
) -> None:
    with database.write() as tx:
        credit(tx, 500)

    with pytest.raises(REFUSED_ERRORS), database.write() as tx:
        tx.connection.exec_driver_sql(statement)


def test_a_transaction_that_fails_leaves_nothing_behind(database: Database) -> None:
    with database.read() as connection:
        before = tables(connection)

    with pytest.raises(RuntimeError), database.write() as tx:
        credit(tx, 500)
        ledger.set_budget_cap(tx, "token:1", 5)
        raise RuntimeError

    with database.read() as connection:
        assert tables(connection) == before


def test_money_does_not_make_the_workers_forget_anything(database: Database) -> None:
    with database.write() as tx:
        credit(tx, 500)

    assert tx.revision == 0


def test_a_limit_can_be_changed_and_lifted(database: Database) -> None:
    with database.write() as tx:
        made = ledger.set_budget_cap(tx, "token:1", 100)
        lowered = ledger.set_budget_cap(tx, "token:1", 0)
        lifted = ledger.set_budget_cap(tx, "token:1", None)

    assert (made.cap, made.free) == (100, 100)
    assert (lowered.frozen, lowered.free) == (False, 0)
    assert (lifted.cap, lifted.free) == (None, None)


def test_a_wallet_has_no_limit_but_its_balance(database: Database) -> None:
    with pytest.raises(ValueError, match="balance"), database.write() as tx:
        ledger.set_budget_cap(tx, "wallet:1", 5)
    with pytest.raises(ValueError, match="zero"), database.write() as tx:
        ledger.set_budget_cap(tx, "token:1", -1)


def test_system_accounts_are_the_fold_of_their_transfers_whatever_is_checkpointed(
    database: Database,
) -> None:
    with database.write() as tx:
        credit(tx, 500, "a")
    with database.read() as connection:
        folded = ledger.fold(connection)
    with database.write() as tx:
        ledger.keep_checkpoints(tx, folded)
        credit(tx, 70, "b")
        adjust(tx, -20)

    with database.read() as connection:
        assert ledger.system_balances(connection) == {"expense:promo": -570, "adjust:root": 20}
        assert ledger.fold(connection).imbalance_nano == 0


def test_an_epoch_is_registered_once_and_closed_once(database: Database) -> None:
    with database.write() as tx:
        opened = ledger.open_epoch(tx, 7, worker=1, pid=2, at_ms=3)
        again = ledger.open_epoch(tx, 7, worker=1, pid=2, at_ms=4)
        assert ledger.active_epochs(tx.connection) == 1
        ledger.close_epoch(tx, 7, 5)
        closed = ledger.open_epoch(tx, 7, worker=1, pid=2, at_ms=6)

    assert opened == again
    assert closed.state is EpochState.CLOSED
    with pytest.raises(Exception, match="ended twice"), database.write() as tx:
        ledger.close_epoch(tx, 7, 8)


def test_a_lease_that_is_empty_leaves_no_row(database: Database) -> None:
    with database.write() as tx:
        credit(tx, 500)
        tx.connection.exec_driver_sql("UPDATE accounts SET leased_nano = 60")
        tx.connection.exec_driver_sql("INSERT INTO leases VALUES (1, 'wallet:1', 0, 60)")
        ledger.apply(tx, [GiveBack(1, "wallet:1", 0, 60)])

    with database.read() as connection:
        assert tables(connection)[3] == []
