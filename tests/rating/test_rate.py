"""What usage costs: never nothing for something, never cheaper in pieces, never above its hold."""

from __future__ import annotations

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from aipool.kit.money import MULTIPLIER_PPM_MAX, PRICE_NANO_MAX
from aipool.rating.rate import dearest, output_tokens_for, rate, worst_case
from aipool.rating.types import NO_USAGE, TOKENS_MAX, Price, Usage

PPM = 1_000_000

_amounts = st.integers(0, PRICE_NANO_MAX) | st.integers(0, 3)
_prices = st.builds(Price, st.just(1), _amounts, _amounts, _amounts)
_multipliers = st.integers(0, MULTIPLIER_PPM_MAX) | st.just(PPM)
_counts = st.integers(0, TOKENS_MAX) | st.integers(0, 3)


@st.composite
def _usages(draw: st.DrawFn) -> Usage:
    incoming, outgoing = draw(_counts), draw(_counts)
    return Usage(incoming, draw(st.integers(0, incoming)), outgoing, draw(st.integers(0, outgoing)))


def _exact(usage: Usage, price: Price, multiplier_ppm: int) -> Fraction:
    cost = (
        (usage.input_tokens - usage.cached_tokens) * price.input_nano
        + usage.cached_tokens * price.cached_input_nano
        + usage.output_tokens * price.output_nano
    )
    return Fraction(cost * multiplier_ppm, 10**12)


def test_a_known_bill() -> None:
    price = Price(1, 2_000_000_000, 500_000_000, 8_000_000_000)

    assert rate(Usage(1000, 400, 10, 5), price, PPM) == 600 * 2_000 + 400 * 500 + 10 * 8_000
    assert rate(Usage(1000, 400, 10, 5), price, 800_000) == 1_184_000
    assert rate(Usage(1, 0, 0, 0), Price(1, 1, 1, 1), PPM) == 1, "rounded up, never to nothing"


@given(_usages(), _prices, _multipliers)
def test_a_charge_is_exact_but_for_less_than_a_nano_upwards(
    usage: Usage, price: Price, multiplier_ppm: int
) -> None:
    exact = _exact(usage, price, multiplier_ppm)

    assert exact <= rate(usage, price, multiplier_ppm) < exact + 1


@given(_prices, _multipliers)
def test_nothing_costs_nothing(price: Price, multiplier_ppm: int) -> None:
    assert rate(NO_USAGE, price, multiplier_ppm) == 0


@given(_usages(), _prices, _multipliers, st.integers(0, 1000), st.integers(0, 1000))
def test_more_tokens_never_cost_less(
    usage: Usage, price: Price, multiplier_ppm: int, more_input: int, more_output: int
) -> None:
    more = usage._replace(
        input_tokens=usage.input_tokens + more_input,
        output_tokens=usage.output_tokens + more_output,
    )

    assert rate(more, price, multiplier_ppm) >= rate(usage, price, multiplier_ppm) >= 0


@given(_usages(), _prices, _multipliers, st.tuples(_amounts, _amounts, _amounts), _multipliers)
def test_a_higher_price_never_costs_less(
    usage: Usage,
    price: Price,
    multiplier_ppm: int,
    more: tuple[int, int, int],
    more_ppm: int,
) -> None:
    dearer = Price(
        1,
        price.input_nano + more[0],
        price.cached_input_nano + more[1],
        price.output_nano + more[2],
    )

    assert rate(usage, dearer, multiplier_ppm + more_ppm) >= rate(usage, price, multiplier_ppm)


@given(st.lists(_usages(), min_size=1, max_size=6), _prices, _multipliers)
def test_one_request_in_pieces_is_never_cheaper(
    pieces: list[Usage], price: Price, multiplier_ppm: int
) -> None:
    whole = Usage(
        sum(piece.input_tokens for piece in pieces),
        sum(piece.cached_tokens for piece in pieces),
        sum(piece.output_tokens for piece in pieces),
        0,
    )

    assert sum(rate(piece, price, multiplier_ppm) for piece in pieces) >= rate(
        whole, price, multiplier_ppm
    )


@settings(max_examples=300)
@given(st.integers(0, 10**16), st.integers(0, 10**6), _prices, st.integers(1, MULTIPLIER_PPM_MAX))
def test_what_a_budget_pays_for_fits_and_one_token_more_does_not(
    budget_nano: int, input_tokens: int, price: Price, multiplier_ppm: int
) -> None:
    (most,) = dearest(price)
    tokens = output_tokens_for(
        budget_nano, input_tokens=input_tokens, most=most, multiplier_ppm=multiplier_ppm
    )

    def cost(output_tokens: int) -> int:
        return worst_case(most, input_tokens, output_tokens, multiplier_ppm)

    if tokens < 0:
        assert cost(0) > budget_nano
    else:
        assert cost(tokens) <= budget_nano
        assert not price.output_nano or cost(tokens + 1) > budget_nano
