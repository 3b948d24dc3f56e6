"""What a vendor said of a failure: many shapes of an error object, read into one `Said`. Pure.

    {"error": {"message", "type", "param", "code"}}                     OpenAI and most others
    {"type": "error", "error": {"type", "message", "details"}}          Anthropic
    {"error": {"code", "message", "status", "details": […]}}            Google, also as [{…}]
    {"error": {"code", "message", "innererror": {"code"}}}              Azure
    {"error": "…"}, {"message", "code"}, {"detail": …}, {"errors": […]}  servers of all kinds
    {"base_resp": {"status_code", "status_msg"}}                        MiniMax, also with 200
    x-amzn-errortype and {"message"}                                    Bedrock

Nothing in a body is trusted to have the type it should have, and nothing raises.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

import msgspec

from aipool.vendors.base import Vendor
from aipool.vendors.retry_after import asked_seconds, sane, seconds_of
from aipool.vendors.types import Said

#: A longer body is not read: no vendor explains itself at such length.
BODY_BYTES_MAX = 256 * 1024
_MESSAGE_MAX = 2000
_WORD_MAX = 200
_ENTRIES_MAX = 20

#: What an error inside an answer with status 200 would have had as its status.
_STATUS_OF = {
    "invalid_request_error": 400,
    "authentication_error": 401,
    "billing_error": 402,
    "permission_error": 403,
    "not_found_error": 404,
    "rate_limit_error": 429,
    "rate_limit_exceeded": 429,
    "insufficient_quota": 429,
    "api_error": 500,
    "server_error": 500,
    "internal_server_error": 500,
    "service_unavailable": 503,
    "timeout_error": 504,
    "overloaded_error": 529,
}
_GOOD_CODES = ("", "0", "200", "20000", "ok", "success")


def read_said(
    vendor: Vendor, status: int, headers: Mapping[bytes, bytes], body: bytes, *, unix_now: float
) -> Said | None:
    """What the vendor said. headers: names in lower case.  None = status 200 and no error.

    retry_seconds is what the vendor asks for in so many words; when its limits are new is left
    to `retry_after.window_seconds`.
    """
    value = decode(body) if len(body) <= BODY_BYTES_MAX else None
    try:
        own = vendor.read_error(status, value)
    except (TypeError, ValueError, LookupError, AttributeError, ArithmeticError):
        own = None  # what it reads was never promised to have a shape
    said = _bounded(own) if own is not None else _read(status, value)
    if said is None:
        if status == 200:
            return None
        said = Said(status)
    if not said.code and not said.type and b"x-amzn-errortype" in headers:
        # "ThrottlingException:http://internal.amazon.com/…"
        kind = headers[b"x-amzn-errortype"].decode("ascii", "replace").partition(":")[0]
        said = said._replace(code=kind[:_WORD_MAX])
    asked = asked_seconds(headers, unix_now)
    return said._replace(retry_seconds=sane(said.retry_seconds) if asked is None else asked)


def _bounded(said: Said) -> Said:
    """As a vendor's own reading gave it, in the form of everybody's."""
    return said._replace(
        code=_word(said.code),
        type=_word(said.type),
        message=_words(said.message),
        reason=_word(said.reason),
        param=_word(said.param),
    )


def decode(body: bytes) -> Any:
    """The JSON value of a body; None when it is none."""
    try:
        return msgspec.json.decode(body)
    except (ValueError, RecursionError):
        pass
    try:  # bytes that are not UTF-8, lone surrogates, NaN
        return json.loads(body.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        return None


def _read(status: int, value: Any) -> Said | None:
    """The first error in this value."""
    if isinstance(value, list):
        value = value[0] if value else None
    if not isinstance(value, dict):
        return None
    error = value.get("error")
    if isinstance(error, dict) and error:
        return _of_object(status, error, value)
    if isinstance(error, str) and error:
        return _said(status, value, message=error)
    base = value.get("base_resp")
    if isinstance(base, dict) and _word(base.get("status_code")) not in _GOOD_CODES:
        return _said(
            status, {"code": base.get("status_code")}, message=_words(base.get("status_msg"))
        )
    return None if status == 200 and value.get("choices") else _of_bare(status, value)


def _of_object(status: int, error: dict[str, Any], around: dict[str, Any]) -> Said:
    """OpenAI's, Anthropic's, Google's and Azure's error object. around: what it stood in."""
    nested = error.get("error")  # one gateway behind another
    if isinstance(nested, dict) and "message" not in error:
        error = nested
    details = error.get("details")
    reasons = [*_reasons(details), _word(_in(error.get("innererror"), "code"))]
    if "status" in error and "type" not in error:  # Google's
        error = {**error, "type": error["status"]}
    said = _said(
        status, error, message=_words(error.get("message")), reason=" ".join(filter(None, reasons))
    )
    if not said.code and not said.type:
        said = said._replace(type=_word(around.get("type")))
    return said._replace(retry_seconds=_retry_delay(details))


def _of_bare(status: int, value: dict[str, Any]) -> Said | None:
    """Servers that have no error object."""
    errors = value.get("errors")
    if isinstance(errors, list) and errors and isinstance(errors[0], dict):
        return _said(status, errors[0], message=_words(errors[0].get("message")))
    message = next(
        (value[n] for n in ("message", "Message", "msg", "detail") if value.get(n)), None
    )
    if message is None or (status == 200 and not _is_bare_error(value)):
        return None
    if isinstance(message, dict):  # {"message": {"detail": […]}}
        message = message.get("detail") or message.get("message") or message
    said = _said(status, value, message=_words(message))
    field = _extra_field(message)
    return said._replace(code="extra_forbidden", param=field) if field else said


def _is_bare_error(value: dict[str, Any]) -> bool:
    if value.get("object") == "error" or value.get("type") == "error" or "detail" in value:
        return True
    return _word(value.get("code")).lower() not in _GOOD_CODES


def _said(status: int, error: dict[str, Any], *, message: str, reason: str = "") -> Said:
    kind = error.get("__type") or error.get("error_type") or error.get("type")
    code = _word(error.get("code") or error.get("error_code"))
    kind = _word(kind).rpartition("#")[2]
    if status == 200:
        as_number = int(code) if re.fullmatch(r"[45]\d\d", code) else 0
        status = as_number or _STATUS_OF.get(kind) or _STATUS_OF.get(code) or 200
    return Said(
        status, code, kind, message[:_MESSAGE_MAX], reason[:_WORD_MAX], _word(error.get("param"))
    )


# --- further words --------------------------------------------------------------------------------


def _reasons(details: Any) -> Iterator[str]:
    """Google's reasons and quotas, Anthropic's further code."""
    if isinstance(details, dict):
        yield _word(details.get("error_code"))
    for detail in details[:_ENTRIES_MAX] if isinstance(details, list) else ():
        yield _word(_in(detail, "reason"))
        violations = _in(detail, "violations")
        for violation in violations[:_ENTRIES_MAX] if isinstance(violations, list) else ():
            yield _word(_in(violation, "quotaId"))


def _retry_delay(details: Any) -> float | None:
    for detail in details[:_ENTRIES_MAX] if isinstance(details, list) else ():
        delay = _in(detail, "retryDelay")
        if isinstance(delay, str):
            return seconds_of(delay)
    return None


def _extra_field(detail: Any) -> str:
    """The field that a server written with pydantic did not expect: of
    [{"type": "extra_forbidden", "loc": ["body", "field"]}] the path, as in "a.0.b"."""
    for entry in detail[:_ENTRIES_MAX] if isinstance(detail, list) else ():
        place = _in(entry, "loc")
        if _in(entry, "type") == "extra_forbidden" and isinstance(place, list):
            return ".".join(_word(part) for part in place[:_ENTRIES_MAX] if part != "body")
    return ""


def _words(message: Any) -> str:
    """A message as text, whatever it is."""
    if isinstance(message, str):
        return _clean(message[:_MESSAGE_MAX])
    if isinstance(message, list) and message and isinstance(message[0], dict):
        return _words(message[0].get("msg") or message[0].get("message"))
    if isinstance(message, dict):
        return _words(message.get("message") or message.get("detail"))
    return ""


def _in(value: Any, name: str) -> Any:
    return value.get(name) if isinstance(value, dict) else None


def _word(value: Any) -> str:
    if isinstance(value, str):
        return _clean(value[:_WORD_MAX])
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) < 10**18:
        return str(value)
    return ""


def _clean(text: str) -> str:
    """Text that can be written as UTF-8."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode("utf-8")
