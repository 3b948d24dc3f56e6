"""Who asks, as the routes of every slice above this one are told.

`control.access` finds it out from the session's cookie or the access token, once, before anything
else is looked at; `control.policies` says which route is whose. A route that serves many people
takes `Asking` and looks only at what is the caller's own.
"""

from __future__ import annotations

from dataclasses import dataclass
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
    """

    user: User
    session_id: int = 0
    may_write: bool = True
    stepped_up: bool = False

    @property
    def is_operator(self) -> bool:
        """May they see what is not their own?"""
        return self.user.role is not Role.USER


def caller_of(request: Request) -> Caller:
    """Who asks, as the door of the application found out."""
    return cast(Caller, request.state.caller)


Asking = Annotated[Caller, Depends(caller_of)]
