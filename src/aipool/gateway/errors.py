"""What a client is told when it does not get an answer.

    the client's to change      400 invalid_request   401 invalid_api_key   402 insufficient_quota
                                403 model_not_allowed, ip_not_allowed, group_not_granted
                                404 model_not_found, not_found   405   413 request_too_large
    to try again                429 rate_limit_exceeded
                                503 no_available_key, ledger_unavailable, overloaded, draining
                                502 upstream_error   504 upstream_timeout
    ours                        500 internal_error

A refusal is a value, decided by pure code and rendered once, here. Every one carries a
code a program can act on, a sentence a person can act on, and the request id; none
carries anything a vendor said about our keys. Refusals that repeating cannot cure say
so to the SDKs (`x-should-retry: false`).
"""

from __future__ import annotations

import re
from typing import Any, NamedTuple

import msgspec

from aipool.ledger.rules import DAY_SECONDS, Unit


class Refusal(NamedTuple):
    """status: HTTP.  kind: OpenAI's `type`.  code: stable.  message: for a person.
    param: the field that is wrong, or None.  retry_after_seconds: 0 = do not say."""

    status: int
    kind: str
    code: str
    message: str
    param: str | None = None
    retry_after_seconds: int = 0


_INVALID = "invalid_request_error"
_encode = msgspec.json.Encoder().encode


def invalid(message: str, param: str | None = None, code: str = "invalid_request") -> Refusal:
    """400: the request cannot be understood as it is."""
    return Refusal(400, _INVALID, code, message, param)


def unauthorized(message: str, code: str = "invalid_api_key") -> Refusal:
    """401: no token, an unknown one, or one that may not be used now."""
    return Refusal(401, _INVALID, code, message)


def forbidden(code: str, message: str, param: str | None = None) -> Refusal:
    """403: the token is good, but not for this."""
    return Refusal(403, "permission_error", code, message, param)


def not_found(message: str, code: str = "not_found", param: str | None = None) -> Refusal:
    """404: no such model or path."""
    return Refusal(404, _INVALID, code, message, param)


def out_of_funds(message: str) -> Refusal:
    """402: the wallet or the token's limit does not cover the call."""
    return Refusal(402, "insufficient_quota", "insufficient_quota", message)


def too_many_calls(unit: Unit, at_ms: int) -> Refusal:
    """429: a limit on calls in a UTC day, or in flight, is reached.

    at_ms: unix milliseconds of now.
    """
    if unit is Unit.REQUESTS:
        what, wait_seconds = "requests per day", DAY_SECONDS - at_ms // 1000 % DAY_SECONDS
    else:
        what, wait_seconds = "concurrent requests", 1
    return rate_limited(f"The limit of {what} is reached.", wait_seconds)


def rate_limited(message: str, retry_after_seconds: int) -> Refusal:
    """429: the same request may be made later."""
    return Refusal(
        429, "rate_limit_error", "rate_limit_exceeded", message, None, retry_after_seconds
    )


def unavailable(code: str, message: str, retry_after_seconds: int = 1) -> Refusal:
    """503: the same request may work in a moment."""
    return Refusal(503, "overloaded_error", code, message, None, retry_after_seconds)


def upstream_failed(message: str = "The model's vendor did not give a usable answer.") -> Refusal:
    """502: a vendor answered something that is not an answer."""
    return Refusal(502, "upstream_error", "upstream_error", message)


def upstream_timed_out() -> Refusal:
    """504: the vendor may have done the work, so the call is not repeated for the client."""
    return Refusal(
        504, "upstream_error", "upstream_timeout", "The model's vendor did not answer in time."
    )


def internal() -> Refusal:
    """500: a mistake of ours."""
    return Refusal(500, "server_error", "internal_error", "Something went wrong on our side.")


def body_of(refusal: Refusal, rid: str) -> bytes:
    """The OpenAI error object; the request id stands in it too, for those who paste bodies."""
    return _encode(
        {
            "error": {
                "message": f"{refusal.message} (request id: {rid})",
                "type": refusal.kind,
                "param": refusal.param,
                "code": refusal.code,
            }
        }
    )


def event_of(refusal: Refusal, rid: str) -> bytes:
    """The same as the last event of a stream that has begun."""
    return b"data: " + body_of(refusal, rid) + b"\n\n"


def headers_of(refusal: Refusal) -> bytes:
    """Header lines that belong to a refusal, besides those of every answer."""
    lines = b"Content-Type: application/json\r\n"
    if refusal.retry_after_seconds:
        lines += b"Retry-After: %d\r\n" % refusal.retry_after_seconds
    elif refusal.status < 500:
        lines += b"x-should-retry: false\r\n"
    return lines


# What vendors put into error texts that is about our account and not about the request:
# keys (also with their middle starred out), organisations, projects, request ids, addresses.
_OURS = re.compile(
    r"\b(?:sk|org|proj|user|req)[-_][A-Za-z0-9*_-]{6,}|https?://\S+"
    r"|\bprojects?(?:/|[_ ](?:number|id):? ?)[\w-]{4,}|\b\d{1,3}(?:\.\d{1,3}){3}(?::\d+)?\b"
)
_MESSAGE_CHARACTERS_MAX = 2_000


def passed_on(
    status: int, body: bytes, secrets: tuple[str, ...], names: tuple[str, str]
) -> Refusal:
    """A vendor's refusal of the request itself, as ours: what the client can act on.

    secrets: texts that must not pass whatever they look like.  names: the vendor's name of
    the model and ours.
    """
    try:
        value: Any = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        value = None
    error = value.get("error") if isinstance(value, dict) else None
    if isinstance(error, str):
        error = {"message": error}
    if not isinstance(error, dict):
        error = {}

    def said(field: str, otherwise: str) -> str:
        text = error.get(field)
        if not isinstance(text, str) or not text:
            return otherwise
        for secret in secrets:
            if secret:
                text = text.replace(secret, "[removed]")
        text = _OURS.sub("[removed]", text.replace(*names))
        return text[:_MESSAGE_CHARACTERS_MAX]

    return Refusal(
        status,
        said("type", _INVALID),
        said("code", "upstream_refused"),
        said("message", "The model's vendor refused the request."),
        said("param", "") or None,
    )
