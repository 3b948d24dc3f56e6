"""What a batch of calls adds to the roll-ups: pure, and the ledger process runs it for every batch.

The sums by token and hour are taken from the calls; the others, but for those of upstream keys,
are sums of these, because a batch has far fewer of them than it has calls.

    Used        hour and day · user · token · group · model
    Total       hour and day · everybody by group and model, each user, each upstream key
    Latency     hour and day · each user, everybody by model
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from aipool.calls.latency import BUCKETS, bucket_of
from aipool.calls.types import (
    DAY_HOURS,
    FAILURES_FROM,
    HOUR_MS,
    CallRow,
    Span,
    Total,
    TotalOf,
    Used,
)

_SUMS = 8
EVERYBODY = 0


class Additions(NamedTuple):
    """What is added to each table, in the order of its key. latencies: key, then all buckets."""

    hours: list[Used]
    days: list[Used]
    totals: list[Total]
    latencies: list[tuple[Any, ...]]


def additions_of(rows: Iterable[CallRow]) -> Additions:
    """What these calls add."""
    hours: dict[tuple[int, int, int, int, str], list[int]] = {}
    keys: dict[tuple[int, int], list[int]] = {}
    times: dict[tuple[int, int, str], list[int]] = {}
    for row in rows:
        hour = row.at_ms // HOUR_MS
        calls = row.calls
        key = (hour, row.user_id, row.token_id, row.group_id, row.model)
        total = hours.get(key)
        if total is None:
            total = hours[key] = [0] * _SUMS
        of_key = keys.get((hour, row.key_id))
        if of_key is None:
            of_key = keys[hour, row.key_id] = [0] * _SUMS
        failed = row.status >= FAILURES_FROM or row.error
        for sums in (total, of_key):
            sums[0] += calls
            if failed:
                sums[1] += calls
            sums[2] += row.input_tokens
            sums[3] += row.cached_tokens
            sums[4] += row.output_tokens
            sums[5] += row.charged_nano
            sums[6] += row.written_off_nano
            sums[7] += row.cost_nano
        if not failed:
            who = (hour, row.user_id, row.model)
            counts = times.get(who)
            if counts is None:
                counts = times[who] = [0] * (2 * BUCKETS)
            if row.first_token_ms >= 0:
                counts[bucket_of(row.first_token_ms)] += calls
            counts[BUCKETS + bucket_of(row.duration_ms)] += calls
    return Additions(
        [Used(*key, *hours[key]) for key in sorted(hours)],
        [Used(*key, *sums) for key, sums in _by_day(hours)],
        _totals(hours, keys),
        _latencies(times),
    )


def _by_day(
    hours: dict[tuple[int, int, int, int, str], list[int]],
) -> list[tuple[tuple[Any, ...], list[int]]]:
    days: dict[tuple[Any, ...], list[int]] = {}
    for key, sums in hours.items():
        _add(days, (key[0] // DAY_HOURS, *key[1:]), sums)
    return sorted(days.items())


def _totals(
    hours: dict[tuple[int, int, int, int, str], list[int]], keys: dict[tuple[int, int], list[int]]
) -> list[Total]:
    found: dict[tuple[Any, ...], list[int]] = {}
    for (hour, user_id, _, group_id, model), sums in hours.items():
        for span in _SPANS:
            at = hour // span
            _add(found, (span, _EVERYBODYS, at, EVERYBODY, group_id, model), sums)
            _add(found, (span, _OF_USER, at, user_id, 0, ""), sums)
    for (hour, key_id), sums in keys.items():
        for span in _SPANS:
            _add(found, (span, _OF_KEY, hour // span, key_id, 0, ""), sums)
    return [Total(*key, *found[key]) for key in sorted(found)]


def _latencies(times: dict[tuple[int, int, str], list[int]]) -> list[tuple[Any, ...]]:
    found: dict[tuple[Any, ...], list[int]] = {}
    for (hour, user_id, model), counts in times.items():
        for span in _SPANS:
            _add(found, (span, hour // span, user_id, ""), counts)
            _add(found, (span, hour // span, EVERYBODY, model), counts)
    return [(*key, *found[key]) for key in sorted(found)]


def _add(into: dict[tuple[Any, ...], list[int]], key: tuple[Any, ...], sums: Sequence[int]) -> None:
    there = into.get(key)
    if there is None:
        into[key] = list(sums)
    else:
        for index, amount in enumerate(sums):
            if amount:
                there[index] += amount


# As plain numbers: an enum's member costs a hash of its own in every key.
_SPANS = (int(Span.HOUR), int(Span.DAY))
_EVERYBODYS, _OF_USER, _OF_KEY = int(TotalOf.EVERYBODY), int(TotalOf.USER), int(TotalOf.KEY)
