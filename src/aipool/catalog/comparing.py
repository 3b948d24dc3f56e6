"""Two prices side by side, unit by unit: what changes much, what lies below what, what covers both.

A unit without a price of its own costs what text of its direction does, in each tier anew. So
prices are compared by what is charged in the end, at the lowest length and above every bound of a
tier of either, and not by what is written in them.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from aipool.catalog.quoting import AS_TEXT, OTHER, TEXT, UNITS
from aipool.catalog.rules import checked_price
from aipool.rating.rate import tier_of
from aipool.rating.types import NO_EXTRAS, Extras, Price, Tier

_PER_CENT_MAX = 30


def own_amounts(price: Price) -> dict[str, int]:
    """Every amount by its unit, without tiers; what costs as text does is left out."""
    extras = price.extras or NO_EXTRAS
    own = {unit: getattr(price, f"{unit}_nano") for unit in TEXT}
    own |= {unit: getattr(extras, f"{unit}_nano") for unit in (*AS_TEXT, *OTHER)}
    return {unit: nano for unit, nano in own.items() if nano is not None}


def is_nothing(price: Price) -> bool:
    """Does it charge for nothing at all?"""
    return not any(own_amounts(price).values()) and not (price.extras or NO_EXTRAS).tiers


def large_changes(before: Price, after: Price) -> Iterator[str]:
    """What becomes nothing, changes by more than 30 %, or is charged for that was not, in words.

    A price of nothing is none yet: the first one changes nothing.
    """
    first = is_nothing(before)
    named = own_amounts(before)
    for name, unit, was, will_be in _side_by_side(before, after):
        if was == will_be or (not was and first):
            continue
        if not will_be:
            yield f"{name}: to zero"
        elif not was:
            yield f"{name}: new"
        elif abs(will_be - was) * 100 > was * _PER_CENT_MAX:
            yield f"{name}: by {(will_be - was) * 100 // was:+d} %"
        elif unit not in named:
            yield f"{name}: new"


def below(sale: Price, cost: Price) -> Iterator[str]:
    """The units of which less is taken than they cost."""
    for name, _, taken, costs in _side_by_side(sale, cost):
        if taken < costs:
            yield name


def highest(prices: Sequence[Price]) -> Price:
    """The lowest price that is below none of these, in no unit and no tier; of one, that one.
    Raises Invalid when it would have too many tiers."""
    bounds = _bounds(prices)
    most = {
        above: {unit: max(_charged(price, above)[unit] for price in prices) for unit in UNITS}
        for above in bounds
    }
    named = {unit for price in prices for unit in own_amounts(price)}
    others: dict[str, Any] = {
        f"{unit}_nano": max(most[above][unit] for above in bounds)
        for unit in (*AS_TEXT, *OTHER)
        if unit in named
    }
    tiers = tuple(Tier(above, *(most[above][unit] for unit in TEXT)) for above in bounds if above)
    extras = Extras(**others, tiers=tiers)
    given, cached, answered = (most[0][unit] for unit in TEXT)
    made = Price(0, given, cached, answered, None if extras == NO_EXTRAS else extras)
    return checked_price(made)


def _side_by_side(one: Price, other: Price) -> Iterator[tuple[str, str, int, int]]:
    """(name, unit, of the one, of the other) for every unit that either has a price of. Above the
    bound of a tier only what is another than without it."""
    named = own_amounts(one) | own_amounts(other)
    first: dict[str, tuple[int, int]] = {}
    for above in _bounds((one, other)):
        of_one, of_other = _charged(one, above), _charged(other, above)
        for unit in UNITS:
            both = of_one[unit], of_other[unit]
            if unit not in named or (first.setdefault(unit, both) == both and above):
                continue
            yield f"{unit} above {above}" if above else unit, unit, *both


def _bounds(prices: Iterable[Price]) -> list[int]:
    """Lengths of input above which any of these may charge otherwise, 0 first."""
    tiers = (tier for price in prices for tier in (price.extras or NO_EXTRAS).tiers)
    return sorted({0, *(tier.above_tokens for tier in tiers)})


def _charged(price: Price, above_tokens: int) -> dict[str, int]:
    """What every unit costs in a call with more input than this, as rating charges it."""
    own, text = own_amounts(price), tier_of(price, above_tokens + 1)
    charged: dict[str, int] = {unit: getattr(text, f"{unit}_nano") for unit in TEXT}
    for unit in AS_TEXT:
        charged[unit] = own.get(unit, charged["output" if "output" in unit else "input"])
    if "cache_write_long" not in own:
        charged["cache_write_long"] = charged["cache_write"]
    return charged | {unit: own[unit] for unit in OTHER}
