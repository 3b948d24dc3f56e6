"""Compares the log of calls with the money it moved, on one moment of the database.

L-12  charged + written off = the rating of the usage at the call's price; of a call
      that was recovered, at its last progress and never above its hold
L-13  each call's transfers are what its row says, on its user's wallet, and there are
      no others
R-01  the hourly sums are the sums of the calls
R-02  a token's counted use is what its days cost
R-03  the hourly sums of upstream keys are those of the calls' tries, from the second hour on in
      which there are any: an older program kept none
R-04  what a call cost us is the rating of its usage at the route's cost, where that is named
R-05  the daily sums are the sums of the hours, and what they say a user was charged on a day is
      what the ledger moved
R-06  the totals of everybody, of users and of upstream keys are the sums of what they are totals of
R-07  the histograms are those of the calls, from the second hour on in which there are any
R-08  the sums of weeks are the sums of their days

What the log has let go of is not missed: its money is still in the ledger and in the days.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec
from sqlalchemy.engine import Connection

from aipool.calls import store
from aipool.calls.latency import LATENCY_COLUMNS
from aipool.calls.store import again, keeping, weeks
from aipool.calls.tables import SUMS
from aipool.calls.types import (
    CLIENT_GONE,
    DAY_HOURS,
    DAY_MS,
    GROWING,
    HOUR_MS,
    CheckedCall,
    Kept,
    KeyHour,
    Span,
    TotalOf,
    used_by,
)
from aipool.catalog.service import prices_by_id
from aipool.kit.money import AMOUNT_NANO_MAX
from aipool.ledger import service as ledger
from aipool.ledger.types import WRITEOFF, TransferKind, wallet_account
from aipool.ledger.verify import Difference
from aipool.rating.rate import rate
from aipool.rating.types import Price

Charge = tuple[str, str, int, int]
T = TypeVar("T")


class Totals:
    """What was looked at, for the summary."""

    def __init__(self) -> None:
        self.calls = 0
        self.recovered = 0
        self.charged_nano = 0
        self.written_off_nano = 0


def differences(connection: Connection, totals: Totals) -> Iterator[Difference]:
    """Every difference; `connection` must see one moment throughout."""
    kept = keeping.kept(connection)
    tries = _Tries(store.first_key_hour(connection), _from(kept.calls_from_ms, HOUR_MS))
    yield from _calls(connection, totals, tries, kept)
    yield from _sums(connection, kept)
    yield from _totals(connection, kept)
    yield from _latencies(connection, kept)
    yield from _sums_of_keys(connection, tries)
    yield from _use_of_tokens(connection)
    yield from _days_of_money(connection)


def _from(moment: int, part: int) -> int:
    """The first whole part that lies at or after a moment."""
    return -(-moment // part)


class _Tries:
    """What the calls say of each upstream key in each hour. first_hour: the oldest that has
    sums, None = there are none.  kept_from: the oldest whose calls are all there."""

    def __init__(self, first_hour: int | None, kept_from: int) -> None:
        self.first_hour = first_hour
        self.kept_from = kept_from
        self._sums: dict[tuple[int, int], list[int]] = {}

    def add(self, call: CheckedCall) -> None:
        """One more call."""
        hour, answered = call.at_ms // HOUR_MS, call.key_id
        for attempt in _attempts_of(call.attempts):
            key_id, reason = attempt[1], attempt[3]
            total = self._sums.setdefault((key_id, hour), [0] * 5)
            total[0] += 1
            total[1] += reason not in ("", CLIENT_GONE)
            if key_id == answered:
                answered = 0
                total[2] += call.input_tokens
                total[3] += call.output_tokens
                total[4] += call.cost_nano

    def sums(self) -> Iterator[tuple[tuple[int, int], tuple[int, ...]]]:
        """By (key, hour), in that order."""
        return ((key, tuple(self._sums[key])) for key in sorted(self._sums))


_attempts_of = msgspec.json.Decoder(list[tuple[Any, ...]]).decode


def _calls(
    connection: Connection, totals: Totals, tries: _Tries, kept: Kept
) -> Iterator[Difference]:
    prices = prices_by_id(connection)
    usage, writeoffs = (
        _Following(ledger.charges_by_call(connection, kind), kept.calls_from_ms)
        for kind in (TransferKind.USAGE, TransferKind.WRITEOFF)
    )
    for call in store.stream_calls(connection):
        totals.calls += 1
        tries.add(call)
        totals.recovered += bool(call.recovered)
        totals.charged_nano += call.charged_nano
        totals.written_off_nano += call.written_off_nano
        yield from _rating(call, prices)
        account = wallet_account(call.user_id)
        for moved, amount, payer in (
            (usage, call.charged_nano, account),
            (writeoffs, call.written_off_nano, WRITEOFF),
        ):
            yield from _without_call(moved.before(call.rid))
            charge = moved.at(call.rid)
            wanted = (call.rid, payer, amount, call.at_ms) if amount else None
            if charge != wanted:
                yield Difference("L-13", f"call {call.rid}", _text(wanted), _text(charge))
    yield from _without_call(usage.rest())
    yield from _without_call(writeoffs.rest())


def _rating(call: CheckedCall, prices: dict[int, Price]) -> Iterator[Difference]:
    used = used_by(call)
    total = call.charged_nano + call.written_off_nano
    price = prices.get(call.price_id)
    if price is None:
        if total or any(used):
            yield Difference("L-12", f"call {call.rid}", "a price", f"no price {call.price_id}")
        return
    rated = min(rate(used, price, call.multiplier_ppm), AMOUNT_NANO_MAX)
    if call.recovered:
        rated = min(rated, call.hold_nano)
    if rated != total:
        yield Difference("L-12", f"call {call.rid}", str(rated), str(total))
    cost_price = prices.get(call.cost_price_id)
    if cost_price is not None:
        cost = min(rate(used, cost_price, call.cost_ppm), AMOUNT_NANO_MAX)
        if cost != call.cost_nano:
            yield Difference("R-04", f"cost of call {call.rid}", str(cost), str(call.cost_nano))


def _without_call(charges: Iterator[Charge]) -> Iterator[Difference]:
    for charge in charges:
        yield Difference("L-13", f"call {charge[0]}", "a call", f"only {_text(charge)}")


def _text(charge: Charge | None) -> str:
    return "no transfer" if charge is None else f"{charge[2]} from {charge[1]} at {charge[3]}"


class _Following:
    """Charges in the order of rid, walked beside the calls."""

    def __init__(self, charges: Iterator[Charge], kept_from_ms: int) -> None:
        self._charges = charges
        self._kept_from_ms = kept_from_ms
        self._next = next(charges, None)

    def before(self, rid: str) -> Iterator[Charge]:
        """Those below this rid, which no call has claimed."""
        while self._next is not None and self._next[0] < rid:
            yield from self._missed(self._next)
            self._next = next(self._charges, None)

    def at(self, rid: str) -> Charge | None:
        """The one of this rid."""
        found = self._next
        if found is None or found[0] != rid:
            return None
        self._next = next(self._charges, None)
        return found

    def rest(self) -> Iterator[Charge]:
        """Those after the last call."""
        while self._next is not None:
            yield from self._missed(self._next)
            self._next = next(self._charges, None)

    def _missed(self, charge: Charge) -> Iterator[Charge]:
        if charge[3] >= self._kept_from_ms:
            yield charge


def _sums(connection: Connection, kept: Kept) -> Iterator[Difference]:
    hour = max(_from(kept.calls_from_ms, HOUR_MS), kept.hours_from)
    day = _from(kept.hours_from, DAY_HOURS)
    for claim, unit, span, start, stop in (
        ("R-01", "hour", Span.HOUR, hour, None),
        ("R-05", "day", Span.DAY, day, None),
        ("R-08", "week", Span.WEEK, 0, weeks.progress(connection).summed),
    ):
        there = again.used(connection, span, start, stop)
        taken = again.used_again(connection, span, start, stop)
        where = unit + " {}, user {}, token {}, group {}, model {}"
        yield from _compared(claim, where, 5, SUMS, taken, there)


def _totals(connection: Connection, kept: Kept) -> Iterator[Difference]:
    for kind in TotalOf:
        calls_from = kept.calls_from_ms if kind is TotalOf.KEY else 0
        hour = max(kept.hours_from, _from(calls_from, HOUR_MS))
        for claim, span, start, stop in (
            ("R-06", Span.HOUR, hour, None),
            ("R-06", Span.DAY, _from(calls_from, DAY_MS), None),
            ("R-08", Span.WEEK, 0, weeks.progress(connection).summed),
        ):
            there = again.totals(connection, span, kind, start, stop)
            taken = again.totals_again(connection, span, kind, start, stop)
            where = "totals of span {}, kind {}, at {}, owner {}, group {}, model {}"
            yield from _compared(claim, where, 6, SUMS, taken, there)


def _latencies(connection: Connection, kept: Kept) -> Iterator[Difference]:
    first = again.first_histogram(connection)
    if first is None:
        return
    first = max(first + 1, _from(kept.calls_from_ms, HOUR_MS), kept.hours_from)
    for span in GROWING:
        start = _from(first, span)
        there = again.histograms(connection, span, start)
        taken = again.histograms_again(connection, span, start)
        where = f"latencies of span {span}, " + "at {}, user {}, model {}"
        yield from _compared("R-07", where, 3, LATENCY_COLUMNS, taken, there)


def _compared(
    claim: str,
    where: str,
    key_length: int,
    names: tuple[str, ...],
    taken: Iterator[tuple[Any, ...]],
    there: Iterator[tuple[Any, ...]],
) -> Iterator[Difference]:
    """Where rows differ from the same rows as they are taken again, by the first columns."""
    ones, others = (
        ((row[:key_length], row[key_length:]) for row in rows) for rows in (taken, there)
    )
    for key, wanted, found in _side_by_side(ones, others):
        if wanted != found:
            yield Difference(claim, where.format(*key), _named(names, wanted), _named(names, found))


def _days_of_money(connection: Connection) -> Iterator[Difference]:
    there, moved = again.charged_by_day(connection), ledger.charged_by_day(connection)
    for key, wanted, found in _side_by_side(moved, there):
        if wanted != found:
            where = "charged on day {} to user {}".format(*key)
            yield Difference("R-05", where, str(wanted or 0), str(found or 0))


def _sums_of_keys(connection: Connection, tries: _Tries) -> Iterator[Difference]:
    kept = ((row[:2], row[2:7]) for row in store.stream_key_hours(connection))
    names = KeyHour._fields[2:7]
    for key, wanted, found in _side_by_side(tries.sums(), kept):
        if wanted == found or tries.first_hour is None or key[1] < tries.first_hour:
            continue
        if key[1] < tries.kept_from:
            continue
        if key[1] == tries.first_hour and _is_part(found, wanted):
            continue
        where = "key {}, hour {}".format(*key)
        yield Difference("R-03", where, _named(names, wanted), _named(names, found))


def _is_part(found: tuple[int, ...] | None, of: tuple[int, ...] | None) -> bool:
    if found is None or of is None:
        return found is None
    return all(part <= whole for part, whole in zip(found, of, strict=True))


def _named(names: tuple[str, ...], values: tuple[int, ...] | None) -> str:
    if values is None:
        return "no row"
    return ", ".join(f"{name} {value}" for name, value in zip(names, values, strict=True))


def _use_of_tokens(connection: Connection) -> Iterator[Difference]:
    kept = ((name, used) for name, used in ledger.used_by_tokens(connection) if used)
    for name, wanted, found in _side_by_side(again.used_by_tokens(connection), kept):
        if wanted != found:
            yield Difference("R-02", f"used of {name}", str(wanted or 0), str(found or 0))


def _side_by_side(
    ones: Iterator[tuple[Any, T]], others: Iterator[tuple[Any, T]]
) -> Iterator[tuple[Any, T | None, T | None]]:
    """Two sequences in the order of their keys, joined by key; None where one has none."""
    one, other = next(ones, None), next(others, None)
    while one is not None or other is not None:
        if other is None or (one is not None and one[0] < other[0]):
            assert one is not None
            yield one[0], one[1], None
            one = next(ones, None)
        elif one is None or other[0] < one[0]:
            yield other[0], None, other[1]
            other = next(others, None)
        else:
            yield one[0], one[1], other[1]
            one, other = next(ones, None), next(others, None)
