"""The web application: builds everything once, and says how it refuses.

Refusals are problem details (RFC 9457): a type, a title, a status and a detail, without
anything of the inside.
"""

from __future__ import annotations

from http import HTTPStatus

import structlog
from fastapi import FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response
from starlette.exceptions import HTTPException

from aipool.accounts import setup as first_administrator
from aipool.control import pages, setup
from aipool.control.guard import Guard
from aipool.kit.db import Database, DatabaseBusy, DatabaseUnusable

_log = structlog.get_logger()


def create_app(database: Database, pepper: bytes) -> FastAPI:
    """The application over this database."""
    # No generated pages: what is public is written in this package.
    app = FastAPI(title="AI-POOL", docs_url=None, redoc_url=None, openapi_url=None)
    app.add_middleware(Guard)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(DatabaseUnusable, _without_database)
    app.add_exception_handler(DatabaseBusy, _without_database)
    app.add_exception_handler(Exception, _failed)
    app.include_router(setup.routes(database, pepper))

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


def _problem(status: int, headers: dict[str, str] | None = None) -> Response:
    phrase = HTTPStatus(status).phrase
    details = {
        404: "There is no such page. The models are called under /v1.",
        405: "This page is not asked for in this way.",
        503: "The database cannot be reached at the moment. Try again soon.",
        500: "This did not work, and it is not your fault. The server's log says more.",
    }
    return JSONResponse(
        {
            "type": "about:blank",
            "title": phrase,
            "status": status,
            "detail": details.get(status, phrase),
        },
        status_code=status,
        media_type="application/problem+json",
        headers=headers,
    )
