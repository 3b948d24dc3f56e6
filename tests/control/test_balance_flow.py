"""Balance Flow: newest first, whatever happened in between, and no line is lost or told twice."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.calls import service as calls
from aipool.calls.types import DAY_MS, CallRow
from aipool.control import balance_flow
from aipool.control.balance_flow import Change, Wanted, entries, page
from aipool.control.usage import money
from aipool.kit.db import Database
from aipool.kit.money import format_cny
from aipool.ledger import service as ledger
from aipool.ledger import store as ledger_store
from aipool.ledger.types import Transfer, TransferKind, WalletChange, wallet_account
from tests.books.rig import Installation
from tests.calls.rows import NOVEMBER, row

USER = 1
ALL = Wanted("", None, None)
HOUR_MS = 3_600_000


@pytest.fixture
def database(tmp_path: Path, kind: str) -> Iterator[Database]:
    books = Installation(tmp_path / "data", kind)
    yield books.database
    books.close()


class Wallet:
    """What happens to a user's money, in its order."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self.nano = 0

    def credited(self, at_ms: int, amount: int = 10**9) -> None:
        with self.database.write() as tx:
            ledger.credit_wallet(
                tx,
                user_id=USER,
                amount_nano=amount,
                source="cash:test",
                kind=TransferKind.CREDIT,
                idem_key=f"test:{at_ms}:{self.nano}",
                ref="",
                actor="test",
                at_ms=at_ms,
            )
        self.nano += amount

    def called(self, at_ms: int, token: int, charged: int = 50, duration_ms: int = 120) -> CallRow:
        made = row(at_ms, user=USER, token=token, charged_nano=charged, duration_ms=duration_ms)
        self.nano -= charged
        usage = TransferKind.USAGE.value
        move = Transfer(
            at_ms,
            wallet_account(USER),
            "revenue:usage",
            charged,
            usage,
            made.rid,
            f"{usage}:{made.rid}",
            self.nano,
            "",
        )
        with self.database.write() as tx:
            calls.record(tx, [made])
            ledger_store.insert_transfers(tx.connection, [move])
            ledger_store.change_wallets(tx.connection, [WalletChange(-charged, 0, move.debit)])
        return made


def shown(database: Database, limit: int, wanted: Wanted = ALL) -> list[Change]:
    """Every page of so many lines."""
    found: list[Change] = []
    cursor = ""
    while True:
        with database.read() as connection:
            flow = page(connection, USER, wanted, limit, cursor, is_own=True)
        found += flow.items
        if flow.next_cursor is None:
            return found
        assert len(flow.items) == limit
        cursor = flow.next_cursor


def test_s0_35_the_newest_stands_first_within_a_day_too(database: Database) -> None:
    wallet = Wallet(database)
    wallet.credited(NOVEMBER + 1 * HOUR_MS)
    wallet.called(NOVEMBER + 2 * HOUR_MS, 9)
    wallet.called(NOVEMBER + 3 * HOUR_MS, 7)
    wallet.credited(NOVEMBER + 4 * HOUR_MS)
    wallet.called(NOVEMBER + 5 * HOUR_MS, 8)

    lines = shown(database, 50)

    assert [line.token.id if line.token else line.type for line in lines] == [
        8,
        "credit",
        7,
        9,
        "credit",
    ]
    assert [line.at for line in lines] == sorted((line.at for line in lines), reverse=True)
    left = [2 * 10**9 - 150, 2 * 10**9 - 100, 10**9 - 100, 10**9 - 50, 10**9]
    assert [line.balance_after for line in lines] == [format_cny(amount) for amount in left]


@pytest.mark.parametrize(
    "seed", [0, *(pytest.param(seed, marks=pytest.mark.slow) for seed in range(1, 6))]
)
def test_no_line_is_lost_or_told_twice_where_pages_meet(database: Database, seed: int) -> None:
    chance = random.Random(seed)
    wallet = Wallet(database)
    at_ms = NOVEMBER - 3 * DAY_MS
    wallet.credited(at_ms)
    expected: dict[str, int] = {}
    for _ in range(40):
        # Often in the same millisecond, and over the ends of days and of a month's table.
        at_ms += chance.choice((0, 0, 1, HOUR_MS, 5 * HOUR_MS))
        if chance.random() < 0.3:
            wallet.credited(at_ms, chance.randrange(1, 9))
        else:
            token = chance.randrange(1, 6)
            wallet.called(at_ms, token)
            expected[f"{at_ms // DAY_MS}.{token}"] = at_ms

    whole = shown(database, 100)

    ids = [line.id for line in whole]
    assert len(set(ids)) == len(ids)
    assert sum(line.type == "usage" for line in whole) == len(expected)
    assert [line.at for line in whole] == sorted((line.at for line in whole), reverse=True)
    for limit in (1, 2, 3):
        assert shown(database, limit) == whole
    for wanted in (ALL._replace(kind="usage"), ALL._replace(kind="credit")):
        assert shown(database, 2, wanted) == [line for line in whole if line.type == wanted.kind]


