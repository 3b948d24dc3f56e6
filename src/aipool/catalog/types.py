"""The words of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple, NewType

import msgspec

from aipool.rating.types import Price
from aipool.vendors.types import NO_TIMEOUTS, Timeouts

ModelId = NewType("ModelId", int)

#: What most chat models take today; an operator who knows better says so.
CONTEXT_TOKENS_DEFAULT = 128_000
#: The cap that is held when a call names none: generous for chat, ¥0.1 to ¥1 of hold.
MAX_OUTPUT_TOKENS_DEFAULT = 16_384
#: No model comes near; a larger number is a typing mistake.
MODEL_TOKENS_MAX = 100_000_000


class Kind(StrEnum):
    """What a model does. Which paths it is called at is the gateway's business."""

    CHAT = "chat"
    EMBEDDING = "embedding"
    IMAGE = "image"
    AUDIO = "audio"
    VIDEO = "video"
    RERANK = "rerank"
    MODERATION = "moderation"


class Parameter(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A field of a request that a model understands, for people to read. type: as JSON names it.
    range: what it may be, in words or numbers, "" = whatever the type allows."""

    name: str
    type: str
    range: str = ""
    meaning: str = ""


class About(msgspec.Struct, frozen=True):
    """What people read of a model before they call it. maker: whose model it is, which is not
    always who serves it.  abilities: words such as vision, tools, json, reasoning, streaming.
    endpoints: the public paths it is called at."""

    maker: str = ""
    description: str = ""
    abilities: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    parameters: tuple[Parameter, ...] = ()


NOTHING_SAID = About()


class Quote(msgspec.Struct, frozen=True, omit_defaults=True):
    """What a version of a price was made from, as somebody said it.

    currency: of the amounts.  rate: CNY for one of it, decimal text, with the day it was said,
    both "" for CNY itself.  amounts: by unit (catalog.quoting), decimal texts, and `tiers`;
    empty for CNY, where the price says it all.  source: "typed", a list with its version, or "" =
    nobody has said what it is.
    """

    currency: str = "CNY"
    rate: str = ""
    rate_on: str = ""
    amounts: dict[str, Any] = {}
    source: str = "typed"


TYPED = Quote()
#: Of a cost that nobody has said yet, which stands at nothing until somebody or a list does.
NOT_SAID = Quote(source="")


class Route(NamedTuple):
    """One way to serve a model. cost: what the vendor takes for it.
    groups: ids of the groups it is limited to, () = all."""

    vendor_id: int
    upstream_model: str
    cost: Price
    groups: tuple[int, ...] = ()


class Model(NamedTuple):
    """A model on sale. `routes` are in the order in which they are tried.

    hidden_reasoning: it thinks out of sight, so that what it has used cannot be followed
    while it answers; a stream of it holds its whole worst case from the start.
    timeouts: where a vendor's key has none of its own.
    free: what it has no price for costs nothing, and somebody said so.  price_locked: the sale
    price was written by hand, and no list of prices changes it.
    """

    id: ModelId
    name: str
    kind: Kind
    context_tokens: int
    max_output_tokens: int
    enabled: bool
    created_at_ms: int
    price: Price
    routes: tuple[Route, ...]
    hidden_reasoning: bool = False
    timeouts: Timeouts = NO_TIMEOUTS
    free: bool = False
    price_locked: bool = False


@dataclass(frozen=True, slots=True)
class ModelTerms:
    """What an operator says about a model. Prices carry no id yet: an equal price keeps
    its version, another one becomes a new version.

    quote: what the price was made from.  cost_quotes: the same of the routes' costs, by place; of
    one that is left out: typed, or not said where it is nothing.
    about, enabled, price_locked: None = as they are; of a new model: nothing, on sale, no.
    """

    name: str
    kind: Kind
    context_tokens: int
    max_output_tokens: int
    price: Price
    routes: tuple[Route, ...]
    hidden_reasoning: bool = False
    timeouts: Timeouts = NO_TIMEOUTS
    free: bool = False
    about: About | None = None
    enabled: bool | None = None
    price_locked: bool | None = None
    quote: Quote = TYPED
    cost_quotes: tuple[Quote, ...] = ()


class PriceVersion(NamedTuple):
    """A sale price of a model, now or once. actor: who set it."""

    price: Price
    quote: Quote
    at_ms: int
    actor: str


def same_price(one: Price, other: Price) -> bool:
    """Do both cost the same, whatever version they are?"""
    return (one.input_nano, one.cached_input_nano, one.output_nano, one.extras) == (
        other.input_nano,
        other.cached_input_nano,
        other.output_nano,
        other.extras,
    )
