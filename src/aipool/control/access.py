"""The door of the operator's interface: everything under /api is for the root account's token.

Nothing under /api is looked at before the token is: not the path, not the method, not the body.
So a stranger learns nothing there, and a route that is added later is closed from the start.
The token is taken from `Authorization: Bearer` only; an address ends in logs and histories.

Whoever has no valid token gets one and the same 401, and after too many of them in a minute from
one address a 429. A valid token is let in whatever its neighbours did.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable

from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from aipool.accounts import setup
from aipool.accounts.types import Role, Status
from aipool.kit.db import Database
from aipool.kit.digests import RANDOM_CHARACTERS, ROOT_PREFIX
from aipool.kit.problems import problem

#: Refused tokens of one address in a minute, before they are asked to wait.
TRIES_MAX = 20
_WINDOW_SECONDS = 60.0
#: Addresses that are remembered; beyond that the unknown ones share one count.
_ADDRESSES_MAX = 10_000

#: Monotonic seconds.
Clock = Callable[[], float]
#: Who presents this secret, as the trail names them; None = nobody who may come in.
Who = Callable[[str], str | None]


def is_guarded(path: str) -> bool:
    """Is this a path of the operator's interface?"""
    return path == "/api" or path.startswith("/api/")


def root_of(database: Database, pepper: bytes) -> Who:
    """Looks up the root account by its access token."""

    def who(secret: str) -> str | None:
        if len(secret) != len(ROOT_PREFIX) + RANDOM_CHARACTERS or not secret.isascii():
            return None
        with database.read() as connection:
            user = setup.user_of_access_token(connection, pepper, secret)
        if user is None or user.role is not Role.ROOT or user.status is not Status.ACTIVE:
            return None
        return f"user:{user.id}"

    return who


class Access:
    """ASGI middleware; wraps the application once."""

    def __init__(self, app: ASGIApp, who: Who, clock: Clock) -> None:
        self._app = app
        self._who = who
        self._tries = _Tries(clock)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through with its actor, or refuses it."""
        if scope["type"] != "http" or not is_guarded(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        scheme, _, secret = headers.get("authorization", "").partition(" ")
        actor = None
        if scheme.lower() == "bearer":
            actor = await run_in_threadpool(self._who, secret.strip())
        if actor is None:
            refused = self._refusal(headers.get("x-forwarded-for", ""))
            await refused(scope, receive, send)
            return
        scope.setdefault("state", {})["actor"] = actor
        await self._app(scope, receive, send)

    def _refusal(self, address: str) -> ASGIApp:
        wait_seconds = self._tries.one_more(_network_of(address))
        if wait_seconds:
            return problem(
                429,
                "too_many_tries",
                "Too many requests without a valid access token came from here.",
                headers={"Retry-After": str(wait_seconds)},
            )
        return problem(
            401,
            "access_token_needed",
            "This needs the root account's access token: Authorization: Bearer …",
            headers={"WWW-Authenticate": "Bearer"},
        )


class _Tries:
    """Refused requests by address, in windows of a minute that begin with the first."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._counts: dict[str, tuple[float, int]] = {}

    def one_more(self, address: str) -> int:
        """Whole seconds to wait, 0 = this one is not too many."""
        now = self._clock()
        counts = self._counts
        if address not in counts and len(counts) >= _ADDRESSES_MAX:
            for known, (began, _) in tuple(counts.items()):
                if now - began >= _WINDOW_SECONDS:
                    del counts[known]
            if len(counts) >= _ADDRESSES_MAX:
                address = ""
        began, count = counts.get(address, (now, 0))
        if now - began >= _WINDOW_SECONDS:
            began, count = now, 0
        counts[address] = (began, count + 1)
        return 0 if count < TRIES_MAX else int(began + _WINDOW_SECONDS - now) + 1


def _network_of(address: str) -> str:
    """Whom an address stands for: a house with IPv6 has 2^64 of them."""
    try:
        parsed = ipaddress.ip_address(address.strip())
    except ValueError:
        return ""
    if isinstance(parsed, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((parsed, 64), strict=False))
    return str(parsed)
