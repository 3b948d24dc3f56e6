"""The bill is what was charged, line by line."""

from __future__ import annotations

from decimal import Decimal
from fractions import Fraction

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aipool.kit.money import MULTIPLIER_PPM_MAX, PPM, PRICE_NANO_MAX
from aipool.rating.bill import Bill, bill
from aipool.rating.rate import Part, dearest, rate, worst_case
from aipool.rating.types import NO_USAGE, TOKENS_MAX, Extras, Price, Tier, Units, Usage

YUAN = 1_000_000_000
FEW = settings(max_examples=40)

_amounts = st.integers(0, PRICE_NANO_MAX) | st.integers(0, 3)
_maybe = st.none() | _amounts
_counts = st.integers(0, TOKENS_MAX) | st.integers(0, 3)
_multipliers = st.integers(0, MULTIPLIER_PPM_MAX) | st.just(PPM)


@st.composite
def _prices(draw: st.DrawFn) -> Price:
    given_, cached, answered = draw(st.tuples(_amounts, _amounts, _amounts))
    if draw(st.booleans()):
        return Price(1, given_, cached, answered)
    above = sorted(draw(st.sets(st.integers(1, TOKENS_MAX), max_size=3)))
    tiers = tuple(Tier(tokens, *draw(st.tuples(_amounts, _amounts, _amounts))) for tokens in above)
    special = draw(st.tuples(_maybe, _maybe, _maybe, _maybe, _maybe, _maybe))
    others = draw(st.tuples(_amounts, _amounts, _amounts, _amounts))
    extras = dict(zip(Extras.__struct_fields__, (*special, *others, tiers), strict=True))
    return Price(1, given_, cached, answered, Extras(**extras))


@st.composite
def _parts_of(draw: st.DrawFn, whole: int, number: int) -> list[int]:
    """Disjoint parts of a count."""
    parts = []
    for _ in range(number):
        part = draw(st.integers(0, whole))
        parts.append(part)
        whole -= part
    return parts


@st.composite
def _usages(draw: st.DrawFn, *, of_tokens_alone: bool = False) -> Usage:
    incoming, outgoing = draw(_counts), draw(_counts)
    cached, short, long, heard, seen = draw(_parts_of(incoming, 5))
    said, drawn = draw(_parts_of(outgoing, 2))
    made = (0, 0, 0) if of_tokens_alone else draw(st.tuples(*[st.integers(0, 1_000)] * 3))
    units = draw(st.none() | st.just(Units(short, long, heard, seen, said, drawn, *made)))
    return Usage(incoming, cached, outgoing, 0, units)


def by_part(made: Bill) -> dict[Part, tuple[int, int, str, str]]:
    return {line.part: line[1:] for line in made.lines}


@FEW
@given(_usages(), _prices(), _multipliers)
def test_a_bill_comes_to_what_was_charged_with_one_rounding(
    usage: Usage, price: Price, multiplier_ppm: int
) -> None:
    made = bill(usage, price, multiplier_ppm)

    assert made.total_nano == rate(usage, price, multiplier_ppm)
    lines = sum((Fraction(Decimal(line.subtotal)) for line in made.lines), Fraction(0))
    assert lines == Fraction(Decimal(made.list_total))
    exact = lines * YUAN * multiplier_ppm / PPM
    assert exact <= made.total_nano < exact + 1
    for line in made.lines:
        assert line.quantity > 0
        wanted = Fraction(line.quantity) * Fraction(Decimal(line.price)) / line.per
        assert Fraction(Decimal(line.subtotal)) == wanted


@FEW
@given(_usages(), _prices(), _multipliers, st.integers(0, 1_000), st.integers(0, 1_000))
def test_more_of_anything_never_costs_less(
    usage: Usage, price: Price, multiplier_ppm: int, more_output: int, more_images: int
) -> None:
    units = usage.units or Units()
    more = usage._replace(
        output_tokens=usage.output_tokens + more_output,
        units=msgspec.structs.replace(units, images=units.images + more_images),
    )

    assert bill(more, price, multiplier_ppm).total_nano >= (
        bill(usage, price, multiplier_ppm).total_nano
    )


@FEW
@given(_usages(of_tokens_alone=True), _prices(), _multipliers)
def test_the_dearest_covers_every_charge_by_tokens(
    usage: Usage, price: Price, multiplier_ppm: int
) -> None:
    fitting = [most for most in dearest(price) if usage.input_tokens >= most.above_tokens]

    held = worst_case(fitting[-1], usage.input_tokens, usage.output_tokens, multiplier_ppm)

    assert held >= rate(usage, price, multiplier_ppm)


