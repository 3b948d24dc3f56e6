"""GET /v1/token and GET /v1/calls/{request_id}: an API token asks about itself and its calls.

The gateway hands both on, because the books know the answers and a worker does not. Whoever asks is
known by the token itself, so here it is looked up as the books look it up for a call, refused in
the same words and in the shape that clients of OpenAI's interface read.

A call is in the log a moment after its last byte: who asks for it at once waits a little. Waiting
is a timer, not a thread; each look is one.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from typing import Annotated, Any, NamedTuple

from fastapi import APIRouter, Path
from pydantic import BaseModel, ConfigDict
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from aipool.accounts.throttle import network_of
from aipool.api_tokens import rules, service
from aipool.api_tokens.types import Status, TokenListed, TokenWithOwner
from aipool.calls import service as calls
from aipool.calls.types import CallRow
from aipool.control.tries import Clock, Tries
from aipool.groups import service as groups
from aipool.groups.types import Group
from aipool.kit import digests
from aipool.kit.clock import iso_ms
from aipool.kit.db import Database
from aipool.kit.expiry import NEVER
from aipool.kit.money import format_cny, format_multiplier
from aipool.kit.problems import REQUEST_ID

#: How long is waited for a call to be recorded, and how often is looked.
WAIT_SECONDS = 2.0
LOOK_SECONDS = 0.1
#: Who comes while so many wait is answered at once.
WAITING_MAX = 100

_INVALID = "invalid_request_error"
_CREDENTIALS = ("x-api-key", "x-goog-api-key", "api-key")
#: See kit.ids.
_REQUEST_ID = re.compile(r"req_[0-9a-f]{30}", re.ASCII)


class Refused(NamedTuple):
    """Why nothing is told. retry_after_seconds: 0 = do not say."""

    status: int
    kind: str
    code: str
    message: str
    retry_after_seconds: int = 0


MISSING_TOKEN = Refused(
    401,
    _INVALID,
    "missing_api_key",
    "No API token was given. Send it as `Authorization: Bearer sk-…`.",
)
UNKNOWN_TOKEN = Refused(401, _INVALID, "invalid_api_key", "This API token does not exist.")
BLOCKED = {
    "disabled": Refused(401, _INVALID, "token_disabled", "This API token is disabled."),
    "user_frozen": Refused(
        401, _INVALID, "account_frozen", "The account of this API token is frozen."
    ),
}
EXPIRED = Refused(401, _INVALID, "token_expired", "This API token has expired.")
ADDRESS = Refused(
    403,
    "permission_error",
    "ip_not_allowed",
    "This API token may not be used from this address.",
)


class _Shown(BaseModel):
    model_config = ConfigDict(frozen=True)


class GroupShown(_Shown):
    """multiplier: of the list price, null of a group that was deleted."""

    name: str
    multiplier: str | None


class TokenSelf(_Shown):
    """What a token is told about itself; the words are those of /api/tokens. Money is decimal
    text in CNY. models: null = all of its group."""

    object: str
    name: str
    status: Status
    group: GroupShown
    limit: str | None
    reset: str
    total_limit: str | None
    used: str
    remaining: str | None
    used_total: str
    resets_at: str | None
    expires_at: str | None
    models: list[str] | None
    rpm: int | None
    tpm: int | None
    requests_per_day: int | None
    concurrency: int | None


class CallCharge(_Shown):
    """What a call was charged, in CNY, and for what. status: as it was answered; 499 = the client
    had left.  error: null = there was none."""

    object: str
    request_id: str
    started_at: str
    duration_ms: int
    model: str
    endpoint: str
    stream: bool
    status: int
    error: str | None
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    charge: str


def routes(
    database: Database,
    pepper: bytes,
    *,
    monotonic: Clock,
    clock_ms: Callable[[], int],
    wait_seconds: float = WAIT_SECONDS,
) -> APIRouter:
    """Both paths. monotonic: seconds of a clock nobody sets.  clock_ms: unix milliseconds."""
    router = APIRouter(prefix="/v1")
    tries = Tries(monotonic)
    waiting = _Waiting()

    def presented(request: Request) -> TokenWithOwner | Refused:
        return _presented(database, pepper, tries, request, clock_ms())

    @router.get("/token", response_model=TokenSelf)
    def show_own_token(request: Request) -> Response:
        """What the API token that asks may do, and what is left of it."""
        found = presented(request)
        if isinstance(found, Refused):
            return _answer_to(request, found)
        token = found.token
        at_ms = clock_ms()
        with database.read() as connection:
            listed = service.own_by_ids(connection, token.user_id, [token.id], now_ms=at_ms)
            named = groups.list_groups(connection)
        if token.id not in listed:
            return _answer_to(request, UNKNOWN_TOKEN)
        group = next((group for group in named if group.id == token.group_id), None)
        shown = _token_shown(listed[token.id], group, at_ms // 1000)
        return JSONResponse(shown.model_dump(mode="json"))

    @router.get("/calls/{request_id}", response_model=CallCharge)
    async def show_charge(
        request: Request, request_id: Annotated[str, Path(max_length=100)]
    ) -> Response:
        """What a call of the API token that asks was charged."""
        found = await run_in_threadpool(presented, request)
        if isinstance(found, Refused):
            return _answer_to(request, found)

        def look() -> CallRow | None:
            with database.read() as connection:
                row = calls.get(connection, request_id)
            # Another's is as none from here on: it is waited for as long, and answered alike.
            return row if row is not None and row.token_id == found.token.id else None

        row = None
        if _REQUEST_ID.fullmatch(request_id):
            row = await waiting.for_row(look, monotonic, wait_seconds)
        if row is None:
            return _answer_to(request, _no_call(request_id))
        return JSONResponse(_charge_shown(row).model_dump(mode="json"))

    return router


class _Waiting:
    """How many requests wait for a call to be recorded."""

    def __init__(self) -> None:
        self._count = 0

    async def for_row(
        self, look: Callable[[], CallRow | None], monotonic: Clock, wait_seconds: float
    ) -> CallRow | None:
        """The row as soon as it is there; None when it does not come."""
        row = await run_in_threadpool(look)
        if row is not None or self._count >= WAITING_MAX:
            return row
        self._count += 1
        try:
            end = monotonic() + wait_seconds
            while row is None and monotonic() < end:
                await asyncio.sleep(LOOK_SECONDS)
                row = await run_in_threadpool(look)
            return row
        finally:
            self._count -= 1


def _presented(
    database: Database, pepper: bytes, tries: Tries, request: Request, now_ms: int
) -> TokenWithOwner | Refused:
    """The token of a request, if it may be used now from where it comes."""
    secret = _secret_of(request)
    if secret is None:
        return MISSING_TOKEN
    address = request.headers.get("x-forwarded-for", "").strip()
    found = None
    written = secret.encode("utf-8", "surrogatepass")
    if digests.is_token(written):
        with database.read() as connection:
            found = service.look_up(connection, digests.digest(pepper, written))
    if found is None:
        wait_seconds = tries.one_more(network_of(address))
        return _too_many(wait_seconds) if wait_seconds else UNKNOWN_TOKEN
    blocked = BLOCKED.get(rules.why_blocked(found))
    if blocked is not None:
        return blocked
    if found.expires_at != NEVER and found.expires_at * 1000 <= now_ms:
        return EXPIRED
    if not rules.is_allowed_from(found.ips, address):
        return ADDRESS
    return found


def _secret_of(request: Request) -> str | None:
    """Where the gateway looks for it too, but for those places that only some calls use."""
    scheme, _, secret = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        return secret.strip()
    return next(
        (value for name in _CREDENTIALS if (value := request.headers.get(name)) is not None), None
    )


def _too_many(wait_seconds: int) -> Refused:
    return Refused(
        429,
        "rate_limit_error",
        "rate_limit_exceeded",
        "Too many unknown API tokens were sent from here.",
        wait_seconds,
    )


def _no_call(request_id: str) -> Refused:
    shown = request_id if request_id.isprintable() else "…"
    return Refused(
        404, _INVALID, "call_not_found", f"This API token has made no call {shown!r} so far."
    )


def _answer_to(request: Request, refused: Refused) -> Response:
    """A refusal as the gateway writes them (gateway.errors)."""
    message = refused.message
    request_id = getattr(request.state, REQUEST_ID, "")
    if request_id:
        message = f"{message} (request id: {request_id})"
    content: dict[str, Any] = {
        "error": {"message": message, "type": refused.kind, "param": None, "code": refused.code}
    }
    if refused.retry_after_seconds:
        headers = {"Retry-After": str(refused.retry_after_seconds)}
    else:
        headers = {"x-should-retry": "false"}
    return JSONResponse(content, refused.status, headers)


def _token_shown(listed: TokenListed, group: Group | None, now_seconds: int) -> TokenSelf:
    token, stands = listed.token, listed.standing
    status = rules.status(
        token, stands, group_granted=listed.group_granted, now_seconds=now_seconds
    )
    used = stands.used_total_nano if stands.used_nano is None else stands.used_nano
    resets_at = None if token.limit_nano is None else stands.resets_at
    return TokenSelf(
        object="token",
        name=token.name,
        status=status,
        group=GroupShown(
            name="" if group is None else group.name,
            multiplier=None if group is None else format_multiplier(group.multiplier_ppm),
        ),
        limit=_cny(token.limit_nano),
        reset=token.reset.value,
        total_limit=_cny(token.total_nano),
        used=format_cny(used),
        remaining=_cny(stands.remaining_nano),
        used_total=format_cny(stands.used_total_nano),
        resets_at=None if resets_at is None else iso_ms(resets_at * 1000),
        expires_at=None if token.expires_at == NEVER else iso_ms(token.expires_at * 1000),
        models=None if token.models is None else list(token.models),
        rpm=token.limits.rpm,
        tpm=token.limits.tpm,
        requests_per_day=token.limits.requests_per_day,
        concurrency=token.limits.concurrency,
    )


def _charge_shown(row: CallRow) -> CallCharge:
    return CallCharge(
        object="call",
        request_id=row.rid,
        started_at=iso_ms(row.at_ms),
        duration_ms=row.duration_ms,
        model=row.model,
        endpoint=row.endpoint,
        stream=row.stream,
        status=row.status,
        error=row.error or None,
        input_tokens=row.input_tokens,
        cached_tokens=row.cached_tokens,
        output_tokens=row.output_tokens,
        reasoning_tokens=row.reasoning_tokens,
        charge=format_cny(row.charged_nano),
    )


def _cny(amount_nano: int | None) -> str | None:
    return None if amount_nano is None else format_cny(amount_nano)
