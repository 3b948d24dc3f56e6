"""The door of everything under /api: finds out who asks, and whether they may (control.policies).

Somebody is a person by the cookie of their session, or a program of theirs by an access token in
`Authorization: Bearer …`; a token in the address is not looked at, an address ends in logs and
histories. Where a token is sent, no cookie is looked at.

A stranger learns nothing here: whatever they ask for that is not for anyone, there or not, they get
one and the same 401. From one address, too many wrong tokens in a minute meet a 429; a right one is
let in whatever its neighbours did. What ordinary users change is counted too, by user.

What comes by cookie may be made by any page in the person's browser, so a change that comes so
must say that it was made by ours (control.origins). Nothing is changed by GET.
"""

from __future__ import annotations

from typing import Protocol

import structlog
from starlette.concurrency import run_in_threadpool
from starlette.datastructures import Headers
from starlette.types import ASGIApp, Receive, Scope, Send

from aipool.accounts import sessions
from aipool.accounts.callers import Caller
from aipool.accounts.throttle import network_of
from aipool.accounts.types import Role
from aipool.control.origins import is_marked, is_ours
from aipool.control.policies import Policy, Registry, Who
from aipool.control.standing import asking
from aipool.control.tries import Clock, Tries
from aipool.kit.clock import now_ms
from aipool.kit.db import PASSING_ERRORS, Database
from aipool.kit.problems import Problem, problem
from aipool.site.service import Site
from aipool.site.types import BASE_URL, TOTP_REQUIRED

_log = structlog.get_logger()


#: What changes nothing.
_SAFE = frozenset({"GET", "HEAD", "OPTIONS"})

#: Where somebody gets who must do something first (Caller.must).
_ALWAYS_OPEN = ("/api/me/", "/api/auth/", "/api/site/")

_RANKS = {Role.USER: Who.USER, Role.ADMIN: Who.ADMIN, Role.ROOT: Who.ROOT}


#: What an ordinary user may change in a minute, in pages, and as much again by programs: each
#: change is a row of the trail, and the tables are everybody's. Nobody clicks half as often.
CHANGES_MAX = 120
#: These ask for the password or a code, whose tries are counted, and take an account back from a
#: thief who asks all the time.
_UNCOUNTED = frozenset({"/api/me/password", "/api/me/step-up"})


class Callers(Protocol):
    """Knows people by what they hold. None = nobody who may come in."""

    def by_cookie(self, secret: str) -> Caller | None:
        """By the cookie of a session."""
        ...

    def by_token(self, secret: str) -> Caller | None:
        """By an access token."""
        ...

    def base_url(self) -> str:
        """The public address, "" = not set."""
        ...


class People:
    """Knows everybody with an account, as the database has them at the moment."""

    def __init__(self, database: Database, pepper: bytes, site: Site) -> None:
        self._database = database
        self._pepper = pepper
        self._site = site

    def by_cookie(self, secret: str) -> Caller | None:
        """Whose session it opens."""
        at_ms = now_ms()
        with self._database.read() as connection:
            totp_required = self._site.value(connection, TOTP_REQUIRED)
            caller = sessions.caller_of_cookie(
                connection, self._pepper, secret, at_ms, totp_required=totp_required
            )
        return self._noted(caller, at_ms)

    def by_token(self, secret: str) -> Caller | None:
        """Whose access token it is."""
        at_ms = now_ms()
        with self._database.read() as connection:
            totp_required = self._site.value(connection, TOTP_REQUIRED)
            caller = sessions.caller_of_access_token(
                connection, self._pepper, secret, at_ms, totp_required=totp_required
            )
        return self._noted(caller, at_ms)

    def base_url(self) -> str:
        """Where the site is reached from outside, "" = not set."""
        with self._database.read() as connection:
            return self._site.value(connection, BASE_URL)

    def _noted(self, caller: Caller | None, at_ms: int) -> Caller | None:
        """Notes now and then that the session or the token is in use, if that can be written."""
        if caller is not None and sessions.is_due(caller, at_ms):
            try:
                with self._database.write() as tx:
                    sessions.note_seen(tx, caller, at_ms)
            except PASSING_ERRORS as reason:
                _log.warning("use_not_noted", reason=str(reason))
        return caller


def is_guarded(path: str) -> bool:
    """Is this a path of the interface?"""
    return path == "/api" or path.startswith("/api/")


