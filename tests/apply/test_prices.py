"""Prices in a file: every unit, tiers, other currencies, and what is free."""

from __future__ import annotations

import pytest

from aipool.apply.document import read_document
from aipool.apply.entries import ModelEntry
from aipool.apply.nodes import ApplyRefused
from aipool.catalog.quoting import amounts_of
from aipool.catalog.types import NOT_SAID, TYPED

FILE = """
models:
  - name: m1
    kind: {kind}
    maker: Somebody
    abilities: [vision]
    price: {price}
    routes:
      - {{vendor: mm, cost: {cost}}}
"""


def read(price: str, kind: str = "chat", cost: str = "{input: 1, output: 4}") -> ModelEntry:
    return read_document(FILE.format(price=price, kind=kind, cost=cost), {}).models[0]


def test_every_unit_and_tiers_may_be_written() -> None:
    model = read(
        "{input: 2, output: 8, call: 0.01, cache_write: 3, tiers: "
        "[{above_tokens: 1000, input: 4, output: 9}]}"
    )

    shown = amounts_of(model.price)
    assert (shown["call"], shown["cache_write"]) == ("0.01", "3")
    assert shown["tiers"][0] == {
        "above_tokens": 1000,
        "input": "4",
        "cached_input": "4",
        "output": "9",
    }
    assert model.said == {"maker": "Somebody", "abilities": ("vision",)}
    assert not model.free


def test_a_model_that_is_not_sold_by_the_token_says_nothing_of_tokens() -> None:
    assert amounts_of(read("{image: 0.2}", "image").price)["image"] == "0.2"
    with pytest.raises(ApplyRefused, match="says nothing of second or call"):
        read("{image: 0.2}", "video")


def test_a_written_zero_is_meant() -> None:
    assert read("{input: 0, output: 0}").free
    assert read("{input: 0, output: 0, call: 0.01}").free
    with pytest.raises(ApplyRefused, match="input"):
        read("{output: 0}")


def test_a_written_cost_of_nothing_is_typed_and_one_that_is_left_out_is_not_said() -> None:
    written = read("{input: 2, output: 8}", cost="{input: 0, output: 0}").routes[0]
    left_out = FILE.replace(", cost: {cost}", "").format(price="{input: 2, output: 8}", kind="chat")

    assert written.cost_quote == TYPED
    assert read_document(left_out, {}).models[0].routes[0].cost_quote == NOT_SAID


def test_a_cost_in_another_currency_has_its_rate_and_day() -> None:
    cost = "{input: 0.5, output: 1, currency: USD, rate: 7.1, rate_on: 2026-11-22}"

    (route,) = read("{input: 9, output: 9}", cost=cost).routes

    assert amounts_of(route.cost)["output"] == "7.1"
    assert (route.cost_quote.rate, route.cost_quote.rate_on) == ("7.1", "2026-11-22")
    for wrong, said in (
        (cost.replace("rate: 7.1, ", ""), "cost.rate"),
        (cost.replace("2026-11-22", "soon"), "cost.rate_on"),
        (cost.replace("output: 1", "output: x"), "cost.output"),
    ):
        with pytest.raises(ApplyRefused, match=said):
            read("{input: 9, output: 9}", cost=wrong)
