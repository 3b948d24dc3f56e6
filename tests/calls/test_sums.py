"""The roll-ups are the calls, whatever is asked of them."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from functools import reduce
from pathlib import Path

import pytest

from aipool.calls import service as calls
from aipool.calls import store
from aipool.calls.jobs import HOURS_DAYS, LettingGo
from aipool.calls.latency import BOUNDS_MS, BUCKETS, bucket_of, percentile
from aipool.calls.store import again
from aipool.calls.types import DAY_MS, HOUR_MS, Search, Span, Sums, TotalOf
from aipool.kit.db import Database
from aipool.ledger import service as ledger
from tests.books.rig import Installation
from tests.calls.rows import NOVEMBER, OCTOBER, a_log, record, row, wrong_sums

DAY = NOVEMBER // DAY_MS


@pytest.fixture
def database(tmp_path: Path, kind: str) -> Iterator[Database]:
    books = Installation(tmp_path / "data", kind)
    yield books.database
    books.close()


def test_every_roll_up_is_the_sum_of_the_calls(database: Database) -> None:
    record(database, *a_log())

    assert wrong_sums(database) == set()
    for spoil, claim in (
        ("UPDATE usage_hours SET errors = errors + 1", "R-01"),
        ("DELETE FROM usage_totals WHERE kind = 2 AND span = 24", "R-06"),
        (f"UPDATE latencies SET whole_05 = whole_05 + 1 WHERE at = {NOVEMBER // HOUR_MS}", "R-07"),
        ("DELETE FROM latencies WHERE span = 24 AND user_id = 0", "R-07"),
    ):
        with database.write() as tx:
            tx.connection.exec_driver_sql(spoil)
        assert claim in wrong_sums(database), spoil


def test_s0_33_a_users_sums_are_those_of_their_calls_by_token_and_model(database: Database) -> None:
    rows = a_log()
    record(database, *rows)
    wanted = Sums()
    for one in (one for one in rows if one.user_id == 1 and one.at_ms >= NOVEMBER):
        failed = one.calls if one.status >= 400 else 0
        amounts = (one.input_tokens, one.cached_tokens, one.output_tokens)
        wanted = wanted.plus(
            Sums(one.calls, failed, *amounts, one.charged_nano, one.written_off_nano, one.cost_nano)
        )

    with database.read() as connection:
        days = range(DAY - 3, DAY + 1)
        assert calls.totals(connection, Span.DAY, TotalOf.USER, days, 1) == {DAY: wanted}
        parts = calls.usage_of(connection, Span.DAY, 1, days)
        hours = range((DAY - 3) * 24, DAY * 24 + 24)
        assert calls.usage_of(connection, Span.HOUR, 1, hours) == parts
        (everybody,) = calls.totals(connection, Span.DAY, TotalOf.EVERYBODY, days).values()
        users, keys = (
            calls.totals_of(
                connection,
                Span.DAY,
                kind,
                days,
                calls.dearest(connection, Span.DAY, kind, days, limit=9),
            )
            for kind in (TotalOf.USER, TotalOf.KEY)
        )
        of_all = calls.by_group_and_model(connection, Span.DAY, days)
        times = calls.latencies_of(connection, Span.DAY, days, 1)
    together = Sums()
    for part in parts.values():
        together = together.plus(part)
    assert together == wanted
    for whole in (users, of_all):
        assert reduce(Sums.plus, whole.values()) == everybody
    assert sum(sums.charged_nano for sums in keys.values()) == everybody.charged_nano
    assert sum(times.whole) == wanted.calls - wanted.errors


def test_s0_35_days_that_were_charged_come_newest_first_and_each_of_them_whole(
    database: Database,
) -> None:
    record(database, *a_log(), row(NOVEMBER - 400 * DAY_MS, token=11))

    with database.read() as connection:
        whole = calls.charged_days(connection, 1, days=range(DAY + 9), limit=100)
        paged, days = [], range(DAY + 9)
        while page := calls.charged_days(connection, 1, days=days, limit=2):
            assert len({day for day, *_ in page[1:]}) == 1
            paged += page
            days = range(page[-1][0])
        old, first = (calls.was_charged_before(connection, 1, day) for day in (DAY, DAY - 400))
    assert paged == whole
    assert [one[:2] for one in whole] == sorted((one[:2] for one in whole), reverse=True)
    assert whole[-1][:2] == (DAY - 400, 11)
    assert (old, first) == (True, False)


def test_percentiles_lie_in_their_buckets() -> None:
    assert percentile([0] * BUCKETS, 0.5) is None
    for took in (0, 24, 25, 700, 153_600, 10**9):
        counts = [0] * BUCKETS
        counts[bucket_of(took)] = 3
        value = percentile(counts, 0.95)
        assert value is not None
        assert bucket_of(min(took, 599_999)) == bucket_of(
            value - 1 if value in BOUNDS_MS else value
        )


# --- letting go -----------------------------------------------------------------------------------


def test_old_calls_go_and_the_books_still_agree(database: Database) -> None:
    record(database, *a_log())
    with database.write() as tx:
        for budget, window in (("token:1/day", DAY - 50), ("token:1/day", DAY), ("token:1", 0)):
            ledger.set_budget_cap(tx, budget, 5, window=window)
    with database.read() as connection:
        days = list(again.used(connection, Span.DAY))
    job = LettingGo(database, lambda _: 1, clock_ms=lambda: NOVEMBER + DAY_MS + 5, pause_seconds=0)

    asyncio.run(job.run())

    assert wrong_sums(database) == set()
    with database.read() as connection:
        assert store.months(connection) == ["202611"]
        assert all(one.at_ms >= NOVEMBER for one in calls.recent(connection, limit=500))
        assert list(again.used(connection, Span.DAY)) == days
        assert ledger.budget_state(connection, "token:1/day", window=DAY - 50) is None
        assert ledger.budget_state(connection, "token:1/day", window=DAY) is not None
        assert ledger.budget_state(connection, "token:1") is not None


@pytest.mark.parametrize("frozen", [True, False], ids=["frozen", "not yet seen"])
def test_a_clock_that_leapt_takes_no_calls_and_no_use_of_a_limit(
    database: Database, frozen: bool
) -> None:
    record(database, *a_log())
    with database.write() as tx:
        ledger.set_day(tx, DAY + 1, frozen=frozen)
        ledger.set_budget_cap(tx, "token:1/day", 5, window=DAY + 1)
    with database.read() as connection:
        before = calls.recent(connection, limit=500)
    years_later = NOVEMBER + 1_000 * DAY_MS
    job = LettingGo(database, lambda _: 365, clock_ms=lambda: years_later, pause_seconds=0)

    asyncio.run(job.run())

    record(database, row(NOVEMBER + DAY_MS))
    with database.read() as connection:
        assert len(calls.recent(connection, limit=500)) == len(before) + 1
        assert ledger.budget_state(connection, "token:1/day", window=DAY + 1) is not None


def test_hours_go_when_the_days_have_them_and_nothing_else_does(database: Database) -> None:
    record(database, *a_log())
    late = OCTOBER + (HOURS_DAYS + 5) * DAY_MS
    job = LettingGo(database, lambda _: 0, clock_ms=lambda: late, pause_seconds=0)

    asyncio.run(job.run())

    assert wrong_sums(database) == set()
    with database.read() as connection:
        assert len(calls.page(connection, Search(), limit=500).rows) == 200
        hours = {one.at for one in again.used(connection, Span.HOUR)}
        assert min(hours) * HOUR_MS >= late - (HOURS_DAYS + 1) * DAY_MS
        assert calls.totals(connection, Span.DAY, TotalOf.USER, range(DAY - 40, DAY), 1)


def test_a_month_goes_bite_by_bite(database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "BITE", 10)
    record(database, *a_log())
    with database.write() as tx:
        calls.keep_from(tx, NOVEMBER + 20_000, 0)
    bites = 0
    while True:
        with database.write() as tx:
            if not calls.let_go_of_calls(tx):
                break
        bites += 1
    assert bites > 2
    with database.read() as connection:
        left = calls.recent(connection, limit=500)
        assert left
        assert min(one.at_ms for one in left) >= NOVEMBER + 20_000
