"""A dump as tables of rows, whatever form it has: a SQLite file, a JSON export or SQL."""

from __future__ import annotations

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pysqlite3

from aipool.kit.errors import Invalid
from aipool.moving.sql import Rows, read_sql

#: The tables that are looked at. Logs are not moved.
TABLES = ("users", "tokens", "channels", "options")
#: Without its log of calls, no platform's dump comes near.
DUMP_BYTES_MAX = 512 << 20
_SQLITE = b"SQLite format 3\x00"


def read_dump(path: Path) -> dict[str, Rows]:
    """The rows of every table that is looked at. Raises Invalid for what is no such dump."""
    try:
        with path.open("rb") as file:
            head = file.read(len(_SQLITE))
            if head == _SQLITE:
                return _complete(_of_sqlite(path))
            data = head + file.read(DUMP_BYTES_MAX + 1)
        text = data.decode("utf-8-sig")
    except (OSError, UnicodeError) as problem:
        raise Invalid("unreadable_file", f"{path}: {problem}") from None
    if len(data) > DUMP_BYTES_MAX:
        raise Invalid(
            "file_too_large",
            f"{path} has more than {DUMP_BYTES_MAX} bytes: leave the table of logs out",
        )
    is_json = text.lstrip()[:1] == "{"
    return _complete(_of_json(text) if is_json else read_sql(text, TABLES))


def _complete(rows: dict[str, Rows]) -> dict[str, Rows]:
    if not rows:
        raise Invalid(
            "malformed_dump",
            f"none of the tables {', '.join(TABLES)} is in it: is it a dump of new-api?",
        )
    return {table: rows.get(table, []) for table in TABLES}


def _of_sqlite(path: Path) -> dict[str, Rows]:
    """Read only: what is moved from stays as it is."""
    found: dict[str, Rows] = {}
    try:
        database = pysqlite3.connect(f"{path.resolve().as_uri()}?mode=ro", uri=True)
        try:
            there = {row[0] for row in database.execute("SELECT name FROM sqlite_master")}
            for table in TABLES:
                if table in there:
                    # The name is one of ours.
                    cursor = database.execute(f'SELECT * FROM "{table}"')  # noqa: S608
                    names = [column[0] for column in cursor.description]
                    found[table] = [dict(zip(names, row, strict=True)) for row in cursor]
        finally:
            database.close()
    except pysqlite3.Error as problem:
        raise Invalid("unreadable_file", f"{path}: {problem}") from None
    return found


def _of_json(text: str) -> dict[str, Rows]:
    try:
        read: Any = json.loads(text, parse_float=Decimal)
    except (ValueError, RecursionError, ArithmeticError):
        raise Invalid("malformed_dump", "the file is no JSON") from None
    found: dict[str, Rows] = {}
    for table in TABLES:
        rows = read.get(table)
        if table == "options" and isinstance(rows, dict):
            rows = [{"key": key, "value": value} for key, value in rows.items()]
        if rows is None:
            continue
        if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
            raise Invalid("malformed_dump", f"{table} is a list of rows", field=table)
        found[table] = rows
    return found
