"""Calls for tests of the log."""

from __future__ import annotations

from typing import Any

from aipool.calls import service as calls
from aipool.calls import verify as of_calls
from aipool.calls.types import CallRow
from aipool.kit.db import Database
from tests.books.rig import new_rid

OCTOBER = 1_792_540_800_000  # 2026-10-21 00:00 UTC
NOVEMBER = 1_795_219_200_000  # 2026-11-21 00:00 UTC


def row(at_ms: int, *, user: int = 1, token: int = 5, **more: Any) -> CallRow:
    """A call that went well and was charged 50 nano."""
    made = CallRow(
        rid=new_rid(at_ms),
        at_ms=at_ms,
        duration_ms=120,
        first_token_ms=40,
        user_id=user,
        token_id=token,
        group_id=1,
        model="m0",
        endpoint="chat.completions",
        stream=True,
        status=200,
        error="",
        input_tokens=10,
        cached_tokens=4,
        output_tokens=20,
        reasoning_tokens=0,
        usage_source=1,
        price_id=1,
        multiplier_ppm=1_000_000,
        hold_nano=100,
        charged_nano=50,
        written_off_nano=0,
        cost_nano=2,
        vendor_id=1,
        key_id=1,
        upstream_model="m0",
        upstream_request_id="",
        attempts='[[1,1,200,"",120]]',
        ip="203.0.113.7",
        user_agent="test",
        recovered=False,
        units="",
        cost_price_id=0,
        cost_ppm=1_000_000,
        origin="",
        calls=1,
    )
    return made._replace(**more)


def a_log() -> list[CallRow]:
    """Two hundred calls of two months, of everything some, several in one millisecond."""
    made = []
    for number in range(200):
        start = OCTOBER if number % 3 == 0 else NOVEMBER
        user = 1 + number % 2
        failed = number % 7 == 0
        made.append(
            row(
                start + number // 4 * 1000,
                user=user,
                token=user * 10 + number % 3,
                model=f"m{number % 5 % 2}",
                group_id=1 + number % 4 // 3,
                key_id=1 + number % 5,
                vendor_id=1 + number % 3,
                endpoint="embeddings" if number % 11 < 4 else "chat.completions",
                stream=number % 2 == number % 3,
                status=(429, 499, 502)[number % 3] if failed else 200,
                error="rate_limited" if failed and number % 3 == 0 else "",
                charged_nano=0 if failed else 50 + number,
                origin="playground" if number % 13 == 0 else "",
                upstream_request_id=f"up-{number % 9}",
                duration_ms=10 * number,
                first_token_ms=-1 if failed else number,
                calls=3 if number % 14 == 0 else 1,
            )
        )
    return made


def record(database: Database, *rows: CallRow) -> None:
    """Writes them, in batches as they might come."""
    for start in range(0, len(rows), 30):
        with database.write() as tx:
            calls.record(tx, rows[start : start + 30])


_SUMS = ("hour", "day ", "week ", "total", "lat")


def wrong_sums(database: Database) -> set[str]:
    """The checks by which a roll-up is not what the calls say. There is no money here."""
    with database.read() as connection:
        found = of_calls.differences(connection, of_calls.Totals())
        return {one.check for one in found if one.where.startswith(_SUMS)}
