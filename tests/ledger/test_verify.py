"""The verifier finds what is wrong, wherever it is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.books.record import record
from aipool.books.requests import Append, Borrow, Open
from aipool.books.verify import verify
from aipool.doors.frames import Acquire, Need
from aipool.ledger import service as ledger
from tests.books.rig import Installation, hold, outcome

USER, TOKEN = 1, 5

_NO_TRIGGER = "DROP TRIGGER transfers_no_update {of_transfers}"
_FORGED = (
    "INSERT INTO transfers (at_ms, debit, credit, amount_nano, kind, ref, idem_key,"
    " wallet_balance_after, actor) VALUES "
)

#: What is done to the database by hand, and the checks that must notice.
TAMPERING = {
    "a wallet is richer than its transfers": (
        "UPDATE accounts SET balance_nano = balance_nano + 1 WHERE account = 'wallet:1'",
        {"L-01"},
    ),
    "a wallet is gone": ("DELETE FROM accounts WHERE account = 'wallet:2'", {"L-01"}),
    "a balance in between is wrong": (
        f"{_FORGED} (1, 'cash:x', 'wallet:2', 5, 'credit', '', 'k', 999999, '');"
        "UPDATE accounts SET balance_nano = balance_nano + 5 WHERE account = 'wallet:2'",
        {"L-09"},
    ),
    "a wallet was below zero for a while": (
        f"{_FORGED} (1, 'wallet:3', 'cash:x', 5, 'credit', '', 'k', -5, ''),"
        " (1, 'cash:x', 'wallet:3', 5, 'credit', '', 'l', 0, '');"
        "INSERT INTO accounts (account) VALUES ('wallet:3')",
        {"L-02"},
    ),
    "a lease vanished": ("DELETE FROM leases WHERE budget = 'wallet:1'", {"L-03"}),
    "a lease is of nothing": (
        "INSERT INTO leases VALUES (7, 'token:99', 0, 5)",
        {"L-03"},
    ),
    "a lease of a dead worker": (
        "UPDATE streams SET state = 'closed'",
        {"L-07"},
    ),
    "a limit counts too little": (
        "UPDATE budgets SET used = used - 1",
        {"R-02"},
    ),
    "a limit is frozen for no reason": ("UPDATE budgets SET frozen = true", {"L-10"}),
    "transfers can be changed": (_NO_TRIGGER, {"T-01"}),
    "a transfer to nowhere": (
        f"{_FORGED} (1, 'cash:x', 'nowhere', 5, 'credit', '', 'k', NULL, '')",
        {"T-01"},
    ),
    "money from wallet to wallet": (
        f"{_FORGED} (1, 'wallet:2', 'wallet:1', 5, 'credit', '', 'k', 5, '')",
        {"T-01", "L-09", "L-01"},
    ),
    "a charge without a call": (
        f"{_FORGED} (1, 'wallet:2', 'revenue:usage', 5, 'usage', 'req_x', 'usage:req_x', 995, '');"
        "UPDATE accounts SET balance_nano = balance_nano - 5 WHERE account = 'wallet:2'",
        {"L-13", "R-05"},
    ),
    "a call that was charged otherwise": (
        "UPDATE calls_{month} SET charged_nano = charged_nano + 1",
        {"L-12", "L-13", "R-01", "R-06"},
    ),
    "a call that is gone": (
        "DELETE FROM calls_{month} WHERE charged_nano > 0",
        {"L-13", "R-01", "R-06"},
    ),
    "a call with other tokens": (
        "UPDATE calls_{month} SET output_tokens = output_tokens + 1",
        {"L-12", "R-01", "R-06"},
    ),
    "a call at another multiplier": (
        "UPDATE calls_{month} SET multiplier_ppm = 2000000",
        {"L-12"},
    ),
    "a call at an unknown price": ("UPDATE calls_{month} SET price_id = 99", {"L-12"}),
    "a write-off that nobody booked": (
        "UPDATE calls_{month} SET written_off_nano = 5 WHERE charged_nano = 0",
        {"L-12", "L-13", "R-01", "R-06"},
    ),
    "an hour that counts too much": (
        "UPDATE usage_hours SET calls = calls + 1",
        {"R-01", "R-05", "R-06"},
    ),
    "an hour that is gone": ("DELETE FROM usage_hours", {"R-01", "R-05", "R-06"}),
    "a day that is gone": ("DELETE FROM usage_days", {"R-02", "R-05", "R-06"}),
    "a day that charges too much": (
        "UPDATE usage_days SET charged_nano = charged_nano + 1",
        {"R-02", "R-05", "R-06"},
    ),
    "a total that is gone": ("DELETE FROM usage_totals WHERE kind = 1", {"R-06"}),
    "a total of an upstream key": ("UPDATE usage_totals SET calls = 9 WHERE kind = 2", {"R-06"}),
    "a window that counts more than the token": (
        "INSERT INTO budgets (budget, window_no, cap, used) VALUES"
        f" ('token:{TOKEN}/day', 20000, 100, 51)",
        {"L-10"},
    ),
    "a checkpoint that is wrong": (
        "INSERT INTO account_checkpoints VALUES ('revenue:usage', 3, 17)",
        {"L-01"},
    ),
}


def with_some_history(books: Installation) -> str:
    """Two users, calls charged and free, a limit, a lease; the month of the calls."""
    books.credit(USER, 1000)
    books.credit(2, 1000)
    with books.database.write() as tx:
        ledger.set_budget_cap(tx, f"token:{TOKEN}", 500)
    paid = hold(USER, 100, token_id=TOKEN, limited=True)
    free = hold(USER, 100, token_id=TOKEN, limited=True)
    with books.database.write() as tx:
        needs = (Need("wallet:1", 0, 100, 100), Need(f"token:{TOKEN}", 0, 100, 100))
        record(
            tx,
            [
                Open(7, 0, 1),
                Borrow(7, Acquire(1, (needs,))),
                Append(7, 0, 90, (outcome(paid, 10, 20), outcome(free, 0, 0, status=502))),
            ],
            at_ms=1,
            slice_max_nano=200,
            day=0,
        )
    with books.database.read() as connection:
        return str(connection.exec_driver_sql("SELECT month FROM call_months").scalar())


@pytest.fixture
def books(tmp_path: Path, kind: str) -> Iterator[Installation]:
    installation = Installation(tmp_path / "data", kind)
    yield installation
    installation.close()


def test_an_untouched_history_has_no_differences(books: Installation) -> None:
    with_some_history(books)

    report = verify(books.database)

    assert report.differences == []
    assert report.exit_code == 0
    assert (report.wallets, report.transfers, report.calls, report.charged_nano) == (2, 3, 2, 50)
    assert list(report.lines())[-1] == "The books agree."


@pytest.mark.parametrize("what", TAMPERING)
def test_the_verifier_notices_that(books: Installation, what: str) -> None:
    script, checks = TAMPERING[what]
    month = with_some_history(books)
    of_transfers = "ON transfers" if books.url else ""
    with books.database.write() as tx:
        for statement in script.format(month=month, of_transfers=of_transfers).split(";"):
            tx.connection.exec_driver_sql(statement)

    report = verify(books.database)

    assert {difference.check for difference in report.differences} == checks
    assert report.exit_code == 1
    assert all(str(difference) for difference in report.differences)


def test_the_report_stays_short_when_everything_is_wrong(books: Installation) -> None:
    for user in range(1, 302):
        books.credit(user, 5)
    with books.database.write() as tx:
        tx.connection.exec_driver_sql("UPDATE accounts SET balance_nano = 6")

    report = verify(books.database)

    assert report.count == 302
    assert len(report.differences) == 200
    assert "… and 102 more" in list(report.lines())
