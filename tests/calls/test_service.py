"""The log of calls on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.calls import service as calls
from aipool.calls import store
from aipool.calls.store import again
from aipool.calls.types import CallRow, KeyHour, KeyStats, Span
from aipool.kit.db import REFUSED_ERRORS, Database
from tests.books.rig import Installation, new_rid

OCTOBER = 1_792_540_800_000  # 2026-10-21 00:00 UTC
NOVEMBER = 1_795_219_200_000  # 2026-11-21 00:00 UTC


@pytest.fixture
def database(tmp_path: Path, kind: str) -> Iterator[Database]:
    books = Installation(tmp_path / "data", kind)
    yield books.database
    books.close()


def row(
    at_ms: int, *, user: int = 1, token: int = 5, status: int = 200, error: str = ""
) -> CallRow:
    return CallRow(
        new_rid(at_ms),
        at_ms,
        120,
        40,
        user,
        token,
        1,
        "gpt-4o-mini",
        "chat",
        True,
        status,
        error,
        10,
        4,
        20,
        0,
        1,
        1,
        1_000_000,
        100,
        50,
        3,
        2,
        1,
        1,
        "gpt-4o-mini",
        "",
        "[]",
        "203.0.113.7",
        "test",
        False,
        "",
        0,
        1_000_000,
        "",
        1,
    )


def record(database: Database, *rows: CallRow) -> None:
    with database.write() as tx:
        calls.record(tx, rows)


def test_a_call_is_read_back_as_it_was_written(database: Database) -> None:
    written = row(NOVEMBER)
    record(database, row(OCTOBER), written)

    with database.read() as connection:
        assert calls.get(connection, written.rid) == written
        assert calls.get(connection, "req_nobody") is None
        assert calls.get(connection, "req_00000000000000") is None


def test_each_month_has_a_table_of_its_own(database: Database) -> None:
    record(database, row(OCTOBER), row(NOVEMBER), row(NOVEMBER + 1))
    record(database, row(NOVEMBER + 2))

    with database.read() as connection:
        assert store.months(connection) == ["202611", "202610"]
        count = "SELECT count(*) FROM calls_202611"
        assert connection.exec_driver_sql(count).scalar() == 3


def test_a_call_is_written_once(database: Database) -> None:
    twice = row(NOVEMBER)
    record(database, twice)

    with pytest.raises(REFUSED_ERRORS):
        record(database, row(NOVEMBER), twice)

    with database.read() as connection:
        assert len(calls.recent(connection)) == 1
        assert [hour.calls for hour in again.used(connection, Span.HOUR)] == [1]


def test_pages_go_back_through_the_months_without_gap_or_repeat(database: Database) -> None:
    rows = [row(OCTOBER + n) for n in range(4)] + [row(NOVEMBER + n) for n in range(3)]
    record(database, *rows)
    newest_first = [one.rid for one in reversed(rows)]

    seen: list[str] = []
    with database.read() as connection:
        while page := calls.recent(connection, before_rid=seen[-1] if seen else None, limit=2):
            assert len(page) <= 2
            seen += [one.rid for one in page]

    assert seen == newest_first


def test_a_page_can_be_of_one_user_or_one_token(database: Database) -> None:
    rows = [row(NOVEMBER, user=1, token=5), row(NOVEMBER, user=2, token=6), row(NOVEMBER, token=7)]
    record(database, *rows)

    with database.read() as connection:
        of_user = calls.recent(connection, user_id=1)
        of_token = calls.recent(connection, token_id=6)

    assert [one.rid for one in of_user] == [rows[2].rid, rows[0].rid]
    assert [one.rid for one in of_token] == [rows[1].rid]


def test_the_hourly_sums_grow_with_every_batch(database: Database) -> None:
    record(database, row(NOVEMBER), row(NOVEMBER + 1, status=502))
    record(database, row(NOVEMBER + 2, error="worker_lost"), row(NOVEMBER + 3_600_000))

    with database.read() as connection:
        first, second = again.used(connection, Span.HOUR)

    hour = NOVEMBER // 3_600_000
    assert first == (hour, 1, 5, 1, "gpt-4o-mini", 3, 2, 30, 12, 60, 150, 9, 6)
    assert second == (hour + 1, 1, 5, 1, "gpt-4o-mini", 1, 0, 10, 4, 20, 50, 3, 2)


# --- upstream keys ------------------------------------------------------------------------------

HOUR = NOVEMBER // 3_600_000


def key_hour(
    key_id: int = 7,
    hour: int = HOUR,
    *,
    tries: int = 3,
    failures: int = 0,
    at_ms: int = 0,
    error: tuple[str, int] = ("", 0),
) -> KeyHour:
    at_ms = at_ms or hour * 3_600_000 + 5
    return KeyHour(key_id, hour, tries, failures, 10, 20, 6, at_ms, *error)


def record_keys(database: Database, *hours: KeyHour) -> None:
    with database.write() as tx:
        calls.record(tx, [row(NOVEMBER)], hours)


def test_what_became_of_a_keys_tries_is_summed_over_hours_and_batches(database: Database) -> None:
    record_keys(database, key_hour(hour=HOUR - 24), key_hour(hour=HOUR - 23, failures=1))
    record_keys(database, key_hour(failures=2), key_hour(8, tries=1))
    record_keys(database, key_hour(tries=4))

    with database.read() as connection:
        stats = calls.key_stats(connection, at_ms=NOVEMBER + 1)
        one = calls.key_stats(connection, at_ms=NOVEMBER + 1, key_ids=[8, 9])

    assert stats[7] == KeyStats(13, 3, 40, 80, 24, 10, 3, NOVEMBER + 5, "", 0)
    assert one == {8: KeyStats(1, 0, 10, 20, 6, 1, 0, NOVEMBER + 5, "", 0)}
    assert set(stats) == {7, 8}


def test_the_newest_failure_of_a_key_is_the_last_error(database: Database) -> None:
    late = NOVEMBER + 3_000_000
    record_keys(database, key_hour(failures=1, at_ms=late, error=("timeout", late)))
    record_keys(database, key_hour(failures=1, error=("quota", NOVEMBER + 1)), key_hour(8))
    record_keys(database, key_hour(hour=HOUR + 1, at_ms=late + 1_000_000))

    with database.read() as connection:
        stats = calls.key_stats(connection, at_ms=NOVEMBER)[7]
    assert (stats.last_error, stats.last_error_at_ms) == ("timeout", late)
    assert stats.last_at_ms == late + 1_000_000

    newest = (HOUR + 1) * 3_600_000 + 9
    record_keys(database, key_hour(hour=HOUR + 1, failures=1, error=("reset", newest)))
    with database.read() as connection:
        stats = calls.key_stats(connection, at_ms=NOVEMBER)[7]
    assert (stats.last_error, stats.last_error_at_ms) == ("reset", newest)


def test_an_absurd_time_does_not_stop_the_log(database: Database) -> None:
    record(database, row(0), row(2**50))

    with database.read() as connection:
        assert store.months(connection) == ["999910", "197001"]


def test_nothing_is_written_for_no_calls(database: Database) -> None:
    record(database)

    with database.read() as connection:
        assert store.months(connection) == []
        assert calls.recent(connection) == []
