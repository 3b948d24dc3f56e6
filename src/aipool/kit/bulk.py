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

from aipool.kit.db import Text

#: Names in one IN list; SQLite allows 32,766 parameters a statement.
NAMES_MAX = 4096


class BulkStatement:
    """A writing statement with named parameters that takes rows as tuples.

    parameters: their names in the order of the tuples, which is the order they stand in.
    A statement that has them in another one is refused with ValueError when it is first used.
    """

    __slots__ = ("_parameters", "_statement", "_texts")

    def __init__(self, statement: sa.Executable, parameters: Sequence[str]) -> None:
        self._statement = statement
        self._parameters = list(parameters)
        self._texts: dict[str, str] = {}

    def run(self, connection: Connection, rows: Sequence[tuple[Any, ...]]) -> int | None:
        """Executes it for every row; the number of rows it touched in all, None where the
        driver does not count them."""
        if not rows:
            return 0
        text = self._texts.get(connection.dialect.driver)
        if text is None:
            text = self._compile(connection)
        cursor = connection.connection.cursor()
        try:
            cursor.executemany(text, rows)
            return int(cursor.rowcount) if cursor.rowcount >= 0 else None
        finally:
            cursor.close()

    def _compile(self, connection: Connection) -> str:
        compiled = self._statement.compile(  # type: ignore[attr-defined]
            dialect=connection.dialect, column_keys=self._parameters
        )
        order = list(compiled.positiontup or ())
        if order != self._parameters:
            raise ValueError(f"parameters in the order {order}, not {self._parameters}")
        text = self._texts[connection.dialect.driver] = str(compiled)
        return text


class NamedRows:
    """Loads the rows that are named: `select … where … in (names)`.

    statement: makes the select from a list of names and the other parameters' values, all
    of them in WHERE with a value of their type, the names last. Lists are padded with repeats
    to a power of two, so that a handful of texts serves every length.
    named_by: the type of the names.
    """

    __slots__ = ("_named_by", "_statement", "_texts")

    def __init__(
        self,
        statement: Callable[[sa.BindParameter[Any]], sa.Select[Any]],
        named_by: sa.types.TypeEngine[Any] = Text,
    ) -> None:
        self._statement = statement
        self._named_by = named_by
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
        key = (connection.dialect.driver, size)
        text = self._texts.get(key)
        if text is None:
            names: sa.BindParameter[Any] = sa.bindparam(
                "names", [None] * size, self._named_by, expanding=True
            )
            compiled = self._statement(names).compile(
                dialect=connection.dialect, compile_kwargs={"render_postcompile": True}
            )
            text = self._texts[key] = str(compiled)
        return text
