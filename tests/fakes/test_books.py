"""The books are the same in memory and in their file."""

from __future__ import annotations

from pathlib import Path

from tests.fakes.books import COMPLETED, Books, Entry


def entry(number: int, **more: object) -> Entry:
    fields = {"number": number, "time": 1.5, "method": "POST", "target": "/", "key": "k"}
    return Entry(**{**fields, "headers": {"host": "x"}, **more})  # type: ignore[arg-type]


def test_a_file_folds_into_the_same_books(tmp_path: Path) -> None:
    path = tmp_path / "books"
    books = Books(path)
    first, second = entry(1), entry(2, user="u")
    books.open(first)
    books.open(second)
    first.model, first.message = "m", "say marker-7 please"
    books.write(first)
    second.events_sent = 1
    books.step(second)
    first.phase, first.events_sent, first.billed_input, first.billed_output = COMPLETED, 3, 4, 5
    books.step(first)
    books.close()

    loaded = Books.load(path)
    assert loaded.entries == books.entries
    assert loaded.billed("marker-7") == (4, 5)
    assert [e.number for e in loaded.marked("u")] == [2]


def test_a_torn_last_line_is_left_out(tmp_path: Path) -> None:
    path = tmp_path / "books"
    books = Books(path)
    books.open(entry(1))
    books.close()
    path.write_bytes(path.read_bytes() + b'{"number":2,"ti')

    assert [e.number for e in Books.load(path)] == [1]


def test_a_marker_may_stand_on_several_attempts() -> None:
    books = Books()
    books.open(entry(1, user="m", billed_input=2, billed_output=3))
    books.open(entry(2, user="m", billed_input=4, billed_output=5))
    books.open(entry(3, user="n", billed_input=100))

    assert books.billed("m") == (6, 8)
