"""Files of the log of calls and of balances: exactly what a search finds, whole, and streamed.

A file is made while it is sent, from short reads one after the other: memory holds one of them,
whatever the file comes to, and the database's log can be moved meanwhile. A few are made at a time,
each until its next piece is there, and other requests have the threads to themselves but for these;
while a reader takes a piece, others' files are made, so that who reads slowly holds up nobody.
One person has one file under way at a time, and all together have some; who comes beside these is
asked to come again.

CSV has a head, commas and CRLF, is UTF-8 without a mark, and a cell that a spreadsheet would take
for a formula begins with an apostrophe (security S-14). JSON Lines has the same fields.
"""

from __future__ import annotations

import asyncio
import csv
import io
import threading
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

import msgspec
from fastapi import APIRouter
from fastapi.responses import StreamingResponse
from starlette.concurrency import run_in_threadpool

from aipool.accounts.callers import Asking
from aipool.accounts.types import User
from aipool.audit.desk import Desk
from aipool.calls import service as calls
from aipool.calls.routes import Asked, AskedByOperators
from aipool.calls.rules import check_range
from aipool.calls.schemas import Names, units_shown
from aipool.calls.types import CallRow, Search
from aipool.control.call_names import names_of_calls
from aipool.control.masking import narrowed
from aipool.kit.clock import iso_ms
from aipool.kit.db import Database
from aipool.kit.errors import Conflict
from aipool.kit.money import format_cny, format_multiplier

Format = Literal["csv", "jsonl"]
Row = Mapping[str, Any]

#: Files under way at once, of everybody together: each holds a read, some megabytes at most.
FILES_MAX = 16
#: So many of them are being made, the others are being read.
MADE_AT_ONCE_MAX = 4
#: What makes a spreadsheet take a text for a formula.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
#: Who does not read for so long has left: one of the few places is not kept for them.
STALLED_SECONDS = 60.0
#: So much of a file is sent at once.
_CHUNK_ROWS = 500

_KINDS = {"csv": "text/csv; charset=utf-8", "jsonl": "application/jsonl"}
#: What the description says of such a route.
FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {"text/csv": {}, "application/jsonl": {}}}
}


