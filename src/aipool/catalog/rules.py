"""Decisions about the catalogue: what a model may be called and what it may cost."""

from __future__ import annotations

import re

from aipool.catalog.types import MODEL_TOKENS_MAX, About, Kind, Model
from aipool.kit.errors import Invalid
from aipool.kit.kinds import SECONDS
from aipool.kit.money import PRICE_NANO_MAX, format_cny, parse_cny
from aipool.kit.names import NAME_CHARACTERS_MAX
from aipool.rating.types import NO_EXTRAS, Price

#: What stands in URLs and in clients' code: no blanks, no quotes.
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}", re.ASCII)
_DIGITS_MAX = 20
#: More than any vendor has; each is looked at for every call of the model.
TIERS_MAX = 10
DESCRIPTION_CHARACTERS_MAX = 2_000
#: More abilities, endpoints or parameters than anybody would read.
WORDS_MAX = 50

#: Nobody waits longer for an answer to go on.
TIMEOUT_SECONDS_MAX = 3600.0
#: Not even a server next door answers sooner.
TIMEOUT_SECONDS_LEAST = 0.1


def model_name(text: str) -> str:
    """The name, if a model may have it; raises Invalid."""
    if not _MODEL_NAME.fullmatch(text):
        raise Invalid(
            "invalid_name",
            f"{text!r}: a model's name is of letters, digits and . _ : / @ + -",
            field="name",
            params={"given": text},
        )
    return text


def kind(text: str) -> Kind:
    """What a model does; raises Invalid for a word that is none."""
    try:
        return Kind(text)
    except ValueError:
        kinds = ", ".join(Kind)
        raise Invalid(
            "invalid_kind",
            f"{text!r} is not supported; there is: {kinds}",
            field="kind",
            params={"given": text, "allowed": kinds},
        ) from None


def yes_or_no(text: str) -> bool:
    """A switch; raises Invalid."""
    if text not in ("true", "false"):
        raise Invalid("invalid_switch", f"{text!r}: write true or false", params={"given": text})
    return text == "true"


def timeout_seconds(text: str) -> float | None:
    """How long is waited, in seconds, None for `none`; raises Invalid."""
    if text == "none":
        return None
    try:
        seconds = float(SECONDS.read(text))
    except ValueError:
        seconds = 0.0
    if not TIMEOUT_SECONDS_LEAST <= seconds <= TIMEOUT_SECONDS_MAX:
        raise Invalid(
            "invalid_timeout",
            f"{text!r}: seconds from {TIMEOUT_SECONDS_LEAST} to {TIMEOUT_SECONDS_MAX:g}, or none",
            field="timeouts",
            params={
                "given": text,
                "least": TIMEOUT_SECONDS_LEAST,
                "most": f"{TIMEOUT_SECONDS_MAX:g}",
            },
        )
    return seconds


def token_count(text: str) -> int:
    """A context or an output cap, in tokens; raises Invalid."""
    whole = text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX
    if not whole or not 1 <= int(text) <= MODEL_TOKENS_MAX:
        raise Invalid(
            "invalid_tokens",
            f"{text!r}: a whole number of tokens from 1 to {MODEL_TOKENS_MAX}",
            params={"given": text, "least": 1, "most": MODEL_TOKENS_MAX},
        )
    return int(text)


def price_nano(text: str) -> int:
    """A price in CNY per 1,000,000 tokens as nano; raises Invalid or MoneyError."""
    return checked_amount(parse_cny(text), text)


def checked_amount(nano: int, text: str) -> int:
    """The amount, if a price may have it; raises Invalid. text: as it was written."""
    if not 0 <= nano <= PRICE_NANO_MAX:
        raise Invalid(
            "price_out_of_range",
            f"a price per 1M tokens lies between 0 and {format_cny(PRICE_NANO_MAX)} CNY, "
            f"not {text}",
            field="price",
            params={"least": 0, "most": format_cny(PRICE_NANO_MAX), "given": text},
        )
    return nano


