"""The market over HTTP, for everybody: what can be called, what it can do, and what it costs.

A price is the list price times the multiplier of a group that the caller has, exact; without a
choice of theirs, of the cheapest of their groups that may call the model. Costs, routes and
vendors are nobody's business here. A model that none of the caller's groups may call is not there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from decimal import Decimal, localcontext
from typing import Annotated, Any, NamedTuple

import msgspec
from fastapi import APIRouter, Depends
from pydantic import Field
from sqlalchemy.engine import Connection
from starlette.requests import Request

from aipool.accounts.callers import Caller
from aipool.audit.desk import AskedId, Desk
from aipool.catalog import listing, quoting, rules, seed, service
from aipool.catalog.listing import Filter
from aipool.catalog.routes import Cursor, PageLimit, Search, Word
from aipool.catalog.schemas import (
    ParameterShown,
    PriceShown,
    Shown,
    TierShown,
    about_fields,
    price_shown,
)
from aipool.catalog.types import About, Kind, Model
from aipool.kit.errors import Forbidden, NotFound
from aipool.kit.money import PPM, format_multiplier

#: More digits than any price times any multiplier has.
_DIGITS = 60


class Terms(NamedTuple):
    """A group as the market needs it. models: names it may call, None = every one."""

    id: int
    name: str
    multiplier_ppm: int
    models: tuple[str, ...] | None

    def may_call(self, model: Model) -> bool:
        """Is this model sold to the group?"""
        named = self.models is None or model.name in self.models
        return named and rules.is_routed(model, self.id)


#: The groups of a user, the default one first; of nobody (None): the default one alone.
TermsOf = Callable[[Connection, int | None], Sequence[Terms]]
#: May somebody look who has not signed in?
IsPublic = Callable[[Connection], bool]


class GroupShown(Shown):
    """A group, and the decimal number that list prices are multiplied by in it."""

    id: int
    name: str
    multiplier: str


class OfferShown(Shown):
    """What a model costs in a group, in CNY, exact: charges are rounded up once a call."""

    group: GroupShown
    price: PriceShown


class SoldShown(Shown):
    """A model on sale. list_price: without a group's multiplier.  offer: in the group that was
    asked for, else in the cheapest that the caller has for it.  free: what it has no price for
    costs nothing."""

    name: str
    kind: str
    maker: str
    description: str
    abilities: list[str]
    endpoints: list[str]
    context_tokens: int
    max_output_tokens: int
    free: bool
    list_price: PriceShown
    offer: OfferShown


class SoldPage(Shown):
    """A page of models, by their names."""

    items: list[SoldShown]
    next_cursor: str | None
    total: int


class SoldWhole(SoldShown):
    """A model on sale, with its parameters and its price in every group that the caller has for
    it, cheapest first."""

    parameters: list[ParameterShown]
    offers: list[OfferShown] = Field(min_length=1)


def somebody(request: Request) -> Caller | None:
    """Who looks; None = they have not signed in."""
    caller: Caller | None = getattr(request.state, "caller", None)
    return caller


Looking = Annotated[Caller | None, Depends(somebody)]


def routes(desk: Desk, terms_of: TermsOf, is_public: IsPublic) -> APIRouter:
    """The models on sale."""
    router = APIRouter(prefix="/api/models", tags=["market"])

    @router.get("")
    def list_market(
        caller: Looking,
        kind: Kind | None = None,
        maker: Word = "",
        ability: Word = "",
        q: Search = None,
        group: AskedId = None,
        limit: PageLimit = 50,
        cursor: Cursor = None,
    ) -> SoldPage:
        """The models that the caller may call, by their names, with their prices. `group`: the id
        of one of the caller's groups; only what it may call, at its prices."""
        with desk.database.read() as connection:
            mine = _terms(connection, caller, group, terms_of, is_public)
            sold = [
                model
                for model in service.list_models(connection)
                if model.enabled and any(terms.may_call(model) for terms in mine)
            ]
            page = listing.page_of(
                sold,
                service.list_abouts(connection),
                Filter(kind, maker, ability, q or ""),
                limit=limit,
                cursor=cursor,
            )
        return SoldPage(
            items=[_sold(model, about, mine) for model, about in page.models],
            next_cursor=page.cursor,
            total=page.total,
        )

    # A model's name may have slashes in it.
    @router.get("/{name:path}")
    def show_market_model(name: str, caller: Looking, group: AskedId = None) -> SoldWhole:
        """One of them, with its parameters and its price in each of the caller's groups."""
        with desk.database.read() as connection:
            mine = _terms(connection, caller, group, terms_of, is_public)
            model = service.get_model(connection, rules.model_name(name))
            if not model.enabled or not any(terms.may_call(model) for terms in mine):
                # The same words as for one that does not exist.
                raise NotFound(
                    "model_unknown",
                    f"there is no model {name!r}",
                    field="model",
                    params={"models": name},
                )
            about = service.get_about(connection, model)
        return _whole(model, about, mine)

    return router


