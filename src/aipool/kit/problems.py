"""Refusals over HTTP: problem details (RFC 9457), the same shape everywhere.

    type      "about:blank": the status and the code say all there is
    title     the status in words
    status    the status
    code      a stable word for programs
    detail    one or two sentences for a person
    field     what it is about, as it was sent: "config.timeouts.idle"; left out for the whole
    errors    all fields that are wrong, each with field and detail; where there may be several

What was sent is not repeated by `of_form`: it may be a secret in the wrong place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse

from aipool.kit.errors import BusinessError

MEDIA_TYPE = "application/problem+json"

_FIELD_CHARACTERS_MAX = 200
_ERRORS_MAX = 100
#: Where a value came from is no part of its name.
_SOURCES = frozenset({"body", "query", "path", "header"})


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    field: str = "",
    more: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> JSONResponse:
    """A refusal. more: further members, such as what is there instead."""
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    if field:
        content["field"] = field
    content.update(more or {})
    return JSONResponse(content, status, dict(headers or {}), MEDIA_TYPE)


def of_refusal(error: BusinessError, **more: Any) -> JSONResponse:
    """What a use case refused, in its own words."""
    return problem(error.status, error.code, error.message, field=error.field, more=more)


def of_form(errors: Iterable[Mapping[str, Any]]) -> JSONResponse:
    """What does not have the form it must have; errors: as pydantic lists them."""
    listed = [_without_input(error) for error in errors][:_ERRORS_MAX]
    first = listed[0]
    return problem(
        422,
        "malformed_request",
        f"{first['field']}: {first['detail']}" if first["field"] else first["detail"],
        field=first["field"],
        more={"errors": listed},
    )


def _without_input(error: Mapping[str, Any]) -> dict[str, str]:
    if error["type"] == "json_invalid":
        return {"field": "", "detail": "the body is no JSON"}
    return {"field": field_name(error["loc"]), "detail": str(error["msg"])}


def field_name(location: Sequence[Any]) -> str:
    """A place as the sender wrote it: ("body", "keys", 3) is "keys.3"."""
    parts = location[1:] if location and location[0] in _SOURCES else location
    text = ".".join(str(part) for part in parts)
    return "".join(mark if mark.isprintable() else "?" for mark in text[:_FIELD_CHARACTERS_MAX])
