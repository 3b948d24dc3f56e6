"""The interface described by itself: an OpenAPI 3.1 document, from which the console's types, the
reference page and the fuzzing are made.

FastAPI tells the paths, parameters and shapes. What is the same everywhere is added here from what
is known anyway: who may (control.policies), how a client says who it is, which refusals can be met,
and that a change which a worker does not act on yet is answered 202 (audit.desk). A route says
only what is its own.

    operationId   the name of the route's function, a verb and a noun; each once
    tags          by the beginning of the path, `TAGS`
    x-who         the least role: anyone, user, admin or root
    x-step-up     the person must have shown again that it is them
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any, Final, NamedTuple

from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi

from aipool import __version__
from aipool.accounts.sessions import COOKIE
from aipool.control.policies import Policy, Who
from aipool.kit.problems import MEDIA_TYPE

_METHODS = ("get", "post", "put", "patch", "delete")


class Tag(NamedTuple):
    """A part of the interface. paths: what those of its routes begin with."""

    name: str
    about: str
    paths: tuple[str, ...]


#: In the order of the reference. Of two beginnings the longer one counts.
TAGS: Final = (
    Tag("Accounts", "Registering, logging in, and one's own account.", ("/api/auth", "/api/me")),
    Tag("API tokens", "What calls are made with.", ("/api/tokens",)),
    Tag("Models", "What can be called, and what it costs.", ("/api/models",)),
    Tag("Groups", "What one may choose for a token.", ("/api/groups",)),
    Tag(
        "Records",
        "Calls, the flow of the balance, and what was used.",
        ("/api/calls", "/api/balance-flow", "/api/usage", "/api/dashboard"),
    ),
    Tag("Site", "What everybody may know of this installation.", ("/api/site",)),
    Tag("About itself", "What an API token may ask about itself.", ("/v1",)),
    Tag("Vendors and upstream keys", "", ("/api/vendor", "/api/keys", "/api/keywords")),
    Tag("Routing", "Where calls go.", ("/api/route",)),
    Tag("Alerts", "What people are told without asking.", ("/api/alerts",)),
    Tag("Administration", "Everything of everybody, for operators.", ("/api/admin",)),
    Tag("The interface", "This document.", ("/api/openapi.json", "/api/docs")),
)

_ABOUT = """\
Everything that the console does can be done by a program.

A program sends an access token: `Authorization: Bearer aipool-…`. A page in a browser has the
cookie of its session, and sends the header `X-AIPool: 1` with everything that changes something.

Amounts are decimal texts in CNY. Times are ISO 8601 in UTC. Lists answer `items` and `next_cursor`;
the next page is asked for with `cursor`. A field or a parameter that is not known is refused, and
so is a field that is there twice.

