"""The shapes of the catalogue on the wire.

Amounts are decimal texts. A price is per 1,000,000 tokens, or characters, or for one call, image
or second (catalog.quoting); vendors are named by their id, groups by their name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import BaseModel, ConfigDict, Field

from aipool.audit.desk import Sent
from aipool.catalog import quoting, rules
from aipool.catalog.service import ROUTES_MAX
from aipool.catalog.types import (
    MODEL_TOKENS_MAX,
    NOTHING_SAID,
    TYPED,
    About,
    Model,
    Parameter,
    PriceVersion,
    Quote,
)
from aipool.kit.clock import iso_ms
from aipool.kit.errors import BusinessError, Invalid
from aipool.rating.types import Price

_CHARACTERS_MAX = 300
_GROUPS_MAX = 1_000

Tokens = Field(ge=1, le=MODEL_TOKENS_MAX)
_AMOUNT = Field(default=None, max_length=_CHARACTERS_MAX)


# --- what is sent ---------------------------------------------------------------------------------


class TierSent(Sent):
    """Other prices of text for calls with more input than above_tokens, all tokens of them.
    cached_input: null = as input."""

    above_tokens: int = Tokens
    input: str = Field(max_length=_CHARACTERS_MAX)
    cached_input: str | None = _AMOUNT
    output: str = Field(max_length=_CHARACTERS_MAX)


class PriceSent(Sent):
    """A price or a cost. cached_input: null = as input; of the others null = not said.

    currency, rate, rate_on: what the amounts are in, CNY for one of it, and the day on which that
    was said, null = today.
    """

    input: str = Field(default="0", max_length=_CHARACTERS_MAX)
    cached_input: str | None = _AMOUNT
    output: str = Field(default="0", max_length=_CHARACTERS_MAX)
    cache_write: str | None = _AMOUNT
    cache_write_long: str | None = _AMOUNT
    audio_input: str | None = _AMOUNT
    image_input: str | None = _AMOUNT
    audio_output: str | None = _AMOUNT
    image_output: str | None = _AMOUNT
    call: str | None = _AMOUNT
    image: str | None = _AMOUNT
    second: str | None = _AMOUNT
    character: str | None = _AMOUNT
    tiers: list[TierSent] = Field(default=[], max_length=rules.TIERS_MAX)
    currency: str = Field(default=quoting.CNY, max_length=3)
    rate: str | None = _AMOUNT
    rate_on: str | None = Field(default=None, max_length=10)


class SalePriceSent(PriceSent):
    """What a model is sold for, written by hand. free: what it has no price for costs nothing, and
    that is meant.  locked: no list of prices changes it."""

    free: bool = False
    locked: bool = True


class RouteSent(Sent):
    """One way to serve a model. upstream_model: "" = the vendor calls it as we do.
    cost: left out = nobody says; a list of prices may.  groups: it is limited to these; none =
    all."""

    vendor: int
    upstream_model: str = Field(default="", max_length=_CHARACTERS_MAX)
    cost: PriceSent = PriceSent()
    groups: list[str] = Field(default=[], max_length=_GROUPS_MAX)


class RoutesSent(Sent):
    """All routes of a model, in the order in which they are tried."""

    routes: list[RouteSent] = Field(max_length=ROUTES_MAX)


class ParameterSent(Sent):
    """A field of a request that the model understands."""

    name: str = Field(max_length=100)
    type: str = Field(default="", max_length=100)
    range: str = Field(default="", max_length=_CHARACTERS_MAX)
    meaning: str = Field(default="", max_length=rules.DESCRIPTION_CHARACTERS_MAX)


class AboutSent(Sent):
    """What people read of a model. What is left out stays as it is."""

    maker: str = Field(default="", max_length=100)
    description: str = Field(default="", max_length=rules.DESCRIPTION_CHARACTERS_MAX)
    abilities: list[str] = Field(default=[], max_length=rules.WORDS_MAX)
    endpoints: list[str] = Field(default=[], max_length=rules.WORDS_MAX)
    parameters: list[ParameterSent] = Field(default=[], max_length=rules.WORDS_MAX)


class ModelChangeSent(AboutSent):
    """What a model is, without its price and its routes. What is left out stays as it is."""

    kind: str = Field(default="chat", max_length=20)
    context_tokens: int = Field(default=1, ge=1, le=MODEL_TOKENS_MAX)
    max_output_tokens: int = Field(default=1, ge=1, le=MODEL_TOKENS_MAX)
    hidden_reasoning: bool = False


class NewModelSent(AboutSent):
    """A new model. It is off sale until it is enabled. context_tokens, max_output_tokens: null =
    as usual.  price: null = to be said later."""

    name: str = Field(max_length=_CHARACTERS_MAX)
    kind: str = Field(default="chat", max_length=20)
    context_tokens: int | None = Field(default=None, ge=1, le=MODEL_TOKENS_MAX)
    max_output_tokens: int | None = Field(default=None, ge=1, le=MODEL_TOKENS_MAX)
    hidden_reasoning: bool = False
    price: SalePriceSent | None = None


def price_from(field: str, sent: PriceSent, today: str) -> tuple[Price, Quote]:
    """A price or a cost as it is stored, and what it was made from. today: as 2026-11-22.

    Raises Invalid, which names the field under `field`.
    """
    try:
        exchange = quoting.exchange(sent.currency, sent.rate, sent.rate_on or today)
        return quoting.price_of(
            {name: getattr(sent, name) for name in quoting.UNITS},
            [tier.model_dump() for tier in sent.tiers],
            exchange=exchange,
        )
    except BusinessError as problem:
        inner = f"{field}.{problem.field}" if problem.field else field
        raise Invalid(
            problem.code, problem.message, field=inner.removeprefix("."), params=problem.params
        ) from None


def about_from(sent: AboutSent, before: About) -> About:
    """What is said of a model after this; what was not sent stays. Raises Invalid."""
    given = sent.given()
    changes: dict[str, Any] = {
        name: tuple(given[name]) if isinstance(given[name], list) else given[name]
        for name in ("maker", "description", "abilities", "endpoints")
        if name in given
    }
    if "parameters" in given:
        changes["parameters"] = tuple(
            Parameter(one.name, one.type, one.range, one.meaning) for one in sent.parameters
        )
    return rules.checked_about(msgspec.structs.replace(before, **changes))


# --- what is answered -----------------------------------------------------------------------------


class Shown(BaseModel):
    """Something that is answered."""

    model_config = ConfigDict(frozen=True)


class TierShown(Shown):
    """Prices of text for calls with more input than above_tokens, all tokens of them."""

    above_tokens: int
    input: str
    cached_input: str
    output: str


class PriceShown(Shown):
    """In CNY: per 1,000,000 tokens of text, of audio and of images, and characters; for one call,
    image and second. null = as text, or not charged. A call is charged by the last of the tiers
    that its input is longer than."""

    input: str
    cached_input: str
    output: str
    cache_write: str | None = None
    cache_write_long: str | None = None
    audio_input: str | None = None
    image_input: str | None = None
    audio_output: str | None = None
    image_output: str | None = None
    call: str | None = None
    image: str | None = None
    second: str | None = None
    character: str | None = None
    tiers: list[TierShown] = []


class QuoteShown(Shown):
    """What a price was made from. rate: CNY for one of the currency, said on rate_on; null for
    CNY.  amounts: as they were said, by unit.  source: "typed", a list with its version, or "" =
    nobody has said what it is."""

    currency: str
    rate: str | None
    rate_on: str | None
    amounts: dict[str, Any]
    source: str


class ParameterShown(Shown):
    """A field of a request that the model understands."""

    name: str
    type: str
    range: str
    meaning: str


class TimeoutsShown(Shown):
    """Seconds, null = as set for the installation."""

    first_byte: float | None = None
    first_event: float | None = None
    idle: float | None = None


class RouteShown(Shown):
    """A way to serve a model. place: 1 is tried first."""

    place: int
    vendor: int
    vendor_name: str
    upstream_model: str
    cost: PriceShown
    cost_quote: QuoteShown
    groups: list[str]


class ModelShown(Shown):
    """A model as operators see it. price_missing: what it can use and has no price for, in words,
    "" = nothing."""

    id: int
    name: str
    kind: str
    enabled: bool
    maker: str
    description: str
    abilities: list[str]
    endpoints: list[str]
    parameters: list[ParameterShown]
    context_tokens: int
    max_output_tokens: int
    hidden_reasoning: bool
    price: PriceShown
    quote: QuoteShown
    price_missing: str
    free: bool
    price_locked: bool
    timeouts: TimeoutsShown
    routes: list[RouteShown]
    created_at: str


class ModelsShown(Shown):
    """A page of models, by their names."""

    items: list[ModelShown]
    next_cursor: str | None
    total: int


class SeededShown(Shown):
    """The names of the models that were added."""

    created: list[str]


class PriceVersionShown(Shown):
    """A sale price that a model has or had. actor: who set it, "" = nobody knows any more."""

    id: int
    price: PriceShown
    quote: QuoteShown
    at: str
    actor: str


class PriceVersionsShown(Shown):
    """The newest 200, newest first."""

    items: list[PriceVersionShown]
    next_cursor: str | None = None


def price_shown(price: Price) -> PriceShown:
    """A price or a cost."""
    return PriceShown(**quoting.amounts_of(price))


def quote_shown(quote: Quote) -> QuoteShown:
    """What a price was made from."""
    return QuoteShown(
        currency=quote.currency,
        rate=quote.rate or None,
        rate_on=quote.rate_on or None,
        amounts=quote.amounts,
        source=quote.source,
    )


def version_shown(version: PriceVersion) -> PriceVersionShown:
    """A price that a model has or had."""
    return PriceVersionShown(
        id=version.price.id,
        price=price_shown(version.price),
        quote=quote_shown(version.quote),
        at=iso_ms(version.at_ms),
        actor=version.actor,
    )


def about_fields(about: About) -> dict[str, Any]:
    """What people read of a model, as fields of an answer."""
    return {
        "maker": about.maker,
        "description": about.description,
        "abilities": list(about.abilities),
        "endpoints": list(about.endpoints),
        "parameters": [msgspec.to_builtins(one) for one in about.parameters],
    }


def model_shown(
    model: Model,
    about: About | None,
    quotes: Mapping[int, Quote],
    vendors: Mapping[int, str],
    groups: Mapping[int, str],
) -> ModelShown:
    """A model with its routes. quotes: by the version of a price.  vendors, groups: names by
    id."""
    return ModelShown(
        id=model.id,
        name=model.name,
        kind=model.kind.value,
        enabled=model.enabled,
        **about_fields(about or NOTHING_SAID),
        context_tokens=model.context_tokens,
        max_output_tokens=model.max_output_tokens,
        hidden_reasoning=model.hidden_reasoning,
        price=price_shown(model.price),
        quote=quote_shown(quotes.get(model.price.id, TYPED)),
        price_missing="" if model.free else rules.unpriced(model.kind, model.price),
        free=model.free,
        price_locked=model.price_locked,
        timeouts=TimeoutsShown(**msgspec.to_builtins(model.timeouts)),
        routes=[
            RouteShown(
                place=place,
                vendor=route.vendor_id,
                vendor_name=vendors.get(route.vendor_id, ""),
                upstream_model=route.upstream_model,
                cost=price_shown(route.cost),
                cost_quote=quote_shown(quotes.get(route.cost.id, TYPED)),
                groups=[groups.get(one, str(one)) for one in route.groups],
            )
            for place, route in enumerate(model.routes, start=1)
        ],
        created_at=iso_ms(model.created_at_ms),
    )
