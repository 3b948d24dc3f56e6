"""When a vendor says to come again: from headers, from words, from the calendar. Pure.

A vendor may say it in several ways at once. What counts is, in this order:

    retry-after-ms, retry-after           a number, or a date          it *asks* for this
    the error object                      Google's RetryInfo           it *asks* for this
    x-ratelimit-reset-*, anthropic-…      one line for each limit      when a limit is new

Of the limits only those with nothing remaining stopped the call; when none says so (one call that
needs more tokens than remain), the longest is waited for, but never over an hour.

Nonsense (negative, not a number, years away) is as if nothing had been said.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone, tzinfo
from email.utils import parsedate_to_datetime
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from aipool.vendors.types import Reset

#: A monthly quota is new within 31 days; what is further away is a mistake.
SECONDS_MAX = 32 * 86_400.0
_HOUR = 3600.0

_UNITS = {
    "ms": 0.001,
    "s": 1.0,
    "sec": 1.0,
    "secs": 1.0,
    "second": 1.0,
    "seconds": 1.0,
    "m": 60.0,
    "min": 60.0,
    "minute": 60.0,
    "minutes": 60.0,
    "h": 3600.0,
    "hour": 3600.0,
    "hours": 3600.0,
    "d": 86_400.0,
    "day": 86_400.0,
    "days": 86_400.0,
}
_PART = (
    r"\d{1,12}(?:\.\d{1,12})?\s?(?:ms|s(?:ec(?:ond)?s?)?|m(?:in(?:ute)?s?)?|h(?:ours?)?|d(?:ays?)?)"
)
_PARTS = re.compile(rf"(?:{_PART}\s?){{1,5}}")
_ONE_PART = re.compile(r"(\d{1,12}(?:\.\d{1,12})?)\s?([a-z]+)")
_IN_WORDS = re.compile(rf"(?:again|retry) (?:in|after) ((?:{_PART}\s?){{1,5}})(?![a-z])")
_MOMENT = re.compile(
    r"(\d{4}-\d\d-\d\d)(?:[ t]| at )(\d\d:\d\d(?::\d\d)?)(?:\.\d{1,9})?"
    r"(?: ?(z\b|utc\b|[+-]\d\d:?\d\d))?"
)

# Moments this large are milliseconds: as seconds they would be in the year 5138 and later.
_MILLISECONDS_FROM = 1e11
_MOMENTS_FROM = 1e9

_PREFIXES = (b"x-ratelimit-", b"anthropic-ratelimit-")


def asked_seconds(headers: Mapping[bytes, bytes], unix_now: float) -> float | None:
    """How long the headers ask to wait; None = they do not ask. headers: names in lower case."""
    value = headers.get(b"retry-after-ms")
    if value is not None:
        milliseconds = _number(_text(value))
        seconds = sane(None if milliseconds is None else milliseconds / 1000)
        if seconds is not None:
            return seconds
    value = headers.get(b"retry-after")
    if value is None:
        return None
    text = _text(value)
    number = _number(text)
    return sane(number if number is not None else _until_date(text, unix_now))


def window_seconds(headers: Mapping[bytes, bytes], unix_now: float) -> float | None:
    """Until the limits that stopped a call are new; None = no header says."""
    spent: list[float] = []
    others: list[float] = []
    for seconds, remaining in _windows(headers, unix_now):
        (spent if remaining == 0 else others).append(seconds)
    if spent:
        return max(spent)
    return min(max(others), _HOUR) if others else None


def seconds_of(text: str) -> float | None:
    """Seconds of a duration such as "6m0s", "20ms", "34.07s" or "6 seconds"; None = it is none."""
    text = text.strip().lower()
    if not _PARTS.fullmatch(text):
        return None
    return sane(sum(float(n) * _UNITS[unit] for n, unit in _ONE_PART.findall(text)))


def seconds_in_words(message: str) -> float | None:
    """What "try again in 20s" or "retry after 6 seconds" asks for. message: in lower case."""
    found = _IN_WORDS.search(message)
    return seconds_of(found[1]) if found else None


def seconds_until_reset(reset: Reset, message: str, unix_now: float) -> float | None:
    """Until there is new quota by the vendor's calendar; None = it is not known.

    A moment that the message names counts ("will reset at 2026-03-10 18:00:00"), in the
    vendor's zone if it names none; else the next midnight there.
    """
    if reset is Reset.UNKNOWN:
        return None
    zone = _zone(reset)
    seconds = sane(_until_moment(message.lower(), zone, unix_now))
    if seconds is not None:
        return seconds
    now = datetime.fromtimestamp(unix_now, zone)
    midnight = datetime(now.year, now.month, now.day, tzinfo=zone) + timedelta(days=1)
    return midnight.timestamp() - unix_now


def _until_moment(message: str, zone: tzinfo, unix_now: float) -> float | None:
    found = _MOMENT.search(message)
    if not found:
        return None
    offset = "+00:00" if found[3] in ("z", "utc") else found[3] or ""
    try:
        moment = datetime.fromisoformat(f"{found[1]} {found[2]}{offset}")
        return (moment if moment.tzinfo else moment.replace(tzinfo=zone)).timestamp() - unix_now
    except (ValueError, OverflowError):
        return None


def sane(seconds: float | None) -> float | None:
    """These seconds, or None when they are nonsense."""
    return seconds if seconds is not None and 0.0 <= seconds <= SECONDS_MAX else None


# --- the limits of a window -----------------------------------------------------------------------


def _windows(
    headers: Mapping[bytes, bytes], unix_now: float
) -> Iterator[tuple[float, float | None]]:
    """For each limit: seconds until it is new, and how much of it remains, None = not said."""
    for name, value in headers.items():
        for prefix in _PREFIXES:
            if not name.startswith(prefix):
                continue
            what = name.removeprefix(prefix)
            if what.startswith(b"reset"):  # x-ratelimit-reset, x-ratelimit-reset-tokens
                other = prefix + b"remaining" + what.removeprefix(b"reset")
            elif what.endswith(b"-reset"):  # anthropic-ratelimit-tokens-reset
                other = prefix + what.removesuffix(b"reset") + b"remaining"
            else:
                continue
            seconds = _until(_text(value), unix_now)
            if seconds is not None:
                yield seconds, _number(_text(headers.get(other, b"")))


def _until(text: str, unix_now: float) -> float | None:
    """Seconds until this: a duration, a number of seconds, a moment as a number or as a date."""
    number = _number(text)
    if number is None:
        seconds = seconds_of(text)
        return seconds if seconds is not None else sane(_until_date(text, unix_now))
    if number >= _MILLISECONDS_FROM:
        number /= 1000
    return sane(number - unix_now if number >= _MOMENTS_FROM else number)


def _until_date(text: str, unix_now: float) -> float | None:
    """A date as in RFC 9110 or in RFC 3339. One just past is now: clocks differ."""
    try:
        moment = datetime.fromisoformat(text) if text[:4].isdigit() else parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        seconds = moment.timestamp() - unix_now
    except (ValueError, TypeError, OverflowError, IndexError, AttributeError):
        return None
    return 0.0 if -_HOUR <= seconds < 0.0 else seconds


def _text(value: bytes) -> str:
    return value.decode("ascii", "replace").strip()[:100]


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


# --- the calendar ---------------------------------------------------------------------------------

# The fixed offsets are for machines without a table of zones: California's winter, so that in
# summer a key comes back an hour late and not an hour early.
_ZONES: dict[Reset, tuple[str, tzinfo]] = {
    Reset.PACIFIC_MIDNIGHT: ("America/Los_Angeles", timezone(timedelta(hours=-8))),
    Reset.CHINA_MIDNIGHT: ("Asia/Shanghai", timezone(timedelta(hours=8))),
}


def _zone(reset: Reset) -> tzinfo:
    if reset not in _ZONES:
        return UTC
    name, offset = _ZONES[reset]
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, OSError, ValueError):
        return offset
