"""Prices side by side: what covers what, whatever units and tiers they have."""

from __future__ import annotations

import random
from typing import Any

from aipool.catalog.comparing import below, highest, is_nothing, large_changes
from aipool.catalog.quoting import AS_TEXT, OTHER
from aipool.catalog.types import same_price
from aipool.rating.rate import rate
from aipool.rating.types import Extras, Price, Tier, Units, Usage

PPM = 1_000_000
TIER = Tier(1_000, 8, 8, 9)


def some_price(chance: random.Random) -> Price:
    """With units and tiers by chance."""

    def amount() -> int:
        return chance.randrange(10) * PPM

    def maybe() -> int | None:
        return chance.choice([None, amount()])

    text = (amount(), amount(), amount())
    tiers = []
    for above in sorted(chance.sample([10, 20, 30, 40], chance.randrange(3))):
        text = (text[0] + amount(), text[1] + amount(), text[2] + amount())
        tiers.append(Tier(above, *text))
    first = (amount(), amount(), amount()) if not tiers else (0, 0, 0)
    own: dict[str, Any] = {f"{unit}_nano": maybe() for unit in AS_TEXT}
    own |= {f"{unit}_nano": amount() for unit in OTHER}
    extras = Extras(**own, tiers=tuple(tiers))
    return Price(0, *first, chance.choice([None, extras]) if not tiers else extras)


def some_usage(chance: random.Random) -> Usage:
    parts = [chance.randrange(3) for _ in range(9)]
    given = sum(parts[:4]) + chance.randrange(50)
    answered = parts[4] + parts[5] + chance.randrange(5)
    return Usage(given, chance.randrange(3) if given > 10 else 0, answered, 0, Units(*parts))


def test_no_call_costs_more_by_any_price_than_by_the_one_that_covers_them() -> None:
    chance = random.Random(7)
    for _ in range(400):
        prices = [some_price(chance) for _ in range(chance.randrange(1, 4))]
        covers = highest(prices)

        assert not [unit for price in prices for unit in below(covers, price)]
        for _ in range(10):
            usage = some_usage(chance)
            assert rate(usage, covers, PPM) >= max(rate(usage, one, PPM) for one in prices)


def test_what_covers_one_price_is_that_price() -> None:
    chance = random.Random(8)
    for _ in range(100):
        price = some_price(chance)

        assert same_price(highest([price]), price)


def test_a_unit_that_is_charged_as_text_is_compared_as_text_in_every_tier() -> None:
    sale = Price(0, 5, 5, 5, Extras(audio_input_nano=5, tiers=(TIER,)))
    cost = Price(0, 5, 5, 5, Extras(tiers=(TIER,)))

    assert list(below(sale, cost)) == ["audio_input above 1000"]
    assert list(below(cost, sale)) == []
    assert list(large_changes(sale, cost)) == ["audio_input above 1000: by +60 %"]


def test_a_long_cache_write_follows_the_short_one() -> None:
    short = Price(0, 1, 1, 1, Extras(cache_write_nano=10))
    both = Price(0, 1, 1, 1, Extras(cache_write_nano=10, cache_write_long_nano=10))

    assert list(large_changes(short, both)) == []
    assert list(below(Price(0, 1, 1, 1), short)) == ["cache_write"]


def test_only_a_price_of_nothing_is_none() -> None:
    nothing, call = Price(0, 0, 0, 0), Price(0, 0, 0, 0, Extras(call_nano=1))

    assert is_nothing(nothing)
    assert not is_nothing(call)
    assert not is_nothing(Price(0, 0, 0, 0, Extras(tiers=(TIER,))))
    assert list(large_changes(nothing, call)) == []
    assert list(large_changes(call, nothing)) == ["call: to zero"]
