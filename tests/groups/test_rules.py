"""Which numbers may limit calls."""

from __future__ import annotations

import pytest

from aipool.groups.rules import call_limit
from aipool.kit.errors import Invalid


@pytest.mark.parametrize("number", [1, 60, 1_000_000_000])
def test_a_whole_number_is_a_limit(number: int) -> None:
    assert call_limit(str(number)) == number


def test_none_is_no_limit() -> None:
    assert call_limit("none") is None


@pytest.mark.parametrize(
    "text",
    ["None", "-1", "1.0", "1e3", "true", "", " 1", "1_0", "010", "00", "１０", "²", "1000000001"],
)
def test_anything_else_is_refused_with_what_is_allowed(text: str) -> None:
    with pytest.raises(Invalid, match="a whole number from 1 to 1000000000"):
        call_limit(text)


def test_zero_is_refused_with_what_to_do_instead() -> None:
    with pytest.raises(Invalid, match=r"write none for no limit.* disable the token"):
        call_limit("0")


def test_a_number_without_end_is_refused_in_a_short_line() -> None:
    with pytest.raises(Invalid) as caught:
        call_limit("9" * 100_000)

    assert len(str(caught.value)) < 200
