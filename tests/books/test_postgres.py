"""What only PostgreSQL can do to the books: writers side by side, and connections that end."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa

from aipool.books import upkeep
from aipool.books.record import record
from aipool.books.requests import Append, Borrow, Open, Request
from aipool.doors.frames import Acquire, Granted, Need, Recorded
from aipool.kit.clock import now_ms
from aipool.kit.db import DatabaseBusy, DatabaseUnreachable, Transaction
from aipool.kit.db.awaited import AwaitedWrites
from aipool.kit.db.postgres import PostgresDatabase
from aipool.ledger import service as ledger
from aipool.ledger.types import SetCap, TransferKind
from tests.books.rig import CNY, Installation, hold, outcome


@pytest.fixture
def books(tmp_path: Path) -> Iterator[Installation]:
    installation = Installation(tmp_path / "data", "postgres")
    installation.credit(1, 10 * CNY)
    yield installation
    installation.assert_books_agree()
    installation.close()


def database(books: Installation) -> PostgresDatabase:
    assert isinstance(books.database, PostgresDatabase)
    return books.database


def awaiting(books: Installation, *works: Callable[[Transaction], object]) -> list[object]:
    """Does the works one after the other on one connection; what each gave or raised."""

    async def run() -> list[object]:
        writes = AwaitedWrites(database(books), lock_timeout_ms=200)
        said: list[object] = []
        for work in works:
            try:
                said.append(await writes.write(work))
            except Exception as error:
                said.append(error)
        await writes.close()
        return said

    return asyncio.run(run())


def beside(work: Callable[[], object]) -> threading.Thread:
    thread = threading.Thread(target=work)
    thread.start()
    return thread


def test_a_batch_whose_commit_was_cut_off_can_be_written_again(books: Installation) -> None:
    call = hold(1, 1000, token_id=5)
    requests: list[Request] = [
        Open(7, 0, 1),
        Borrow(7, Acquire(1, ((Need("wallet:1", 0, 1000, 1000),),))),
        Append(7, 0, 90, (outcome(call, 10, 20),)),
    ]

    def batch(tx: Transaction) -> tuple[object, ...]:
        done = record(tx, requests, at_ms=now_ms(), slice_max_nano=CNY, day=0, careful=True)
        return done.answers

    def then_cut(tx: Transaction) -> None:
        batch(tx)
        with database(books).read() as connection:
            connection.exec_driver_sql(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = current_database() AND state = 'idle in transaction'"
                " AND pid <> pg_backend_pid()"
            )

    cut, first, second = awaiting(books, then_cut, batch, batch)

    assert isinstance(cut, DatabaseUnreachable)
    assert isinstance(first, tuple)
    assert isinstance(second, tuple)
    assert isinstance(first[1], Granted)
    assert first[2] == Recorded(90)
    # Had the first one been committed after all, the next is answered alike.
    assert first[1:] == second[1:]
    assert books.balance(1)[0] == 10 * CNY - 50


def test_two_that_begin_the_same_limit_at_once_do_not_overwrite_each_other(
    books: Installation,
) -> None:
    def begin(tx: Transaction) -> object:
        return ledger.apply(tx, [SetCap("token:9", 0, 500)])

    with books.database.write() as tx:
        ledger.apply(tx, [SetCap("token:9", 0, 700)])
        (waiting,) = awaiting(books, begin)
    assert isinstance(waiting, DatabaseBusy)

    there = threading.Event()

    def slowly() -> None:
        with books.database.write() as tx:
            ledger.apply(tx, [SetCap("token:8", 0, 700)])
            there.set()
            # The other one waits for this row by now, or soon: either way it must not win.
            tx.connection.exec_driver_sql("SELECT pg_sleep(0.1)")

    thread = beside(slowly)
    there.wait(10)
    (late,) = awaiting(books, lambda tx: ledger.apply(tx, [SetCap("token:8", 0, 500)]))
    thread.join()

    assert isinstance(late, DatabaseBusy)
    with books.database.read() as connection:
        state = ledger.budget_state(connection, "token:8")
    assert state is not None
    assert state.cap == 700


def test_a_wallet_opened_twice_at_once_is_one_wallet(books: Installation) -> None:
    with books.database.write() as tx:
        ledger.open_wallet(tx, 77)
        thread = beside(lambda: awaiting(books, lambda other: ledger.open_wallet(other, 77)))
        tx.connection.exec_driver_sql("SELECT pg_sleep(0.05)")
    thread.join()

    assert books.balance(77) == (0, 0)


def test_a_batch_that_waits_for_a_wallet_keeps_nobody_else_waiting_for_long(
    books: Installation,
) -> None:
    with books.database.write() as tx:
        tx.connection.exec_driver_sql(
            "SELECT account FROM accounts WHERE account = 'wallet:1' FOR UPDATE"
        )
        requests: list[Request] = [
            Open(7, 0, 1),
            Borrow(7, Acquire(1, ((Need("wallet:1", 0, 5, 5),),))),
        ]
        (said,) = awaiting(
            books,
            lambda other: record(other, requests, at_ms=1, slice_max_nano=CNY, day=0),
        )

    assert isinstance(said, DatabaseBusy)
    assert books.open_epochs() == []


def test_a_checkpoint_passes_no_transfer_that_is_not_committed_yet(books: Installation) -> None:
    """The lower number is committed after the higher one; a fold in between must wait for it."""
    lower, higher = threading.Event(), threading.Event()

    def slowly() -> None:
        async def run() -> None:
            writes = AwaitedWrites(database(books), lock_timeout_ms=5000)

            def work(tx: Transaction) -> None:
                move(tx, 1, "lower")
                lower.set()
                higher.wait(10)
                tx.connection.exec_driver_sql("SELECT pg_sleep(0.2)")

            await writes.write(work)
            await writes.close()

        asyncio.run(run())

    books.credit(2, 5)
    thread = beside(slowly)
    lower.wait(10)
    with books.database.write() as tx:
        move(tx, 2, "higher")
    higher.set()
    assert upkeep.balance(books.database) == 0
    thread.join()

    assert upkeep.balance(books.database) == 0
    with books.database.read() as connection:
        assert ledger.system_balance(connection, "cash:test") == -(10 * CNY + 5 + 14)
        kept = connection.execute(
            sa.text("SELECT balance_nano FROM account_checkpoints WHERE account = 'cash:test'")
        ).scalar()
    assert kept == -(10 * CNY + 5 + 14)


def move(tx: Transaction, user: int, key: str) -> None:
    ledger.credit_wallet(
        tx,
        user_id=user,
        amount_nano=7,
        source="cash:test",
        kind=TransferKind.CREDIT,
        idem_key=key,
        ref="",
        actor="test",
        at_ms=1,
    )


def test_what_no_database_can_keep_is_kept_otherwise(books: Installation) -> None:
    odd = msgspec.structs.replace(outcome(hold(1, 1000, token_id=5), 10, 20), user_agent="a\0b")
    requests: list[Request] = [Open(7, 0, 1), Append(7, 0, 90, (odd,))]

    plain, careful = awaiting(
        books,
        lambda tx: record(tx, requests, at_ms=1, slice_max_nano=CNY, day=0),
        lambda tx: record(tx, requests, at_ms=1, slice_max_nano=CNY, day=0, careful=True).answers,
    )

    assert isinstance(plain, sa.exc.DataError)
    assert isinstance(careful, tuple)
    assert careful[1] == Recorded(90)
