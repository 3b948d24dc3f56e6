"""The shapes of the catalogue on the wire. Amounts are decimal texts in CNY, prices and costs per
1,000,000 tokens; vendors are named by their id, groups by their name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec
from pydantic import Field

from aipool.audit.desk import Sent
from aipool.catalog import rules
from aipool.catalog.types import Model
from aipool.kit.clock import iso_ms
from aipool.kit.errors import BusinessError, Invalid
from aipool.kit.money import MoneyError, format_cny
from aipool.rating.types import Price

#: More ways to serve one model than any operator has.
ROUTES_MAX = 100
_CHARACTERS_MAX = 300


class CostSent(Sent):
    """What the vendor takes. cached_input: null = as input."""

    input: str = Field(default="0", max_length=_CHARACTERS_MAX)
    cached_input: str | None = Field(default=None, max_length=_CHARACTERS_MAX)
    output: str = Field(default="0", max_length=_CHARACTERS_MAX)


class RouteSent(Sent):
    """One way to serve a model. upstream_model: "" = the vendor calls it as we do.
    groups: it is limited to these; none = all."""

    vendor: int
    upstream_model: str = Field(default="", max_length=_CHARACTERS_MAX)
    cost: CostSent = CostSent()
    groups: list[str] = []


class RoutesSent(Sent):
    """All routes of a model, in the order in which they are tried."""

    routes: list[RouteSent] = Field(max_length=ROUTES_MAX)


def price_from(field: str, *, input: str, cached_input: str | None, output: str) -> Price:
    """A price or a cost as it is stored. Raises Invalid, which names the field under `field`."""
    input_nano = _nano(f"{field}.input", input)
    cached_nano = input_nano
    if cached_input is not None:
        cached_nano = _nano(f"{field}.cached_input", cached_input)
    return Price(0, input_nano, cached_nano, _nano(f"{field}.output", output))


def _nano(field: str, text: str) -> int:
    try:
        return rules.price_nano(text)
    except BusinessError as problem:
        raise Invalid(problem.code, problem.message, field=field) from None
    except MoneyError as problem:
        raise Invalid("malformed_amount", str(problem), field=field) from None


def model_shown(
    model: Model, vendors: Mapping[int, str], groups: Mapping[int, str]
) -> dict[str, Any]:
    """A model with its routes. vendors, groups: names by id."""
    return {
        "id": model.id,
        "name": model.name,
        "kind": model.kind.value,
        "enabled": model.enabled,
        "context_tokens": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
        "hidden_reasoning": model.hidden_reasoning,
        "price": price_shown(model.price),
        "timeouts": msgspec.to_builtins(model.timeouts),
        "routes": [
            {
                "place": place,
                "vendor": route.vendor_id,
                "vendor_name": vendors.get(route.vendor_id, ""),
                "upstream_model": route.upstream_model,
                "cost": price_shown(route.cost),
                "groups": [groups.get(one, str(one)) for one in route.groups],
            }
            for place, route in enumerate(model.routes, start=1)
        ],
        "created_at": iso_ms(model.created_at_ms),
    }


def price_shown(price: Price) -> dict[str, str]:
    """A price or a cost, in CNY per 1,000,000 tokens."""
    return {
        "input": format_cny(price.input_nano),
        "cached_input": format_cny(price.cached_input_nano),
        "output": format_cny(price.output_nano),
    }
