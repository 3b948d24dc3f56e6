"""Rating by tokens."""

from __future__ import annotations

from aipool.rating.types import TOKENS_MAX, TokenPrice, Usage

# Prices are per 1e6 tokens and the multiplier is in parts per 1e6.
_DIVISOR = 1_000_000 * 1_000_000


def rate(usage: Usage, price: TokenPrice, multiplier_ppm: int) -> int:
    """What this usage costs, in nano-yuan, rounded up once.

    multiplier_ppm: the group's; 1_000_000 is list price. One division for the whole
    sum, so neither the order of terms nor a split of one request into many makes it
    cheaper. A usage of zero costs zero.
    """
    input_tokens, cached_tokens, output_tokens, _ = usage
    total = (
        (input_tokens - cached_tokens) * price.input_nano
        + cached_tokens * price.cached_input_nano
        + output_tokens * price.output_nano
    )
    return -(-total * multiplier_ppm // _DIVISOR)


def output_tokens_for(
    budget_nano: int, *, input_tokens: int, price: TokenPrice, multiplier_ppm: int
) -> int:
    """The most output tokens that `budget_nano` pays for after the input is paid.

    The inverse of `rate` for a hold: rate(result) <= budget_nano < rate(result + 1).
    Negative when even the input is not covered; TOKENS_MAX when output is free.
    """
    spendable = budget_nano * _DIVISOR - input_tokens * price.input_nano * multiplier_ppm
    per_token = price.output_nano * multiplier_ppm
    if spendable < 0:
        return -1
    return spendable // per_token if per_token else TOKENS_MAX
