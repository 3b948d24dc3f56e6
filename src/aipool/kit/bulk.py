"""Statements of the hot path, at the speed of the driver.

SQLAlchemy looks at every value of every row, and builds a result object a statement; for
what the books write thousands of times a second that is most of the cost. Here a
statement of the Core is compiled once per dialect and handed to the driver's cursor with
plain tuples, in the order of its parameters, inside the caller's transaction.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

#: Names in one IN list; SQLite allows 32,766 parameters a statement.
NAMES_MAX = 4096


class BulkStatement:
    """A writing statement with named parameters that takes rows as tuples.

    parameters: their names in the order of the tuples. A statement whose dialect wants
    another order is refused with ValueError when it is first used.
    """

    __slots__ = ("_parameters", "_statement", "_texts")

    def __init__(self, statement: sa.Executable, parameters: Sequence[str]) -> None:
        self._statement = statement
        self._parameters = list(parameters)
        self._texts: dict[str, str] = {}

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int:
        """Executes it for every row; the number of rows it touched in all."""
        if not rows:
            return 0
        text = self._texts.get(connection.dialect.name)
        if text is None:
            text = self._compile(connection)
        cursor = connection.connection.cursor()
        try:
            cursor.executemany(text, rows)
            return int(cursor.rowcount)
        finally:
            cursor.close()

    def _compile(self, connection: Connection) -> str:
        compiled = self._statement.compile(  # type: ignore[attr-defined]
            dialect=connection.dialect, column_keys=self._parameters
        )
        order = list(compiled.positiontup or ())
        if order != self._parameters:
            raise ValueError(f"parameters in the order {order}, not {self._parameters}")
        text = self._texts[connection.dialect.name] = str(compiled)
        return text


class NamedRows:
    """Loads the rows that are named: `select … where … in (names)`.

    statement: makes the select from a list of names and the other parameters' values, all
    of them in WHERE with a value of their type, the names last. Lists are padded with repeats
    to a power of two, so that a handful of texts serves every length.
    """

    __slots__ = ("_statement", "_texts")

    def __init__(self, statement: Callable[[sa.BindParameter[Any]], sa.Select[Any]]) -> None:
        self._statement = statement
        self._texts: dict[tuple[str, int], str] = {}

    def fetch(
        self, connection: Connection, names: Collection[Any], *others: Any
    ) -> list[tuple[Any, ...]]:
        """The rows; `others` fill the parameters that stand before the names."""
        ordered = sorted(names)
        found: list[tuple[Any, ...]] = []
        for start in range(0, len(ordered), NAMES_MAX):
            part = ordered[start : start + NAMES_MAX]
            size = 1 << (len(part) - 1).bit_length()
            part += part[-1:] * (size - len(part))
            cursor = connection.connection.cursor()
            try:
                cursor.execute(self._text(connection, size), (*others, *part))
                found += cursor.fetchall()
            finally:
                cursor.close()
        return found

    def _text(self, connection: Connection, size: int) -> str:
        key = (connection.dialect.name, size)
        text = self._texts.get(key)
        if text is None:
            names: sa.BindParameter[Any] = sa.bindparam("names", [""] * size, expanding=True)
            compiled = self._statement(names).compile(
                dialect=connection.dialect, compile_kwargs={"render_postcompile": True}
            )
            text = self._texts[key] = str(compiled)
        return text