def test_a_bill_of_text_reads_like_one() -> None:
    price = Price(1, 2 * YUAN, YUAN // 2, 8 * YUAN)

    made = bill(Usage(1_000, 400, 10, 5), price, 800_000)

    assert by_part(made) == {
        Part.INPUT: (600, 1_000_000, "2", "0.0012"),
        Part.CACHED_INPUT: (400, 1_000_000, "0.5", "0.0002"),
        Part.OUTPUT: (10, 1_000_000, "8", "0.00008"),
    }
    assert (made.multiplier, made.above_tokens) == ("0.8", 0)
    assert (made.list_total, made.total_nano) == ("0.00148", 1_184_000)


def test_every_unit_has_its_line() -> None:
    extras = Extras(
        cache_write_nano=3 * YUAN,
        cache_write_long_nano=4 * YUAN,
        audio_input_nano=10 * YUAN,
        image_input_nano=5 * YUAN,
        audio_output_nano=20 * YUAN,
        image_output_nano=30 * YUAN,
        call_nano=YUAN // 100,
        image_nano=YUAN // 2,
        second_nano=YUAN // 10,
        character_nano=100 * YUAN,
    )
    price = Price(1, 2 * YUAN, YUAN, 8 * YUAN, extras)
    units = Units(100, 200, 30, 40, 7, 8, images=2, milliseconds=1_500, characters=500)

    made = bill(Usage(1_000, 50, 20, 0, units), price, PPM)

    assert by_part(made) == {
        Part.INPUT: (580, 1_000_000, "2", "0.00116"),
        Part.CACHED_INPUT: (50, 1_000_000, "1", "0.00005"),
        Part.CACHE_WRITE: (100, 1_000_000, "3", "0.0003"),
        Part.CACHE_WRITE_LONG: (200, 1_000_000, "4", "0.0008"),
        Part.AUDIO_INPUT: (30, 1_000_000, "10", "0.0003"),
        Part.IMAGE_INPUT: (40, 1_000_000, "5", "0.0002"),
        Part.OUTPUT: (5, 1_000_000, "8", "0.00004"),
        Part.AUDIO_OUTPUT: (7, 1_000_000, "20", "0.00014"),
        Part.IMAGE_OUTPUT: (8, 1_000_000, "30", "0.00024"),
        Part.CALL: (1, 1, "0.01", "0.01"),
        Part.IMAGE: (2, 1, "0.5", "1"),
        Part.MILLISECOND: (1_500, 1_000, "0.1", "0.15"),
        Part.CHARACTER: (500, 1_000_000, "100", "0.05"),
    }
    assert made.total_nano == rate(Usage(1_000, 50, 20, 0, units), price, PPM) == 1_213_230_000


@pytest.mark.parametrize(
    ("input_tokens", "above", "total_nano"),
    [
        (200_000, 0, 2 * YUAN // 5),
        (200_001, 200_000, 800_004_000),
        (500_001, 500_000, 4_000_008_000),
    ],
)
def test_a_tier_is_chosen_once_for_all_tokens(
    input_tokens: int, above: int, total_nano: int
) -> None:
    tiers = (Tier(200_000, 4 * YUAN, YUAN, 16 * YUAN), Tier(500_000, 8 * YUAN, YUAN, 16 * YUAN))
    price = Price(1, 2 * YUAN, YUAN, 8 * YUAN, Extras(tiers=tiers))

    made = bill(Usage(input_tokens, 0, 0, 0), price, PPM)

    assert (made.above_tokens, made.total_nano) == (above, total_nano)


def test_a_long_cache_write_without_a_price_costs_what_a_short_one_does() -> None:
    price = Price(1, 2 * YUAN, YUAN, 8 * YUAN, Extras(cache_write_nano=3 * YUAN))

    made = bill(Usage(100, 0, 0, 0, Units(cache_write_long_tokens=100)), price, PPM)

    assert by_part(made) == {Part.CACHE_WRITE_LONG: (100, 1_000_000, "3", "0.0003")}


def test_a_call_that_used_nothing_has_a_bill_of_nothing() -> None:
    price = Price(1, YUAN, YUAN, YUAN, Extras(call_nano=YUAN))

    assert bill(NO_USAGE, price, PPM) == Bill((), 0, "1", "0", 0)


def test_a_broken_report_at_a_price_of_text_costs_what_was_charged() -> None:
    price = Price(1, 2 * YUAN, YUAN, 8 * YUAN)
    usage = Usage(10, 0, 5, 0, Units(cache_write_tokens=500, audio_output_tokens=99))

    assert bill(usage, price, PPM).total_nano == rate(usage, price, PPM) == 60_000
