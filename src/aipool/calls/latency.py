"""How long calls took, in buckets: what percentiles are read from.

A call that went well is counted in the bucket of its duration, and in that of its first token when
it had content. Bounds grow by a third and by a half in turn, so what is read from them is off by a
fifth at most, and by less where calls are spread within a bucket. What takes longer than the last
bound is in the last bucket.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

#: Where each bucket but the first begins, in milliseconds.
BOUNDS_MS = (
    25,
    50,
    75,
    100,
    150,
    200,
    300,
    400,
    600,
    800,
    1_200,
    1_600,
    2_400,
    3_200,
    4_800,
    6_400,
    9_600,
    12_800,
    19_200,
    25_600,
    38_400,
    76_800,
    153_600,
)
BUCKETS = len(BOUNDS_MS) + 1
#: What is in the last bucket is taken to end here.
_LAST_MS = 600_000

#: The columns of both histograms: of the first token, then of the whole.
LATENCY_COLUMNS = tuple(
    f"{kind}_{number:02}" for kind in ("first", "whole") for number in range(BUCKETS)
)


def bucket_of(milliseconds: int) -> int:
    """The number of the bucket."""
    return bisect_right(BOUNDS_MS, milliseconds)


def percentile(counts: Sequence[int], share: float) -> int | None:
    """The time that this share of the calls did not exceed, in milliseconds, taken to be spread
    evenly within its bucket; None = there are no calls."""
    total = sum(counts)
    if not total:
        return None
    wanted, passed = share * total, 0
    for number, count in enumerate(counts):
        if count and passed + count >= wanted:
            start = BOUNDS_MS[number - 1] if number else 0
            end = BOUNDS_MS[number] if number < len(BOUNDS_MS) else _LAST_MS
            return round(start + (end - start) * (wanted - passed) / count)
        passed += count
    return _LAST_MS