class Access:
    """ASGI middleware; wraps the application once."""

    def __init__(self, app: ASGIApp, callers: Callers, registry: Registry, clock: Clock) -> None:
        self._app = app
        self._callers = callers
        self._registry = registry
        self._tries = Tries(clock)
        self._changes = Tries(clock, CHANGES_MAX)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through with its caller, or refuses it."""
        if scope["type"] != "http" or not is_guarded(scope["path"]):
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        token, cookie = _token_of(headers), _cookie_of(headers)
        caller = None
        if token is not None:
            caller = await run_in_threadpool(self._callers.by_token, token)
        elif cookie is not None:
            caller = await run_in_threadpool(self._callers.by_cookie, cookie)
        policy = self._registry.policy_of(scope["method"], scope["path"])
        refusal: Problem | None
        if caller is None and (policy is None or policy.who is not Who.ANYONE):
            refusal = self._unknown(headers.get("x-forwarded-for", ""), by_token=token is not None)
        else:
            changes = scope["method"] not in _SAFE
            refusal = None
            if changes and token is None:
                refusal = await self._foreign(headers, has_session=caller is not None)
            # What is not there is told by the router, which knows what is there.
            if refusal is None and caller is not None and policy is not None:
                refusal = _not_allowed(policy, caller, scope["path"], changes=changes)
                if refusal is None and changes and _is_counted(policy, caller, scope["path"]):
                    refusal = self._too_many_changes(caller)
        if refusal is not None:
            await refusal(scope, receive, send)
            return
        state = scope.setdefault("state", {})
        state["caller"] = caller
        state["actor"] = "visitor" if caller is None else f"user:{caller.user.id}"
        # Where nobody need be known, whoever is known may have gone.
        known = policy is not None and policy.who is not Who.ANYONE
        with asking(caller if known else None):
            await self._app(scope, receive, send)

    async def _foreign(self, headers: Headers, *, has_session: bool) -> Problem | None:
        """Why a browser's change is not done, if so. Without a session there is nothing that a
        page of somebody else's could use, but it could give the browser a session."""
        if has_session and not is_marked(headers):
            return problem(403, "header_needed", "A browser sends the header X-AIPool: 1.")
        silence = not has_session
        if is_ours(headers, "", silence=silence):
            return None
        base_url = await run_in_threadpool(self._callers.base_url)
        if is_ours(headers, base_url, silence=silence):
            return None
        return problem(
            403, "foreign_origin", "This was asked for by a page of another site, and was not done."
        )

    def _too_many_changes(self, caller: Caller) -> Problem | None:
        """Why a user waits with this change, if so. A program that runs wild does not keep its
        owner from ending it."""
        by = "page" if caller.session_id else "program"
        wait_seconds = self._changes.one_more(f"{caller.user.id} {by}")
        if not wait_seconds:
            return None
        return problem(
            429,
            "too_many_changes",
            "You change too much in a minute: wait a moment.",
            headers={"Retry-After": str(wait_seconds)},
        )

    def _unknown(self, address: str, *, by_token: bool) -> Problem:
        wait_seconds = self._tries.one_more(network_of(address)) if by_token else 0
        if wait_seconds:
            return problem(
                429,
                "too_many_tries",
                "Too many requests without a valid access token came from here.",
                headers={"Retry-After": str(wait_seconds)},
            )
        return problem(
            401,
            "login_needed",
            "Log in first, or send an access token: Authorization: Bearer …",
            headers={"WWW-Authenticate": "Bearer"},
        )


def _is_counted(policy: Policy, caller: Caller, path: str) -> bool:
    """Is this one of the changes that are counted? Those of operators are their work."""
    if caller.is_operator or policy.reads or policy.who is Who.ANYONE:
        return False
    return path not in _UNCOUNTED


def _not_allowed(policy: Policy, caller: Caller, path: str, *, changes: bool) -> Problem | None:
    """Why this caller may not, if so."""
    if policy.who is not Who.ANYONE and caller.must and not f"{path}/".startswith(_ALWAYS_OPEN):
        return problem(403, caller.must, _MUST.get(caller.must, "Something else comes first."))
    if _RANKS[caller.user.role] < policy.who:
        return problem(403, "not_allowed", "This is not for your account.")
    if changes and not policy.reads and not caller.may_write:
        return problem(403, "token_only_reads", "This access token only reads.")
    if policy.step_up and not caller.stepped_up:
        return problem(
            403,
            "step_up_needed",
            "Show that it is you: send your password or a code to POST /api/me/step-up. "
            "An access token may do this only if it was made for it.",
        )
    return None


_MUST = {
    "password_needed": "Your password is too short for what you may do: choose a longer one, under "
    "/api/me/password.",
    "totp_set_up_needed": "Set up the second factor first, under /api/me/totp.",
    "phone_needed": "Your account has no phone number: choose one, under /api/me/phone.",
}


def _token_of(headers: Headers) -> str | None:
    scheme, _, secret = headers.get("authorization", "").partition(" ")
    return secret.strip() if scheme.lower() == "bearer" else None


def _cookie_of(headers: Headers) -> str | None:
    given = headers.get("cookie")
    if not given:
        return None
    # Over TLS only the one that no other host and no plain page can have planted.
    name = sessions.cookie_name(secure=headers.get("x-forwarded-proto") == "https")
    for part in given.split(";"):
        key, _, value = part.strip().partition("=")
        if key == name and value:
            return value
    return None
