"""Use cases of the call log.

the books   record · known
reading     get · recent · page
the years   keep_from · let_go_of_calls · let_go_of_hours
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import chain
from typing import NamedTuple

from sqlalchemy.engine import Connection

from aipool.calls import rules, store
from aipool.calls.latency import BUCKETS
from aipool.calls.rules import month_of
from aipool.calls.store import keeping, pages, sums, weeks
from aipool.calls.summing import additions_of
from aipool.calls.types import (
    DAY_HOURS,
    HOUR_MS,
    WEEK_DAYS,
    WEEK_MS,
    CallRow,
    Kept,
    KeyHour,
    KeyStats,
    Place,
    Search,
    Span,
    Sums,
    TotalOf,
    used_by,
)
from aipool.calls.weeks import stretches
from aipool.catalog.service import prices_by_id
from aipool.kit.db import Database, Deadline, TookTooLong, Transaction
from aipool.kit.errors import NotFound
from aipool.rating.bill import Bill, bill

# A rid is `req_`, 12 hex digits of unix milliseconds, and what makes it unique (kit.ids).
_RID_TIME = slice(4, 16)


def record(tx: Transaction, rows: Iterable[CallRow], key_hours: Sequence[KeyHour] = ()) -> None:
    """Writes calls and adds them to every roll-up, all in the caller's transaction.

    key_hours: the sums of these calls' tries, each key and hour once, in their order.
    """
    by_month: dict[str, list[CallRow]] = {}
    for row in rows:
        by_month.setdefault(month_of(row.at_ms // HOUR_MS), []).append(row)
    if not by_month:
        return
    there = store.months_among(tx.connection, by_month)
    for month, month_rows in by_month.items():
        if month not in there:
            store.open_month(tx.connection, month)
        store.insert_calls(tx.connection, month, month_rows)
    every = list(chain.from_iterable(by_month.values()))
    _reopen_weeks(tx.connection, min(row.at_ms for row in every))
    sums.add(tx.connection, additions_of(every))
    store.add_key_hours(tx.connection, key_hours)


def _reopen_weeks(connection: Connection, oldest_ms: int) -> None:
    """A call that comes late: the sums of its week are made anew (calls.weeks)."""
    week = oldest_ms // WEEK_MS
    if week < weeks.fixed(connection):
        weeks.put_progress(connection, weeks.Progress(week, week))


def get(connection: Connection, rid: str) -> CallRow | None:
    """One call by its id, or None."""
    for month in _months_likely_first(connection, rid):
        row = store.get(connection, month, rid)
        if row is not None:
            return row
    return None


def find(connection: Connection, rid: str, *, user_id: int | None = None) -> CallRow:
    """One call by its id, of a user or of anybody. Raises NotFound: somebody else's, and one that
    the log has let go, is not there."""
    call = get(connection, rid) if "\0" not in rid else None
    kept_from_ms = keeping.kept(connection).calls_from_ms
    if call is None or user_id not in (None, call.user_id) or call.at_ms < kept_from_ms:
        raise NotFound("call_unknown", "there is no such call in the log")
    return call


def bill_of(connection: Connection, call: CallRow) -> Bill:
    """The bill of a call at the price it was made at. Raises NotFound for a call without one, as
    refusals are."""
    price = prices_by_id(connection).get(call.price_id)
    if price is None:
        raise NotFound("call_without_price", "nothing was served, so there is no bill")
    return bill(used_by(call), price, call.multiplier_ppm)


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
    before = None
    if before_rid is not None:
        last = get(connection, before_rid)
        before = Place(last.at_ms if last else _time_of(before_rid), before_rid)
    wanted = Search(user_id=user_id, token_id=token_id)
    return page(connection, wanted, before=before, limit=limit).rows


class Page(NamedTuple):
    """Calls, newest first. next: where the next page begins, None = there is none."""

    rows: list[CallRow]
    next: Place | None


def page(
    connection: Connection, search: Search, *, before: Place | None = None, limit: int
) -> Page:
    """The newest calls that are looked for, older than `before`.

    Raises Invalid (`empty_range`, `narrow_the_search`).
    """
    rules.check(search)
    search = rules.within(search, keeping.kept(connection).calls_from_ms)
    if search.rid is not None:
        return Page(_named(connection, search), None)
    deadline = Deadline(rules.SECONDS_MAX)
    found: list[CallRow] = []
    try:
        for month in _months_of(connection, search, before):
            found += pages.page(
                connection,
                month,
                search,
                before=before,
                limit=limit + 1 - len(found),
                deadline=deadline,
            )
            if len(found) > limit:
                break
    except TookTooLong:
        raise rules.too_long() from None
    rows = found[:limit]
    more = Place(rows[-1].at_ms, rows[-1].rid) if len(found) > limit else None
    return Page(rows, more)


#: Calls of one read of an export: short, so that the database's log can be moved meanwhile.
STREAMED_AT_ONCE = 2_000


def stream(database: Database, search: Search) -> Iterator[list[CallRow]]:
    """Everything that is looked for, newest first, in reads of their own: memory holds one page,
    and nobody waits for the reader. Calls that arrive meanwhile are not in it.

    Raises Invalid (`empty_range`). What no index serves takes as long as it takes.
    """
    rules.check_range(search)
    before: Place | None = None
    while True:
        with database.read(patient=True) as connection:
            rows = _stretch(connection, search, before)
        if not rows:
            return
        yield rows
        before = Place(rows[-1].at_ms, rows[-1].rid)


def _stretch(connection: Connection, search: Search, before: Place | None) -> list[CallRow]:
    search = rules.within(search, keeping.kept(connection).calls_from_ms)
    if search.rid is not None:
        return [] if before else _named(connection, search)
    found: list[CallRow] = []
    for month in _months_of(connection, search, before):
        limit = STREAMED_AT_ONCE - len(found)
        found += pages.page(connection, month, search, before=before, limit=limit, deadline=None)
        if len(found) == STREAMED_AT_ONCE:
            break
    return found


def _named(connection: Connection, search: Search) -> list[CallRow]:
    """The one call of this id, if the rest of the search is true of it."""
    assert search.rid is not None
    call = get(connection, search.rid)
    return [call] if call is not None and rules.is_found(call, search) else []


def _months_of(connection: Connection, search: Search, before: Place | None) -> list[str]:
    """The months that can have what is looked for, newest first."""
    first = month_of((search.from_ms or 0) // HOUR_MS)
    ends = [end for end in (search.to_ms, before.at_ms if before else None) if end is not None]
    last = month_of(min(ends) // HOUR_MS) if ends else "999999"
    return [month for month in store.months(connection) if first <= month <= last]


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


# --- roll-ups -------------------------------------------------------------------------------------

#: Days that are looked through at once for those on which somebody called.
_DAYS_AT_ONCE = 366
#: Of so many of them the sums are read first, then of twice as many: most people's page is full
#: long before it has told of as many days as it has lines.
_DAYS_SUMMED = 4


def charged_days(
    connection: Connection,
    user_id: int,
    *,
    days: range,
    limit: int,
) -> list[tuple[int, int, Sums]]:
    """What a user's tokens were charged, by (day, token), the newest day first, within these days
    (unix time in whole days): whole days, as many as it takes for `limit` of them."""
    kept = sums.days_kept(connection)
    start = max(days.start, kept.start)
    end = min(days.stop, kept.stop)
    found: list[tuple[int, int, Sums]] = []
    summed = _DAYS_SUMMED
    while end > start and len(found) < limit:
        stretch = range(max(start, end - _DAYS_AT_ONCE), end)
        used = sums.used_days(connection, user_id, stretch, summed)
        for one in sums.charged_days(connection, user_id, used):
            if len(found) >= limit and one[0] != found[-1][0]:
                break
            found.append(one)
        end = used[-1] if len(used) == summed else stretch.start
        summed *= 2
    return found


def was_charged_before(connection: Connection, user_id: int, day: int) -> bool:
    """Was a user charged for anything before this day (unix time in whole days)?"""
    kept = sums.days_kept(connection)
    end = min(day, kept.stop)
    while end > kept.start:
        stretch = range(max(kept.start, end - _DAYS_AT_ONCE), end)
        if sums.used_days(connection, user_id, stretch, 1):
            return True
        end = stretch.start
    return False


def newest_charged(
    connection: Connection,
    user_id: int,
    groups: Collection[tuple[int, int]],
    *,
    ended_by_ms: int | None = None,
) -> dict[tuple[int, int], Place]:
    """The newest call that was charged of each (day, token) of a user, as far as the log has it.

    ended_by_ms: of those calls that had ended by this moment; None = of all.
    """
    kept_from_ms = keeping.kept(connection).calls_from_ms
    by_month: dict[str, list[tuple[int, int]]] = {}
    for group in groups:
        by_month.setdefault(month_of(group[0] * DAY_HOURS), []).append(group)
    found: dict[tuple[int, int], Place] = {}
    for month in by_month.keys() & set(store.months(connection)):
        found |= pages.newest_charged(
            connection, month, user_id, by_month[month], kept_from_ms, ended_by_ms
        )
    return found


def totals(
    connection: Connection, span: Span, kind: TotalOf, ats: range, owner_id: int = 0
) -> dict[int, Sums]:
    """The sums of a user, of an upstream key or of everybody, by time (in whole spans)."""
    return sums.totals(connection, span, kind, ats, owner_id)


def by_group_and_model(
    connection: Connection, span: Span, ats: range
) -> dict[tuple[int, str], Sums]:
    """Everybody's sums over a stretch of time."""
    return sums.by_group_and_model(connection, _stretches(connection, span, ats))


