"""When something ends, as a person writes it."""

from __future__ import annotations

import pytest

from aipool.kit.errors import Invalid
from aipool.kit.expiry import moment, moment_or_days


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("never", 0),
        ("Never", 0),
        ("", 0),
        ("1970-01-01", 86_400),
        ("2027-01-31", 1_801_440_000),
        ("2027-01-31T00:00:00Z", 1_801_353_600),
        ("2027-01-31 00:00:00", 1_801_353_600),
        ("2027-01-31T08:00:00+08:00", 1_801_353_600),
    ],
)
def test_a_date_means_its_end_and_a_moment_itself(text: str, seconds: int) -> None:
    assert moment(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        *("tomorrow", "2027-02-30", "31.01.2027", "9999999999", "0001-01-01", "9999-12-31"),
        # The next day in UTC, which no date names.
        "9999-12-31T23:59:59-23:59",
    ],
)
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        moment(text)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("+7d", 1_604_800), ("30 days", 3_592_000), ("1 Day", 1_086_400), ("never", 0)],
)
def test_days_are_counted_from_now(text: str, seconds: int) -> None:
    assert moment_or_days(text, 1_000_000) == seconds


@pytest.mark.parametrize("text", ["-7d", "7", "d", "7 weeks", "7.5d"])
def test_other_spans_are_refused(text: str) -> None:
    with pytest.raises(Invalid):
        moment_or_days(text, 1_000_000)
