"""Use cases of the catalogue.

Refusals (kit.errors):
    model_unknown            404
    models_unknown           422    a list names models that do not exist
    max_output_too_large     422    more than the context
    routes_missing           422    a model is served by somebody
    too_many_routes          422
    invalid_timeout          422
    price_missing            422    a model on sale has a price for what it can use
    no_routes                409    a model on sale is served by somebody
    model_exists             409
    model_in_use             409    a list of models names it
and those of catalog.rules and catalog.quoting.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy.engine import Connection

from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.catalog import rules, store
from aipool.catalog.quoting import TEXT, amounts_of
from aipool.catalog.types import (
    NOT_SAID,
    NOTHING_SAID,
    TYPED,
    About,
    Kind,
    Model,
    ModelTerms,
    PriceVersion,
    Quote,
    Route,
    same_price,
)
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, Invalid, NotFound
from aipool.rating.types import Price
from aipool.vendors.types import Timeouts

#: A call tries a handful of them; more is a mistake of a program.
ROUTES_MAX = 100
#: More versions of a price than anybody reads at a time.
VERSIONS_MAX = 200


def put_model(tx: Transaction, act: Act, terms: ModelTerms) -> tuple[bool, tuple[str, ...]]:
    """Makes the model of this name, or changes it to these terms.

    Gives whether it was made, and what changed of one that was there, in words. A price
    that differs becomes a new version; the versions before it stay as they are.
    """
    _check_tokens(terms)
    rules.checked_price(terms.price)
    if terms.about is not None:
        rules.checked_about(terms.about)
    before = store.model_by_name(tx.connection, terms.name)
    if before is None:
        if terms.enabled is not False:
            _check_priced(terms.name, terms.kind, terms.price, free=terms.free)
        price = store.insert_price(tx.connection, terms.price, quote=terms.quote, at_ms=act.at_ms)
        model_id = store.insert_model(tx.connection, terms, price_id=price.id, at_ms=act.at_ms)
        _remember(tx, act, model_id, price)
        unpriced = [None] * len(terms.routes)
        priced = _priced(tx, act, terms.routes, unpriced, terms.cost_quotes)
        store.replace_routes(tx.connection, model_id, priced)
        tx.changes.note_catalogue()
        record(tx, act, "model.create", f"model:{model_id}", after=_fields(terms))
        return True, ()

    if before.enabled:
        _check_priced(terms.name, terms.kind, terms.price, free=terms.free)
    costs = _costs_in_force(tx.connection, before.routes, terms.routes, terms.cost_quotes)
    same_routes = _same_routes(before.routes, terms.routes, costs)
    about = get_about(tx.connection, before)
    changed = _differences(before, about, terms, same_routes=same_routes)
    if changed:
        price = before.price
        if not same_price(before.price, terms.price):
            price = store.insert_price(
                tx.connection, terms.price, quote=terms.quote, at_ms=act.at_ms
            )
            _remember(tx, act, before.id, price)
        store.update_model(tx.connection, before.id, terms, price_id=price.id)
        if not same_routes:
            routes = _priced(tx, act, terms.routes, costs, terms.cost_quotes)
            store.replace_routes(tx.connection, before.id, routes)
        tx.changes.note_catalogue()
        record(
            tx,
            act,
            "model.change",
            f"model:{before.id}",
            before=_fields(before),
            after=_fields(terms),
        )
    return False, changed


def set_price(
    tx: Transaction,
    act: Act,
    model: Model,
    price: Price,
    *,
    quote: Quote = TYPED,
    free: bool = False,
    locked: bool = False,
) -> bool:
    """What a model is sold for from now on. True = changed.

    free: what it has no price for costs nothing, and somebody says so.  locked: it was written by
    hand, and no list of prices changes it.
    """
    rules.checked_price(price)
    before = get_model(tx.connection, model.name)
    if before.enabled:
        _check_priced(before.name, before.kind, price, free=free)
    same = same_price(before.price, price)
    if same and (before.free, before.price_locked) == (free, locked):
        return False
    stored = before.price
    if not same:
        stored = store.insert_price(tx.connection, price, quote=quote, at_ms=act.at_ms)
        _remember(tx, act, before.id, stored)
    store.update_price(tx.connection, before.id, price_id=stored.id, free=free, locked=locked)
    tx.changes.note_catalogue()
    record(
        tx,
        act,
        "model.set_price",
        f"model:{before.id}",
        before=_price_fields(before),
        after={"price": describe(price), "free": free, "price_locked": locked},
    )
    return True


def change_model(
    tx: Transaction,
    act: Act,
    model: Model,
    *,
    kind: Kind,
    context_tokens: int,
    max_output_tokens: int,
    hidden_reasoning: bool,
    about: About,
) -> tuple[str, ...]:
    """What a model is, without its price and its routes; what changed of it, in words."""
    before = get_model(tx.connection, model.name)
    terms = ModelTerms(
        before.name,
        kind,
        context_tokens,
        max_output_tokens,
        before.price,
        before.routes,
        hidden_reasoning,
        before.timeouts,
        before.free,
        about,
    )
    return put_model(tx, act, terms)[1]


def delete_model(tx: Transaction, act: Act, model: Model, *, named_by: Sequence[str] = ()) -> None:
    """The model is gone; the records of its calls and the versions of its prices stay.

    named_by: the groups whose lists name it.
    """
    if named_by:
        raise Conflict(
            "model_in_use",
            f"the lists of these groups name it: {', '.join(named_by)}",
            params={"groups": ", ".join(named_by)},
        )
    before = get_model(tx.connection, model.name)
    store.delete_model(tx.connection, before.id)
    tx.changes.note_catalogue()
    record(tx, act, "model.delete", f"model:{before.id}", before=_fields(before))


def _check_tokens(terms: ModelTerms) -> None:
    if terms.max_output_tokens > terms.context_tokens:
        raise Invalid(
            "max_output_too_large",
            f"{terms.name}: max_output_tokens {terms.max_output_tokens} is more than the "
            f"context of {terms.context_tokens}",
            field="max_output_tokens",
            params={
                "output": terms.max_output_tokens,
                "context": terms.context_tokens,
                "model": terms.name,
            },
        )


def _check_priced(name: str, kind: Kind, price: Price, *, free: bool) -> None:
    """A model on sale has a price for what it can use, or somebody has said that it is free."""
    missing = "" if free else rules.unpriced(kind, price)
    if missing:
        raise Invalid(
            "price_missing",
            f"{name} ({kind}) is not sold without a price for {missing}; say that it is free if "
            "that is meant",
            field="price",
            params={"model": name, "kind": kind, "units": missing},
        )


def _remember(tx: Transaction, act: Act, model_id: int, price: Price) -> None:
    store.insert_price_of_model(tx.connection, model_id, price.id, at_ms=act.at_ms, actor=act.actor)


def put_routes(
    tx: Transaction,
    act: Act,
    model: Model,
    routes: Sequence[Route],
    quotes: Sequence[Quote] = (),
) -> bool:
    """The ways to serve a model, in the order in which they are tried. True = changed.

    The vendors and groups they name must exist. Another cost becomes a new version; quotes: what
    the costs were made from, by place; of one that is left out: typed in CNY, or not said where it
    is nothing.
    """
    if not routes:
        raise Invalid("routes_missing", "a model needs at least one route", field="routes")
    if len(routes) > ROUTES_MAX:
        raise Invalid(
            "too_many_routes",
            f"at most {ROUTES_MAX} routes",
            field="routes",
            params={"most": ROUTES_MAX},
        )
    before = get_model(tx.connection, model.name)
    wanted = tuple(routes)
    costs = _costs_in_force(tx.connection, before.routes, wanted, quotes)
    if _same_routes(before.routes, wanted, costs):
        return False
    store.replace_routes(tx.connection, before.id, _priced(tx, act, wanted, costs, quotes))
    tx.changes.note_catalogue()
    record(
        tx,
        act,
        "model.set_routes",
        f"model:{before.id}",
        before={"routes": _route_fields(before.routes)},
        after={"routes": _route_fields(wanted)},
    )
    return True


def set_timeouts(tx: Transaction, act: Act, model: Model, timeouts: Timeouts) -> bool:
    """How long is waited for a model, where a vendor's key does not say. True = changed."""
    before = get_model(tx.connection, model.name)
    if before.timeouts == timeouts:
        return False
    store.update_timeouts(tx.connection, before.id, timeouts)
    tx.changes.note_catalogue()
    record(
        tx,
        act,
        "model.set_timeouts",
        f"model:{before.id}",
        before={"timeouts": _timeout_fields(before.timeouts)},
        after={"timeouts": _timeout_fields(timeouts)},
    )
    return True


