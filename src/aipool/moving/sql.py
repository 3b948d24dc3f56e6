"""Reads the rows of a few tables out of a dump in SQL: what mysqldump and pg_dump --inserts write.

Strict and small: a statement is CREATE TABLE, whose columns are needed where an INSERT names none,
or INSERT with literals. Everything else is passed over, but always as a whole statement, so that a
text that looks like one is never taken for one. A backslash escapes in texts of MySQL only; whether
it is MySQL that wrote them is told by what stands before the first row, because customers wrote
what is in the rows.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator
from typing import Any

from aipool.kit.errors import Invalid

Rows = list[dict[str, Any]]

_QUOTED = r"'(?:[^'\\]|\\.|'')*'" r'|"(?:[^"]|"")*"' r"|`(?:[^`]|``)*`"
_QUOTED_PLAIN = r"'(?:[^']|'')*'" r'|"(?:[^"]|"")*"' r"|`(?:[^`]|``)*`"
_SKIPPED = r"--[^\n]*|/\*.*?\*/"
_NAME = r"(?:[`\"]?\w+[`\"]?\.)?[`\"]?(\w+)[`\"]?"
_CREATE = re.compile(rf"\s*CREATE\s+TABLE\s+(?:IF\s+NOT\s+EXISTS\s+)?{_NAME}\s*\(", re.I)
_INSERT = re.compile(rf"\s*INSERT\s+INTO\s+{_NAME}\s*(?:\(([^()']*)\))?\s*VALUES\s*", re.I)
#: What only MySQL writes at the start of a dump, or of its rows.
_MYSQL = re.compile(r"\s*(?:/\*M?!|--\s*(?:MySQL|MariaDB)\s+dump)", re.I)
_FIRST_ROWS = re.compile(r"^[ \t]*(?:INSERT\s+INTO\s+(`)?|COPY\s)", re.I | re.M)
_COPY = re.compile(rf"\s*COPY\s+{_NAME}[^;]*FROM\s+stdin", re.I)
_COLUMN = re.compile(r"\s*[`\"]?(\w+)[`\"]?\s+\w")
#: What begins a line of CREATE TABLE that is no column.
_NO_COLUMNS = frozenset({"primary", "unique", "key", "index", "constraint", "check", "foreign"})
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
#: More than any column of numbers holds.
_DIGITS_MAX = 100
_WORDS: dict[str, Any] = {"null": None, "true": 1, "false": 0}
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t", "0": "\0", "Z": "\x1a", "b": "\b"}


def read_sql(text: str, wanted: Collection[str]) -> dict[str, Rows]:
    """The rows of these tables. Raises Invalid, which names the table, for what is not
    understood."""
    is_mysql = _is_mysql(text)
    columns: dict[str, list[str]] = {}
    rows: dict[str, Rows] = {}
    for statement in _statements(text, is_mysql=is_mysql):
        if _COPY.match(statement):
            # Its rows are no SQL: what a customer wrote there could be read as a statement.
            raise Invalid("malformed_dump", "rows stand behind COPY: write it by pg_dump --inserts")
        created = _CREATE.match(statement)
        if created and created[1] in wanted:
            columns[created[1]] = _columns(statement[created.end() :])
        inserted = _INSERT.match(statement)
        if inserted and inserted[1] in wanted:
            table = inserted[1]
            named = [part.strip(' `"') for part in (inserted[2] or "").split(",") if part.strip()]
            names = named or columns.get(table, [])
            reader = _Values(statement, inserted.end(), table, is_mysql=is_mysql)
            for values in reader.tuples():
                if len(values) != len(names):
                    raise reader.lost("a row has other columns than its table")
                rows.setdefault(table, []).append(dict(zip(names, values, strict=True)))
    return rows


def _is_mysql(text: str) -> bool:
    if _MYSQL.match(text):
        return True
    first = _FIRST_ROWS.search(text)
    return first is not None and first[1] is not None


def _statements(text: str, *, is_mysql: bool) -> Iterator[str]:
    """Every statement, without the comments before it."""
    quoted = _QUOTED if is_mysql else _QUOTED_PLAIN
    mark = re.compile(rf"{quoted}|{_SKIPPED}|;", re.S)
    start = 0
    for found in mark.finditer(text):
        if found[0] == ";":
            yield text[start : found.start()]
            start = found.end()
        elif found[0][:2] in ("--", "/*") and not text[start : found.start()].strip():
            start = found.end()


def _columns(body: str) -> list[str]:
    names = []
    for line in body.split("\n"):
        found = _COLUMN.match(line)
        # A name in quotes is a column, whatever it is called.
        if found and (line.strip()[0] in '`"' or found[1].lower() not in _NO_COLUMNS):
            names.append(found[1])
    return names


class _Values:
    """The rows behind VALUES, one after the other."""

    def __init__(self, text: str, at: int, table: str, *, is_mysql: bool) -> None:
        self._text = text
        self._at = at
        self._table = table
        self._is_mysql = is_mysql
        self._string = re.compile(
            r"'((?:[^'\\]|\\.|'')*)'" if is_mysql else r"'((?:[^']|'')*)'", re.S
        )

    def lost(self, why: str) -> Invalid:
        """What is said of a row that is not understood; its values are not repeated."""
        return Invalid("malformed_dump", f"{self._table}: {why}", field=self._table)

    def tuples(self) -> Iterator[list[Any]]:
        """Every row as its values."""
        while True:
            self._take("(")
            row = [self._value()]
            while self._is_next(","):
                row.append(self._value())
            self._take(")")
            yield row
            if not self._is_next(","):
                break
        if self._text[self._at :].strip():
            raise self.lost("there is something behind the rows")

    def _value(self) -> Any:
        self._blanks()
        string = self._string.match(self._text, self._at)
        if string:
            self._at = string.end()
            return self._plain(string[1])
        number = _NUMBER.match(self._text, self._at)
        if number:
            self._at = number.end()
            whole = number[0].lstrip("-").isdigit()
            if len(number[0]) > _DIGITS_MAX:
                raise self.lost("a number has too many digits")
            return int(number[0]) if whole else number[0]
        for word, value in _WORDS.items():
            if self._text[self._at : self._at + len(word)].lower() == word:
                self._at += len(word)
                return value
        raise self.lost("a value is no text, no number and no NULL")

    def _plain(self, written: str) -> str:
        text = written.replace("''", "'")
        if not self._is_mysql or "\\" not in text:
            return text
        return re.sub(r"\\(.)", lambda one: _ESCAPES.get(one[1], one[1]), text, flags=re.S)

    def _blanks(self) -> None:
        while self._at < len(self._text) and self._text[self._at].isspace():
            self._at += 1

    def _is_next(self, mark: str) -> bool:
        self._blanks()
        if self._text[self._at : self._at + 1] != mark:
            return False
        self._at += 1
        return True

    def _take(self, mark: str) -> None:
        if not self._is_next(mark):
            raise self.lost(f"there is no {mark} where one belongs")
