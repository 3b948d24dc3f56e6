"""When a vendor says to come again."""

from __future__ import annotations

from datetime import UTC, datetime
from zoneinfo import ZoneInfoNotFoundError

import pytest

from aipool.vendors import retry_after
from aipool.vendors.retry_after import (
    asked_seconds,
    seconds_in_words,
    seconds_of,
    seconds_until_reset,
    window_seconds,
)
from aipool.vendors.types import Reset

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC).timestamp()


@pytest.mark.parametrize(
    ("headers", "seconds"),
    [
        ({}, None),
        ({b"retry-after": b"20"}, 20.0),
        ({b"retry-after": b" 1.5 "}, 1.5),
        ({b"retry-after": b"0"}, 0.0),
        ({b"retry-after": b"20", b"retry-after-ms": b"19850"}, 19.85),
        ({b"retry-after": b"20", b"retry-after-ms": b"soon"}, 20.0),
        ({b"retry-after": b"Tue, 10 Mar 2026 12:00:30 GMT"}, 30.0),
        ({b"retry-after": b"Tue, 10 Mar 2026 11:59:58 GMT"}, 0.0),
        ({b"retry-after": b"Mon, 09 Mar 2026 12:00:00 GMT"}, None),
        ({b"retry-after": b"2026-03-10T12:01:00Z"}, 60.0),
        ({b"retry-after": b"-1"}, None),
        ({b"retry-after": b"nan"}, None),
        ({b"retry-after": b"inf"}, None),
        ({b"retry-after": b"1e12"}, None),
        ({b"retry-after": b"99999999999"}, None),
        ({b"retry-after": b"soon"}, None),
        ({b"retry-after": b"\xff\xfe"}, None),
        ({b"retry-after": b""}, None),
    ],
)
def test_headers_ask_to_wait(headers: dict[bytes, bytes], seconds: float | None) -> None:
    assert asked_seconds(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("requests", "tokens", "seconds"),
    [
        ((b"0", b"20ms"), (b"9", b"6m0s"), 0.02),
        ((b"9", b"8m38.4s"), (b"0", b"1.5s"), 1.5),
        ((b"0", b"2"), (b"0", b"1h2m3s"), 3723.0),
        ((b"9", b"2s"), (b"500", b"6m0s"), 360.0),
        ((b"9", b"23h0m0s"), (b"500", b"1s"), 3600.0),
        ((b"0", b"23h0m0s"), (b"500", b"1s"), 82800.0),
        ((b"0", b"-5s"), (b"9", b"later"), None),
    ],
)
def test_only_a_limit_with_nothing_left_is_waited_for(
    requests: tuple[bytes, bytes], tokens: tuple[bytes, bytes], seconds: float | None
) -> None:
    headers = {
        b"x-ratelimit-remaining-requests": requests[0],
        b"x-ratelimit-reset-requests": requests[1],
        b"x-ratelimit-remaining-tokens": tokens[0],
        b"x-ratelimit-reset-tokens": tokens[1],
        b"x-ratelimit-limit-tokens": b"30000",
    }

    assert window_seconds(headers, NOW) == seconds


@pytest.mark.parametrize(
    ("reset", "seconds"),
    [
        (b"2026-03-10T12:00:38Z", 38.0),
        (b"2026-03-10T20:01:00+08:00", 60.0),
        (b"1773144030", 30.0),
        (b"1773144030000", 30.0),
        (b"30", 30.0),
        (b"1773143000", None),
    ],
)
def test_a_limit_is_new_at_a_moment_or_after_a_while(reset: bytes, seconds: float | None) -> None:
    anthropic = {
        b"anthropic-ratelimit-tokens-remaining": b"0",
        b"anthropic-ratelimit-tokens-reset": reset,
    }
    plain = {b"x-ratelimit-remaining": b"0", b"x-ratelimit-reset": reset}

    assert window_seconds(anthropic, NOW) == seconds
    assert window_seconds(plain, NOW) == seconds


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("6m0s", 360.0),
        ("34.07s", 34.07),
        ("20ms", 0.02),
        ("1h2m", 3720.0),
        ("6 seconds", 6.0),
        ("2 Days", 172800.0),
        ("", None),
        ("s", None),
        ("-3s", None),
        ("400d", None),
        ("1s tomorrow", None),
        ("1m" * 50, None),
    ],
)
def test_durations_are_read(text: str, seconds: float | None) -> None:
    assert seconds_of(text) == seconds


@pytest.mark.parametrize(
    ("message", "seconds"),
    [
        ("limit 3, used 3. please try again in 6m0s. visit …", 360.0),
        ("please retry after 6 seconds. please go here", 6.0),
        ("please try again after 1 seconds", 1.0),
        ("please retry in 25.465784708s.", 25.465784708),
        ("try again later", None),
        ("try again in 3 moons", None),
    ],
)
def test_messages_ask_to_wait(message: str, seconds: float | None) -> None:
    assert seconds_in_words(message) == seconds


@pytest.mark.parametrize(
    ("reset", "message", "hours"),
    [
        (Reset.UTC_MIDNIGHT, "", 12.0),
        (Reset.CHINA_MIDNIGHT, "", 4.0),
        (Reset.PACIFIC_MIDNIGHT, "", 19.0),
        (Reset.CHINA_MIDNIGHT, "Your limit will reset at 2026-03-10 21:30:00", 1.5),
        (Reset.CHINA_MIDNIGHT, "限额将在 2026-03-10 21:30:00 重置", 1.5),
        (Reset.CHINA_MIDNIGHT, "resets at 2026-03-10T15:00:00Z (2056)", 3.0),
        (Reset.UTC_MIDNIGHT, "It will reset at 2026-03-10 22:00:00 +0800 CST", 2.0),
        (Reset.UTC_MIDNIGHT, "You will regain access on 2026-03-11 at 06:00 UTC.", 18.0),
        (Reset.UTC_MIDNIGHT, "last month, on 2026-02-01 00:00:00", 12.0),
        (Reset.UTC_MIDNIGHT, "on 2026-02-31 25:61:00", 12.0),
    ],
)
def test_a_quota_is_new_at_the_moment_told_or_at_midnight_there(
    reset: Reset, message: str, hours: float
) -> None:
    assert seconds_until_reset(reset, message, NOW) == hours * 3600


def test_nobody_knows_when_an_unknown_quota_is_new() -> None:
    assert seconds_until_reset(Reset.UNKNOWN, "at 2026-03-10 21:30:00", NOW) is None


def test_a_day_that_changes_the_clock_has_another_length() -> None:
    before = datetime(2026, 3, 8, 8, tzinfo=UTC).timestamp()  # midnight in California

    assert seconds_until_reset(Reset.PACIFIC_MIDNIGHT, "", before) == 23 * 3600


def test_without_a_table_of_zones_a_quota_is_never_too_early(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def missing(name: str) -> None:
        raise ZoneInfoNotFoundError(name)

    monkeypatch.setattr(retry_after, "ZoneInfo", missing)

    assert seconds_until_reset(Reset.CHINA_MIDNIGHT, "", NOW) == 4 * 3600
    assert seconds_until_reset(Reset.PACIFIC_MIDNIGHT, "", NOW) == 20 * 3600
