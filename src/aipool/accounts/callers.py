"""Who asks, as the routes of every slice above this one are told.

`control.access` finds it out from the session's cookie or the access token, once, before anything
else is looked at; `control.policies` says which route is whose. A route that serves many people
takes `Asking` and looks only at what is the caller's own.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, cast

from fastapi import Depends
from starlette.requests import Request

from aipool.accounts.types import Role, User


@dataclass(frozen=True, slots=True)
class Caller:
    """A person, or a program of theirs.

    session_id: of the session, 0 = by an access token, which has none.
    may_write: False for an access token that only reads.
    stepped_up: has the person shown again, a short while ago, that it is them? An access token
    was given that right when it was made, or not.
    must: the code of what the person must do before anything else than under /api/me: choose a
    password that is long enough for an operator ("password_needed"), set up the second factor that
    is asked of operators ("totp_set_up_needed"), or choose a number ("phone_needed"). "" =
    nothing.
    access_token_id: of the access token, 0 = by a session.
    seen_at_ms: when the session or the access token was last noted as used.
    digest: of the secret that they came in by.
    """

    user: User
    session_id: int = 0
    may_write: bool = True
    stepped_up: bool = False
    must: str = ""
    access_token_id: int = 0
    seen_at_ms: int = 0
    digest: bytes = field(default=b"", repr=False, compare=False)

    @property
    def is_operator(self) -> bool:
        """May they see what is not their own?"""
        return self.user.role is not Role.USER


def caller_of(request: Request) -> Caller:
    """Who asks, as the door of the application found out."""
    return cast(Caller, request.state.caller)


Asking = Annotated[Caller, Depends(caller_of)]