Refusals are problem details (RFC 9457) with `code`, a stable word; `Accept-Language` says in which
language `detail` is: `en` or `zh-CN`. A change is answered 202 in place of 200, 201 or 204 when it
is committed, and some worker does not act on it yet.
"""

_PROBLEM = {
    "title": "Problem",
    "description": "A refusal (RFC 9457).",
    "type": "object",
    "required": ["type", "title", "status", "code", "detail"],
    "properties": {
        "type": {"type": "string"},
        "title": {"type": "string"},
        "status": {"type": "integer"},
        "code": {"type": "string", "description": "A stable word for programs."},
        "detail": {"type": "string", "description": "One or two sentences for a person."},
        "field": {"type": "string", "description": "What it is about, as it was sent."},
        "errors": {
            "type": "array",
            "description": "All fields that are wrong.",
            "items": {
                "type": "object",
                "required": ["field", "detail"],
                "properties": {"field": {"type": "string"}, "detail": {"type": "string"}},
            },
        },
        "request_id": {"type": "string"},
    },
}

#: Under /v1 everything looks as clients of OpenAI's interface know it.
_API_ERROR = {
    "title": "ApiError",
    "description": "A refusal under /v1.",
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": {"type": "string"},
                "type": {"type": "string"},
                "param": {"type": ["string", "null"]},
                "code": {"type": "string"},
            },
        }
    },
}

_WAITING = {
    "title": "NotInForce",
    "description": "Committed, and not in force everywhere yet.",
    "type": "object",
    "required": ["not_in_force_on"],
    "properties": {
        "not_in_force_on": {
            "type": "array",
            "items": {"type": "string"},
            "description": "Who does not act on it yet.",
        }
    },
}

_REFUSALS = {
    400: "The request cannot be read.",
    401: "Nobody is logged in, and there is no valid access token.",
    403: "Not for this account, not by this token, or not without showing again who asks.",
    404: "It is not there, or it is somebody else's.",
    409: "Right by itself, but not with what is there.",
    413: "More than such a request may be.",
    415: "The body is not called JSON.",
    422: "A field or a parameter is wrong or not known, and which one is said.",
    428: "After many tries: solve the `challenge`, and send what comes of it as `proof`.",
    429: "Too often.",
    503: "The database cannot be reached at the moment.",
}

_SECURITY = {
    "session": {
        "type": "apiKey",
        "in": "cookie",
        "name": COOKIE,
        "description": "Of a browser. Over TLS its name begins with __Host-. With everything that "
        "changes something the header X-AIPool: 1 is needed.",
    },
    "access_token": {
        "type": "http",
        "scheme": "bearer",
        "description": "Of a program: aipool-…, made under /api/me/access-tokens.",
    },
    "api_token": {
        "type": "http",
        "scheme": "bearer",
        "description": "What models are called with: sk-…",
    },
}


class Ambiguous(Exception):
    """Two routes of one name: a mistake in the program."""


def described(app: FastAPI, policies: Mapping[tuple[str, str], Policy]) -> dict[str, Any]:
    """The document of this application, JSON. Raises Ambiguous."""
    document = get_openapi(
        title="AI-POOL",
        version=__version__,
        openapi_version="3.1.0",
        description=_ABOUT,
        routes=app.routes,
    )
    paths = {path: item for path, item in document["paths"].items() if _is_told(path)}
    known: set[str] = set()
    for path, item in paths.items():
        for method in _METHODS:
            if method in item:
                name = item[method]["operationId"]
                if name in known:
                    raise Ambiguous(f"{method.upper()} {path}: there is a {name} already")
                known.add(name)
                _complete(item[method], method, path, policies[method.upper(), path])
    schemas = document.get("components", {}).get("schemas", {})
    schemas = {name: schema for name, schema in schemas.items() if name not in _REPLACED}
    return {
        **document,
        "tags": [{"name": tag.name, "description": tag.about} for tag in TAGS],
        "paths": paths,
        "components": {
            "schemas": {
                **schemas,
                "Problem": _PROBLEM,
                "ApiError": _API_ERROR,
                "NotInForce": _WAITING,
            },
            "responses": {f"Refused{status}": _refusal(status) for status in _REFUSALS},
            "securitySchemes": _SECURITY,
        },
    }


def text_of(document: Mapping[str, Any]) -> str:
    """The document as it is kept in a file: it changes only where the interface does."""
    return json.dumps(document, ensure_ascii=False, indent=1) + "\n"


def operations(document: Mapping[str, Any]) -> Iterator[tuple[str, str, dict[str, Any]]]:
    """Every operation of a document, as (METHOD, path, what is said of it)."""
    for path, item in document["paths"].items():
        for method in _METHODS:
            if method in item:
                yield method.upper(), path, item[method]


_REPLACED = frozenset({"HTTPValidationError", "ValidationError"})


def _is_told(path: str) -> bool:
    """Pages are for people."""
    return path.startswith(("/api/", "/v1/"))


def _complete(operation: dict[str, Any], method: str, path: str, policy: Policy) -> None:
    """Adds to an operation what is the same everywhere."""
    operation["tags"] = [_tag_of(path)]
    operation["security"] = _ways_in(path, policy)
    operation["x-who"] = policy.who.name.lower()
    if policy.step_up:
        operation["x-step-up"] = True
    changes = method != "get" and not policy.reads
    answers = operation["responses"]
    answers.pop("422", None) if _is_fastapis(answers.get("422")) else None
    if changes and path.startswith("/api/"):
        answers.setdefault("202", _waiting(answers))
    for status in _refusals_of(operation, path, policy, changes=changes):
        answers.setdefault(str(status), _refused(path, status))
    operation["responses"] = dict(sorted(answers.items()))


def _tag_of(path: str) -> str:
    matching = [
        (len(begin), tag.name) for tag in TAGS for begin in tag.paths if path.startswith(begin)
    ]
    return max(matching)[1] if matching else TAGS[-1].name


def _ways_in(path: str, policy: Policy) -> list[dict[str, list[str]]]:
    if path.startswith("/v1/"):
        return [{"api_token": []}]
    named: list[dict[str, list[str]]] = [{"session": []}, {"access_token": []}]
    return [{}, *named] if policy.who is Who.ANYONE else named


def _is_fastapis(answer: Mapping[str, Any] | None) -> bool:
    return answer is not None and answer.get("description") == "Validation Error"


def _waiting(answers: Mapping[str, Any]) -> dict[str, Any]:
    """What a change answers that is not in force everywhere: its answer and who waits."""
    schema: dict[str, Any] = {"$ref": "#/components/schemas/NotInForce"}
    for status in ("200", "201"):
        said = answers.get(status, {}).get("content", {}).get("application/json", {}).get("schema")
        if said:
            schema = {"allOf": [said, schema]}
            break
    return {
        "description": _WAITING["description"],
        "content": {"application/json": {"schema": schema}},
    }


def _refusals_of(
    operation: Mapping[str, Any], path: str, policy: Policy, *, changes: bool
) -> Iterator[int]:
    has_body = "requestBody" in operation
    has_fields = has_body or bool(operation.get("parameters"))
    is_closed = policy.who is not Who.ANYONE or path.startswith("/v1/")
    if has_body or changes:
        yield 400
    if is_closed or changes:
        yield 401
        yield 403
    if has_fields or is_closed:
        yield 404
    if changes:
        yield 409
    if has_body:
        yield 413
        yield 415
    if has_fields or path.startswith("/api/"):
        yield 422
    if has_body and path.startswith("/api/auth/"):
        yield 428
    yield 429
    yield 503


def _refused(path: str, status: int) -> dict[str, Any]:
    """How a refusal is told of an operation."""
    if not path.startswith("/v1/"):
        return {"$ref": f"#/components/responses/Refused{status}"}
    kinds: dict[str, Any] = {
        "application/json": {"schema": {"$ref": "#/components/schemas/ApiError"}}
    }
    if status not in (401, 404):
        # The application around these routes may refuse as well, in its own words.
        kinds[MEDIA_TYPE] = {"schema": {"$ref": "#/components/schemas/Problem"}}
    return {"description": _REFUSALS[status], "content": kinds}


def _refusal(status: int) -> dict[str, Any]:
    schema = {"$ref": "#/components/schemas/Problem"}
    return {"description": _REFUSALS[status], "content": {MEDIA_TYPE: {"schema": schema}}}
