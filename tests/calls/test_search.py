"""The log of calls is searched: every filter, every page, both databases."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from aipool.calls import rules
from aipool.calls import service as calls
from aipool.calls.rules import cursor_of, path_of, place_of
from aipool.calls.store import keeping, pages
from aipool.calls.tables import INDEXED, calls_table, index_name
from aipool.calls.types import DAY_MS, CallRow, Outcomes, Place, Search
from aipool.calls.types import Path as Way
from aipool.kit.db import Database, Deadline
from aipool.kit.errors import Invalid, NotFound
from tests.books.rig import Installation
from tests.calls.rows import NOVEMBER, OCTOBER, a_log, record, row

SEARCHES = [
    Search(),
    Search(user_id=1),
    Search(user_id=2, token_id=20),
    Search(token_id=10),
    Search(model="m1"),
    Search(user_id=1, model="m0"),
    Search(group_id=2),
    Search(user_id=1, group_id=1),
    Search(key_id=3),
    Search(vendor_id=3),
    Search(status=429),
    Search(outcome=Outcomes.OK),
    Search(user_id=1, outcome=Outcomes.OK),
    Search(outcome=Outcomes.REFUSED),
    Search(outcome=Outcomes.CLIENT_LEFT),
    Search(user_id=1, outcome=Outcomes.FAILED),
    Search(user_id=1, status=200),
    Search(endpoint="chat.completions"),
    Search(endpoint="embeddings"),
    Search(user_id=1, endpoint="chat.completions"),
    Search(user_id=2, endpoint="embeddings", model="m1"),
    Search(token_id=10, outcome=Outcomes.REFUSED, model="m0"),
    Search(stream=True, user_id=1),
    Search(error="rate_limited"),
    Search(origin="playground"),
    Search(upstream_request_id="up-7"),
    Search(charged=True, user_id=1),
]


@pytest.fixture
def database(tmp_path: Path, kind: str) -> Iterator[Database]:
    books = Installation(tmp_path / "data", kind)
    yield books.database
    books.close()


def all_of(database: Database, search: Search, limit: int = 20) -> list[CallRow]:
    """Every page, by cursors as a client has them."""
    found: list[CallRow] = []
    before: Place | None = None
    with database.read() as connection:
        while True:
            page = calls.page(connection, search, before=before, limit=limit)
            found += page.rows
            if page.next is None:
                return found
            assert len(page.rows) == limit
            before = place_of(cursor_of(page.next))


def test_s0_36_every_filter_finds_its_calls_and_no_others_page_by_page(database: Database) -> None:
    rows = a_log()
    record(database, *rows)
    newest_first = sorted(rows, key=lambda one: (one.at_ms, one.rid), reverse=True)

    for search in SEARCHES:
        search = replace(search, from_ms=OCTOBER, to_ms=OCTOBER + 2 * DAY_MS)
        early = [one for one in newest_first if rules.is_found(one, search)]
        assert all_of(database, search) == early, search
        search = replace(search, from_ms=NOVEMBER + 3, to_ms=NOVEMBER + 6 * DAY_MS)
        assert all_of(database, search) == [
            one for one in newest_first if rules.is_found(one, search)
        ], search
    assert all_of(database, Search()) == newest_first


def test_the_filters_of_the_test_find_some_and_leave_some() -> None:
    rows = a_log()
    for search in SEARCHES[1:]:
        found = sum(rules.is_found(one, search) for one in rows)
        assert 0 < found < len(rows), search


def test_every_index_is_there_and_is_what_a_search_walks(database: Database) -> None:
    record(database, *a_log())
    table = calls_table("202611")

    with database.read() as connection:
        names = {index["name"] for index in sa.inspect(connection).get_indexes(table.name)}
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql("SET LOCAL enable_seqscan = off")
        for search in SEARCHES:
            way = path_of(search)
            status = 429 if way in (Way.STATUS, Way.USER_STATUS) else None
            before = Place(NOVEMBER + DAY_MS, "x")
            wanted = pages.statement_of("202611", search, way, status, before, 50)
            text = str(wanted.compile(connection, compile_kwargs={"literal_binds": True})).replace(
                "%%", "%"
            )
            explain = "EXPLAIN QUERY PLAN" if connection.dialect.name == "sqlite" else "EXPLAIN"
            plan = "\n".join(
                " ".join(map(str, line))
                for line in connection.exec_driver_sql(f"{explain} {text.replace('%', '%%')}")
            )
            # A server that knows how few rows there are may take another index than was meant.
            meant = index_name("202611", way) if "SEARCH" in plan else "ix_calls_202611_"
            assert meant in plan, (search, plan)
            assert "SCAN" not in plan.replace("USING INDEX ix_calls_202611_all", ""), plan

    assert {index_name("202611", way) for way in INDEXED} <= names


def test_a_cursor_that_was_not_given_out_is_refused() -> None:
    for cursor in ("", "é", "AAAA", "MS4", cursor_of(Place(1 << 60, "r")), "=" * 9, "eC5h"):
        with pytest.raises(Invalid, match="cursor"):
            place_of(cursor)


def test_what_no_index_knows_needs_a_short_range(database: Database) -> None:
    wide = [
        Search(stream=True),
        Search(error="x"),
        Search(origin=""),
        Search(vendor_id=1),
        Search(upstream_request_id="x"),
    ]
    with database.read() as connection:
        for search, end in itertools.product(wide, (None, OCTOBER + 8 * DAY_MS)):
            with pytest.raises(Invalid) as refused:
                calls.page(connection, replace(search, from_ms=OCTOBER, to_ms=end), limit=1)
            assert (refused.value.code, refused.value.field) == ("narrow_the_search", "from")
        with pytest.raises(Invalid) as refused:
            calls.page(connection, Search(from_ms=5, to_ms=5), limit=1)
        assert refused.value.code == "empty_range"


def test_a_search_that_takes_too_long_is_cut_off_and_says_so(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    record(database, *a_log())
    monkeypatch.setattr(rules, "SECONDS_MAX", 0.0)

    with database.read() as connection, pytest.raises(Invalid) as refused:
        calls.page(connection, Search(), limit=1)
    assert refused.value.code == "narrow_the_search"


def test_a_statement_under_way_is_cut_off(database: Database) -> None:
    slow = (
        "WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 300000000)"
        " SELECT count(*) FROM n"
    )
    deadline = Deadline(0.05)
    with database.read() as connection:
        with pytest.raises(Exception) as cut, deadline.over(connection):
            connection.exec_driver_sql(slow)
        assert type(cut.value).__name__ == "TookTooLong"
    with database.read() as connection:
        assert connection.exec_driver_sql("SELECT 1").scalar() == 1


def test_a_call_of_somebody_else_is_as_one_that_is_not_there(database: Database) -> None:
    mine = row(NOVEMBER, user=1)
    record(database, mine)

    with database.read() as connection:
        assert calls.find(connection, mine.rid, user_id=1) == mine
        said = []
        for rid, user_id in ((mine.rid, 2), ("req_nobody", 2), ("\0", 2)):
            with pytest.raises(NotFound) as missing:
                calls.find(connection, rid, user_id=user_id)
            said.append((missing.value.code, missing.value.message))
        assert len(set(said)) == 1
        assert calls.page(connection, Search(rid=mine.rid, user_id=2), limit=9).rows == []
        assert calls.page(connection, Search(rid=mine.rid, user_id=1), limit=9).rows == [mine]


def test_what_is_not_kept_is_not_found(database: Database) -> None:
    old, new = row(NOVEMBER), row(NOVEMBER + 5 * DAY_MS)
    record(database, old, new)
    with database.write() as tx:
        calls.keep_from(tx, NOVEMBER + DAY_MS, 0)
        calls.keep_from(tx, NOVEMBER, 0)  # it does not come back

    assert all_of(database, Search()) == [new]
    with database.read() as connection:
        assert keeping.kept(connection) == (NOVEMBER + DAY_MS, 0)
        with pytest.raises(NotFound):
            calls.find(connection, old.rid)


def test_a_stream_has_everything_in_reads_of_their_own(
    database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = a_log()
    record(database, *rows)
    monkeypatch.setattr(calls, "STREAMED_AT_ONCE", 10)

    streamed = list(calls.stream(database, Search(user_id=1)))

    assert max(map(len, streamed)) == 10
    assert [one for some in streamed for one in some] == all_of(database, Search(user_id=1))
    (one,) = calls.stream(database, Search(rid=rows[0].rid))
    assert one == [rows[0]]
