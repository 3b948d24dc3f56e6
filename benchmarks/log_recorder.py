"""Records calls at a fixed rate, as the ledger process does: a program beside one that measures.

    python -m benchmarks.log_recorder DATABASE_URL CALLS_A_SECOND

The owner of half of everything, and others, call in turn. Every second it prints how many calls it
recorded, the CPU they cost it in microseconds each, and for how long the slowest batch took in
milliseconds.
"""

from __future__ import annotations

import itertools
import os
import sys
import threading
import time
from typing import Final

from aipool.books.record import record
from aipool.books.requests import Append, Borrow, Open
from aipool.doors.frames import Acquire, Need
from aipool.doors.outcome import Attempt, Outcome, UsageSource
from aipool.kit.clock import now_ms
from aipool.kit.db import Database, SqliteDatabase, open_database
from aipool.kit.ids import RequestIds
from aipool.kit.money import NANO_PER_CNY
from aipool.ledger import service as ledger
from aipool.ledger.rules import day_of
from aipool.ledger.types import TransferKind

BATCHES_PER_SECOND: Final = 20
CHARGE_NANO: Final = 1_000
USERS: Final = 50
_CREDIT_NANO: Final = 100_000 * NANO_PER_CNY
_COMMITS: Final = 100


def calls_of(numbers: range, ids: RequestIds) -> tuple[Outcome, ...]:
    """Every second call is the owner's."""
    at_ms = now_ms()
    return tuple(_call(number, ids.new(at_ms), at_ms) for number in numbers)


def _call(number: int, rid: str, at_ms: int) -> Outcome:
    user = 1 if number % 2 else 2 + number // 2 % (USERS - 1)
    failed = number % 37 == 5
    key = 1 + number % 40
    return Outcome(
        rid=rid,
        at_ms=at_ms,
        duration_ms=200 + number % 9000,
        first_token_ms=50 + number % 900,
        user_id=user,
        token_id=user * 3 + number % 3,
        group_id=1,
        model=f"model-{number % 17}",
        endpoint="chat.completions",
        stream=number % 2 == 0,
        status=429 if failed else 200,
        error="rate_limited" if failed else "",
        input_tokens=29,
        cached_tokens=0,
        output_tokens=37,
        reasoning_tokens=0,
        usage_source=UsageSource.VENDOR,
        price_id=1,
        multiplier_ppm=1_000_000,
        charge_nano=0 if failed else CHARGE_NANO,
        hold_nano=CHARGE_NANO,
        budgets=((f"wallet:{user}", 0),),
        cost_nano=300,
        vendor_id=1,
        key_id=key,
        upstream_model="upstream-model",
        upstream_request_id=f"up-{number:x}",
        attempts=(Attempt(1, key, 200, "", 180, "upstream-model"),),
        ip="203.0.113.7",
        user_agent="OpenAI/Python 2.0.0",
        recovered=False,
    )


def run(database: Database, per_second: int) -> None:
    """Until it is killed."""
    with database.write() as tx:
        for user in range(1, USERS + 1):
            ledger.credit_wallet(
                tx,
                user_id=user,
                amount_nano=_CREDIT_NANO,
                source="cash:proof",
                kind=TransferKind.OPENING,
                idem_key=f"opening:{user}:{os.getpid()}",
                ref="",
                actor="proof",
                at_ms=now_ms(),
            )
    # One that was never there: what an epoch has said before is not recorded again.
    epoch = now_ms() // 1000
    _write(database, Open(epoch, 0, os.getpid()))
    lend = tuple((Need(f"wallet:{user}", 0, 1, NANO_PER_CNY),) for user in range(1, USERS + 1))
    ids, size = RequestIds(), per_second // BATCHES_PER_SECOND
    stop = threading.Event()
    threading.Thread(target=_move, args=(database, stop), daemon=True).start()
    began, done, slowest = time.monotonic(), 0, 0.0
    spent, told, position = time.process_time(), 0, 0
    print("ready", flush=True)
    for number in itertools.count(1):
        due = began + number / BATCHES_PER_SECOND
        time.sleep(max(0.0, due - time.monotonic()))
        entries = calls_of(range(done, done + size), ids)
        start = time.monotonic()
        if number % BATCHES_PER_SECOND == 1:
            _write(database, Borrow(epoch, Acquire(number, lend)))
        _write(database, Append(epoch, position, position + size, entries))
        slowest = max(slowest, time.monotonic() - start)
        position, done = position + size, done + size
        if number % BATCHES_PER_SECOND == 0:
            now = time.process_time()
            each = (now - spent) / (done - told) * 1e6
            late = time.monotonic() - due
            print(done - told, f"{each:.1f}", f"{1e3 * slowest:.1f}", f"{late:.2f}", flush=True)
            spent, told, slowest = now, done, 0.0


def _write(database: Database, request: Open | Borrow | Append) -> None:
    with database.write() as tx:
        record(
            tx,
            [request],
            at_ms=now_ms(),
            slice_max_nano=2 * NANO_PER_CNY,
            day=day_of(now_ms()),
        )


def _move(database: Database, stop: threading.Event) -> None:
    """As the ledger process moves the write-ahead log."""
    while isinstance(database, SqliteDatabase) and not stop.wait(_COMMITS / BATCHES_PER_SECOND):
        database.checkpoint()


if __name__ == "__main__":
    run(open_database(sys.argv[1]), int(sys.argv[2]))
