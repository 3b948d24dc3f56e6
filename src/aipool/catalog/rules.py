"""Decisions about the catalogue: what a model may be called and what it may cost."""

from __future__ import annotations

import re

from aipool.catalog.types import MODEL_TOKENS_MAX, Kind
from aipool.kit.errors import Invalid
from aipool.kit.kinds import SECONDS
from aipool.kit.money import PRICE_NANO_MAX, format_cny, parse_cny

#: What stands in URLs and in clients' code: no blanks, no quotes.
_MODEL_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,199}", re.ASCII)
_DIGITS_MAX = 20

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
        )
    return text


def kind(text: str) -> Kind:
    """What a model does; raises Invalid for what is not sold yet."""
    try:
        return Kind(text)
    except ValueError:
        kinds = ", ".join(Kind)
        raise Invalid(
            "invalid_kind", f"{text!r} is not supported; there is: {kinds}", field="kind"
        ) from None


def yes_or_no(text: str) -> bool:
    """A switch; raises Invalid."""
    if text not in ("true", "false"):
        raise Invalid("invalid_switch", f"{text!r}: write true or false")
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
        )
    return seconds


def token_count(text: str) -> int:
    """A context or an output cap, in tokens; raises Invalid."""
    whole = text.isascii() and text.isdigit() and len(text) <= _DIGITS_MAX
    if not whole or not 1 <= int(text) <= MODEL_TOKENS_MAX:
        raise Invalid(
            "invalid_tokens", f"{text!r}: a whole number of tokens from 1 to {MODEL_TOKENS_MAX}"
        )
    return int(text)


def price_nano(text: str) -> int:
    """A price in CNY per 1,000,000 tokens as nano; raises Invalid or MoneyError."""
    amount = parse_cny(text)
    if not 0 <= amount <= PRICE_NANO_MAX:
        raise Invalid(
            "price_out_of_range",
            f"a price per 1M tokens lies between 0 and {format_cny(PRICE_NANO_MAX)} CNY, "
            f"not {text}",
            field="price",
        )
    return amount
