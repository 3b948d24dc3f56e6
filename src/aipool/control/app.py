"""The web application: builds everything once, and says how it refuses.

Refusals are problem details (RFC 9457), without anything of the inside. Under /api is the
interface of the operator, one line a router; around all of it stands `access`.
"""

from __future__ import annotations

from http import HTTPStatus
from time import monotonic

import structlog
from fastapi import Depends, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from aipool.accounts import inviting
from aipool.accounts import routes as accounts
from aipool.accounts.premises import Premises
from aipool.api_tokens import routes as api_tokens
from aipool.audit.desk import Desk
from aipool.calls import routes as calls
from aipool.catalog import importing_routes, market
from aipool.catalog import routes as catalog
from aipool.config import Settings
from aipool.control import (
    alerts,
    balance_flow,
    console,
    exports,
    groups_admin,
    keys,
    newcomers,
    offers,
    parties,
    people,
    reference,
    said,
    second_eyes,
    setup,
    token_self,
    trail,
    usage,
)
from aipool.control.access import Access, People
from aipool.control.adjusting import recaller
from aipool.control.asking import Clients
from aipool.control.call_names import names_of_calls
from aipool.control.collecting import collector, token_lowering
from aipool.control.exact import check_exact
from aipool.control.guard import Guard
from aipool.control.last_used import last_used
from aipool.control.masking import narrowed
from aipool.control.policies import POLICIES, Registry, served_by
from aipool.control.settings import routes as site_routes
from aipool.control.standing import Standing
from aipool.control.telling import teller
from aipool.kit.clock import now_ms
from aipool.kit.db import Database, DatabaseBusy, DatabaseUnusable
from aipool.kit.errors import BusinessError
from aipool.kit.outbound import Vet
from aipool.kit.problems import of_form, of_refusal, problem
from aipool.kit.sealing import Keyring
from aipool.pool import routes as pool
from aipool.site.messages import Messenger
from aipool.site.service import Site
from aipool.site.types import LOW_BALANCE, PUBLIC_MARKET

_log = structlog.get_logger()


def create_app(
    database: Database, settings: Settings, pepper: bytes, keyring: Keyring, clients: Clients
) -> FastAPI:
    """The application over this database. clients: to ask vendors with."""
    unguarded, database = database, Standing(database)
    # No generated pages: what is public is written in this package.
    app = FastAPI(
        title="AI-POOL",
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_name_of,
        dependencies=[Depends(check_exact)],
    )
    app.add_exception_handler(BusinessError, _refused_by_a_rule)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(DatabaseUnusable, _without_database)
    app.add_exception_handler(DatabaseBusy, _without_database)
    app.add_exception_handler(Exception, _failed)
    app.include_router(setup.routes(database, pepper))
    desk = Desk(database, teller(settings.data_dir))
    vet = Vet(settings.private_upstreams)
    site = Site(settings, keyring)
    app.state.messenger = messenger = Messenger(database, site, settings)
    app.include_router(site_routes(desk, site, messenger, settings))
    premises = Premises(database, pepper, keyring, site, newcomers.hooks())
    app.state.failed_logins = premises.failed_logins
    app.include_router(accounts.routes(desk, premises, messenger))
    app.include_router(inviting.routes(desk, pepper))
    # Before the pool's own, whose /keys/{key_id}/… would take /keys/bulk for a key.
    app.include_router(keys.routes(desk, keyring, clients))
    app.include_router(pool.routes(desk, keyring, vet))
    app.include_router(
        catalog.routes(desk, parties.vendor_names, parties.group_names, parties.groups_naming)
    )
    app.include_router(importing_routes.routes(desk, parties.vendors_at))
    app.include_router(
        market.routes(
            desk, offers.market_terms, lambda connection: site.value(connection, PUBLIC_MARKET)
        )
    )
    app.include_router(offers.routes(desk, keyring, clients, settings.limits))
    app.include_router(alerts.routes(desk, keyring, vet))
    lowering = token_lowering(database, settings.data_dir)
    app.include_router(api_tokens.routes(desk, pepper, last_used, lowering))
    give_back = collector(database, settings.data_dir)
    app.include_router(groups_admin.routes(desk, give_back))
    recall = recaller(settings.data_dir)
    app.include_router(people.routes(desk, pepper, site, recall))
    app.include_router(second_eyes.routes(desk, recall))
    app.include_router(trail.routes(desk))
    # Before the calls, which would take export for an id.
    files = exports.Exports()
    app.include_router(exports.routes(desk, files))
    app.include_router(calls.routes(desk, names_of_calls, narrowed))
    app.include_router(balance_flow.routes(desk, files))
    app.include_router(usage.routes(desk, lambda connection: site.value(connection, LOW_BALANCE)))
    app.include_router(said.routes(desk, keyring))
    app.include_router(token_self.routes(database, pepper, monotonic=monotonic, clock_ms=now_ms))

    app.include_router(reference.routes(app))

    built = console.Console(settings.console_dir or console.default_folder())
    app.include_router(console.routes(built, database))

    # Whoever serves a path says whose it is. The one that is added last is the outermost.
    app.state.registry = registry = Registry(served_by(app), POLICIES)
    callers = People(unguarded, pepper, site)
    app.add_middleware(Access, callers=callers, registry=registry, clock=monotonic)
    app.add_middleware(Guard)
    return app


def _name_of(route: APIRoute) -> str:
    """What an operation is called: as the function that serves it, a verb and a noun."""
    return route.name


async def _refused_by_a_rule(_request: Request, error: Exception) -> Response:
    assert isinstance(error, BusinessError)
    return of_refusal(error)


async def _malformed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return of_form(error.errors())


async def _refused(request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = dict((error.headers if isinstance(error, HTTPException) else None) or {})
    if status == 405:
        # The framework names those of the first route of this path.
        registry: Registry = request.app.state.registry
        headers["Allow"] = ", ".join(registry.methods_of(request.scope["path"]))
    return _problem(status, headers=headers)


async def _without_database(request: Request, error: Exception) -> Response:
    _log.error("control_without_database", path=request.url.path, reason=str(error))
    return _problem(503, headers={"Retry-After": "1"})


async def _failed(request: Request, error: Exception) -> Response:
    _log.error("control_failed", path=request.url.path, exc_info=error)
    return _problem(500)


_SAID = {
    400: ("malformed_request", "The body cannot be read. Send one JSON object."),
    404: ("not_found", "There is no such page. The models are called under /v1."),
    405: ("method_not_allowed", "This page is not asked for in this way."),
    415: ("not_json", "Send JSON, and say so: Content-Type: application/json."),
    503: (
        "database_unavailable",
        "The database cannot be reached at the moment. Try again soon.",
    ),
    500: (
        "internal_error",
        "This did not work, and it is not your fault. The server's log says more.",
    ),
}


def _problem(status: int, headers: dict[str, str] | None = None) -> Response:
    code, detail = _SAID.get(status, ("refused", HTTPStatus(status).phrase))
    return problem(status, code, detail, headers=headers)