def test_a_call_that_ends_between_two_pages_moves_no_line_out_of_sight(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    wallet = Wallet(database)
    wallet.credited(NOVEMBER)
    for token in (1, 2, 3):
        wallet.called(NOVEMBER + token * HOUR_MS, token)
    monkeypatch.setattr(balance_flow, "now_ms", lambda: NOVEMBER + 4 * HOUR_MS)
    with database.read() as connection:
        first = page(connection, USER, ALL, 1, "", is_own=True)
    # One that began later, and one that had begun before, of two of the lines that follow.
    wallet.called(NOVEMBER + 5 * HOUR_MS, 2)
    wallet.called(NOVEMBER + 3 * HOUR_MS + 9, 1, duration_ms=2 * HOUR_MS)
    wallet.called(NOVEMBER + 6 * HOUR_MS, 4)
    with database.read() as connection:
        rest = page(connection, USER, ALL, 9, first.next_cursor or "", is_own=True)

    told = [line.token.id for line in (*first.items, *rest.items) if line.token]
    assert told == [3, 2, 1]
    with database.read() as connection:
        again = page(connection, USER, ALL, 9, "", is_own=True)
    assert [line.token.id for line in again.items if line.token] == [4, 2, 1, 3]


def test_of_calls_that_the_log_let_go_the_end_of_their_day_is_told(database: Database) -> None:
    wallet = Wallet(database)
    wallet.credited(NOVEMBER + 2 * HOUR_MS)
    wallet.called(NOVEMBER + 3 * HOUR_MS, 3)
    with database.write() as tx:
        calls.keep_from(tx, NOVEMBER + DAY_MS, 0)

    lines = shown(database, 1)

    assert [(line.type, line.balance_after) for line in lines] == [
        ("usage", None),
        ("credit", "1"),
    ]
    assert lines[0].at.startswith("2026-11-21T23:59:59.999")


def test_a_file_has_what_the_filter_finds_and_nothing_else(database: Database) -> None:
    wallet = Wallet(database)
    wallet.credited(NOVEMBER)
    wallet.called(NOVEMBER + HOUR_MS, 3)
    wallet.called(NOVEMBER + DAY_MS, 3)
    wallet.credited(NOVEMBER + DAY_MS + 1)

    def found(wanted: Wanted) -> list[int]:
        rows = entries(database, USER, wanted, is_own=True)
        return [int(str(one["id"])) for one in rows]

    assert found(ALL) == [4, 3, 2, 1]
    assert found(ALL._replace(kind="credit")) == [4, 1]
    assert found(ALL._replace(kind="usage", from_ms=NOVEMBER + DAY_MS)) == [3]
    assert found(ALL._replace(from_ms=NOVEMBER + 1, to_ms=NOVEMBER + DAY_MS + 1)) == [3, 2]


# --- how long the money lasts ---------------------------------------------------------------------


def lasting(database: Database, at_ms: int) -> tuple[float | None, bool]:
    with database.read() as connection:
        found = money(connection, USER, at_ms)
    return found.days_left, found.is_low


def test_s0_40_the_pace_of_a_new_account_is_that_of_its_own_time(database: Database) -> None:
    ten = 10 * 10**9
    wallet = Wallet(database)
    morning = NOVEMBER + 6 * HOUR_MS
    wallet.credited(morning, 2 * ten)
    assert lasting(database, morning) == (None, False)
    wallet.called(morning + 60_000, 1, ten)

    # What is left goes in the time in which as much went; in the first hour, in an hour.
    assert lasting(database, morning + 12 * HOUR_MS) == (0.5, True)
    assert lasting(database, morning + 3 * DAY_MS) == (3.0, False)
    assert lasting(database, morning + 61_000) == (0.0, True)
    # From then on by today and the seven days before.
    assert lasting(database, NOVEMBER + 7 * DAY_MS + 18 * HOUR_MS) == (7.5, False)


def test_s0_40_days_on_which_an_old_account_spent_nothing_are_of_its_pace(
    database: Database,
) -> None:
    ten = 10 * 10**9
    wallet = Wallet(database)
    wallet.credited(NOVEMBER - 40 * DAY_MS, 2 * ten)
    wallet.called(NOVEMBER - 40 * DAY_MS, 1, 1)
    wallet.called(NOVEMBER, 1, ten - 1)

    assert lasting(database, NOVEMBER + 12 * HOUR_MS) == (7.5, False)