def _terms(
    connection: Connection,
    caller: Caller | None,
    group: int | None,
    terms_of: TermsOf,
    is_public: IsPublic,
) -> list[Terms]:
    """The groups whose prices are shown, cheapest first."""
    if caller is None and not is_public(connection):
        raise Forbidden("sign_in_needed", "Sign in to see the models.")
    mine = terms_of(connection, None if caller is None else caller.user.id)
    found = [terms for terms in mine if group in (None, terms.id)]
    if group is not None and not found:
        raise NotFound(
            "group_unknown", f"there is no group {group}", field="group", params={"group": group}
        )
    return sorted(found, key=lambda terms: terms.multiplier_ppm)


def _sold(model: Model, about: About, mine: Sequence[Terms]) -> SoldShown:
    fields = about_fields(_callable(model, about))
    del fields["parameters"]
    return SoldShown(**_fields(model), **fields, offer=next(_offers(model, mine)))


def _callable(model: Model, about: About) -> About:
    """What is said of a model, and where it is called: as its kind is, when nobody says."""
    if about.endpoints:
        return about
    return msgspec.structs.replace(about, endpoints=seed.endpoints_of(model.kind))


def _whole(model: Model, about: About, mine: Sequence[Terms]) -> SoldWhole:
    offers = list(_offers(model, mine))
    fields = about_fields(_callable(model, about))
    return SoldWhole(**_fields(model), **fields, offer=offers[0], offers=offers)


def _fields(model: Model) -> dict[str, Any]:
    return {
        "name": model.name,
        "kind": model.kind.value,
        "context_tokens": model.context_tokens,
        "max_output_tokens": model.max_output_tokens,
        "free": model.free,
        "list_price": price_shown(model.price),
    }


def _offers(model: Model, mine: Sequence[Terms]) -> Iterator[OfferShown]:
    for terms in mine:
        if terms.may_call(model):
            multiplier = format_multiplier(terms.multiplier_ppm)
            yield OfferShown(
                group=GroupShown(id=terms.id, name=terms.name, multiplier=multiplier),
                price=_times(model, terms.multiplier_ppm),
            )


def _times(model: Model, multiplier_ppm: int) -> PriceShown:
    """The list price times a multiplier, without a rounding."""
    amounts = quoting.amounts_of(model.price)
    tiers = amounts.pop("tiers", [])
    return PriceShown(
        **{unit: _product(text, multiplier_ppm) for unit, text in amounts.items()},
        tiers=[
            TierShown(
                above_tokens=tier["above_tokens"],
                **{unit: _product(tier[unit], multiplier_ppm) for unit in quoting.TEXT},
            )
            for tier in tiers
        ],
    )


def _product(text: str, multiplier_ppm: int) -> str:
    with localcontext() as exact:
        exact.prec = _DIGITS
        product = f"{Decimal(text) * multiplier_ppm / PPM:f}"
    return product.rstrip("0").rstrip(".") if "." in product else product
