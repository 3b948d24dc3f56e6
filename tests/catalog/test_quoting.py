"""Prices as people write them."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

import pytest

from aipool.catalog.quoting import IN_CNY, UNITS, Exchange, amounts_of, exchange, price_of
from aipool.catalog.types import TYPED
from aipool.kit.errors import Invalid
from aipool.rating.types import Extras, Price, Tier

YUAN = 1_000_000_000
DAY = "2026-11-22"
DOLLAR = Exchange("USD", Decimal("7.123456789"), DAY)


def test_text_in_yuan_is_exact_and_has_no_extras() -> None:
    price, quote = price_of({"input": "2", "output": "8.000000001"})

    assert price == Price(0, 2 * YUAN, 2 * YUAN, 8 * YUAN + 1)
    assert quote == TYPED


def test_every_unit_is_read_and_written_back() -> None:
    amounts = {unit: str(number) for number, unit in enumerate(UNITS, start=1)}
    tiers = [{"above_tokens": 200, "input": "5", "cached_input": None, "output": "6"}]

    price, _ = price_of(amounts, tiers)

    assert price.extras is not None
    assert price.extras.character_nano == len(UNITS) * YUAN
    assert price.extras.tiers == (Tier(200, 5 * YUAN, 5 * YUAN, 6 * YUAN),)
    written = amounts_of(price)
    assert written.pop("tiers") == [
        {"above_tokens": 200, "input": "5", "cached_input": "5", "output": "6"}
    ]
    assert written == amounts


def test_dollars_become_yuan_rounded_up_and_are_kept_as_they_were() -> None:
    price, quote = price_of(
        {"input": "0.000000001", "output": "0.3333333333", "image": None, "call": "0"},
        exchange=DOLLAR,
        source="a list",
    )

    assert (price.input_nano, price.output_nano) == (8, 2_374_485_597)
    assert price.extras is None
    assert (quote.currency, quote.rate, quote.rate_on) == ("USD", "7.123456789", DAY)
    assert quote.amounts == {"input": "0.000000001", "output": "0.3333333333", "call": "0"}
    assert quote.source == "a list"


def test_a_price_of_nothing_for_a_cache_write_is_one() -> None:
    price, _ = price_of({"input": "1", "output": "1", "cache_write": "0"})

    assert price.extras == Extras(cache_write_nano=0)
    assert amounts_of(price)["cache_write"] == "0"


@pytest.mark.parametrize(
    ("amounts", "field"),
    [
        ({"input": "1e3"}, "input"),
        ({"output": "-1"}, "output"),
        ({"call": "1000001"}, "call"),
        ({"colour": "1"}, "colour"),
        ({"input": "0.0000000001"}, "input"),
    ],
)
def test_no_amount_is_refused_by_its_unit(amounts: dict[str, str | None], field: str) -> None:
    with pytest.raises(Invalid) as caught:
        price_of(amounts)
    assert caught.value.field == field


@pytest.mark.parametrize("amount", ["1e3", "-1", "", "9" * 10, "٣"])
def test_no_amount_of_dollars_is_refused(amount: str) -> None:
    with pytest.raises(Invalid):
        price_of({"input": amount}, exchange=DOLLAR)


def test_another_currency_needs_a_rate_and_its_day() -> None:
    assert exchange("CNY", None, "") == IN_CNY
    assert exchange("USD", "7.123456789", DAY) == DOLLAR
    wrong: tuple[tuple[Any, ...], ...] = (
        ("USD", None, DAY, "rate"),
        ("USD", "0", DAY, "rate"),
        ("USD", "10001", DAY, "rate"),
        ("USD", "7", "22.11.2026", "rate_on"),
        ("usd", "7", DAY, "currency"),
        ("CNY", "7", DAY, "rate"),
    )
    for currency, rate, on, field in wrong:
        with pytest.raises(Invalid) as caught:
            exchange(currency, rate, on)
        assert caught.value.field == field
