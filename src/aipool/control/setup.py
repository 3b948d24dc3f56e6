"""The page that makes the first administrator.

The secret of the one-time link is behind the `#`, so no server, proxy or log ever sees
it in an address; a small script moves it into the form, and it can be pasted there.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Form
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

from aipool.accounts import rules, setup
from aipool.accounts.passwords import hash_password
from aipool.accounts.types import Role
from aipool.audit.types import Act
from aipool.control import pages
from aipool.kit.clock import now_ms
from aipool.kit.db import Database
from aipool.kit.errors import BusinessError, Forbidden


def routes(database: Database, pepper: bytes) -> APIRouter:
    """The page, its script and its form."""
    router = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

    @router.get("/setup")
    def form() -> Response:
        with database.read() as connection:
            if setup.is_set_up(connection):
                return HTMLResponse(pages.setup_over(), status_code=410)
        return HTMLResponse(pages.setup_form())

    @router.get("/setup.js")
    def script() -> Response:
        return PlainTextResponse(pages.SETUP_SCRIPT, media_type="text/javascript")

    @router.post("/setup")
    def submit(
        phone: Annotated[str, Form()] = "",
        password: Annotated[str, Form()] = "",
        token: Annotated[str, Form()] = "",
    ) -> Response:
        try:
            number, access_token = _make_root(database, pepper, phone, password, token.strip())
        except BusinessError as problem:
            page = pages.setup_form(problem=problem.message, phone=phone, token=token)
            return HTMLResponse(page, status_code=problem.status)
        return HTMLResponse(pages.setup_done(number, access_token), status_code=201)

    return router


def _make_root(
    database: Database, pepper: bytes, phone: str, password: str, secret: str
) -> tuple[str, str]:
    """The root account's number and access token. Raises BusinessError.

    The secret is looked at before anything costly is done, and again in the transaction
    that uses it up.
    """
    with database.read() as connection:
        if not setup.link_is_valid(connection, pepper, secret):
            raise Forbidden(
                "setup_link_invalid",
                "This set-up token is not valid: it was used, or replaced at a later start. "
                "The newest link is on the terminal where AI-POOL was started.",
            )
    number = rules.canonical_phone(phone)
    rules.check_password(password, Role.ROOT, number)
    password_hash = hash_password(password)
    with database.write() as tx:
        root, access_token = setup.create_root(
            tx,
            Act("setup", now_ms()),
            pepper,
            secret=secret,
            phone=number,
            password_hash=password_hash,
        )
    return root.phone, access_token
