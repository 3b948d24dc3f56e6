"""What usage costs: one function for holds and for settling, and one division a call.

A charge is a sum of lines, a quantity times what a unit of it costs (`lines_of`), times the
group's multiplier, rounded up once. So neither the order of the lines nor a split of one request
into many makes it cheaper, and a bill that names its lines (rating.bill) comes to the same nano.

Nearly every call is of text at a price without extras; `rate` knows that sum by heart.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum
from typing import NamedTuple

from aipool.rating.types import NO_EXTRAS, TOKENS_MAX, Extras, Price, Tier, Units, Usage

#: Prices are per 1e6 tokens and the multiplier is in parts per 1e6.
DIVISOR = 1_000_000 * 1_000_000
#: What makes a price of one thing a price of a million of them.
_ONE = 1_000_000
#: What makes a price of one second, by the millisecond, a price of a million.
_SECOND = 1_000


class Part(StrEnum):
    """What a line of a bill is for."""

    INPUT = "input"
    CACHED_INPUT = "cached_input"
    CACHE_WRITE = "cache_write"
    CACHE_WRITE_LONG = "cache_write_long"
    AUDIO_INPUT = "audio_input"
    IMAGE_INPUT = "image_input"
    OUTPUT = "output"
    AUDIO_OUTPUT = "audio_output"
    IMAGE_OUTPUT = "image_output"
    CALL = "call"
    IMAGE = "image"
    MILLISECOND = "millisecond"
    CHARACTER = "character"


def rate(usage: Usage, price: Price, multiplier_ppm: int) -> int:
    """What this usage costs, in nano-yuan, rounded up once.

    multiplier_ppm: the group's; 1_000_000 is list price. A usage of nothing costs nothing.
    """
    if price.extras is None:
        input_tokens, cached_tokens, output_tokens, _, _ = usage
        total = (
            (input_tokens - cached_tokens) * price.input_nano
            + cached_tokens * price.cached_input_nano
            + output_tokens * price.output_nano
        )
    else:
        total = sum(quantity * per_million for _, quantity, per_million in lines_of(usage, price))
    return -(-total * multiplier_ppm // DIVISOR)


def lines_of(usage: Usage, price: Price) -> Iterator[tuple[Part, int, int]]:
    """What is charged for: (part, quantity, nano-yuan per 1,000,000 of it), without those of which
    nothing was used.

    Parts of the input that together are more than it, as only a broken report has them, are
    charged each in full.
    """
    extras = price.extras or NO_EXTRAS
    units = usage.units or _NO_UNITS
    text = tier_of(price, usage.input_tokens)
    ordinary_input = usage.input_tokens - usage.cached_tokens - _special_input(units)
    ordinary_output = usage.output_tokens - units.audio_output_tokens - units.image_output_tokens
    short = _or(extras.cache_write_nano, text.input_nano)
    for part, quantity, per_million in (
        (Part.INPUT, max(ordinary_input, 0), text.input_nano),
        (Part.CACHED_INPUT, usage.cached_tokens, text.cached_input_nano),
        (Part.CACHE_WRITE, units.cache_write_tokens, short),
        (
            Part.CACHE_WRITE_LONG,
            units.cache_write_long_tokens,
            _or(extras.cache_write_long_nano, short),
        ),
        (
            Part.AUDIO_INPUT,
            units.audio_input_tokens,
            _or(extras.audio_input_nano, text.input_nano),
        ),
        (
            Part.IMAGE_INPUT,
            units.image_input_tokens,
            _or(extras.image_input_nano, text.input_nano),
        ),
        (Part.OUTPUT, max(ordinary_output, 0), text.output_nano),
        (
            Part.AUDIO_OUTPUT,
            units.audio_output_tokens,
            _or(extras.audio_output_nano, text.output_nano),
        ),
        (
            Part.IMAGE_OUTPUT,
            units.image_output_tokens,
            _or(extras.image_output_nano, text.output_nano),
        ),
        (Part.CALL, int(_is_any(usage)), extras.call_nano * _ONE),
        (Part.IMAGE, units.images, extras.image_nano * _ONE),
        (Part.MILLISECOND, units.milliseconds, extras.second_nano * _SECOND),
        (Part.CHARACTER, units.characters, extras.character_nano),
    ):
        if quantity and (per_million or part not in _ONLY_PRICED):
            yield part, quantity, per_million


#: What most prices do not charge for is no line of a bill of nothing.
_ONLY_PRICED = frozenset({Part.CALL, Part.IMAGE, Part.MILLISECOND, Part.CHARACTER})
_NO_UNITS = Units()


def tier_of(price: Price, input_tokens: int) -> Tier:
    """The prices of text for an input of this length: chosen once, for all tokens of the call."""
    found = None
    for tier in (price.extras or NO_EXTRAS).tiers:
        if input_tokens <= tier.above_tokens:
            break
        found = tier
    return found or Tier(0, price.input_nano, price.cached_input_nano, price.output_nano)


class Dearest(NamedTuple):
    """The most that a call can be charged whose input is longer than `above_tokens`: nano-yuan
    per 1,000,000 tokens in and out, and for the call whatever it uses."""

    above_tokens: int
    input_nano: int
    output_nano: int
    call_nano: int


def dearest(price: Price) -> tuple[Dearest, ...]:
    """What must be held at most, by the length of the input; the first is for any input.

    A tier may be cheaper than the one below it; a hold for an input of at most so many tokens
    must cover every shorter one, so that each is at least the one before.
    """
    extras = price.extras or NO_EXTRAS
    found: list[Dearest] = []
    most_in = most_out = 0
    base = Tier(0, price.input_nano, price.cached_input_nano, price.output_nano)
    for tier in (base, *extras.tiers):
        most_in = max(most_in, tier.input_nano, tier.cached_input_nano, *_inputs(extras))
        most_out = max(most_out, tier.output_nano, *_outputs(extras))
        found.append(Dearest(tier.above_tokens, most_in, most_out, extras.call_nano))
    return tuple(found)


def output_tokens_for(
    budget_nano: int, *, input_tokens: int, most: Dearest, multiplier_ppm: int
) -> int:
    """The most output tokens that `budget_nano` pays for after the input is paid.

    The inverse of the worst case of a hold: it is at most budget_nano with so many tokens, and
    above it with one more. Negative when even the input is not covered; TOKENS_MAX when output
    is free.
    """
    _, input_nano, output_nano, call_nano = most
    flat = input_tokens * input_nano + call_nano * _ONE
    spendable = budget_nano * DIVISOR - flat * multiplier_ppm
    per_token = output_nano * multiplier_ppm
    if spendable < 0:
        return -1
    return spendable // per_token if per_token else TOKENS_MAX


def worst_case(most: Dearest, input_tokens: int, output_tokens: int, multiplier_ppm: int) -> int:
    """The most that this many tokens can be charged, in nano-yuan, with the rounding of `rate`."""
    _, input_nano, output_nano, call_nano = most
    total = input_tokens * input_nano + output_tokens * output_nano + call_nano * _ONE
    return -(-total * multiplier_ppm // DIVISOR)


def _is_any(usage: Usage) -> bool:
    return bool(
        usage.input_tokens or usage.output_tokens or (usage.units and usage.units != _NO_UNITS)
    )


def _special_input(units: Units) -> int:
    return (
        units.cache_write_tokens
        + units.cache_write_long_tokens
        + units.audio_input_tokens
        + units.image_input_tokens
    )


def _inputs(extras: Extras) -> tuple[int, ...]:
    return tuple(
        amount
        for amount in (
            extras.cache_write_nano,
            extras.cache_write_long_nano,
            extras.audio_input_nano,
            extras.image_input_nano,
        )
        if amount is not None
    )


def _outputs(extras: Extras) -> tuple[int, ...]:
    wanted = (extras.audio_output_nano, extras.image_output_nano)
    return tuple(amount for amount in wanted if amount is not None)


def _or(amount: int | None, otherwise: int) -> int:
    return otherwise if amount is None else amount
