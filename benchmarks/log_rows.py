"""Millions of calls, made inside the database: skewed as real ones are, and with rare values.

One owner has every second call; models and tokens are called the more, the smaller their number.
Of each thing that people filter by there is a value that only some ten calls in a million have.
The roll-ups are then taken from the calls as the verifier takes them.
"""

from __future__ import annotations

import asyncio
import calendar
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from typing import Any, Final

from aipool.calls import store
from aipool.calls.rules import month_of
from aipool.calls.store import again, sums
from aipool.calls.summing import Additions
from aipool.calls.tables import calls_table
from aipool.calls.types import DAY_MS, GROWING, HOUR_MS, CallRow, Span, TotalOf
from aipool.calls.weeks import WeeklySums
from aipool.kit.db import Database, SqliteDatabase, Transaction

#: Two months and a half lie in it, and so three tables or four.
DAYS: Final = 75
USERS: Final = 2_000
MODELS: Final = 60

OWNER: Final = 1
RARE_USER: Final = 5_000_001
RARE_TOKEN: Final = 9_000_001
RARE_GROUP: Final = 77
RARE_KEY: Final = 777
RARE_MODEL: Final = "model-rare"
_ROWS_AT_ONCE: Final = 200_000


def fill(database: Database, rows: int, *, seed: int, now_ms: int) -> None:
    """So many calls of the last days, up to a minute ago."""
    first_ms = now_ms - DAYS * DAY_MS
    step = (now_ms - 60_000 - first_ms) / rows
    bounds = [first_ms + int(number * step) for number in range(0, rows, _ROWS_AT_ONCE)]
    months = sorted({month_of(at // HOUR_MS) for at in (*bounds, now_ms)})
    with database.write(patient=True) as tx:
        for month in months:
            store.open_month(tx.connection, month)
            # Filled first, which is ten times as fast.
            for index in calls_table(month).indexes:
                index.drop(tx.connection)
    for start in range(0, rows, _ROWS_AT_ONCE):
        stop = min(start + _ROWS_AT_ONCE, rows)
        with database.write(patient=True) as tx:
            for month in months:
                _insert(tx, month, first_ms, step, start, stop, seed)
        _settle(database)
    for month in months:
        for index in sorted(calls_table(month).indexes, key=lambda one: str(one.name)):
            with database.write(patient=True) as tx:
                index.create(tx.connection)
            _settle(database)
    sum_up(database)
    if not isinstance(database, SqliteDatabase):
        with database.write(patient=True) as tx:
            rolled_up = ("usage_hours", "usage_days", "usage_weeks", "usage_totals", "latencies")
            for table in (*(f"calls_{month}" for month in months), *rolled_up):
                tx.connection.exec_driver_sql(f"ANALYZE {table}")


def _settle(database: Database) -> None:
    if isinstance(database, SqliteDatabase):
        database.checkpoint(truncate=True)


def _insert(
    tx: Transaction, month: str, first_ms: int, step: float, start: int, stop: int, seed: int
) -> None:
    """Those of these rows that lie in a month."""
    year, number = int(month[:4]), int(month[4:])
    begin, end = (
        calendar.timegm((year + (one - 1) // 12, (one - 1) % 12 + 1, 1, 0, 0, 0))
        for one in (number, number + 1)
    )
    on_server = tx.connection.dialect.name == "postgresql"
    # As calls arrive: a number that says when, and others that say what.
    millis = f"(i * {int(step * 1_000_000)} / 1000000)"
    mix = f"((i * 2654435761 + {seed} * 40503) % 1000003)"
    more = f"((i * 40503 + {seed} * 7919) % 999983)"
    hexed = "lpad(to_hex({}), {}, '0')" if on_server else "printf('%0{1}x', {0})"
    yes, no = ("true", "false") if on_server else ("1", "0")
    owner = "i % 2 = 0"
    failed = "i % 37 = 5"
    values = {
        "rid": f"'req_' || {hexed.format('at', 12)} || {hexed.format('mix', 10)}"
        f" || {hexed.format('i % 100000000', 8)}",
        "at_ms": "at",
        "duration_ms": "200 + mix % 9000",
        "first_token_ms": "50 + mix % 900",
        "user_id": f"CASE WHEN i % 90001 = 7 THEN {RARE_USER} WHEN {owner} THEN {OWNER}"
        f" ELSE 2 + (mix % {USERS}) * (more % 1000) / 1000 END",
        "token_id": f"CASE WHEN i % 90001 = 8 THEN {RARE_TOKEN} WHEN {owner}"
        f" THEN 1 + (mix % 20) * (more % 100) / 100"
        f" ELSE 100 + (mix % {USERS}) * (more % 1000) / 1000 * 3 + mix % 3 END",
        # A token is of one group.
        "group_id": f"CASE WHEN i % 90001 = 10 THEN {RARE_GROUP} WHEN {owner}"
        " THEN 1 + (mix % 20) * (more % 100) / 100 % 5 ELSE 1 + mix % 3 END",
        "model": f"CASE WHEN i % 90001 = 12 THEN '{RARE_MODEL}'"
        f" ELSE 'model-' || ((mix % {MODELS}) * (more % {MODELS}) / {MODELS}) END",
        "endpoint": "CASE WHEN i % 90001 = 14 THEN 'image' WHEN mix % 20 = 3 THEN 'embeddings'"
        " ELSE 'chat.completions' END",
        "stream": f"CASE WHEN mix % 2 = 0 THEN {yes} ELSE {no} END",
        "status": f"CASE WHEN i % 90001 = 16 THEN 502 WHEN {failed} THEN 429 ELSE 200 END",
        "error": f"CASE WHEN {failed} THEN 'rate_limited' ELSE '' END",
        "input_tokens": "mix % 4000",
        "output_tokens": "mix % 800",
        "cached_tokens": "mix % 50",
        "usage_source": "1",
        "price_id": "1",
        "multiplier_ppm": "1000000",
        "charged_nano": f"CASE WHEN {failed} THEN 0 ELSE 1000 * (mix % 5000) END",
        "cost_nano": "500 * (mix % 5000)",
        "vendor_id": "1 + mix % 4",
        "key_id": f"CASE WHEN i % 90001 = 18 THEN {RARE_KEY} ELSE 1 + mix % 40 END",
        "upstream_model": "'upstream-model'",
        "upstream_request_id": f"'up-' || {hexed.format('mix', 16)}",
        "attempts": '\'[[1,1,200,"",180,"upstream-model"]]\'',
        "ip": "'203.0.113.' || (mix % 250)",
        "user_agent": "'OpenAI/Python 2.0.0'",
        "recovered": no,
        "units": "''",
        "cost_price_id": "0",
        "cost_ppm": "1000000",
        "origin": "CASE WHEN mix % 200 = 9 THEN 'playground' ELSE '' END",
        "calls": "1",
    }
    numbers = (
        f"SELECT i FROM generate_series({start}::bigint, {stop - 1}) AS i"
        if on_server
        else f"SELECT i FROM (WITH RECURSIVE n(i) AS (SELECT {start} UNION ALL"
        f" SELECT i + 1 FROM n WHERE i < {stop - 1}) SELECT i FROM n)"
    )
    selected = ", ".join(values.get(name, "0") for name in CallRow._fields)
    statement = (
        f"INSERT INTO calls_{month} ({', '.join(CallRow._fields)}) SELECT {selected} FROM"
        f" (SELECT i, {first_ms} + {millis} AS at, {mix} AS mix, {more} AS more"
        f" FROM ({numbers}) AS numbers) AS made"
        f" WHERE at >= {begin * 1000} AND at < {end * 1000}"
    )
    tx.connection.exec_driver_sql(statement.replace("%", "%%") if on_server else statement)


def sum_up(database: Database) -> None:
    """Fills every roll-up, which are empty, from the calls, and those of weeks as the job does."""
    _copy(database, lambda c: again.used_again(c, Span.HOUR), 0)
    _copy(database, lambda c: again.used_again(c, Span.DAY), 1)
    for span in GROWING:
        for kind in TotalOf:
            _copy(database, lambda c, s=span, k=kind: again.totals_again(c, s, k), 2)
        _copy(
            database,
            lambda c, s=span: ((int(s), *row) for row in again.histograms_again(c, s, 0)),
            3,
        )
    # In a thread: whoever asks for this may run a loop already.
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, WeeklySums(database, pause_seconds=0.0).run()).result()


def _copy(database: Database, rows_of: Any, place: int) -> None:
    """From one transaction, which sees the calls, in bites into another."""
    with database.read(patient=True) as connection:
        rows: Iterator[tuple[Any, ...]] = iter(rows_of(connection))
        while some := list(islice(rows, 50_000)):
            parts: list[Any] = [[], [], [], []]
            parts[place] = [tuple(map(_plain, row)) for row in some]
            with database.write(patient=True) as tx:
                sums.add(tx.connection, Additions(*parts))


def _plain(value: Any) -> Any:
    return int(value) if isinstance(value, int) else value