def set_enabled(tx: Transaction, act: Act, name: str, *, enabled: bool) -> bool:
    """Puts a model on sale or takes it off. True = changed."""
    model = get_model(tx.connection, name)
    if model.enabled == enabled:
        return False
    if enabled:
        _check_priced(model.name, model.kind, model.price, free=model.free)
        if not model.routes:
            raise Conflict(
                "no_routes",
                f"{model.name} has no route yet: who would serve it?",
                params={"model": model.name},
            )
    store.update_enabled(tx.connection, model.id, enabled=enabled)
    tx.changes.note_catalogue()
    record(
        tx,
        act,
        f"model.{'enable' if enabled else 'disable'}",
        f"model:{model.id}",
        before={"enabled": model.enabled},
        after={"enabled": enabled},
    )
    return True


def get_model(connection: Connection, name: str) -> Model:
    """The model of this name; raises NotFound when there is none."""
    model = store.model_by_name(connection, name)
    if model is None:
        raise NotFound(
            "model_unknown", f"there is no model {name!r}", field="model", params={"models": name}
        )
    return model


def find_model(connection: Connection, name: str) -> Model | None:
    """The model of this name."""
    return store.model_by_name(connection, name)


def list_models(connection: Connection) -> list[Model]:
    """Every model, enabled or not, in the order they were made."""
    return store.list_models(connection)


