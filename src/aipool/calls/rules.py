"""How a search of the log is done, and which ones are too wide. Pure.

A page is read from one index, newest first (`path_of`). Beside the owner a search may narrow by one
thing that has an index; what else is wanted of a call is looked at call by call, and so is limited:
a search that asks for more than the indexes know must name a stretch of time of at most a week, and
every search is cut off after `SECONDS_MAX`, with the advice to narrow it.
"""

from __future__ import annotations

import base64
import binascii
from dataclasses import fields, replace
from datetime import UTC, datetime
from functools import lru_cache

from aipool.calls.types import (
    CLIENT_LEFT,
    COMMON_ENDPOINT,
    DAY_MS,
    FAILURES_FROM,
    CallRow,
    Outcomes,
    Path,
    Place,
    Search,
)
from aipool.kit.errors import Invalid

#: Whoever asks is answered within two.
SECONDS_MAX = 1.8
#: What has no index of its own is looked for in so much time at most.
WIDE_DAYS_MAX = 7
_MOMENT_MAX = 1 << 53
#: A moment and a request id, written in base 64.
CURSOR_CHARACTERS_MAX = 400
# Hours of 1970 and of 9999, the years that a month can be named in.
_HOUR_MAX = 70_388_000

_NARROW = "narrow_the_search"


def check(search: Search) -> None:
    """Raises Invalid for what cannot be answered in time."""
    check_range(search)
    if search.rid is not None or not _is_wide(search):
        return
    if (
        search.from_ms is None
        or search.to_ms is None
        or search.to_ms - search.from_ms > WIDE_DAYS_MAX * DAY_MS
    ):
        raise Invalid(
            _NARROW,
            f"this filter needs a time range of at most {WIDE_DAYS_MAX} days: give from and to",
            field="from",
            params={"days": WIDE_DAYS_MAX},
        )


def check_range(search: Search) -> None:
    """Raises Invalid for a time range in which nothing can be."""
    if search.from_ms is not None and search.to_ms is not None and search.to_ms <= search.from_ms:
        raise Invalid("empty_range", "the end of the time range lies before its start", field="to")


def too_long() -> Invalid:
    """What is said of a search that was cut off."""
    return Invalid(
        _NARROW,
        f"this search did not end within {SECONDS_MAX:g} seconds: "
        "narrow it by a shorter time range, a token or a model",
        field="from",
        params={"seconds": f"{SECONDS_MAX:g}"},
    )


def _is_wide(search: Search) -> bool:
    """Does it ask for what no index knows?"""
    return any(
        part is not None
        for part in (
            search.stream,
            search.error,
            search.origin,
            search.vendor_id,
            search.upstream_request_id,
        )
    )


def path_of(search: Search) -> Path:
    """The index that a search walks: of a key, a token or a failure before others, because these
    are the fewest calls."""
    failures = search.status is not None and search.status >= FAILURES_FROM
    failures = failures or search.outcome not in (None, Outcomes.OK)
    rare_endpoint = search.endpoint not in (None, COMMON_ENDPOINT)
    by_status = search.status is not None or search.outcome is not None
    if search.key_id is not None:
        return Path.KEY
    if search.token_id is not None:
        return Path.TOKEN
    if search.user_id is not None:
        for wanted, path in (
            (failures, Path.USER_STATUS),
            (rare_endpoint, Path.USER_ENDPOINT),
            (search.model is not None, Path.USER_MODEL),
            (search.group_id is not None, Path.USER_GROUP),
            (search.endpoint is not None, Path.USER_ENDPOINT),
            (by_status, Path.USER_STATUS),
        ):
            if wanted:
                return path
        return Path.USER
    for wanted, path in (
        (failures, Path.STATUS),
        (rare_endpoint, Path.ENDPOINT),
        (search.model is not None, Path.MODEL),
        (search.group_id is not None, Path.GROUP),
    ):
        if wanted:
            return path
    return Path.ALL


def statuses_of(search: Search, there: list[int]) -> list[int]:
    """Those of the statuses that a search by status wants. 499 is a class of its own."""
    if search.status is not None:
        return [search.status]
    assert search.outcome is not None
    least, above = search.outcome.bounds
    alone = search.outcome is Outcomes.CLIENT_LEFT
    return [one for one in there if least <= one < above and (alone or one != CLIENT_LEFT)]


def is_found(call: CallRow, search: Search) -> bool:
    """Is everything that is looked for true of this call?"""
    exact = all(
        wanted is None or getattr(call, name) == wanted
        for name, wanted in (
            (field.name, getattr(search, field.name))
            for field in fields(search)
            if field.name not in ("outcome", "charged", "from_ms", "to_ms")
        )
    )
    in_time = (search.from_ms or 0) <= call.at_ms and (
        search.to_ms is None or call.at_ms < search.to_ms
    )
    wanted_class = search.outcome is None or bool(statuses_of(search, [call.status]))
    paid = call.charged_nano > 0 or not search.charged
    return exact and in_time and wanted_class and paid


def within(search: Search, kept_from_ms: int) -> Search:
    """The search, without what the log has let go."""
    return replace(search, from_ms=max(search.from_ms or 0, kept_from_ms))


@lru_cache(maxsize=64)
def month_of(hour: int) -> str:
    """The name of the month that an hour lies in: YYYYMM. hour: unix time in whole hours."""
    seconds = min(max(hour, 0), _HOUR_MAX) * 3600
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m}"


# --- where a page ended ---------------------------------------------------------------------------


def cursor_of(place: Place) -> str:
    """The place as opaque text."""
    return base64.urlsafe_b64encode(f"{place.at_ms:x}.{place.rid}".encode()).decode().rstrip("=")


def place_of(cursor: str) -> Place:
    """The place that `cursor_of` wrote. Raises Invalid."""
    try:
        text = base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)).decode()
        at, _, rid = text.partition(".")
        at_ms = int(at, 16)
    except (ValueError, binascii.Error):
        raise _no_cursor() from None
    if not 0 <= at_ms < _MOMENT_MAX or not rid or "\0" in rid:
        raise _no_cursor()
    return Place(at_ms, rid)


def _no_cursor() -> Invalid:
    return Invalid("invalid_cursor", "the cursor is none that was given out", field="cursor")
