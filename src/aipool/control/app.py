"""The web application: builds everything once, and says how it refuses.

Refusals are problem details (RFC 9457), without anything of the inside. Under /api is the
interface of the operator, one line a router; around all of it stands `access`.
"""

from __future__ import annotations

from http import HTTPStatus
from time import monotonic

import structlog
from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import HTMLResponse, Response
from starlette.exceptions import HTTPException

from aipool.accounts import setup as first_administrator
from aipool.audit.desk import Desk
from aipool.catalog import routes as catalog
from aipool.config import Settings
from aipool.control import alerts, keys, offers, pages, setup
from aipool.control.access import Access, root_of
from aipool.control.asking import Clients
from aipool.control.guard import Guard
from aipool.control.telling import teller
from aipool.kit.db import Database, DatabaseBusy, DatabaseUnusable
from aipool.kit.errors import BusinessError
from aipool.kit.outbound import Vet
from aipool.kit.problems import of_form, of_refusal, problem
from aipool.kit.sealing import Keyring
from aipool.pool import routes as pool

_log = structlog.get_logger()


def create_app(
    database: Database, settings: Settings, pepper: bytes, keyring: Keyring, clients: Clients
) -> FastAPI:
    """The application over this database. clients: to ask vendors with."""
    # No generated pages: what is public is written in this package.
    app = FastAPI(title="AI-POOL", docs_url=None, redoc_url=None, openapi_url=None)
    # The one that is added last is the outermost.
    app.add_middleware(Access, who=root_of(database, pepper), clock=monotonic)
    app.add_middleware(Guard)
    app.add_exception_handler(BusinessError, _refused_by_a_rule)
    app.add_exception_handler(RequestValidationError, _malformed)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(DatabaseUnusable, _without_database)
    app.add_exception_handler(DatabaseBusy, _without_database)
    app.add_exception_handler(Exception, _failed)
    app.include_router(setup.routes(database, pepper))
    desk = Desk(database, teller(settings.data_dir))
    vet = Vet(settings.private_upstreams)
    # Before the pool's own, whose /keys/{key_id}/… would take /keys/bulk for a key.
    app.include_router(keys.routes(desk, keyring, clients))
    app.include_router(pool.routes(desk, keyring, vet))
    app.include_router(catalog.routes(desk, offers.vendor_names, offers.group_names))
    app.include_router(offers.routes(desk, keyring, clients, settings.limits))
    app.include_router(alerts.routes(desk, keyring, vet))

    @app.get("/")
    def home(request: Request) -> HTMLResponse:
        with database.read() as connection:
            is_set_up = first_administrator.is_set_up(connection)
        return HTMLResponse(pages.home(_base_url(request), is_set_up=is_set_up))

    return app


def _base_url(request: Request) -> str:
    """Where the visitor found us; the worker in front says over which scheme."""
    scheme = request.headers.get("x-forwarded-proto", "http")
    scheme = scheme if scheme in ("http", "https") else "http"
    return f"{scheme}://{request.headers.get('host', 'localhost')}"


async def _refused_by_a_rule(_request: Request, error: Exception) -> Response:
    assert isinstance(error, BusinessError)
    return of_refusal(error)


async def _malformed(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    return of_form(error.errors())


async def _refused(_request: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 500
    headers = error.headers if isinstance(error, HTTPException) else None
    return _problem(status, headers=dict(headers or {}))


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
