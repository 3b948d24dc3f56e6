"""Batches of requests on a real database."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aipool.books import verify
from aipool.books.record import Batch, key_hours, record
from aipool.books.requests import Append, Borrow, Misplaced, Open, Request
from aipool.calls import service as calls
from aipool.calls.types import HOUR_MS, KeyHour
from aipool.doors.frames import Acquire, Fenced, Granted, Need, Recorded, Welcome
from aipool.doors.outcome import Attempt, Outcome
from aipool.doors.records import Returned
from aipool.kit.db import REFUSED_ERRORS
from aipool.ledger import service as ledger
from tests.books.rig import Installation, hold, outcome

EPOCH = 7
DAY = 20_000


@pytest.fixture
def books(tmp_path: Path, kind: str) -> Iterator[Installation]:
    installation = Installation(tmp_path / "data", kind)
    installation.credit(1, 10_000)
    do(installation, Open(EPOCH, 0, 1))
    yield installation
    installation.assert_books_agree()
    installation.close()


def do(books: Installation, *requests: Request, careful: bool = False) -> Batch:
    with books.database.write() as tx:
        return record(tx, requests, at_ms=1, slice_max_nano=500, day=DAY, careful=careful)


def borrow(number: int, nano: int, *, epoch: int = EPOCH) -> Borrow:
    return Borrow(epoch, Acquire(number, ((Need("wallet:1", 0, nano, nano),),)))


def call(charge: int, *, of: int = 100) -> Outcome:
    return outcome(hold(1, of, token_id=5), charge, 0)


def everything(books: Installation) -> list[list[sa.Row]]:
    with books.database.read() as connection:
        names = sorted(sa.inspect(connection).get_table_names())
        return [
            sorted(connection.exec_driver_sql(f"SELECT * FROM {name}"), key=str) for name in names
        ]


def test_a_call_its_money_and_the_mark_are_written_together(books: Installation) -> None:
    one = call(30)
    batch = do(books, borrow(1, 100), Append(EPOCH, 0, 400, (one, Returned("wallet:1", 0, 20))))

    assert isinstance(batch.answers[0], Granted)
    assert batch.answers[1] == Recorded(400)
    assert (batch.calls, batch.grants, batch.written_off_nano) == (1, 1, 0)
    assert books.balance(1) == (9970, batch.answers[0].chains[0][0].amount - 50)
    with books.database.read() as connection:
        row = calls.get(connection, one.rid)
        assert row is not None
        assert (row.charged_nano, row.written_off_nano, row.token_id) == (30, 0, 5)


def test_a_repeat_changes_nothing_and_is_answered_with_the_mark(books: Installation) -> None:
    entries = (call(30), call(0))
    do(books, Append(EPOCH, 0, 400, entries))
    before = everything(books)

    again = do(books, Append(EPOCH, 0, 400, entries), Append(EPOCH, 0, 200, entries[:1]))

    assert again.answers == (Recorded(400), Recorded(400))
    assert everything(books) == before


def test_entries_that_do_not_follow_are_refused(books: Installation) -> None:
    do(books, Append(EPOCH, 0, 400, (call(30),)))
    before = everything(books)

    late = do(books, Append(EPOCH, 500, 600, (call(1),)), Append(EPOCH, 200, 600, (call(2),)))

    assert all(isinstance(answer, Misplaced) for answer in late.answers)
    assert everything(books) == before


def test_several_appends_of_one_epoch_follow_on_each_other_in_one_batch(
    books: Installation,
) -> None:
    batch = do(
        books,
        Append(EPOCH, 0, 400, (call(30),)),
        Append(EPOCH, 400, 900, (call(5),)),
        Open(EPOCH, 0, 1),
    )

    assert batch.answers == (Recorded(400), Recorded(900), Welcome(900))


def test_a_repeated_number_gets_the_same_answer_even_when_the_money_is_gone(
    books: Installation,
) -> None:
    (first,) = do(books, borrow(1, 100)).answers
    do(books, borrow(2, 9_000, epoch=EPOCH))
    (second,) = do(books, borrow(3, 50_000)).answers
    before = everything(books)

    (repeated,) = do(books, borrow(3, 50_000)).answers
    (old,) = do(books, borrow(1, 100)).answers

    assert isinstance(first, Granted)
    assert repeated == second
    assert isinstance(old, Misplaced)
    assert everything(books) == before


def test_a_number_repeated_within_one_batch_is_granted_once(books: Installation) -> None:
    batch = do(books, borrow(1, 100), borrow(1, 100))

    assert batch.answers[0] == batch.answers[1]
    assert batch.grants == 1
    assert isinstance(batch.answers[0], Granted)
    assert books.balance(1)[1] == batch.answers[0].chains[0][0].amount


def test_a_return_can_be_lent_again_in_the_same_batch(books: Installation) -> None:
    do(books, Open(8, 1, 2), borrow(1, 10_000))

    batch = do(
        books, Append(EPOCH, 0, 9, (Returned("wallet:1", 0, 10_000),)), borrow(1, 10_000, epoch=8)
    )

    assert isinstance(batch.answers[1], Granted)
    assert batch.answers[1].chains[0][0].amount == 10_000


def test_nothing_is_accepted_from_an_epoch_that_is_over(books: Installation) -> None:
    with books.database.write() as tx:
        ledger.close_epoch(tx, EPOCH, 5)
    before = everything(books)

    batch = do(books, Open(EPOCH, 0, 1), borrow(1, 5), Append(EPOCH, 0, 400, (call(30),)))

    assert all(isinstance(answer, Fenced) for answer in batch.answers)
    assert everything(books) == before


def test_nothing_is_accepted_from_an_epoch_that_never_said_hello(books: Installation) -> None:
    batch = do(books, borrow(1, 5, epoch=99), Append(99, 0, 400, (call(30),)))

    assert all(isinstance(answer, Misplaced) for answer in batch.answers)


@pytest.mark.parametrize("charge", [30, 0])
def test_a_call_that_is_recorded_already_fails_a_batch_and_is_left_alone_with_care(
    books: Installation, charge: int
) -> None:
    known, fresh = call(charge), call(7)
    do(books, Append(EPOCH, 0, 400, (known,)))

    with pytest.raises(REFUSED_ERRORS):
        do(books, Append(EPOCH, 400, 900, (known, fresh)))
    batch = do(books, Append(EPOCH, 400, 900, (known, fresh, fresh)), careful=True)

    assert batch.answers == (Recorded(900),)
    assert batch.calls == 1
    assert books.balance(1)[0] == 10_000 - charge - 7


@pytest.mark.slow
@settings(max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_shipped_in_whatever_pieces_and_repeats_the_books_are_the_same(
    tmp_path: Path, data: st.DataObject
) -> None:
    entries = [call(n * 3 % 40) if n % 5 else Returned("wallet:1", 0, n) for n in range(12)]
    number = len(list(tmp_path.iterdir()))
    once, pieces = (Installation(tmp_path / f"{name}{number}") for name in ("once", "pieces"))
    for books in (once, pieces):
        books.credit(1, 10_000)
        do(books, Open(EPOCH, 0, 1), borrow(1, 400))
    do(once, Append(EPOCH, 0, 12, tuple(entries)))

    mark = 0
    for _ in range(40):
        start = data.draw(st.integers(0, mark), "start")
        end = data.draw(st.integers(start, 12), "end")
        (answer,) = do(pieces, Append(EPOCH, start, end, tuple(entries[start:end]))).answers
        if isinstance(answer, Recorded):
            mark = answer.high_water
    do(pieces, Append(EPOCH, mark, 12, tuple(entries[mark:])))

    assert _figures(pieces) == _figures(once)
    pieces.assert_books_agree()
    for books in (once, pieces):
        books.close()


def _figures(books: Installation) -> list[list[tuple[object, ...]]]:
    tables = everything(books)
    return [[tuple(row) for row in table] for table in tables if not _has_own_times(table)]


def _has_own_times(table: list[sa.Row]) -> bool:
    """The opening credits carry a key and a time of their own."""
    return bool(table) and "idem_key" in table[0]._fields


# --- upstream keys ------------------------------------------------------------------------------


def tried(*attempts: tuple[int, str], at_ms: int, answered: int = 0) -> Outcome:
    """A call that asked these keys in turn, with these outcomes; 11 tokens in, 22 out."""
    return msgspec.structs.replace(
        call(0),
        at_ms=at_ms,
        key_id=answered,
        input_tokens=11,
        output_tokens=22,
        cost_nano=5,
        multiplier_ppm=0,
        attempts=tuple(Attempt(1, key_id, 200, why, 9, "m") for key_id, why in attempts),
    )


def test_each_try_counts_for_its_key_and_the_tokens_for_the_one_that_answered() -> None:
    hour = 40 * HOUR_MS
    hours = key_hours(
        [
            tried((7, "timeout"), (8, ""), at_ms=hour + 9, answered=8),
            tried((7, "rate_limited"), at_ms=hour + 4),
            tried((8, "bad_request"), (8, ""), at_ms=hour + 1, answered=8),
            tried((7, "client_gone"), at_ms=hour + 2, answered=7),
            tried((8, ""), at_ms=hour - 1, answered=8),
            tried(at_ms=hour + 50),
        ]
    )

    assert hours == [
        KeyHour(7, 40, 3, 2, 11, 22, 5, hour + 9, "timeout", hour + 9),
        KeyHour(8, 39, 1, 0, 11, 22, 5, hour - 1, "", 0),
        KeyHour(8, 40, 3, 1, 22, 44, 10, hour + 9, "bad_request", hour + 1),
    ]


def test_the_sums_of_keys_are_written_with_the_calls_and_once(books: Installation) -> None:
    at_ms = 500_000 * HOUR_MS
    first = tried((7, "timeout"), (8, ""), at_ms=at_ms, answered=8)
    later = tried((8, "x\0y"), at_ms=at_ms + HOUR_MS)
    do(books, Append(EPOCH, 0, 400, (first,)))
    do(
        books,
        Append(EPOCH, 0, 400, (first,)),
        Append(EPOCH, 400, 500, (first, later)),
        careful=True,
    )

    with books.database.read() as connection:
        stats = calls.key_stats(connection, at_ms=at_ms + HOUR_MS)
    assert (stats[7].tries, stats[7].last_error) == (1, "timeout")
    assert (stats[8].tries, stats[8].failures, stats[8].output_tokens) == (2, 1, 22)
    assert stats[8].last_error == "x\N{REPLACEMENT CHARACTER}y"


def test_the_verifier_finds_sums_of_keys_that_are_not_those_of_the_calls(
    books: Installation,
) -> None:
    at_ms = 500_000 * HOUR_MS
    entries = tuple(
        tried((7, "timeout"), (8, ""), at_ms=at_ms + hours * HOUR_MS, answered=8)
        for hours in (0, 1, 2)
    )
    do(books, Append(EPOCH, 0, 400, entries))
    books.assert_books_agree()

    def spoilt(change: str) -> list[str]:
        with books.database.write() as tx:
            tx.connection.exec_driver_sql(change)
        return [one.check for one in verify.verify(books.database).differences]

    of = "WHERE key_id = 7 AND hour = 500001"
    assert spoilt(f"UPDATE key_hours SET failures = 0 {of}") == ["R-03"]
    assert spoilt(f"DELETE FROM key_hours {of}") == ["R-03"]
    assert spoilt("INSERT INTO key_hours VALUES (7, 500001, 1, 1, 0, 0, 0, 1, 'x', 1)") == []
    # An older program did not keep them; the first hour may be its last.
    assert spoilt("DELETE FROM key_hours WHERE hour = 500000") == []
    assert spoilt("UPDATE key_hours SET tries = 9 WHERE hour = 500001 AND key_id = 8") == ["R-03"]
    spoilt("UPDATE key_hours SET tries = 1")
