"""The reference of the interface as a page, and an index for language models.

The page is made from the OpenAPI document, whole in one answer, with one small script that filters
it; nothing comes from elsewhere, so it works where no other host can be reached. What is not
written in this file is escaped where it is put in.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import HTMLResponse, PlainTextResponse, Response

from aipool.control.openapi import described, operations, text_of
from aipool.control.pages import base_url
from aipool.control.policies import POLICIES

_STYLE = """
:root { color-scheme: light dark; }
body { font: 15px/1.5 system-ui, sans-serif; margin: 0; }
main { max-width: 64rem; margin: 2rem auto 6rem; padding: 0 1.25rem; }
h1 { font-size: 1.5rem; } h2 { margin: 2.5rem 0 .5rem; font-size: 1.2rem; }
p { max-width: 46rem; }
code, pre { font: 13px/1.5 ui-monospace, monospace; }
input { font: inherit; width: 100%; box-sizing: border-box; padding: .5rem .6rem; margin: 1rem 0; }
details { border-top: 1px solid #8884; padding: .35rem 0; }
summary { cursor: pointer; }
summary b { display: inline-block; width: 4.5rem; }
summary span, .quiet { opacity: .7; }
table { border-collapse: collapse; margin: .4rem 0 .8rem; }
th, td { text-align: left; vertical-align: top; padding: .15rem .9rem .15rem 0; }
th { font-weight: 600; }
"""

SCRIPT = """\
"use strict";
const box = document.getElementById("search");
const entries = [...document.querySelectorAll("details")];
const parts = [...document.querySelectorAll("section")];
function filter() {
  const words = box.value.toLowerCase().split(/\\s+/).filter(Boolean);
  for (const entry of entries) {
    const text = entry.textContent.toLowerCase();
    entry.hidden = !words.every((word) => text.includes(word));
  }
  for (const part of parts) {
    part.hidden = [...part.querySelectorAll("details")].every((entry) => entry.hidden);
  }
}
box.addEventListener("input", filter);
function open() {
  const named = document.getElementById(decodeURIComponent(location.hash.slice(1)));
  if (named instanceof HTMLDetailsElement) { named.open = true; named.scrollIntoView(); }
}
addEventListener("hashchange", open);
open();
"""


class _Script(Response):
    """A script of ours."""

    media_type = "text/javascript"


def routes(app: FastAPI) -> APIRouter:
    """The document, its page, and the index. app: asked when all of its routes are there."""
    router = APIRouter()

    @functools.cache
    def document() -> dict[str, Any]:
        # Only when it is asked for: it takes a second to make, and no start waits for it.
        return described(app, POLICIES)

    @router.get(
        "/api/openapi.json",
        responses={200: {"content": {"application/json": {"schema": {"type": "object"}}}}},
        response_class=Response,
    )
    def get_openapi() -> Response:
        """This document."""
        return Response(text_of(document()), media_type="application/json")

    @router.get("/api/docs", response_class=HTMLResponse)
    def read_docs() -> HTMLResponse:
        """The reference of the interface, a page for people."""
        return HTMLResponse(page(document()))

    @router.get("/api/docs.js", response_class=_Script)
    def read_docs_script() -> _Script:
        """The script of that page."""
        return _Script(SCRIPT)

    @router.get("/llms.txt", include_in_schema=False)
    def read_index(request: Request) -> PlainTextResponse:
        return PlainTextResponse(index(base_url(request)))

    return router


def index(base: str) -> str:
    """What this is and where to read on, for language models."""
    return f"""\
# AI-POOL

> A gateway to many AI models behind one address, compatible with OpenAI's interface. Calls are paid
> from a prepaid balance, and each is charged exactly.

Base URL: {base}/v1
Credential: `Authorization: Bearer sk-…`, an API token that its owner makes in the console. Each
token has its own models, limits, expiry and addresses.

## Calling models

- `POST {base}/v1/chat/completions`: OpenAI's request and answer, whole or with `"stream": true`.
- `GET {base}/v1/models`: the models that this token may call.
- `GET {base}/v1/token`: this token: what it may spend and call, and what it has spent.
- `GET {base}/v1/calls/{{request_id}}`: what a call cost; its id is in the header `x-request-id`.

A refusal is `{{"error": {{"message", "type", "code", "param"}}}}`, as OpenAI's. 429 and 503 say in
`retry-after` when it is worth trying again. `x-aipool-charge` is what a call cost, in CNY.

## Administering

- [Reference of the interface]({base}/api/docs): everything that the console does, for programs.
- [OpenAPI 3.1]({base}/api/openapi.json): the same for machines. Programs send an access token:
  `Authorization: Bearer aipool-…`. Refusals are problem details (RFC 9457) with a stable `code`.
"""


def page(document: Mapping[str, Any]) -> str:
    """The reference, whole."""
    schemas = document["components"]["schemas"]
    by_tag: dict[str, list[str]] = {tag["name"]: [] for tag in document["tags"]}
    for method, path, operation in operations(document):
        by_tag[operation["tags"][0]].append(_entry(method, path, operation, schemas))
    about = {tag["name"]: tag["description"] for tag in document["tags"]}
    sections = "".join(
        f"<section><h2>{escape(tag)}</h2><p>{escape(about[tag])}</p>{''.join(entries)}</section>"
        for tag, entries in by_tag.items()
        if entries
    )
    intro = "".join(
        f"<p>{escape(part)}</p>" for part in document["info"]["description"].split("\n\n")
    )
    return (
        "<!doctype html><html lang=en><meta charset=utf-8>"
        '<meta name=viewport content="width=device-width, initial-scale=1">'
        f"<title>AI-POOL: interface</title><style>{_STYLE}</style>"
        f"<main><h1>The interface of AI-POOL {escape(document['info']['version'])}</h1>{intro}"
        '<input id=search type=search placeholder="Search" aria-label="Search">'
        f"{sections}</main>"
        '<script src="/api/docs.js"></script></html>'
    )


def _entry(method: str, path: str, operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    name = escape(operation["operationId"], quote=True)
    said = operation.get("description", operation.get("summary", ""))
    who = operation["x-who"] + (", after a step-up" if operation.get("x-step-up") else "")
    return (
        f'<details id="{name}"><summary><b>{method}</b><code>{escape(path)}</code> '
        f"<span>{escape(said.partition('. ')[0])}</span></summary>"
        f"<p>{escape(said)}</p>"
        f"<p class=quiet>For: {escape(who)}. Operation: <code>{name}</code></p>"
        + _parameters(operation, schemas)
        + _body(operation, schemas)
        + _answers(operation, schemas)
        + "</details>"
    )


def _parameters(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    rows = [
        (one["name"], one["in"], _type(one["schema"], schemas), one.get("description", ""))
        for one in operation.get("parameters", ())
    ]
    return _table(("parameter", "in", "type", ""), rows)


def _body(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    content = operation.get("requestBody", {}).get("content", {})
    return "".join(
        f"<p>Sent as <code>{escape(kind)}</code>:</p>{_fields(said['schema'], schemas)}"
        for kind, said in content.items()
    )


def _answers(operation: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    good, bad = [], []
    for status, said in operation["responses"].items():
        shapes = [one.get("schema", {}) for one in said.get("content", {}).values()]
        if status.startswith("2") and status != "202":
            fields = "".join(_fields(shape, schemas) for shape in shapes)
            good.append(f"<p>Answers <b>{status}</b>:</p>{fields}")
        elif status != "202":
            bad.append(status)
    return "".join(good) + f"<p class=quiet>Refusals: {', '.join(bad)}</p>"


def _fields(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """The fields of an object; of anything else what it is."""
    found = _resolved(schema, schemas)
    if "properties" not in found:
        return f"<p><code>{escape(_type(schema, schemas))}</code></p>"
    required = set(found.get("required", ()))
    rows = [
        (
            name + ("" if name in required else "?"),
            _type(said, schemas),
            said.get("description", ""),
        )
        for name, said in found["properties"].items()
    ]
    about = escape(found.get("description", ""))
    return (f"<p>{about}</p>" if about else "") + _table(("field", "type", ""), rows)


def _resolved(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> Mapping[str, Any]:
    name = schema.get("$ref", "").rpartition("/")[2]
    found: Mapping[str, Any] = schemas[name] if name else schema
    return found


def _type(schema: Mapping[str, Any], schemas: Mapping[str, Any]) -> str:
    """A type in a few words."""
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return " or ".join(_type(one, schemas) for one in schema[several])
    if "enum" in schema:
        return " or ".join(repr(one) for one in schema["enum"])
    if "const" in schema:
        return repr(schema["const"])
    if schema.get("type") == "array":
        return f"list of {_type(schema.get('items', {}), schemas)}"
    return str(schema.get("type", "any")) + "".join(_bounds(schema))


def _bounds(schema: Mapping[str, Any]) -> Iterator[str]:
    for name, words in _BOUNDS.items():
        if name in schema:
            yield f", {words} {schema[name]}"


_BOUNDS = {
    "minimum": "from",
    "maximum": "to",
    "exclusiveMinimum": "above",
    "minLength": "characters from",
    "maxLength": "characters up to",
    "maxItems": "items up to",
}


def _table(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    if not rows:
        return ""
    head = "".join(f"<th>{escape(one)}" for one in heads)
    lines = "".join(
        f"<tr><td><code>{escape(row[0])}</code>" + "".join(f"<td>{escape(one)}" for one in row[1:])
        for row in rows
    )
    return f"<table><tr>{head}{lines}</table>"
