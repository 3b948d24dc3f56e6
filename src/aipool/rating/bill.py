"""The bill of a call: the same sum as `rating.rate`, with its lines.

A line is a quantity times what so many of them cost, exact; the lines together, times the group's
multiplier, rounded up once, are what was charged. Nothing else is rounded, so whoever adds the
lines up comes to the same nano.
"""

from __future__ import annotations

from decimal import Decimal, localcontext
from typing import NamedTuple

from aipool.kit.money import format_cny, format_multiplier
from aipool.rating.rate import DIVISOR, Part, lines_of, tier_of
from aipool.rating.types import Price, Usage

_MILLION = 1_000_000
#: A millionth of a nano-yuan is 1e-15 CNY.
_EXPONENT = -15
#: What a price is the price of, where it is not 1,000,000: a call, an image, a second.
_PER = {Part.CALL: 1, Part.IMAGE: 1, Part.MILLISECOND: 1_000}
#: More digits than any sum has: 1e8 tokens at ¥1e6 per million, to 1e-15.
_DIGITS = 60


class Line(NamedTuple):
    """One line. price: what `per` of them cost, in CNY.  subtotal: quantity × price / per, in CNY,
    exact, at list price. Both decimal texts."""

    part: Part
    quantity: int
    per: int
    price: str
    subtotal: str


class Bill(NamedTuple):
    """above_tokens: of the tier that was used, 0 = the first.  multiplier: the group's, as decimal
    text.  list_total: the sum of the lines, exact.  total_nano: the sum times the multiplier,
    rounded up."""

    lines: tuple[Line, ...]
    above_tokens: int
    multiplier: str
    list_total: str
    total_nano: int


def bill(usage: Usage, price: Price, multiplier_ppm: int) -> Bill:
    """The bill of this usage; its total is what `rate` gives, to the last nano."""
    if price.extras is None:
        # Such a price knows tokens of text alone, and so does `rate`.
        usage = usage._replace(units=None)
    found = tuple(lines_of(usage, price))
    total = sum(quantity * per_million for _, quantity, per_million in found)
    return Bill(
        tuple(_line(*line) for line in found),
        tier_of(price, usage.input_tokens).above_tokens,
        format_multiplier(multiplier_ppm),
        _exact(total),
        -(-total * multiplier_ppm // DIVISOR),
    )


def _line(part: Part, quantity: int, per_million: int) -> Line:
    per = _PER.get(part, _MILLION)
    return Line(
        part,
        quantity,
        per,
        format_cny(per_million * per // _MILLION),
        _exact(quantity * per_million),
    )


def _exact(millionths_of_nano: int) -> str:
    """An amount in CNY as decimal text, without a rounding and without zeros at its end."""
    with localcontext() as exact:
        exact.prec = _DIGITS
        amount = Decimal(millionths_of_nano).scaleb(_EXPONENT)
        text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
