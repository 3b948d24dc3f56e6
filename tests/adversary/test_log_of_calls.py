"""The log of calls under attack: foreign tokens, what was let go, moments at the edge of time."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.calls import service as calls
from aipool.calls.rules import cursor_of, place_of
from aipool.calls.store import months, pages
from aipool.calls.types import COMMON_ENDPOINT, DAY_MS, HOUR_MS, Place, Search, Span, TotalOf
from aipool.control import exports, usage
from aipool.control.last_used import last_used
from aipool.gateway.endpoints.chat_completions import CHAT_COMPLETIONS
from aipool.kit.clock import iso_ms
from aipool.kit.db import Database
from aipool.kit.errors import Invalid
from tests.books.rig import Installation
from tests.calls.rows import NOVEMBER, OCTOBER, record, row, wrong_sums

DECEMBER = 1_796_083_200_000  # 2026-12-01 00:00 UTC


@pytest.fixture
def database(tmp_path: Path, kind: str) -> Iterator[Database]:
    books = Installation(tmp_path / "data", kind)
    yield books.database
    books.close()


def let_go(database: Database, before_ms: int) -> None:
    with database.write() as tx:
        calls.keep_from(tx, before_ms, before_ms // HOUR_MS)
    for bite in (calls.let_go_of_calls, calls.let_go_of_hours):
        while True:
            with database.write() as tx:
                if not bite(tx):
                    break


def everything(database: Database, search: Search, limit: int) -> list[str]:
    found: list[str] = []
    before: Place | None = None
    while True:
        with database.read() as connection:
            page = calls.page(connection, search, before=before, limit=limit)
        found += [call.rid for call in page.rows]
        if page.next is None:
            return found
        before = place_of(cursor_of(page.next))


def test_the_index_of_rare_call_types_leaves_out_what_the_gateway_writes_most() -> None:
    assert CHAT_COMPLETIONS.name == COMMON_ENDPOINT


def test_a_call_of_a_month_that_was_dropped_is_counted_and_stops_nobody(
    database: Database,
) -> None:
    record(database, *(row(OCTOBER + n * HOUR_MS) for n in range(3)), row(DECEMBER))
    let_go(database, DECEMBER)
    with database.read() as connection:
        assert months(connection) == ["202612"]

    record(database, row(OCTOBER), row(DECEMBER + 1))

    assert wrong_sums(database) == set()
    with database.read() as connection:
        day = OCTOBER // DAY_MS
        spent = calls.totals(connection, Span.DAY, TotalOf.USER, range(day, day + 1), 1)
        assert spent[day].charged_nano == 4 * 50
        assert [one.at_ms for one in calls.recent(connection)] == [DECEMBER + 1, DECEMBER]
    let_go(database, DECEMBER)
    assert wrong_sums(database) == set()
    with database.read() as connection:
        assert months(connection) == ["202612"]


@pytest.mark.slow
def test_a_call_while_its_month_is_half_gone_is_counted(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(calls, "BITE", 1)
    record(database, *(row(OCTOBER + n) for n in range(5)), row(DECEMBER))
    with database.write() as tx:
        calls.keep_from(tx, DECEMBER, 0)
    for _ in range(14):  # on SQLite: the indexes, and some of the rows
        with database.write() as tx:
            calls.let_go_of_calls(tx)
        record(database, row(OCTOBER))
        assert wrong_sums(database) == set()


def test_pages_neither_skip_nor_repeat_at_a_month_border_within_one_millisecond(
    database: Database,
) -> None:
    rows = [row(DECEMBER + offset) for offset in (-1, 0) for _ in range(7)]
    record(database, *rows)
    wanted = [one.rid for one in sorted(rows, key=lambda one: (one.at_ms, one.rid), reverse=True)]

    for search in (Search(), Search(user_id=1, token_id=5), Search(user_id=1, status=200)):
        for limit in (1, 2, 3, 7, 13):
            assert everything(database, search, limit) == wanted
    assert everything(database, Search(to_ms=DECEMBER), 5) == wanted[7:]
    assert everything(database, Search(from_ms=DECEMBER), 5) == wanted[:7]


def test_somebody_elses_token_is_not_walked(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(database, *(row(NOVEMBER + n, user=2, token=20) for n in range(5)))

    def walk(*asked: object) -> None:
        pytest.fail(f"walked {asked}")

    monkeypatch.setattr(pages, "statement_of", walk)
    with database.read() as connection:
        for search in (Search(user_id=1, token_id=20), Search(user_id=1, token_id=20, status=500)):
            assert calls.page(connection, search, limit=5) == ([], None)


def test_what_was_let_go_is_not_found_by_its_id_either(database: Database) -> None:
    old, new = row(NOVEMBER), row(NOVEMBER + DAY_MS)
    record(database, old, new)
    with database.write() as tx:
        calls.keep_from(tx, NOVEMBER + DAY_MS, 0)

    with database.read() as connection:
        assert calls.page(connection, Search(rid=old.rid), limit=5).rows == []
        assert calls.page(connection, Search(rid=new.rid), limit=5).rows == [new]
    assert list(calls.stream(database, Search(rid=old.rid))) == []


def test_tokens_are_not_looked_for_in_a_month_that_loses_its_indexes(database: Database) -> None:
    record(database, row(OCTOBER), row(NOVEMBER))
    with database.write() as tx:
        tx.connection.exec_driver_sql("DELETE FROM call_months WHERE month = '202611'")
        calls.keep_from(tx, NOVEMBER, 0)
        tx.connection.exec_driver_sql("DROP TABLE calls_202610")

    with database.read() as connection:
        assert last_used(connection, [5]) == {}


@pytest.mark.parametrize("forged", ["0", "-1.a", "zz.a", "1f.", "ffffffffffffffffff.a", "1.\0"])
def test_a_forged_cursor_is_refused(forged: str) -> None:
    with pytest.raises(Invalid):
        place_of(base64.urlsafe_b64encode(forged.encode()).decode().rstrip("="))
    for text in ("é", "%%%", "A" * 399 + "é"):
        with pytest.raises(Invalid):
            place_of(text)


@pytest.mark.parametrize("bucket", ["", "hour", "day"])
def test_statistics_of_the_first_and_the_last_day_have_moments(bucket: str) -> None:
    last = 253_402_300_799_999
    for start, end in ((None, last), (last - 1, last), (last - DAY_MS, last), (None, 0), (0, 1)):
        try:
            wanted = usage.stretch(start, end, "24h", bucket, NOVEMBER)
        except Invalid:
            continue
        assert [wanted.at(place) for place in (*wanted.ats, wanted.ats.stop)]
    assert iso_ms(last).startswith("9999")


@pytest.mark.parametrize(
    "evil", ["=1+1", "+1+1", "-1+1", "@A", "\t=1", "\r=1", "\n=1", "\uff1d1", "-"]
)
def test_no_cell_of_a_file_is_a_formula(evil: str) -> None:
    text = "".join(exports.as_csv(("a",), iter([{"a": evil}])))
    assert text.removeprefix("a\r\n").lstrip('"').startswith("'")


def test_who_reads_no_more_keeps_no_place_for_files(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(exports, "STALLED_SECONDS", 0.01)
    files = exports.Exports()
    answer = files.file(1, "calls", "csv", ("a",), iter([{"a": 1}]))

    async def never(_: object) -> None:
        await asyncio.Event().wait()

    async def receive() -> dict[str, str]:
        await asyncio.Event().wait()
        return {}

    async def run() -> None:
        scope = {"type": "http", "asgi": {"spec_version": "2.4"}}
        async with asyncio.timeout(5):
            await answer(scope, receive, never)

    with pytest.raises(Exception) as stalled:
        asyncio.run(run())
    assert not isinstance(stalled.value, TimeoutError)
    assert files.file(1, "calls", "csv", ("a",), iter([])) is not None