def checked_price(price: Price) -> Price:
    """The price, if its tiers rise: by the length of the input, and none cheaper than the one
    before it, or a long request would cost less than a short one. Raises Invalid."""
    tiers = (price.extras or NO_EXTRAS).tiers
    if len(tiers) > TIERS_MAX:
        raise Invalid(
            "too_many_tiers",
            f"a price has at most {TIERS_MAX} tiers",
            field="tiers",
            params={"most": TIERS_MAX},
        )
    above = 0
    before = (price.input_nano, price.cached_input_nano, price.output_nano)
    for place, tier in enumerate(tiers):
        field = f"tiers.{place}"
        if not above < tier.above_tokens <= MODEL_TOKENS_MAX:
            raise Invalid(
                "tiers_not_rising",
                "each tier begins above more tokens than the one before it",
                field=f"{field}.above_tokens",
            )
        now = (tier.input_nano, tier.cached_input_nano, tier.output_nano)
        for name, was, is_now in zip(("input", "cached_input", "output"), before, now, strict=True):
            if is_now < was:
                raise Invalid(
                    "tier_cheaper",
                    f"a tier is at least as dear as the one before it: {format_cny(is_now)} is "
                    f"less than {format_cny(was)}",
                    field=f"{field}.{name}",
                    params={"price": format_cny(is_now), "before": format_cny(was)},
                )
        above, before = tier.above_tokens, now
    return price


def unpriced(kind: Kind, price: Price) -> str:
    """What such a model can use and this price does not charge for, in words; "" = nothing.

    Where a kind may be charged by one unit or by another, one of them is enough.
    """
    extras = price.extras or NO_EXTRAS
    by = {
        "input": price.input_nano,
        "output": price.output_nano,
        "call": extras.call_nano,
        "image": extras.image_nano,
        "image_output": extras.image_output_nano,
        "audio_input": extras.audio_input_nano,
        "audio_output": extras.audio_output_nano,
        "second": extras.second_nano,
        "character": extras.character_nano,
    }
    missing = [
        " or ".join(units) for units in _UNITS_OF[kind] if not any(by[unit] for unit in units)
    ]
    return " and ".join(missing)


#: Each line must be priced, by one of its units.
_UNITS_OF: dict[Kind, tuple[tuple[str, ...], ...]] = {
    Kind.CHAT: (("input",), ("output",)),
    Kind.EMBEDDING: (("input",),),
    Kind.IMAGE: (("image", "image_output", "output", "call"),),
    Kind.AUDIO: (
        ("second", "character", "input", "output", "audio_input", "audio_output", "call"),
    ),
    Kind.VIDEO: (("second", "call"),),
    Kind.RERANK: (("call", "input"),),
    Kind.MODERATION: (("call", "input"),),
}


def is_routed(model: Model, group_id: int) -> bool:
    """Does anybody serve this model to this group? What nobody serves to it is not sold to it."""
    return any(not route.groups or group_id in route.groups for route in model.routes)


def checked_about(about: About) -> About:
    """What is said of a model, if it can be shown; raises Invalid, which names the field."""
    for field, text, longest in (
        ("maker", about.maker, NAME_CHARACTERS_MAX),
        ("description", about.description, DESCRIPTION_CHARACTERS_MAX),
    ):
        if len(text) > longest or not text.replace("\n", "").isprintable():
            raise Invalid(
                "invalid_text",
                f"at most {longest} printable characters",
                field=field,
                params={"most": longest},
            )
    for field, words, form in (
        ("abilities", about.abilities, _ABILITY),
        ("endpoints", about.endpoints, _ENDPOINT),
    ):
        if len(words) > WORDS_MAX or len(set(words)) != len(words):
            raise Invalid(
                "invalid_words",
                f"at most {WORDS_MAX}, each once",
                field=field,
                params={"most": WORDS_MAX},
            )
        if not all(form.fullmatch(word) for word in words):
            raise Invalid("invalid_words", "words such as json, paths such as /v1/x", field=field)
    if len(about.parameters) > WORDS_MAX:
        raise Invalid(
            "too_many_parameters",
            f"at most {WORDS_MAX}",
            field="parameters",
            params={"most": WORDS_MAX},
        )
    for place, parameter in enumerate(about.parameters):
        texts = (parameter.name, parameter.type, parameter.range, parameter.meaning)
        if not _PARAMETER.fullmatch(parameter.name) or not all(
            len(text) <= DESCRIPTION_CHARACTERS_MAX and text.isprintable() for text in texts
        ):
            raise Invalid(
                "invalid_parameter",
                "a parameter has a name such as top_p, and short printable texts",
                field=f"parameters.{place}",
            )
    return about


_ABILITY = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}", re.ASCII)
_ENDPOINT = re.compile(r"/[A-Za-z0-9_./{}:-]{1,99}", re.ASCII)
_PARAMETER = re.compile(r"[A-Za-z_][A-Za-z0-9_.\[\]-]{0,99}", re.ASCII)
