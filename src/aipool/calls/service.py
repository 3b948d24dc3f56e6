"""Use cases of the call log."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime
from functools import lru_cache

from sqlalchemy.engine import Connection

from aipool.calls import store
from aipool.calls.types import DAY_HOURS, HOUR_MS, CallRow, KeyHour, KeyStats, UsageHour
from aipool.kit.db import Transaction

# A rid is `req_`, 12 hex digits of unix milliseconds, and what makes it unique (kit.ids).
_RID_TIME = slice(4, 16)
# Hours of 1970 and of 9999, the years that a month can be named in.
_HOUR_MAX = 70_388_000


def record(tx: Transaction, rows: Iterable[CallRow], key_hours: Sequence[KeyHour] = ()) -> None:
    """Writes calls and adds them to the hourly sums, all in the caller's transaction.

    key_hours: the sums of these calls' tries, each key and hour once, in their order.
    """
    by_month: dict[str, list[CallRow]] = {}
    sums: dict[tuple[int, int, int, int, str], list[int]] = {}
    for row in rows:
        hour = row.at_ms // HOUR_MS
        by_month.setdefault(_month(hour), []).append(row)
        key = (hour, row.user_id, row.token_id, row.group_id, row.model)
        total = sums.get(key)
        if total is None:
            total = sums[key] = [0] * 8
        total[0] += row.calls
        if row.status >= 400 or row.error:
            total[1] += row.calls
        total[2] += row.input_tokens
        total[3] += row.cached_tokens
        total[4] += row.output_tokens
        total[5] += row.charged_nano
        total[6] += row.written_off_nano
        total[7] += row.cost_nano
    if not by_month:
        return
    there = store.months_among(tx.connection, by_month)
    for month, month_rows in by_month.items():
        if month not in there:
            store.open_month(tx.connection, month)
        store.insert_calls(tx.connection, month, month_rows)
    store.add_usage(tx.connection, [UsageHour(*key, *sums[key]) for key in sorted(sums)])
    store.add_key_hours(tx.connection, key_hours)


def get(connection: Connection, rid: str) -> CallRow | None:
    """One call by its id, or None."""
    for month in _months_likely_first(connection, rid):
        row = store.get(connection, month, rid)
        if row is not None:
            return row
    return None


def recent(
    connection: Connection,
    *,
    user_id: int | None = None,
    token_id: int | None = None,
    before_rid: str | None = None,
    limit: int = 50,
) -> list[CallRow]:
    """The newest calls of a user or a token (of everybody without either), newest first.

    before_rid: the last row of the page before.
    """
    page: list[CallRow] = []
    for month in store.months(connection):
        if len(page) >= limit:
            break
        page += store.recent(
            connection,
            month,
            user_id=user_id,
            token_id=token_id,
            before_rid=before_rid,
            limit=limit - len(page),
        )
    return page


def known(connection: Connection, rids: Collection[str]) -> set[str]:
    """Those of the ids that are in the log."""
    found: set[str] = set()
    for month in store.months(connection):
        if len(found) == len(rids):
            break
        found |= store.known(connection, month, rids)
    return found


def key_stats(
    connection: Connection, *, at_ms: int, key_ids: Collection[int] | None = None
) -> dict[int, KeyStats]:
    """What became of the tries at these upstream keys (None = at all), by key; those that were
    never tried are left out. at_ms: now, in unix milliseconds."""
    first_hour = at_ms // HOUR_MS - DAY_HOURS + 1
    return store.key_stats(connection, first_hour, key_ids)


def _months_likely_first(connection: Connection, rid: str) -> list[str]:
    there = store.months(connection)
    try:
        likely = _month(int(rid[_RID_TIME], 16) // HOUR_MS)
    except ValueError:
        return there
    return sorted(there, key=lambda month: month != likely)


@lru_cache(maxsize=64)
def _month(hour: int) -> str:
    seconds = min(max(hour, 0), _HOUR_MAX) * 3600
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m}"
