"""Prices as people and files write them, and back: decimal texts by unit, in any currency.

    input cached_input output                      per 1,000,000 tokens of text
    cache_write cache_write_long                   the same, where writing a cache has its price
    audio_input image_input                        the same, for parts of the input
    audio_output image_output                      the same, for parts of the output
    call image second                              for one
    character                                      per 1,000,000
    tiers                                          other prices of text above so many input tokens

An amount in another currency becomes CNY by the rate that somebody typed, rounded up to a whole
nano: what is sold by it is never sold below what it was made from. The amounts, the rate and its
day are kept beside the price (catalog.types.Quote).
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from decimal import ROUND_CEILING, Decimal, localcontext
from typing import Any

from aipool.catalog import rules
from aipool.catalog.types import Quote
from aipool.kit.errors import BusinessError, Invalid
from aipool.kit.money import NANO_PER_CNY, MoneyError, format_cny
from aipool.rating.types import NO_EXTRAS, Extras, Price, Tier

#: By text alone; cached_input is as input where nobody says.
TEXT = ("input", "cached_input", "output")
#: None = as text of that direction.
AS_TEXT = (
    "cache_write",
    "cache_write_long",
    "audio_input",
    "image_input",
    "audio_output",
    "image_output",
)
#: Not charged where nobody says.
OTHER = ("call", "image", "second", "character")
UNITS = (*TEXT, *AS_TEXT, *OTHER)

CNY = "CNY"
_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)
_DECIMAL = re.compile(r"\d{1,9}(\.\d{1,18})?", re.ASCII)
#: The dearest currency there is costs a few dozen yuan; more is a typing mistake.
RATE_MAX = Decimal(10_000)
_DIGITS = 60


@dataclass(frozen=True, slots=True)
class Exchange:
    """What amounts are in. rate: CNY for one of it.  on: the day on which it was said."""

    currency: str = CNY
    rate: Decimal = Decimal(1)
    on: str = ""


IN_CNY = Exchange()


def exchange(currency: str, rate: str | None, on: str) -> Exchange:
    """A currency and its rate as a person writes them. on: the day, as 2026-11-22.

    Raises Invalid: another currency than CNY needs a rate, and CNY has none.
    """
    if not _CURRENCY.fullmatch(currency):
        raise Invalid(
            "invalid_currency", "a currency is three letters, such as CNY or USD", field="currency"
        )
    if currency == CNY:
        if rate not in (None, "", "1"):
            raise Invalid("invalid_rate", "an amount in CNY needs no rate", field="rate")
        return IN_CNY
    found = Decimal(rate) if rate and _DECIMAL.fullmatch(rate) else Decimal(0)
    if not 0 < found <= RATE_MAX:
        raise Invalid(
            "invalid_rate",
            f"write how many CNY one {currency} costs, above 0 and at most {RATE_MAX}",
            field="rate",
            params={"currency": currency, "most": RATE_MAX},
        )
    try:
        day = date.fromisoformat(on).isoformat()
    except ValueError:
        raise Invalid(
            "invalid_date", "write the day of the rate as 2026-11-22", field="rate_on"
        ) from None
    return Exchange(currency, found, day)


def price_of(
    amounts: Mapping[str, str | None],
    tiers: Sequence[Mapping[str, Any]] = (),
    *,
    exchange: Exchange = IN_CNY,
    source: str = "typed",
) -> tuple[Price, Quote]:
    """The price that these amounts make, and what it was made from.

    amounts: by unit; None or left out = not said.  tiers: `above_tokens` and amounts of text.
    Raises Invalid, which names the unit: for no amount, for one that is too large, and for tiers
    that do not rise.
    """
    unknown = [name for name in amounts if name not in UNITS]
    if unknown:
        raise Invalid(
            "unknown_unit",
            f"there is no such unit: {unknown[0]}",
            field=unknown[0],
            params={"unit": unknown[0]},
        )
    nano = {name: _nano(name, text, exchange) for name, text in amounts.items() if text is not None}
    others: dict[str, Any] = {f"{name}_nano": nano.get(name) for name in AS_TEXT}
    others |= {f"{name}_nano": nano.get(name, 0) for name in OTHER}
    extras = Extras(
        **others,
        tiers=tuple(_tier(f"tiers.{place}", tier, exchange) for place, tier in enumerate(tiers)),
    )
    given = nano.get("input", 0)
    price = rules.checked_price(
        Price(
            0,
            given,
            nano.get("cached_input", given),
            nano.get("output", 0),
            None if extras == NO_EXTRAS else extras,
        )
    )
    if exchange.currency == CNY:
        return price, Quote(source=source)
    said: dict[str, Any] = {name: text for name, text in amounts.items() if text is not None}
    if tiers:
        said["tiers"] = [
            {name: value for name, value in tier.items() if value is not None} for tier in tiers
        ]
    return price, Quote(exchange.currency, f"{exchange.rate:f}", exchange.on, said, source)


def amounts_of(price: Price) -> dict[str, Any]:
    """A price by unit, in CNY as decimal texts: text always, of the others what is priced, and
    `tiers` where there are some."""
    shown: dict[str, Any] = {name: format_cny(getattr(price, f"{name}_nano")) for name in TEXT}
    extras = price.extras
    if extras is None:
        return shown
    for name in AS_TEXT:
        amount = getattr(extras, f"{name}_nano")
        if amount is not None:
            shown[name] = format_cny(amount)
    for name in OTHER:
        amount = getattr(extras, f"{name}_nano")
        if amount:
            shown[name] = format_cny(amount)
    if extras.tiers:
        shown["tiers"] = [
            {
                "above_tokens": tier.above_tokens,
                **{name: format_cny(getattr(tier, f"{name}_nano")) for name in TEXT},
            }
            for tier in extras.tiers
        ]
    return shown


def ceiling_nano(amount: Decimal, factor: Decimal, *, scale: int = NANO_PER_CNY) -> int:
    """amount × factor in nano-yuan, rounded up, from exact decimals."""
    with localcontext() as exact:
        exact.prec = _DIGITS
        exact.rounding = ROUND_CEILING
        return int((amount * factor * scale).to_integral_value())


def _tier(field: str, tier: Mapping[str, Any], exchange: Exchange) -> Tier:
    given = _nano(f"{field}.input", tier["input"], exchange)
    cached = tier.get("cached_input")
    return Tier(
        int(tier["above_tokens"]),
        given,
        given if cached is None else _nano(f"{field}.cached_input", cached, exchange),
        _nano(f"{field}.output", tier["output"], exchange),
    )


def _nano(field: str, text: str, exchange: Exchange) -> int:
    try:
        if exchange.currency == CNY:
            return rules.price_nano(text)
        if not _DECIMAL.fullmatch(text):
            raise MoneyError(
                f"not a plain decimal {exchange.currency}: {text[:40]!r}",
                {"currency": exchange.currency},
            )
        return rules.checked_amount(ceiling_nano(Decimal(text), exchange.rate), text)
    except BusinessError as problem:
        raise Invalid(problem.code, problem.message, field=field, params=problem.params) from None
    except MoneyError as problem:
        raise Invalid(
            "malformed_amount", str(problem), field=field, params=problem.params
        ) from None
