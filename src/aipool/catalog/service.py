"""Use cases of the catalogue.

Refusals (kit.errors):
    model_unknown            404
    models_unknown           422    a list names models that do not exist
    max_output_too_large     422    more than the context
    routes_missing           422    a model is served by somebody
    too_many_routes          422
    invalid_timeout          422
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from sqlalchemy.engine import Connection

from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.catalog import store
from aipool.catalog.types import Model, ModelTerms, Route, same_price
from aipool.kit.db import Transaction
from aipool.kit.errors import Invalid, NotFound
from aipool.kit.money import format_cny
from aipool.rating.types import Price
from aipool.vendors.types import Timeouts

#: A call tries a handful of them; more is a mistake of a program.
ROUTES_MAX = 100


def put_model(tx: Transaction, act: Act, terms: ModelTerms) -> tuple[bool, tuple[str, ...]]:
    """Makes the model of this name, or changes it to these terms.

    Gives whether it was made, and what changed of one that was there, in words. A price
    that differs becomes a new version; the versions before it stay as they are.
    """
    if terms.max_output_tokens > terms.context_tokens:
        raise Invalid(
            "max_output_too_large",
            f"{terms.name}: max_output_tokens {terms.max_output_tokens} is more than the "
            f"context of {terms.context_tokens}",
            field="max_output_tokens",
        )
    before = store.model_by_name(tx.connection, terms.name)
    if before is None:
        price = store.insert_price(tx.connection, terms.price, at_ms=act.at_ms)
        model_id = store.insert_model(tx.connection, terms, price_id=price.id, at_ms=act.at_ms)
        store.replace_routes(tx.connection, model_id, _priced(tx, act, terms.routes, ()))
        tx.changes.note_catalogue()
        record(tx, act, "model.create", f"model:{model_id}", after=_fields(terms))
        return True, ()

    changed = _differences(before, terms)
    if changed:
        price = before.price
        if not same_price(before.price, terms.price):
            price = store.insert_price(tx.connection, terms.price, at_ms=act.at_ms)
        store.update_model(tx.connection, before.id, terms, price_id=price.id)
        if not _same_routes(before.routes, terms.routes):
            routes = _priced(tx, act, terms.routes, before.routes)
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


def put_routes(tx: Transaction, act: Act, model: Model, routes: Sequence[Route]) -> bool:
    """The ways to serve a model, in the order in which they are tried. True = changed.

    The vendors and groups they name must exist. Another cost becomes a new version.
    """
    if not routes:
        raise Invalid("routes_missing", "a model needs at least one route", field="routes")
    if len(routes) > ROUTES_MAX:
        raise Invalid("too_many_routes", f"at most {ROUTES_MAX} routes", field="routes")
    before = get_model(tx.connection, model.name)
    wanted = tuple(routes)
    if _same_routes(before.routes, wanted):
        return False
    store.replace_routes(tx.connection, before.id, _priced(tx, act, wanted, before.routes))
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
        raise NotFound("model_unknown", f"there is no model {name!r}", field="model")
    return model


def list_models(connection: Connection) -> list[Model]:
    """Every model, enabled or not, in the order they were made."""
    return store.list_models(connection)


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
        raise Invalid("models_unknown", f"there is no model {', '.join(unknown)}", field="models")


def _differences(before: Model, terms: ModelTerms) -> tuple[str, ...]:
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
    if not same_price(before.price, terms.price):
        changed.append(f"price {describe(before.price)} -> {describe(terms.price)}")
    if not _same_routes(before.routes, terms.routes):
        changed.append("routes")
    return tuple(changed)


def describe(price: Price) -> str:
    """A price in CNY per million tokens: input/cached input/output."""
    amounts = (price.input_nano, price.cached_input_nano, price.output_nano)
    return "/".join(format_cny(amount) for amount in amounts)


def _same_route(one: Route, other: Route) -> bool:
    return (one.vendor_id, one.upstream_model, one.groups) == (
        other.vendor_id,
        other.upstream_model,
        other.groups,
    ) and same_price(one.cost, other.cost)


def _same_routes(ones: tuple[Route, ...], others: tuple[Route, ...]) -> bool:
    return len(ones) == len(others) and all(map(_same_route, ones, others))


def _priced(
    tx: Transaction, act: Act, wanted: tuple[Route, ...], stored: tuple[Route, ...]
) -> tuple[Route, ...]:
    """The wanted routes with stored costs: the version they had, or a new one."""
    priced = []
    for route in wanted:
        cost = next(
            (
                old.cost
                for old in stored
                if old.vendor_id == route.vendor_id
                and old.upstream_model == route.upstream_model
                and same_price(old.cost, route.cost)
            ),
            None,
        ) or store.insert_price(tx.connection, route.cost, at_ms=act.at_ms)
        priced.append(Route(route.vendor_id, route.upstream_model, cost, route.groups))
    return tuple(priced)


def _fields(model: Model | ModelTerms) -> dict[str, object]:
    return {
        "name": model.name,
        "kind": model.kind,
        "context_tokens": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
        "hidden_reasoning": model.hidden_reasoning,
        "price": describe(model.price),
        "timeouts": _timeout_fields(model.timeouts),
        "routes": _route_fields(model.routes),
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
