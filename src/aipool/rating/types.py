"""The words of rating: what was used, and what a unit of it costs."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

#: No answer of any vendor comes near this; a count above it is a broken report.
TOKENS_MAX = 100_000_000
#: The same for images, for milliseconds of sound or film (an hour), and for characters.
IMAGES_MAX = 1_000
MILLISECONDS_MAX = 3_600_000
CHARACTERS_MAX = 100_000_000


class Units(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a call used besides ordinary tokens of text.

    cache_write_tokens, cache_write_long_tokens: part of the input, written to the vendor's cache
    for minutes, or for an hour.  audio_input_tokens, image_input_tokens: part of the input.
    audio_output_tokens, image_output_tokens: part of the output.  The parts of the input, cached
    tokens among them, are disjoint.
    images, milliseconds, characters: what was made or read, where the vendor counts by them.
    """

    cache_write_tokens: int = 0
    cache_write_long_tokens: int = 0
    audio_input_tokens: int = 0
    image_input_tokens: int = 0
    audio_output_tokens: int = 0
    image_output_tokens: int = 0
    images: int = 0
    milliseconds: int = 0
    characters: int = 0


class Usage(NamedTuple):
    """What one call used. `cached_tokens` is part of `input_tokens`, `reasoning_tokens` part of
    `output_tokens`; every count lies between 0 and TOKENS_MAX. units: None = nothing else."""

    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    units: Units | None = None


NO_USAGE = Usage(0, 0, 0, 0)


class Tier(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Other prices of text for calls whose input is longer than `above_tokens`, all tokens of
    them; in nano-yuan per 1,000,000."""

    above_tokens: int
    input_nano: int
    cached_input_nano: int
    output_nano: int


class Extras(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a price says besides text in and out. None = as ordinary tokens of that direction;
    a long cache write without a price costs what a short one does.

    *_tokens' prices: nano-yuan per 1,000,000.  call_nano: for a call that used anything.
    image_nano: for one.  second_nano: for one, by the millisecond.  character_nano: per
    1,000,000.  tiers: rising by above_tokens; the last one that the input is longer than counts.
    """

    cache_write_nano: int | None = None
    cache_write_long_nano: int | None = None
    audio_input_nano: int | None = None
    image_input_nano: int | None = None
    audio_output_nano: int | None = None
    image_output_nano: int | None = None
    call_nano: int = 0
    image_nano: int = 0
    second_nano: int = 0
    character_nano: int = 0
    tiers: tuple[Tier, ...] = ()


NO_EXTRAS = Extras()


class Price(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One version of a price, in nano-yuan per 1,000,000 tokens.

    id: the version's row in the catalogue; a version never changes once written, so a
    call that names it can be rated again at any time. 0 for a price that is not stored.
    extras: None = it is charged by tokens of text alone, as most models are.
    """

    id: int
    input_nano: int
    cached_input_nano: int
    output_nano: int
    extras: Extras | None = None
