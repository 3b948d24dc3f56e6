"""Amounts meet text in two places, and nothing is lost in either direction."""

from __future__ import annotations

import ast
from decimal import Decimal
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import aipool
from aipool.kit.money import (
    AMOUNT_NANO_MAX,
    MULTIPLIER_PPM_MAX,
    MoneyError,
    format_cny,
    format_multiplier,
    parse_cny,
    parse_multiplier,
)


@pytest.mark.parametrize(
    ("text", "nano"),
    [
        ("0", 0),
        ("12", 12_000_000_000),
        (12, 12_000_000_000),
        ("0.15", 150_000_000),
        (".5", 500_000_000),
        ("-3.000000001", -3_000_000_001),
        ("0.000000001", 1),
        ("1.100000000000", 1_100_000_000),
        ("9223372036.854775807", 2**63 - 1),
    ],
)
def test_an_amount_is_read_exactly(text: str | int, nano: int) -> None:
    assert parse_cny(text) == nano


@pytest.mark.parametrize(
    "text",
    [
        *("", "-", ".", "1.2.3", "--1", "+1", "1-", "1e3", "0x1", "1_000", "1,5", " 1", "1 "),
        "1\n",
        *("NaN", "Infinity", "-inf", "１２", "٣", "¥1", "0.0000000001", "1" * 41, 1.5, True, None),
        # With more digits than a decimal keeps in a product.
        *("999999." + "9" * 32, "0.000000001" + "0" * 27 + "9", "-1." + "0" * 36 + "1"),
    ],
)
def test_what_is_no_amount_is_refused(text: object) -> None:
    with pytest.raises(MoneyError):
        parse_cny(text)  # type: ignore[arg-type]


@given(st.integers(-(2**63), 2**63 - 1))
def test_an_amount_survives_its_text(nano: int) -> None:
    text = format_cny(nano)

    assert parse_cny(text) == nano
    assert Decimal(text) * 10**9 == nano
    assert "." not in text or not text.endswith(("0", "."))


@given(st.integers(0, MULTIPLIER_PPM_MAX))
def test_a_multiplier_survives_its_text(ppm: int) -> None:
    assert parse_multiplier(format_multiplier(ppm)) == ppm


@pytest.mark.parametrize(
    "text",
    ["-0.1", "100.000001", "1000", "0.0000001", "x", "0." + "9" * 38, "-0." + "0" * 30 + "1"],
)
def test_a_multiplier_outside_its_range_is_refused(text: str) -> None:
    with pytest.raises(MoneyError):
        parse_multiplier(text)


def test_the_largest_amount_is_far_from_the_end_of_its_column() -> None:
    assert AMOUNT_NANO_MAX * 9_000 < 2**63


@pytest.mark.parametrize(
    "path", ["kit/money.py", "rating/rate.py", "rating/types.py", "ledger/core.py"]
)
def test_no_float_reaches_money(path: str) -> None:
    source = Path(aipool.__file__).parent / path

    for node in ast.walk(ast.parse(source.read_text("utf-8"))):
        assert not (isinstance(node, ast.Constant) and isinstance(node.value, float)), path
        assert not (isinstance(node, ast.Name) and node.id == "float"), path
        assert not isinstance(node, ast.Div), f"{path}: / makes a float"
