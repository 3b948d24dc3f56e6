"""What is asked under /api is what is meant, or it is refused: no parameter that is not known, and
none twice, nor a field.

A parameter that is passed over gives more than was asked for: a mistyped filter of a file gives all
of it. Of a field that is there twice programs take the first or the last, as they please: who reads
the request on its way may read another amount than the one that is moved.

Refusals (kit.errors):
    unknown_parameter, repeated_field, too_many_fields       422
    not_json                                                 415
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any
from weakref import WeakKeyDictionary

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException

from aipool.control.access import is_guarded
from aipool.kit.errors import Invalid
from aipool.kit.problems import field_name

#: Fields of one object, known or not. The largest there is has some dozens, and each that is wrong
#: costs more to refuse than to send.
FIELDS_MAX = 1_000


async def check_exact(request: Request) -> None:
    """A dependency of every route of the application. Raises Invalid."""
    route = request.scope["route"]
    if not isinstance(route, APIRoute) or not is_guarded(route.path):
        return
    _check_parameters(request, route)
    if route.body_field is not None and (body := await request.body()):
        if not _is_json(request.headers.get("content-type", "")):
            raise HTTPException(415)
        check_fields(body)


def _is_json(content_type: str) -> bool:
    """As the framework decides whether it reads a body as JSON; else every field were missing."""
    kind = content_type.partition(";")[0].strip().lower()
    return kind == "application/json" or (kind[:12] == "application/" and kind[-5:] == "+json")


def _check_parameters(request: Request, route: APIRoute) -> None:
    known = _parameters_of(route)
    seen: set[str] = set()
    for name, _ in request.query_params.multi_items():
        shown = field_name(["query", name])
        if name in seen:
            raise _repeated(shown)
        seen.add(name)
        if name not in known:
            raise Invalid(
                "unknown_parameter",
                f"there is no parameter {shown} here",
                field=shown,
                params={"name": shown},
            )


_parameters: WeakKeyDictionary[Callable[..., Any], frozenset[str]] = WeakKeyDictionary()


def _parameters_of(route: APIRoute) -> frozenset[str]:
    """What the address of this route may say behind its `?`."""
    known = _parameters.get(route.endpoint)
    if known is None:
        known = _parameters[route.endpoint] = frozenset(_names(route.dependant))
    return known


def _names(dependant: Dependant) -> Iterator[str]:
    for parameter in dependant.query_params:
        yield parameter.alias
    for part in dependant.dependencies:
        yield from _names(part)


def check_fields(body: bytes) -> None:
    """Raises Invalid when an object of this JSON has a field twice, or far too many. What is no
    JSON is left to who reads it."""
    try:
        json.loads(body, object_pairs_hook=_object)
    except ValueError:
        return
    except RecursionError:
        raise HTTPException(400) from None


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(pairs) > FIELDS_MAX:
        raise Invalid(
            "too_many_fields",
            f"an object has at most {FIELDS_MAX} fields",
            params={"most": FIELDS_MAX},
        )
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for name, _ in pairs:
            if name in seen:
                raise _repeated(field_name(["body", name]))
            seen.add(name)
    return made


def _repeated(field: str) -> Invalid:
    return Invalid("repeated_field", "a field is sent once", field=field)
