"""The words of rating: what was used, and what a unit of it costs."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

#: No answer of any vendor comes near this; a count above it is a broken report.
TOKENS_MAX = 100_000_000


class Usage(NamedTuple):
    """Tokens of one call. `cached_tokens` is part of `input_tokens`, `reasoning_tokens`
    part of `output_tokens`; every count lies between 0 and TOKENS_MAX."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int


NO_USAGE = Usage(0, 0, 0, 0)


class TokenPrice(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One version of a price, in nano-yuan per 1,000,000 tokens.

    id: the version's row in the catalogue; a version never changes once written, so a
    call that names it can be rated again at any time. 0 for a price that is not stored.
    """

    id: int
    input_nano: int
    cached_input_nano: int
    output_nano: int
