"""The words of the catalogue."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, NewType

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
    """What a model does."""

    CHAT = "chat"


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


@dataclass(frozen=True, slots=True)
class ModelTerms:
    """What an operator says about a model. Prices carry no id yet: an equal price keeps
    its version, another one becomes a new version."""

    name: str
    kind: Kind
    context_tokens: int
    max_output_tokens: int
    price: Price
    routes: tuple[Route, ...]
    hidden_reasoning: bool = False
    timeouts: Timeouts = NO_TIMEOUTS


def same_price(one: Price, other: Price) -> bool:
    """Do both cost the same, whatever version they are?"""
    return (one.input_nano, one.cached_input_nano, one.output_nano, one.extras) == (
        other.input_nano,
        other.cached_input_nano,
        other.output_nano,
        other.extras,
    )
