"""The catalogue over HTTP, for operators: what is sold, for how much, and over which routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from sqlalchemy.engine import Connection

from aipool.audit.desk import Acting, Desk
from aipool.catalog import listing, rules, seed, service
from aipool.catalog.listing import Filter
from aipool.catalog.schemas import (
    ModelChangeSent,
    ModelShown,
    ModelsShown,
    NewModelSent,
    PriceVersionsShown,
    RouteSent,
    RoutesSent,
    SalePriceSent,
    SeededShown,
    about_from,
    model_shown,
    price_from,
    version_shown,
)
from aipool.catalog.types import (
    CONTEXT_TOKENS_DEFAULT,
    MAX_OUTPUT_TOKENS_DEFAULT,
    NOT_SAID,
    NOTHING_SAID,
    Kind,
    Model,
    ModelTerms,
    Quote,
    Route,
)
from aipool.kit.clock import iso_ms
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, Invalid
from aipool.rating.types import Price

#: The names of things that other slices own, by id.
Names = Callable[[Connection], Mapping[int, str]]
#: The names of the groups whose lists name this model.
NamedBy = Callable[[Connection, str], Sequence[str]]

PageLimit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str | None, Query(max_length=400)]
Word = Annotated[str, Query(max_length=100)]
#: Looked for in names, makers and descriptions.
Search = Annotated[str | None, Query(min_length=2, max_length=100)]

_NO_PRICE = Price(0, 0, 0, 0)


def routes(desk: Desk, vendor_names: Names, group_names: Names, named_by: NamedBy) -> APIRouter:
    """The models, their prices, and the routes of each."""
    router = APIRouter(prefix="/api/admin/models", tags=["models"])

    def shown(connection: Connection, *models: Model) -> list[ModelShown]:
        vendors, groups = vendor_names(connection), group_names(connection)
        quotes = service.list_quotes(connection, models)
        abouts = service.list_abouts(connection)
        return [
            model_shown(model, abouts.get(model.id), quotes, vendors, groups) for model in models
        ]

    def done(tx: Transaction, content: ModelShown, status: int = 200) -> Response:
        return desk.done(tx, content.model_dump(mode="json"), status)

    def after(tx: Transaction, name: str) -> ModelShown:
        return shown(tx.connection, service.get_model(tx.connection, name))[0]

    @router.get("")
    def list_models(
        kind: Kind | None = None,
        maker: Word = "",
        ability: Word = "",
        q: Search = None,
        enabled: bool | None = None,
        limit: PageLimit = 50,
        cursor: Cursor = None,
    ) -> ModelsShown:
        """Every model, on sale or not, by their names."""
        with desk.database.read() as connection:
            page = listing.page_of(
                service.list_models(connection),
                service.list_abouts(connection),
                Filter(kind, maker, ability, q or "", enabled),
                limit=limit,
                cursor=cursor,
            )
            items = shown(connection, *(model for model, _ in page.models))
        return ModelsShown(items=items, next_cursor=page.cursor, total=page.total)

    @router.post("", response_model=ModelShown, status_code=201)
    def create_model(sent: NewModelSent, act: Acting) -> Response:
        """Makes a model, off sale until it is enabled."""
        terms = _new_terms(sent, today(act.at_ms))
        with desk.database.write() as tx:
            if any(model.name == terms.name for model in service.list_models(tx.connection)):
                raise Conflict(
                    "model_exists",
                    f"there is a model {terms.name}",
                    field="name",
                    params={"name": terms.name},
                )
            service.put_model(tx, act, terms)
            content = after(tx, terms.name)
        return done(tx, content, 201)

    @router.post("/seed", response_model=SeededShown)
    def seed_models(act: Acting) -> Response:
        """Adds well-known models that are not there yet, off sale and without routes."""
        with desk.database.write() as tx:
            names = seed.plant(tx, act)
        return desk.done(tx, SeededShown(created=names).model_dump())

    # A model's name may have slashes in it, so what comes after it is looked for first.

    @router.put("/{name:path}/routes", response_model=ModelShown)
    def put_routes(name: str, sent: RoutesSent, act: Acting) -> Response:
        """All routes of a model, in the order in which they are tried."""
        with desk.database.write() as tx:
            model = service.get_model(tx.connection, rules.model_name(name))
            vendors, groups = vendor_names(tx.connection), group_names(tx.connection)
            wanted = [
                _route(f"routes.{place}", name, one, vendors, groups, today(act.at_ms))
                for place, one in enumerate(sent.routes)
            ]
            service.put_routes(
                tx, act, model, [route for route, _ in wanted], [quote for _, quote in wanted]
            )
            content = after(tx, name)
        return done(tx, content)

    @router.put("/{name:path}/price", response_model=ModelShown)
    def put_price(name: str, sent: SalePriceSent, act: Acting) -> Response:
        """What a model is sold for from now on; calls of before keep the price they were charged
        by."""
        price, quote = price_from("", sent, today(act.at_ms))
        with desk.database.write() as tx:
            model = service.get_model(tx.connection, rules.model_name(name))
            service.set_price(
                tx, act, model, price, quote=quote, free=sent.free, locked=sent.locked
            )
            content = after(tx, name)
        return done(tx, content)

    @router.get("/{name:path}/prices")
    def list_prices(name: str) -> PriceVersionsShown:
        """The sale prices a model has had, newest first."""
        with desk.database.read() as connection:
            model = service.get_model(connection, rules.model_name(name))
            found = service.price_history(connection, model)
        return PriceVersionsShown(items=[version_shown(version) for version in found])

    @router.post("/{name:path}/enable", response_model=ModelShown)
    def enable_model(name: str, act: Acting) -> Response:
        """Puts a model on sale. It needs a route, and a price for what it can use."""
        return switch(name, act, enabled=True)

    @router.post("/{name:path}/disable", response_model=ModelShown)
    def disable_model(name: str, act: Acting) -> Response:
        """Takes a model off sale."""
        return switch(name, act, enabled=False)

    def switch(name: str, act: Acting, *, enabled: bool) -> Response:
        with desk.database.write() as tx:
            service.set_enabled(tx, act, rules.model_name(name), enabled=enabled)
            content = after(tx, name)
        return done(tx, content)

    @router.get("/{name:path}")
    def show_model(name: str) -> ModelShown:
        """One model."""
        with desk.database.read() as connection:
            model = service.get_model(connection, rules.model_name(name))
            return shown(connection, model)[0]

    @router.patch("/{name:path}", response_model=ModelShown)
    def change_model(name: str, sent: ModelChangeSent, act: Acting) -> Response:
        """What a model is; what is left out stays as it is."""
        given = sent.given()
        with desk.database.write() as tx:
            model = service.get_model(tx.connection, rules.model_name(name))
            service.change_model(
                tx,
                act,
                model,
                kind=rules.kind(sent.kind) if "kind" in given else model.kind,
                context_tokens=given.get("context_tokens", model.context_tokens),
                max_output_tokens=given.get("max_output_tokens", model.max_output_tokens),
                hidden_reasoning=given.get("hidden_reasoning", model.hidden_reasoning),
                about=about_from(sent, service.get_about(tx.connection, model)),
            )
            content = after(tx, name)
        return done(tx, content)

    @router.delete("/{name:path}", status_code=204)
    def delete_model(name: str, act: Acting) -> Response:
        """Deletes a model that no group's list names. The records of its calls stay."""
        with desk.database.write() as tx:
            model = service.get_model(tx.connection, rules.model_name(name))
            service.delete_model(tx, act, model, named_by=named_by(tx.connection, name))
        return desk.done(tx)

    return router