def get_about(connection: Connection, model: Model) -> About:
    """What is said of a model."""
    return store.abouts(connection, name=model.name).get(model.id, NOTHING_SAID)


def list_abouts(connection: Connection) -> dict[int, About]:
    """What is said of every model, by its id."""
    return store.abouts(connection)


def list_quotes(connection: Connection, models: Iterable[Model]) -> dict[int, Quote]:
    """What the prices and costs of these models were made from, by the version's id."""
    ids = {price.id for model in models for price in _prices_of(model)}
    return store.quotes(connection, ids)


def price_history(
    connection: Connection, model: Model, *, limit: int = VERSIONS_MAX
) -> list[PriceVersion]:
    """The sale prices a model has had, newest first."""
    return store.prices_of_model(connection, model.id, limit=limit)


def _prices_of(model: Model) -> list[Price]:
    return [model.price, *(route.cost for route in model.routes)]


def prices_by_id(connection: Connection) -> dict[int, Price]:
    """Every version of every price there ever was, to rate old calls again."""
    return store.prices_by_id(connection)


def models_routed_to(connection: Connection, vendor_id: int) -> list[str]:
    """The names of the models, enabled or not, that have a route to this vendor."""
    return store.models_routed_to(connection, vendor_id)


def check_names(connection: Connection, names: Iterable[str]) -> None:
    """Raises Invalid when a list names models that do not exist."""
    unknown = sorted(set(names) - store.model_names(connection))
    if unknown:
        raise Invalid(
            "models_unknown",
            f"there is no model {', '.join(unknown)}",
            field="models",
            params={"models": ", ".join(unknown)},
        )


def _differences(
    before: Model, about: About, terms: ModelTerms, *, same_routes: bool
) -> tuple[str, ...]:
    changed = [
        f"{name} {old} -> {new}"
        for name, old, new in (
            ("kind", before.kind, terms.kind),
            ("context", before.context_tokens, terms.context_tokens),
            ("max_output_tokens", before.max_output_tokens, terms.max_output_tokens),
            ("hidden_reasoning", before.hidden_reasoning, terms.hidden_reasoning),
        )
        if old != new
    ]
    if before.timeouts != terms.timeouts:
        changed.append("timeouts")
    if terms.about is not None and terms.about != about:
        changed.append("description")
    if before.free != terms.free:
        changed.append(f"free {before.free} -> {terms.free}")
    if terms.price_locked is not None and terms.price_locked != before.price_locked:
        changed.append("price locked" if terms.price_locked else "price unlocked")
    if not same_price(before.price, terms.price):
        changed.append(f"price {describe(before.price)} -> {describe(terms.price)}")
    if not same_routes:
        changed.append("routes")
    return tuple(changed)


