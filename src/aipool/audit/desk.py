"""What the HTTP routes of every slice are given: who asks, the database, and how a change is told.

A change is answered 200, 201 or 204 when every live worker acts on it. Otherwise it is committed
all the same, and the answer is 202 and names who does not act on it yet (`not_in_force_on`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from fastapi import Depends, Path, Query
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field
from pydantic_core import PydanticKnownError
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from aipool.audit.types import Act
from aipool.kit.clock import now_ms
from aipool.kit.db import Changes, Database, Transaction

#: The most records in one answer.
PAGE_MAX = 200

ID_MAX = 2**63 - 1


def _only_digits(text: object) -> object:
    """One record has one address: what else reads as a number ("1.0", "+1", "1_0") is no id."""
    if isinstance(text, str) and not (text.isascii() and text.isdecimal()):
        raise PydanticKnownError("int_parsing")
    return text


_Digits = Annotated[int, Field(ge=1, le=ID_MAX), BeforeValidator(_only_digits)]
#: The id of a record: in the path, in the query, in the body.
Id = Annotated[_Digits, Path()]
AskedId = Annotated[_Digits | None, Query()]
NeededId = Annotated[_Digits, Query()]
SentId = Annotated[int, Field(ge=1, le=ID_MAX)]
#: How many records are asked for.
Limit = Annotated[int, Query(ge=1, le=PAGE_MAX)]


class Sent(BaseModel):
    """Something that an operator sends. What is not known is refused, never passed over, and
    numbers are numbers: `"1"` is not 1."""

    model_config = ConfigDict(extra="forbid", strict=True, hide_input_in_errors=True)

    def given(self) -> dict[str, Any]:
        """What was sent of it; what was not stays as it is."""
        return self.model_dump(exclude_unset=True)


class Shown(BaseModel):
    """Something that is answered: what clients are told that they get, and what they get."""

    model_config = ConfigDict(frozen=True)


class NotInForce(Shown):
    """The change is saved; these do not act on it yet, and will as soon as they answer. What was
    changed stands beside it."""

    model_config = ConfigDict(frozen=True, extra="allow")

    not_in_force_on: list[str]


#: What a route whose changes workers must know may answer as well, for its description.
LATER: dict[int | str, dict[str, Any]] = {202: {"model": NotInForce}}


@dataclass(frozen=True, slots=True)
class Desk:
    """tell: says that a revision is committed, and gives who does not act on it by now."""

    database: Database
    tell: Callable[[Changes, int], Sequence[str]]

    def done(
        self,
        tx: Transaction | None,
        content: Mapping[str, Any] | BaseModel | None = None,
        status: int = 200,
    ) -> Response:
        """The answer after the commit. tx: None = nothing was changed.  content: None = there is
        nothing to show."""
        if isinstance(content, BaseModel):
            content = content.model_dump(mode="json", by_alias=True)
        waiting = list(self.tell(tx.changes, tx.revision)) if tx is not None else []
        if waiting:
            return JSONResponse({**(content or {}), "not_in_force_on": waiting}, 202)
        return Response(status_code=204) if content is None else JSONResponse(content, status)


#: Of an address and of what a browser says of itself, so much is kept.
_IP_CHARACTERS_MAX = 64
_USER_AGENT_CHARACTERS_MAX = 200


def act_of(request: Request) -> Act:
    """Who does it, as the door of the application found out, when, and from where."""
    state, headers = request.state, request.headers
    caller = getattr(state, "caller", None)
    user = getattr(caller, "user", None)
    return Act(
        actor=getattr(state, "actor", "") or (f"user:{user.id}" if user else "visitor"),
        at_ms=now_ms(),
        role=str(user.role) if user else "",
        # The worker in front puts the client's verified address here, and nothing else.
        ip=_short(headers.get("x-forwarded-for", ""), _IP_CHARACTERS_MAX),
        user_agent=_short(headers.get("user-agent", ""), _USER_AGENT_CHARACTERS_MAX),
        request_id=getattr(state, "request_id", ""),
    )


def _short(text: str, characters_max: int) -> str:
    return "".join(one for one in text[:characters_max] if one.isprintable())


Acting = Annotated[Act, Depends(act_of)]
