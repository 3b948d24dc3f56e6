"""Takes models over from a vendor: from a line of its list to something that can be called.

A choice makes a model with one route, or gives a model that is there one more route, the last in
its order. What people had said of that model, its price above all, stays. Doing it twice is doing
it once. A choice that cannot be is refused by itself, and the others are carried out.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple

from aipool.audit.types import Act
from aipool.catalog import rules
from aipool.catalog import service as catalog
from aipool.catalog.types import (
    CONTEXT_TOKENS_DEFAULT,
    MAX_OUTPUT_TOKENS_DEFAULT,
    MODEL_TOKENS_MAX,
    NOT_SAID,
    TYPED,
    Model,
    ModelTerms,
    Quote,
    Route,
)
from aipool.groups import service as groups
from aipool.kit.db import Transaction
from aipool.kit.errors import BusinessError, Invalid
from aipool.kit.money import PRICE_NANO_MAX, format_cny
from aipool.pool.types import Vendor
from aipool.rating.types import Price

#: More at a time is a mistake, and would keep other writers waiting.
CHOICES_MAX = 1_000

_NO_COST = Price(0, 0, 0, 0)


@dataclass(frozen=True, slots=True)
class Choice:
    """A model that somebody wants. name: what it is called here.  price: what it is sold for,
    None = as it is sold already.  cost: None = not known, as if it cost nothing.
    context_tokens, max_output_tokens: None = as usual.  groups: ids of the groups that the route
    is limited to, () = all.  free: what it has no price for costs nothing.  quote, cost_quote:
    what price and cost were made from."""

    upstream_model: str
    name: str
    kind: str
    price: Price | None
    cost: Price | None = None
    context_tokens: int | None = None
    max_output_tokens: int | None = None
    groups: tuple[int, ...] = ()
    free: bool = False
    quote: Quote = TYPED
    cost_quote: Quote = TYPED


class Outcome(StrEnum):
    """What became of a choice."""

    CREATED = "created"
    """A model was made."""
    ROUTED = "routed"
    """A model that was there has a route more."""
    UNCHANGED = "unchanged"
    """It had such a route."""
    REFUSED = "refused"


class Result(NamedTuple):
    """code, field, problem: of a refusal, "" otherwise."""

    upstream_model: str
    name: str
    outcome: Outcome
    code: str = ""
    field: str = ""
    problem: str = ""


def take_over(tx: Transaction, act: Act, vendor: Vendor, choices: Sequence[Choice]) -> list[Result]:
    """Carries the choices out, in their order, and tells of each what became of it: all of it, or
    of a refused one nothing.

    Raises Invalid when there are too many.
    """
    if len(choices) > CHOICES_MAX:
        raise Invalid(
            "too_many_choices",
            f"choose at most {CHOICES_MAX} models at a time",
            field="models",
            params={"most": CHOICES_MAX},
        )
    known_groups = frozenset[int](group.id for group in groups.list_groups(tx.connection))
    models = {model.name: model for model in catalog.list_models(tx.connection)}
    results = []
    for choice in choices:
        try:
            _check(choice, known_groups)
            with tx.part():
                outcome = _take(tx, act, vendor, choice, models.get(choice.name))
        except BusinessError as refusal:
            result = Result(
                choice.upstream_model,
                choice.name,
                Outcome.REFUSED,
                refusal.code,
                refusal.field,
                refusal.message,
            )
        else:
            result = Result(choice.upstream_model, choice.name, outcome)
            if outcome is not Outcome.UNCHANGED:
                models[choice.name] = catalog.get_model(tx.connection, choice.name)
        results.append(result)
    return results


def _check(choice: Choice, known_groups: frozenset[int]) -> None:
    """Raises Invalid for what cannot be, before anything of it is written."""
    rules.model_name(choice.name)
    rules.model_name(choice.upstream_model)
    rules.kind(choice.kind)
    unknown = sorted(set(choice.groups) - known_groups)
    if unknown:
        raise Invalid(
            "group_unknown",
            f"there is no group {unknown[0]}",
            field="groups",
            params={"group": unknown[0]},
        )
    for field, price in (("price", choice.price), ("cost", choice.cost)):
        amounts = () if price is None else (price.input_nano, price.cached_input_nano)
        if price is not None and not all(
            0 <= nano <= PRICE_NANO_MAX for nano in (*amounts, price.output_nano)
        ):
            most = format_cny(PRICE_NANO_MAX)
            raise Invalid(
                "price_out_of_range",
                f"a price per 1M tokens lies between 0 and {most} CNY",
                field=field,
                params={"least": 0, "most": most},
            )
    for field, count in (
        ("context_tokens", choice.context_tokens),
        ("max_output_tokens", choice.max_output_tokens),
    ):
        if count is not None and not 1 <= count <= MODEL_TOKENS_MAX:
            raise Invalid(
                "invalid_tokens",
                f"a whole number of tokens from 1 to {MODEL_TOKENS_MAX}",
                field=field,
                params={"least": 1, "most": MODEL_TOKENS_MAX},
            )


def _take(
    tx: Transaction, act: Act, vendor: Vendor, choice: Choice, before: Model | None
) -> Outcome:
    route = Route(vendor.id, choice.upstream_model, choice.cost or _NO_COST, choice.groups)
    if before is None:
        catalog.put_model(tx, act, _terms(choice, route))
        return Outcome.CREATED
    if rules.kind(choice.kind) is not before.kind:
        raise Invalid(
            "invalid_kind",
            f"{before.name} is there as {before.kind}",
            field="kind",
            params={"model": before.name, "kind": before.kind},
        )
    if any(_covers(there, route) for there in before.routes):
        return Outcome.UNCHANGED
    quotes = (*[TYPED] * len(before.routes), _cost_quote(choice))
    if not before.routes and not before.enabled:
        _check_sellable(choice, before)
    catalog.put_routes(tx, act, before, (*before.routes, route), quotes)
    if not before.routes and not before.enabled:
        _sell(tx, act, choice, before)
    return Outcome.ROUTED


def _check_sellable(choice: Choice, before: Model) -> None:
    if choice.price is None and not before.free and rules.unpriced(before.kind, before.price):
        raise Invalid(
            "price_missing",
            f"{before.name} needs a sale price",
            field="price",
            params={"model": before.name},
        )


def _sell(tx: Transaction, act: Act, choice: Choice, before: Model) -> None:
    """A model that was planted and waited for its first route goes on sale. Its price stays if a
    person wrote it."""
    if choice.price is not None and not before.price_locked:
        catalog.set_price(tx, act, before, choice.price, quote=choice.quote, free=choice.free)
    catalog.set_enabled(tx, act, before.name, enabled=True)


def _terms(choice: Choice, route: Route) -> ModelTerms:
    if choice.price is None:
        raise Invalid(
            "price_missing",
            f"{choice.name} needs a sale price",
            field="price",
            params={"model": choice.name},
        )
    context_tokens = choice.context_tokens or CONTEXT_TOKENS_DEFAULT
    output_tokens = choice.max_output_tokens or MAX_OUTPUT_TOKENS_DEFAULT
    if choice.max_output_tokens is None or choice.context_tokens is None:
        output_tokens = min(output_tokens, context_tokens)
    return ModelTerms(
        choice.name,
        rules.kind(choice.kind),
        context_tokens,
        output_tokens,
        choice.price,
        (route,),
        free=choice.free,
        quote=choice.quote,
        cost_quotes=(_cost_quote(choice),),
    )


def _cost_quote(choice: Choice) -> Quote:
    return NOT_SAID if choice.cost is None else choice.cost_quote


def _covers(there: Route, wanted: Route) -> bool:
    """Does whoever may use the wanted route reach the same model of the vendor already?"""
    same = (there.vendor_id, there.upstream_model) == (wanted.vendor_id, wanted.upstream_model)
    open_to_all = not there.groups
    return same and (open_to_all or (bool(wanted.groups) and {*wanted.groups} <= {*there.groups}))