def describe(price: Price) -> str:
    """A price in CNY per million tokens: input/cached input/output; and what else it has."""
    amounts = amounts_of(price)
    text = "/".join(amounts.pop(name) for name in TEXT)
    tiers = amounts.pop("tiers", ())
    more = [f"{name} {amount}" for name, amount in amounts.items()]
    more += [f">{tier['above_tokens']} {'/'.join(tier[name] for name in TEXT)}" for tier in tiers]
    return " ".join((text, *more))


def _same_routes(
    stored: Sequence[Route], wanted: Sequence[Route], costs: Sequence[Price | None]
) -> bool:
    """costs: the versions that the wanted ones keep, None = another."""
    kept = [
        None if cost is None else route._replace(cost=cost)
        for route, cost in zip(wanted, costs, strict=True)
    ]
    return kept == list(stored)


def _quote_at(place: int, route: Route, quotes: Sequence[Quote]) -> Quote:
    """What the cost of a route was made from. A 0 that nobody speaks of was not typed."""
    if place < len(quotes):
        return quotes[place]
    return NOT_SAID if same_price(route.cost, _NOTHING) else TYPED


_NOTHING = Price(0, 0, 0, 0)


def _costs_in_force(
    connection: Connection,
    stored: Sequence[Route],
    wanted: Sequence[Route],
    quotes: Sequence[Quote],
) -> list[Price | None]:
    """The version of each wanted route's cost that it has by now, None = it needs a new one: of
    another cost, or because somebody says now that it is nothing."""
    nothing = {route.cost.id for route in stored if same_price(route.cost, _NOTHING)}
    said_before = store.quotes(connection, nothing) if nothing else {}
    not_said = {cost_id for cost_id, quote in said_before.items() if quote == NOT_SAID}
    found: list[Price | None] = []
    for place, route in enumerate(wanted):
        costs = [
            old.cost
            # The one of its place first: another may have the same cost as somebody else said it.
            for old in (*stored[place : place + 1], *stored)
            if (old.vendor_id, old.upstream_model) == (route.vendor_id, route.upstream_model)
            and same_price(old.cost, route.cost)
        ]
        own = [cost for cost in costs if cost.id == route.cost.id]
        if not own and _quote_at(place, route, quotes) != NOT_SAID:
            costs = [cost for cost in costs if cost.id not in not_said]
        found.append(next(iter(own or costs), None))
    return found


def _priced(
    tx: Transaction,
    act: Act,
    wanted: Sequence[Route],
    costs: Sequence[Price | None],
    quotes: Sequence[Quote] = (),
) -> tuple[Route, ...]:
    """The wanted routes with stored costs: the versions they have, and new ones."""
    return tuple(
        route._replace(
            cost=cost
            or store.insert_price(
                tx.connection,
                rules.checked_price(route.cost),
                quote=_quote_at(place, route, quotes),
                at_ms=act.at_ms,
            )
        )
        for place, (route, cost) in enumerate(zip(wanted, costs, strict=True))
    )


def _fields(model: Model | ModelTerms) -> dict[str, object]:
    return {
        "name": model.name,
        "kind": model.kind,
        "context_tokens": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
        "hidden_reasoning": model.hidden_reasoning,
        **_price_fields(model),
        "timeouts": _timeout_fields(model.timeouts),
        "routes": _route_fields(model.routes),
    }


def _price_fields(model: Model | ModelTerms) -> dict[str, object]:
    return {
        "price": describe(model.price),
        "free": model.free,
        "price_locked": bool(model.price_locked),
    }


def _route_fields(routes: Iterable[Route]) -> list[list[object]]:
    return [
        [route.vendor_id, route.upstream_model, describe(route.cost), list(route.groups)]
        for route in routes
    ]


def _timeout_fields(timeouts: Timeouts) -> dict[str, float | None]:
    return {
        "first_byte": timeouts.first_byte,
        "first_event": timeouts.first_event,
        "idle": timeouts.idle,
    }
