"""Refusals over HTTP: problem details (RFC 9457), the same shape everywhere.

    type        "about:blank": the status and the code say all there is
    title       the status in words
    status      the status
    code        a stable word for programs
    detail      one or two sentences for a person
    field       what it is about, as it was sent: "config.timeouts.idle"; left out for the whole
    errors      all fields that are wrong, each with field and detail; where there may be several
    request_id  of the request, where it has one

It is put into words when it is sent: the languages of who asks, and the request's id, are in the
scope, where the edge of the application left them (`REQUEST_ID`, `TRANSLATION`).

What was sent is not repeated by `of_form`: it may be a secret in the wrong place.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send

from aipool.kit.errors import BusinessError, TooMany

MEDIA_TYPE = "application/problem+json"

#: Names in the scope's state.
REQUEST_ID = "request_id"
TRANSLATION = "translation"

_FIELD_CHARACTERS_MAX = 200
_ERRORS_MAX = 100
#: Where a value came from is no part of its name.
_SOURCES = frozenset({"body", "query", "path", "header"})


@dataclass(frozen=True, slots=True)
class Wrong:
    """A field that is wrong. rule: which rule it breaks, with its numbers in `values`."""

    field: str
    detail: str
    rule: str = ""
    values: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Words:
    """What of a refusal is said in a language. errors: of each field, in their order."""

    title: str
    detail: str
    errors: Sequence[str] = ()


#: Says it in another language: the status, the code, what it says in the source, what is wrong
#: with each field, and the values that stand in the source's words.
Translation = Callable[[int, str, Words, Sequence[Wrong], Mapping[str, object]], Words]


class Problem(JSONResponse):
    """A refusal as an answer."""

    def __init__(
        self,
        content: Mapping[str, Any],
        headers: Mapping[str, str] | None = None,
        errors: Sequence[Wrong] = (),
        params: Mapping[str, object] | None = None,
    ) -> None:
        self._content = content
        self._errors = errors
        self._params = dict(params or {})
        listed = _listed(content, errors)
        super().__init__(listed, content["status"], dict(headers or {}), MEDIA_TYPE)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Sends it, in the words of who asks."""
        state = scope.get("state", {})
        content, errors = dict(self._content), list(self._errors)
        translation: Translation | None = state.get(TRANSLATION)
        if translation is not None:
            source = Words(content["title"], content["detail"], [one.detail for one in errors])
            said = translation(content["status"], content["code"], source, errors, self._params)
            content |= {"title": said.title, "detail": said.detail}
            errors = [
                Wrong(one.field, detail) for one, detail in zip(errors, said.errors, strict=True)
            ]
        if REQUEST_ID in state:
            content["request_id"] = state[REQUEST_ID]
        self.body = self.render(_listed(content, errors))
        self.headers["content-length"] = str(len(self.body))
        await super().__call__(scope, receive, send)


def problem(
    status: int,
    code: str,
    detail: str,
    *,
    field: str = "",
    params: Mapping[str, object] | None = None,
    more: Mapping[str, Any] | None = None,
    headers: Mapping[str, str] | None = None,
) -> Problem:
    """A refusal. params: the values that stand in its detail, by name (kit.errors).
    more: further members, such as what is there instead."""
    content = _content(status, code, detail, field) | dict(more or {})
    return Problem(content, headers, params=params)


def of_refusal(error: BusinessError, **more: Any) -> Problem:
    """What a use case refused, in its own words."""
    headers = {"Retry-After": str(error.wait_seconds)} if isinstance(error, TooMany) else None
    return problem(
        error.status,
        error.code,
        error.message,
        field=error.field,
        params=error.params,
        more={**error.more, **more},
        headers=headers,
    )


def of_form(errors: Iterable[Mapping[str, Any]]) -> Problem:
    """What does not have the form it must have; errors: as pydantic lists them."""
    wrong = [_without_input(error) for error in errors][:_ERRORS_MAX]
    first = wrong[0]
    detail = f"{first.field}: {first.detail}" if first.field else first.detail
    return Problem(_content(422, "malformed_request", detail, first.field), errors=wrong)


def _content(status: int, code: str, detail: str, field: str) -> dict[str, Any]:
    content: dict[str, Any] = {
        "type": "about:blank",
        "title": HTTPStatus(status).phrase,
        "status": status,
        "code": code,
        "detail": detail,
    }
    if field:
        content["field"] = field
    return content


def _listed(content: Mapping[str, Any], errors: Sequence[Wrong]) -> dict[str, Any]:
    listed = [{"field": one.field, "detail": one.detail} for one in errors]
    return {**content, "errors": listed} if listed else dict(content)


def _without_input(error: Mapping[str, Any]) -> Wrong:
    kind = str(error["type"])
    if kind == "json_invalid":
        return Wrong("", "the body is no JSON", kind)
    return Wrong(field_name(error["loc"]), str(error["msg"]), kind, error.get("ctx"))


def field_name(location: Sequence[Any]) -> str:
    """A place as the sender wrote it: ("body", "keys", 3) is "keys.3"."""
    parts = location[1:] if location and location[0] in _SOURCES else location
    text = ".".join(str(part) for part in parts)
    return "".join(mark if mark.isprintable() else "?" for mark in text[:_FIELD_CHARACTERS_MAX])
