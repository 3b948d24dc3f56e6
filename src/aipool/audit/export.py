"""The trail as a file: JSON Lines with everything, digests included, so that a copy kept elsewhere
can be checked by itself; or CSV for a table."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator

import msgspec

from aipool.audit.types import Entry
from aipool.kit.clock import iso_ms

COLUMNS = (
    "id",
    "at",
    "actor",
    "role",
    "ip",
    "user_agent",
    "request_id",
    "action",
    "target",
    "before",
    "after",
    "previous",
    "digest",
)

#: What makes a spreadsheet take a text for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r")


def fields_of(entry: Entry) -> dict[str, object]:
    """A row by COLUMNS, as JSON has it. at_ms is told by `at` to the millisecond."""
    return {
        "id": entry.id,
        "at": iso_ms(entry.at_ms),
        "actor": entry.actor,
        "role": entry.role,
        "ip": entry.ip,
        "user_agent": entry.user_agent,
        "request_id": entry.request_id,
        "action": entry.action,
        "target": entry.target,
        "before": entry.before,
        "after": entry.after,
        "previous": entry.previous.hex(),
        "digest": entry.digest.hex(),
    }


def as_jsonl(entries: Iterable[Entry]) -> Iterator[str]:
    """A line for each."""
    for entry in entries:
        yield msgspec.json.encode(fields_of(entry)).decode() + "\n"


def as_csv(entries: Iterable[Entry]) -> Iterator[str]:
    """A head, and a line for each; before and after are JSON."""
    yield _line(COLUMNS)
    for entry in entries:
        yield _line([_cell(value) for value in fields_of(entry).values()])


def _cell(value: object) -> str:
    if value is None:
        return ""
    text = value if isinstance(value, str) else msgspec.json.encode(value).decode()
    return f"'{text}" if text.startswith(_FORMULA) else text


def _line(cells: Iterable[str]) -> str:
    line = io.StringIO()
    csv.writer(line).writerow(cells)
    return line.getvalue()