class Exports:
    """Who has a file under way."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._users: set[int] = set()
        self._making = asyncio.Semaphore(MADE_AT_ONCE_MAX)

    def file(
        self, user_id: int, name: str, form: Format, columns: Sequence[str], rows: Iterator[Row]
    ) -> StreamingResponse:
        """The answer that sends a file. Raises Conflict (`export_running`, `exports_running`)."""
        with self._lock:
            if user_id in self._users:
                raise Conflict("export_running", "an export of yours is under way: let it end")
            if len(self._users) >= FILES_MAX:
                raise Conflict("exports_running", "others export just now: try again soon")
            self._users.add(user_id)
        text = as_csv(columns, rows) if form == "csv" else as_jsonl(columns, rows)
        sent = _Answer(
            self._in_turn(text),
            media_type=_KINDS[form],
            headers={"Content-Disposition": f'attachment; filename="{name}.{form}"'},
        )
        sent.on_end = lambda: self._end(user_id)
        return sent

    async def _in_turn(self, text: Iterator[str]) -> AsyncIterator[str]:
        while True:
            async with self._making:
                piece = await run_in_threadpool(next, text, None)
            if piece is None:
                return
            yield piece

    def _end(self, user_id: int) -> None:
        with self._lock:
            self._users.discard(user_id)


class _Answer(StreamingResponse):
    """Says when it is over, however it ends: also when the client has left, or reads no more."""

    on_end: Callable[[], None]

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        async def sent(message: Any) -> None:
            async with asyncio.timeout(STALLED_SECONDS):
                await send(message)

        try:
            await super().__call__(scope, receive, sent)
        finally:
            self.on_end()


def as_csv(columns: Sequence[str], rows: Iterator[Row]) -> Iterator[str]:
    """A head, and a line for each row."""
    yield _lines([columns])
    for some in _chunks(rows):
        yield _lines([[_cell(row.get(name)) for name in columns] for row in some])


def as_jsonl(columns: Sequence[str], rows: Iterator[Row]) -> Iterator[str]:
    """An object for each row."""
    encode = msgspec.json.encode
    for some in _chunks(rows):
        objects = ({name: row.get(name) for name in columns} for row in some)
        yield "".join(f"{encode(one).decode()}\n" for one in objects)


def _chunks(rows: Iterator[Row]) -> Iterator[list[Row]]:
    some: list[Row] = []
    for row in rows:
        some.append(row)
        if len(some) == _CHUNK_ROWS:
            yield some
            some = []
    if some:
        yield some


def _lines(rows: Iterable[Iterable[object]]) -> str:
    text = io.StringIO()
    csv.writer(text).writerows(rows)
    return text.getvalue()


def _cell(value: object) -> object:
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dict):
        return msgspec.json.encode(value).decode() if value else ""
    # An amount may begin with a minus: it is a number, and no formula.
    if isinstance(value, str) and value.startswith(_FORMULA) and not _is_number(value):
        return f"'{value}"
    return value


def _is_number(text: str) -> bool:
    digits = text.removeprefix("-").replace(".", "", 1)
    return digits.isascii() and digits.isdecimal()


# --- calls ----------------------------------------------------------------------------------------

OWN_COLUMNS = (
    "id",
    "at",
    "token_id",
    "token",
    "model",
    "group_id",
    "group",
    "endpoint",
    "stream",
    "status",
    "error",
    "input_tokens",
    "cached_tokens",
    "output_tokens",
    "reasoning_tokens",
    "units",
    "multiplier",
    "charge",
    "hold",
    "first_token_ms",
    "duration_ms",
    "ip",
    "user_agent",
    "origin",
    "calls",
    "recovered",
)
OPERATORS_COLUMNS = (
    *OWN_COLUMNS,
    "user_id",
    "user",
    "cost",
    "written_off",
    "vendor_id",
    "vendor",
    "key_id",
    "key",
    "upstream_model",
    "upstream_request_id",
    "attempts",
)


def routes(desk: Desk, exports: Exports) -> APIRouter:
    """The files of the log of calls."""
    router = APIRouter(prefix="/api")

    @router.get("/calls/export", response_class=StreamingResponse, responses=FILE)
    def export_own(caller: Asking, search: Asked, format: Format = "csv") -> StreamingResponse:
        """The caller's calls as a file: all that the filter finds, newest first."""
        search = replace(search, user_id=caller.user.id)
        check_range(search)
        rows = call_rows(desk.database, search, operator=None)
        return exports.file(caller.user.id, "calls", format, OWN_COLUMNS, rows)

    @router.get("/admin/calls/export", response_class=StreamingResponse, responses=FILE)
    def export_all(
        caller: Asking, search: AskedByOperators, format: Format = "csv"
    ) -> StreamingResponse:
        """Everybody's calls as a file: all that the filter finds, newest first."""
        check_range(search)
        with desk.database.read() as connection:
            search = narrowed(connection, caller.user, search)
        rows = call_rows(desk.database, search, operator=caller.user)
        return exports.file(caller.user.id, "calls", format, OPERATORS_COLUMNS, rows)

    return router


def call_rows(database: Database, search: Search, *, operator: User | None) -> Iterator[Row]:
    """Everything that is looked for, by the columns of its file. operator: who reads it; None =
    whose calls they are."""
    for some in calls.stream(database, search):
        with database.read() as connection:
            names = names_of_calls(connection, some, operator)
        for call in some:
            row = _own(names.told(call), names)
            yield row | _of_operators(call, names) if operator else row


def _own(call: CallRow, names: Names) -> dict[str, Any]:
    row = call._asdict()
    row["id"], row["at"] = call.rid, iso_ms(call.at_ms)
    row["token"], row["group"] = names.tokens.get(call.token_id), names.groups.get(call.group_id)
    row["stream"], row["recovered"] = bool(call.stream), bool(call.recovered)
    row["units"] = units_shown(call)
    row["multiplier"] = format_multiplier(call.multiplier_ppm)
    row["charge"], row["hold"] = format_cny(call.charged_nano), format_cny(call.hold_nano)
    row["first_token_ms"] = call.first_token_ms if call.first_token_ms >= 0 else None
    return row


def _of_operators(call: CallRow, names: Names) -> dict[str, Any]:
    return {
        "user": names.users.get(call.user_id),
        "cost": format_cny(call.cost_nano),
        "written_off": format_cny(call.written_off_nano),
        "vendor": names.vendors.get(call.vendor_id),
        "key": names.keys.get(call.key_id),
    }
