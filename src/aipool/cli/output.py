"""Printing: aligned columns for people, JSON for programs, problems on standard error."""

from __future__ import annotations

import json
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

from aipool.cli.options import Output

_EMPTY = "-"


def show_rows(rows: Sequence[Mapping[str, Any]], output: Output, columns: Sequence[str]) -> None:
    """A list of records with these fields, in this order."""
    if output is Output.JSON:
        print(json.dumps([dict(row) for row in rows], ensure_ascii=False, indent=2))
        return
    table = [list(columns), *([_cell(row[column]) for column in columns] for row in rows)]
    widths = [max(map(_width, column)) for column in zip(*table, strict=True)]
    for line in table:
        padded = (
            cell + " " * (width - _width(cell)) for cell, width in zip(line, widths, strict=True)
        )
        print("  ".join(padded).rstrip())


def show_record(record: Mapping[str, Any], output: Output) -> None:
    """One record, a field a line."""
    if output is Output.JSON:
        print(json.dumps(dict(record), ensure_ascii=False, indent=2))
        return
    width = max(map(len, record))
    for name, value in record.items():
        print(f"{name.ljust(width)}  {_cell(value)}")


def say(text: str) -> None:
    """A line for the operator that is not the result: on standard error."""
    print(text, file=sys.stderr, flush=True)


def _cell(value: Any) -> str:
    if value is None or value == "" or value == []:
        return _EMPTY
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list | tuple):
        return ", ".join(map(_cell, value))
    if isinstance(value, dict):
        return json.dumps(value, ensure_ascii=False)
    # A name may not move the cursor of whoever lists it.
    return "".join(mark if mark.isprintable() else "?" for mark in str(value))


def _width(text: str) -> int:
    """Columns on a terminal: Chinese characters take two."""
    return sum(2 if unicodedata.east_asian_width(mark) in "WF" else 1 for mark in text)