def dearest(
    connection: Connection, span: Span, kind: TotalOf, ats: range, *, limit: int
) -> list[int]:
    """The users, or upstream keys, that were charged most over a stretch of time."""
    return sums.dearest(connection, _stretches(connection, span, ats), kind, limit)


def totals_of(
    connection: Connection, span: Span, kind: TotalOf, ats: range, owner_ids: Collection[int]
) -> dict[int, Sums]:
    """The sums of each of these users, or upstream keys, over a stretch of time."""
    return sums.totals_of(connection, _stretches(connection, span, ats), kind, owner_ids)


def usage_of(
    connection: Connection, span: Span, user_id: int, ats: range
) -> dict[tuple[int, str], Sums]:
    """A user's sums over a stretch of time, by (token, model)."""
    return sums.usage_of(connection, _stretches(connection, span, ats), user_id)


def _stretches(connection: Connection, span: Span, ats: range) -> list[tuple[Span, range]]:
    """The same time, with whole weeks for their days where they are summed up."""
    if span is not Span.DAY or len(ats) < WEEK_DAYS:
        return [(span, ats)]
    return stretches(ats, weeks.progress(connection).summed)


def latencies_of(connection: Connection, span: Span, ats: range, user_id: int = 0) -> Latencies:
    """How long the calls of a user, or of everybody, took."""
    counts = sums.latencies_of(connection, span, ats, user_id)
    return Latencies(counts[:BUCKETS], counts[BUCKETS:])


