"""The statements of the catalogue, one function each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from typing import Any

import msgspec
import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.catalog.tables import model_prices, models, prices, routes
from aipool.catalog.types import (
    NOTHING_SAID,
    TYPED,
    About,
    Kind,
    Model,
    ModelId,
    ModelTerms,
    PriceVersion,
    Quote,
    Route,
)
from aipool.rating.types import Extras, Price
from aipool.vendors.types import NO_TIMEOUTS, Timeouts

_KINDS = {kind.value: kind for kind in Kind}
_EXTRAS = msgspec.json.Decoder(Extras)
_TIMEOUTS = msgspec.json.Decoder(Timeouts)
_QUOTE = msgspec.json.Decoder(Quote)
_ABOUT = msgspec.json.Decoder(About)


PRICE_COLUMNS = (
    prices.c.id,
    prices.c.input_nano,
    prices.c.cached_input_nano,
    prices.c.output_nano,
    prices.c.extras,
)


def price_of(row: Any) -> Price:
    """A stored version, from its PRICE_COLUMNS."""
    price_id, input_nano, cached_input_nano, output_nano, extras = row
    found = _EXTRAS.decode(extras) if extras else None
    return Price(price_id, input_nano, cached_input_nano, output_nano, found)


def _extras_text(extras: Extras | None) -> str:
    return "" if extras is None else msgspec.json.encode(extras).decode()


def insert_price(
    connection: Connection, price: Price, *, quote: Quote = TYPED, at_ms: int
) -> Price:
    """A new version of a price, with its id. quote: what it was made from."""
    price_id = connection.execute(
        sa.insert(prices)
        .values(
            input_nano=price.input_nano,
            cached_input_nano=price.cached_input_nano,
            output_nano=price.output_nano,
            extras=_extras_text(price.extras),
            quote="" if quote == TYPED else msgspec.json.encode(quote).decode(),
            created_at_ms=at_ms,
        )
        .returning(prices.c.id)
    ).scalar_one()
    return msgspec.structs.replace(price, id=price_id)


def insert_model(connection: Connection, terms: ModelTerms, *, price_id: int, at_ms: int) -> int:
    """A new model; its routes are written apart. Gives its id."""
    return int(
        connection.execute(
            sa.insert(models)
            .values(
                name=terms.name,
                kind=terms.kind,
                context_tokens=terms.context_tokens,
                max_output_tokens=terms.max_output_tokens,
                hidden_reasoning=terms.hidden_reasoning,
                timeouts=msgspec.to_builtins(terms.timeouts),
                enabled=terms.enabled is not False,
                price_id=price_id,
                created_at_ms=at_ms,
                free=terms.free,
                price_locked=bool(terms.price_locked),
                **_about_values(terms.about or NOTHING_SAID),
            )
            .returning(models.c.id)
        ).scalar_one()
    )


def _about_values(about: About) -> dict[str, str]:
    said = "" if about == NOTHING_SAID else msgspec.json.encode(about).decode()
    return {"maker": about.maker, "about": said}


def update_model(
    connection: Connection, model_id: int, terms: ModelTerms, *, price_id: int
) -> None:
    """Other terms from now on; what they do not say of it, and whether it is on sale, stays."""
    more: dict[str, Any] = {} if terms.about is None else _about_values(terms.about)
    if terms.price_locked is not None:
        more["price_locked"] = terms.price_locked
    connection.execute(
        sa.update(models)
        .where(models.c.id == model_id)
        .values(
            free=terms.free,
            **more,
            kind=terms.kind,
            context_tokens=terms.context_tokens,
            max_output_tokens=terms.max_output_tokens,
            hidden_reasoning=terms.hidden_reasoning,
            timeouts=msgspec.to_builtins(terms.timeouts),
            price_id=price_id,
        )
    )


def update_enabled(connection: Connection, model_id: int, *, enabled: bool) -> None:
    """On sale or not, from now on."""
    connection.execute(sa.update(models).where(models.c.id == model_id).values(enabled=enabled))


def update_timeouts(connection: Connection, model_id: int, timeouts: Timeouts) -> None:
    """Other timeouts from now on."""
    connection.execute(
        sa.update(models)
        .where(models.c.id == model_id)
        .values(timeouts=msgspec.to_builtins(timeouts))
    )


def update_price(
    connection: Connection, model_id: int, *, price_id: int, free: bool, locked: bool
) -> None:
    """Another sale price from now on."""
    values = {"price_id": price_id, "free": free, "price_locked": locked}
    connection.execute(sa.update(models).where(models.c.id == model_id).values(values))


def insert_price_of_model(
    connection: Connection, model_id: int, price_id: int, *, at_ms: int, actor: str
) -> None:
    """Remembers that the model has had this price."""
    values = {"model_id": model_id, "price_id": price_id, "at_ms": at_ms, "actor": actor}
    connection.execute(sa.insert(model_prices).values(values))


def prices_of_model(connection: Connection, model_id: int, *, limit: int) -> list[PriceVersion]:
    """The sale prices a model has had, newest first."""
    query = (
        sa.select(*PRICE_COLUMNS, prices.c.quote, model_prices.c.at_ms, model_prices.c.actor)
        .join(model_prices, model_prices.c.price_id == prices.c.id)
        .where(model_prices.c.model_id == model_id)
        .order_by(prices.c.id.desc())
        .limit(limit)
    )
    return [
        PriceVersion(price_of(row[:5]), _quote_of(row[5]), row[6], row[7])
        for row in connection.execute(query).all()
    ]


def quotes(connection: Connection, price_ids: Collection[int]) -> dict[int, Quote]:
    """What these versions were made from, by id."""
    query = sa.select(prices.c.id, prices.c.quote).where(prices.c.id.in_(sorted(price_ids)))
    return {price_id: _quote_of(text) for price_id, text in connection.execute(query).all()}


def _quote_of(text: str) -> Quote:
    return _QUOTE.decode(text) if text else TYPED


def abouts(connection: Connection, *, name: str | None = None) -> dict[int, About]:
    """What is said of every model, or of the one of this name, by its id."""
    query = sa.select(models.c.id, models.c.about)
    if name is not None:
        query = query.where(models.c.name == name)
    return {
        model_id: _ABOUT.decode(text) if text else NOTHING_SAID
        for model_id, text in connection.execute(query).all()
    }


def delete_model(connection: Connection, model_id: int) -> None:
    """The model is gone, with its routes; the versions of its prices stay."""
    for table in (routes, model_prices):
        connection.execute(sa.delete(table).where(table.c.model_id == model_id))
    connection.execute(sa.delete(models).where(models.c.id == model_id))


def replace_routes(connection: Connection, model_id: int, wanted: tuple[Route, ...]) -> None:
    """These routes in this order, and no others. Their costs are stored versions."""
    connection.execute(sa.delete(routes).where(routes.c.model_id == model_id))
    if wanted:
        connection.execute(
            sa.insert(routes),
            [
                {
                    "model_id": model_id,
                    "position": position,
                    "vendor_id": route.vendor_id,
                    "upstream_model": route.upstream_model,
                    "cost_price_id": route.cost.id,
                    "groups": list(route.groups),
                }
                for position, route in enumerate(wanted)
            ],
        )


def model_by_name(connection: Connection, name: str) -> Model | None:
    """The model of this name, with price and routes."""
    found = list_models(connection, name=name)
    return found[0] if found else None


def list_models(connection: Connection, *, name: str | None = None) -> list[Model]:
    """Every model (or the one of this name) in the order they were made, whole.

    Three plain statements and no joins, because with 2,000 models this is most of the
    time of every publication; and each version of a price is one object.
    """
    model_query = sa.select(
        models.c.id,
        models.c.name,
        models.c.kind,
        models.c.context_tokens,
        models.c.max_output_tokens,
        models.c.enabled,
        models.c.created_at_ms,
        models.c.price_id,
        models.c.hidden_reasoning,
        # As text: nearly every model has none and needs no decoding.
        sa.cast(models.c.timeouts, sa.Text),
        models.c.free,
        models.c.price_locked,
    ).order_by(models.c.id)
    route_query = sa.select(
        routes.c.model_id,
        routes.c.vendor_id,
        routes.c.upstream_model,
        routes.c.cost_price_id,
        # As text: nearly every route is open to all groups and needs no decoding.
        sa.cast(routes.c.groups, sa.Text),
    ).order_by(routes.c.model_id, routes.c.position)
    if name is not None:
        model_query = model_query.where(models.c.name == name)
        id_query = sa.select(models.c.id).where(models.c.name == name).scalar_subquery()
        route_query = route_query.where(routes.c.model_id == id_query)
    model_rows = connection.execute(model_query).all()
    route_rows = connection.execute(route_query).all()

    price_of = _prices_in_force(connection, whole=name is None, rows=(model_rows, route_rows))
    routes_of: defaultdict[int, list[Route]] = defaultdict(list)
    for model_id, vendor_id, upstream_model, cost_id, groups in route_rows:
        limited_to = () if groups == "[]" else tuple(msgspec.json.decode(groups))
        route = Route(vendor_id, upstream_model, price_of[cost_id], limited_to)
        routes_of[model_id].append(route)
    return [_model(row, price_of, routes_of) for row in model_rows]


def _prices_in_force(
    connection: Connection, *, whole: bool, rows: tuple[Sequence[Any], Sequence[Any]]
) -> dict[int, Price]:
    """By id, the versions that these models and routes point at."""
    query = sa.select(*PRICE_COLUMNS)
    if whole:
        in_force = sa.union(sa.select(models.c.price_id), sa.select(routes.c.cost_price_id))
        query = query.where(prices.c.id.in_(in_force))
    else:
        model_rows, route_rows = rows
        ids = {row.price_id for row in model_rows} | {row.cost_price_id for row in route_rows}
        query = query.where(prices.c.id.in_(sorted(ids)))
    return {row[0]: price_of(row) for row in connection.execute(query).all()}


def prices_by_id(connection: Connection) -> dict[int, Price]:
    """Every version of every price there ever was."""
    return {row[0]: price_of(row) for row in connection.execute(sa.select(*PRICE_COLUMNS))}


def models_routed_to(connection: Connection, vendor_id: int) -> list[str]:
    """The names of the models that have a route to this vendor."""
    query = (
        sa.select(models.c.name)
        .join(routes, routes.c.model_id == models.c.id)
        .where(routes.c.vendor_id == vendor_id)
        .distinct()
        .order_by(models.c.name)
    )
    return list(connection.execute(query).scalars())


def model_names(connection: Connection) -> set[str]:
    """The names of all models, enabled or not."""
    return set(connection.execute(sa.select(models.c.name)).scalars())


def _model(row: Any, price_of: dict[int, Price], routes_of: dict[int, list[Route]]) -> Model:
    model_id, name, kind, context_tokens, max_output_tokens, enabled, *rest = row
    created_at_ms, price_id, hidden_reasoning, timeouts, free, price_locked = rest
    return Model(
        ModelId(model_id),
        name,
        _KINDS[kind],
        context_tokens,
        max_output_tokens,
        enabled,
        created_at_ms,
        price_of[price_id],
        tuple(routes_of.get(model_id, ())),
        hidden_reasoning,
        NO_TIMEOUTS if timeouts == "{}" else _TIMEOUTS.decode(timeouts),
        free,
        price_locked,
    )