def today(at_ms: int) -> str:
    """The day of a moment, in UTC."""
    return iso_ms(at_ms)[:10]


def _new_terms(sent: NewModelSent, day: str) -> ModelTerms:
    context_tokens = sent.context_tokens or CONTEXT_TOKENS_DEFAULT
    usual = min(MAX_OUTPUT_TOKENS_DEFAULT, context_tokens)
    about = about_from(sent, NOTHING_SAID)
    kind = rules.kind(sent.kind)
    terms = ModelTerms(
        rules.model_name(sent.name),
        kind,
        context_tokens,
        sent.max_output_tokens or usual,
        _NO_PRICE,
        (),
        sent.hidden_reasoning,
        about=about,
        enabled=False,
    )
    if sent.price is None:
        return terms
    price, quote = price_from("price", sent.price, day)
    return replace(
        terms, price=price, quote=quote, free=sent.price.free, price_locked=sent.price.locked
    )


def _route(
    field: str,
    model_name: str,
    sent: RouteSent,
    vendors: Mapping[int, str],
    groups: Mapping[int, str],
    day: str,
) -> tuple[Route, Quote]:
    """A route as it is stored, and what its cost was made from. Raises Invalid, which names the
    field under `field`."""
    if sent.vendor not in vendors:
        raise Invalid(
            "vendor_unknown",
            f"there is no vendor {sent.vendor}",
            field=f"{field}.vendor",
            params={"vendor": sent.vendor},
        )
    by_name = {group: group_id for group_id, group in groups.items()}
    unknown = [group for group in sent.groups if group not in by_name]
    if unknown:
        raise Invalid(
            "group_unknown",
            f"there is no group {', '.join(unknown)}",
            field=f"{field}.groups",
            params={"group": ", ".join(unknown)},
        )
    try:
        upstream_model = rules.model_name(sent.upstream_model or model_name)
    except Invalid as problem:
        raise Invalid(
            problem.code, problem.message, field=f"{field}.upstream_model", params=problem.params
        ) from None
    limited_to = tuple(dict.fromkeys(by_name[group] for group in sent.groups))
    cost, quote = price_from(f"{field}.cost", sent.cost, day)
    if not sent.cost.model_fields_set:
        quote = NOT_SAID
    return Route(sent.vendor, upstream_model, cost, limited_to), quote