class Latencies(NamedTuple):
    """Counts by bucket (calls.latency): of the first token, and of the whole call."""

    first: list[int]
    whole: list[int]


# --- letting go of what is old --------------------------------------------------------------------

#: Rows that one transaction deletes: some 20 ms, for which the books wait at most.
BITE = 500


def keep_from(tx: Transaction, calls_from_ms: int, hours_from: int) -> None:
    """What is older is no longer found, and is to be let go. It never comes back: an earlier
    moment than the last leaves that one."""
    last = keeping.kept(tx.connection)
    wanted = Kept(max(last.calls_from_ms, calls_from_ms), max(last.hours_from, hours_from))
    if wanted != last:
        keeping.put_kept(tx.connection, wanted)


def kept_from_ms(connection: Connection) -> int:
    """From when on the log has its calls."""
    return keeping.kept(connection).calls_from_ms


def let_go_of_calls(tx: Transaction) -> bool:
    """Deletes a bite of the calls that are not kept. False = there are none left."""
    connection = tx.connection
    before_ms = keeping.kept(connection).calls_from_ms
    current = month_of(before_ms // HOUR_MS)
    months = [month for month in store.months(connection) if month <= current]
    if not months:
        return False
    oldest = months[-1]
    if oldest == current:
        return keeping.delete_calls(connection, oldest, before_ms, BITE) == BITE
    if connection.dialect.name == "sqlite" and (
        keeping.drop_index(connection, oldest) or keeping.delete_some(connection, oldest, BITE)
    ):
        return True
    keeping.drop_month(connection, oldest)
    return True


def let_go_of_hours(tx: Transaction) -> bool:
    """Deletes a bite of the hourly sums that are not kept. False = there are none left."""
    before = keeping.kept(tx.connection).hours_from
    return keeping.delete_hours(tx.connection, before, BITE) > 0


def _months_likely_first(connection: Connection, rid: str) -> list[str]:
    likely = month_of(_time_of(rid) // HOUR_MS)
    return sorted(store.months(connection), key=lambda month: month != likely)


def _time_of(rid: str) -> int:
    try:
        return int(rid[_RID_TIME], 16)
    except ValueError:
        return 0
