"""From a key to something that can be called, and what a call would do, over HTTP.

A vendor is asked for its models; of those some are chosen, with names and prices; models and
routes are made of them. Then the dry run tells which keys a call goes to. For operators
(control.access).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from decimal import Decimal, InvalidOperation
from typing import Annotated, Any

from fastapi import APIRouter, Query
from fastapi.responses import Response
from sqlalchemy.engine import Connection
from starlette.concurrency import run_in_threadpool

from aipool.audit.desk import ID_MAX, Acting, Desk, Id
from aipool.catalog import service as catalog
from aipool.catalog.proposals import Terms
from aipool.catalog.schemas import price_from
from aipool.control import asking, taking
from aipool.control.asking import Clients, Fetched, Subject
from aipool.control.explain import explain
from aipool.control.keys import subject_with
from aipool.control.schemas import (
    ChoiceSent,
    FetchSent,
    PriceSent,
    TakeSent,
    fetched_shown,
    taken_shown,
)
from aipool.control.taking import Choice
from aipool.groups import service as groups
from aipool.kit.clock import now_ms
from aipool.kit.errors import Invalid, NotFound
from aipool.kit.sealing import Keyring
from aipool.pool import service as pool
from aipool.rating.types import Price
from aipool.wire.limits import Limits


def routes(desk: Desk, keyring: Keyring, clients: Clients, limits: Limits) -> APIRouter:
    """What a vendor offers, what is taken of it, and the dry run."""
    router = APIRouter(prefix="/api")

    @router.post("/vendors/{vendor_id}/models/fetch")
    async def fetch_models(vendor_id: Id, sent: FetchSent = FetchSent()) -> dict[str, Any]:
        terms = _terms(sent)
        subject = await run_in_threadpool(_subject, desk, keyring, vendor_id, sent.key)
        fetched = await asking.fetch_models(clients, subject, unix_now=now_ms() / 1000)
        return await run_in_threadpool(_listed, desk, subject, fetched, terms)

    @router.post("/vendors/{vendor_id}/models")
    def take_over(vendor_id: Id, sent: TakeSent, act: Acting) -> Response:
        with desk.database.write() as tx:
            vendor = pool.vendor_by_id(tx.connection, vendor_id)
            by_name = {group.name: group.id for group in groups.list_groups(tx.connection)}
            choices = [
                _choice(f"models.{place}", one, by_name) for place, one in enumerate(sent.models)
            ]
            results = taking.take_over(tx, act, vendor, choices)
        return desk.done(tx, {"models": [taken_shown(result) for result in results]})

    @router.get("/route/explain")
    def explain_route(
        token: Annotated[int, Query(ge=1, le=ID_MAX)],
        model: Annotated[str, Query(max_length=300)],
        stream: Annotated[bool, Query()] = False,
    ) -> dict[str, Any]:
        with desk.database.read() as connection:
            explained = explain(
                connection,
                token_id=token,
                model_name=model,
                stream=stream,
                limits=limits,
                now_ms=now_ms(),
            )
        return asdict(explained)

    return router


def vendor_names(connection: Connection) -> dict[int, str]:
    """The vendors' names by id."""
    return {vendor.id: vendor.name for vendor in pool.list_vendors(connection)}


def group_names(connection: Connection) -> dict[int, str]:
    """The groups' names by id."""
    return {group.id: group.name for group in groups.list_groups(connection)}


def _subject(desk: Desk, keyring: Keyring, vendor_id: int, key_id: int | None) -> Subject:
    """The vendor's key of this id, or its default one, to ask with."""
    with desk.database.read() as connection:
        vendor = pool.vendor_by_id(connection, vendor_id)
        keys = pool.list_keys(connection, vendor)
    wanted = [key.id for key in keys if (key.default if key_id is None else key.id == key_id)]
    if not wanted:
        raise NotFound("key_unknown", f"vendor {vendor.name} has no such key", field="key")
    return subject_with(desk, keyring, wanted[0])


def _listed(desk: Desk, subject: Subject, fetched: Fetched, terms: Terms) -> dict[str, Any]:
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
    if not number.is_finite() or not 0 < number <= 1000:
        raise Invalid("invalid_factor", "a number above 0 and up to 1000", field=field)
    return number


def _choice(field: str, sent: ChoiceSent, groups_by_name: Mapping[str, int]) -> Choice:
    """A choice as it is carried out. Raises Invalid, which names the field under `field`."""
    unknown = [name for name in sent.groups if name not in groups_by_name]
    if unknown:
        raise Invalid("group_unknown", f"there is no group {unknown[0]}", field=f"{field}.groups")
    return Choice(
        upstream_model=sent.upstream_model,
        name=sent.name or sent.upstream_model,
        kind=sent.kind,
        price=_price(f"{field}.price", sent.price),
        cost=_price(f"{field}.cost", sent.cost),
        context_tokens=sent.context_tokens,
        max_output_tokens=sent.max_output_tokens,
        groups=tuple(groups_by_name[name] for name in sent.groups),
    )


def _price(field: str, sent: PriceSent | None) -> Price | None:
    return None if sent is None else price_from(field, **sent.model_dump())
