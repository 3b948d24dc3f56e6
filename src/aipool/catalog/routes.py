"""The catalogue over HTTP, for operators: what is sold, and over which routes."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from fastapi import APIRouter
from fastapi.responses import Response
from sqlalchemy.engine import Connection

from aipool.audit.desk import Acting, Desk
from aipool.catalog import rules, service
from aipool.catalog.schemas import RouteSent, RoutesSent, model_shown, price_from
from aipool.catalog.types import Route
from aipool.kit.errors import Invalid

#: The names of things that other slices own, by id.
Names = Callable[[Connection], Mapping[int, str]]


def routes(desk: Desk, vendor_names: Names, group_names: Names) -> APIRouter:
    """The models, and the routes of each."""
    router = APIRouter(prefix="/api")

    @router.get("/models")
    def list_models() -> dict[str, Any]:
        with desk.database.read() as connection:
            vendors, groups = vendor_names(connection), group_names(connection)
            found = service.list_models(connection)
        return {"models": [model_shown(model, vendors, groups) for model in found]}

    # A model's name may have slashes in it.
    @router.put("/models/{name:path}/routes")
    def put_routes(name: str, sent: RoutesSent, act: Acting) -> Response:
        with desk.database.write() as tx:
            model = service.get_model(tx.connection, rules.model_name(name))
            vendors, groups = vendor_names(tx.connection), group_names(tx.connection)
            wanted = tuple(
                _route(f"routes.{place}", name, one, vendors, groups)
                for place, one in enumerate(sent.routes)
            )
            service.put_routes(tx, act, model, wanted)
            content = model_shown(service.get_model(tx.connection, name), vendors, groups)
        return desk.done(tx, content)

    return router


def _route(
    field: str,
    model_name: str,
    sent: RouteSent,
    vendors: Mapping[int, str],
    groups: Mapping[int, str],
) -> Route:
    """A route as it is stored. Raises Invalid, which names the field under `field`."""
    if sent.vendor not in vendors:
        raise Invalid(
            "vendor_unknown", f"there is no vendor {sent.vendor}", field=f"{field}.vendor"
        )
    by_name = {group: group_id for group_id, group in groups.items()}
    unknown = [group for group in sent.groups if group not in by_name]
    if unknown:
        raise Invalid(
            "group_unknown", f"there is no group {', '.join(unknown)}", field=f"{field}.groups"
        )
    try:
        upstream_model = rules.model_name(sent.upstream_model or model_name)
    except Invalid as problem:
        raise Invalid(problem.code, problem.message, field=f"{field}.upstream_model") from None
    limited_to = tuple(dict.fromkeys(by_name[group] for group in sent.groups))
    cost = price_from(f"{field}.cost", **sent.cost.model_dump())
    return Route(sent.vendor, upstream_model, cost, limited_to)
