"""From a key to something that can be called, and what a call would do, over HTTP.

A vendor is asked for its models; of those some are chosen, with names and prices; models and
routes are made of them. Then the dry run tells which keys a call goes to. For operators
(control.access).
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated

from fastapi import APIRouter, Query
from fastapi.responses import Response
from sqlalchemy.engine import Connection
from starlette.concurrency import run_in_threadpool

from aipool.accounts.callers import Asking
from aipool.audit.desk import Acting, Desk, Id, NeededId
from aipool.catalog import market
from aipool.catalog import service as catalog
from aipool.catalog.proposals import Terms
from aipool.catalog.routes import today
from aipool.catalog.schemas import PriceSent, price_from
from aipool.catalog.types import TYPED, Quote
from aipool.control import asking, taking
from aipool.control.asking import Clients, Fetched, Subject
from aipool.control.explain import Explained, explain
from aipool.control.keys import subject_with
from aipool.control.masking import is_masked_token
from aipool.control.schemas import (
    ChoiceSent,
    FetchedShown,
    FetchSent,
    TakenShown,
    TakeSent,
    fetched_shown,
    taken_shown,
)
from aipool.control.taking import Choice
from aipool.groups import service as groups
from aipool.groups.types import DEFAULT_NAME
from aipool.kit.clock import now_ms
from aipool.kit.errors import Invalid, NotFound
from aipool.kit.money import PPM
from aipool.kit.sealing import Keyring
from aipool.pool import service as pool
from aipool.rating.types import Price
from aipool.wire.limits import Limits

#: Of a rate or a markup: beyond it, a typing mistake.
_FACTOR_MAX = 1000


def routes(desk: Desk, keyring: Keyring, clients: Clients, limits: Limits) -> APIRouter:
    """What a vendor offers, what is taken of it, and the dry run."""
    router = APIRouter(prefix="/api")

    @router.post("/vendors/{vendor_id}/models/fetch")
    async def fetch_models(vendor_id: Id, sent: FetchSent = FetchSent()) -> FetchedShown:
        """Asks the vendor for its list of models, and proposes names and prices."""
        terms = _terms(sent)
        subject = await run_in_threadpool(_subject, desk, keyring, vendor_id, sent.key)
        fetched = await asking.fetch_models(clients, subject, unix_now=now_ms() / 1000)
        return await run_in_threadpool(_listed, desk, subject, fetched, terms)

    @router.post("/vendors/{vendor_id}/models", response_model=TakenShown)
    def take_models(vendor_id: Id, sent: TakeSent, act: Acting) -> Response:
        """Takes chosen models over: each becomes a model, or a route more of the model that has
        its name."""
        with desk.database.write() as tx:
            vendor = pool.vendor_by_id(tx.connection, vendor_id)
            by_name = {group.name: group.id for group in groups.list_groups(tx.connection)}
            choices = [
                _choice(f"models.{place}", one, by_name, today(act.at_ms))
                for place, one in enumerate(sent.models)
            ]
            results = taking.take_over(tx, act, vendor, choices)
        return desk.done(tx, TakenShown(models=list(map(taken_shown, results))))

    @router.get("/route/explain")
    def explain_route(
        caller: Asking,
        token: NeededId,
        model: Annotated[str, Query(max_length=300)],
        stream: Annotated[bool, Query()] = False,
    ) -> Explained:
        """What would become of a call now, and why. Nothing is called. token: its id."""
        with desk.database.read() as connection:
            if is_masked_token(connection, caller.user, token):
                # As of one that is not there.
                raise NotFound(
                    "token_unknown",
                    f"there is no token {token}",
                    field="token",
                    params={"id": token},
                )
            return explain(
                connection,
                token_id=token,
                model_name=model,
                stream=stream,
                limits=limits,
                now_ms=now_ms(),
            )

    return router


def market_terms(connection: Connection, user_id: int | None) -> list[market.Terms]:
    """The groups of a user as the market needs them; of nobody, the default one."""
    every = groups.list_groups(connection)
    default = [group for group in every if group.is_default]
    mine = default if user_id is None else groups.granted_groups(connection, user_id)
    found = [
        market.Terms(group.id, group.name, group.multiplier_ppm, group.models) for group in mine
    ]
    # It is made with the first token; until then everything is sold at list price.
    return found if default else [*found, market.Terms(0, DEFAULT_NAME, PPM, None)]


def _subject(desk: Desk, keyring: Keyring, vendor_id: int, key_id: int | None) -> Subject:
    """The vendor's key of this id, or its default one, to ask with."""
    with desk.database.read() as connection:
        vendor = pool.vendor_by_id(connection, vendor_id)
        keys = pool.list_keys(connection, vendor)
    wanted = [key.id for key in keys if (key.default if key_id is None else key.id == key_id)]
    if not wanted:
        raise NotFound(
            "key_unknown",
            f"vendor {vendor.name} has no such key",
            field="key",
            params={"vendor": vendor.name},
        )
    return subject_with(desk, keyring, wanted[0])


def _listed(desk: Desk, subject: Subject, fetched: Fetched, terms: Terms) -> FetchedShown:
    with desk.database.read() as connection:
        models = catalog.list_models(connection)
    found = asking.listings(subject, fetched.models, models, terms, datetime.now(UTC))
    return fetched_shown(fetched, found)


def _terms(sent: FetchSent) -> Terms:
    """Raises Invalid for what is no number above zero."""
    given = {
        name: _factor(name, text)
        for name, text in (("cny_per_usd", sent.cny_per_usd), ("markup", sent.markup))
        if text is not None
    }
    return Terms(**given)


def _factor(field: str, text: str) -> Decimal:
    try:
        number = Decimal(text)
    except InvalidOperation:
        number = Decimal(0)
    if not number.is_finite() or not 0 < number <= _FACTOR_MAX:
        raise Invalid(
            "invalid_factor",
            f"a number above 0 and up to {_FACTOR_MAX}",
            field=field,
            params={"most": _FACTOR_MAX},
        )
    return number


def _choice(field: str, sent: ChoiceSent, groups_by_name: Mapping[str, int], day: str) -> Choice:
    """A choice as it is carried out. Raises Invalid, which names the field under `field`."""
    unknown = [name for name in sent.groups if name not in groups_by_name]
    if unknown:
        raise Invalid(
            "group_unknown",
            f"there is no group {unknown[0]}",
            field=f"{field}.groups",
            params={"group": unknown[0]},
        )
    price, quote = _price(f"{field}.price", sent.price, day)
    cost, cost_quote = _price(f"{field}.cost", sent.cost, day)
    return Choice(
        upstream_model=sent.upstream_model,
        name=sent.name or sent.upstream_model,
        kind=sent.kind,
        price=price,
        cost=cost,
        context_tokens=sent.context_tokens,
        max_output_tokens=sent.max_output_tokens,
        groups=tuple(groups_by_name[name] for name in sent.groups),
        free=sent.free,
        quote=quote,
        cost_quote=cost_quote,
    )


def _price(field: str, sent: PriceSent | None, day: str) -> tuple[Price | None, Quote]:
    return (None, TYPED) if sent is None else price_from(field, sent, day)
