"""Errors that people cause and can put right.

    BusinessError             says what is wrong, of which field, and what to do instead
    ├── Invalid               a value that cannot be (422)
    ├── NotFound              a name that names nothing (404)
    ├── Conflict              right by itself, but not with what is there (409)
    ├── Forbidden             not for this person (403)
    ├── Unauthenticated       who it is has not been shown (401)
    └── TooMany               not now (429)

The edges turn them into their own shape: the command line into one line and exit code 1,
HTTP into problem details. Everything else that is raised is either the world's fault
(`kit.db.DatabaseBusy`, …) or ours.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class BusinessError(Exception):
    """code: a stable word for programs.  field: what it is about, "" when it is the whole.
    message: one or two sentences for a person, without a final secret or stack.
    params: the values that stand in the message, by name, so that another language can say them
    too; `why` and `what` are words that each language has a phrase for.
    more: what a program needs to put it right, by name."""

    status = 400

    def __init__(
        self,
        code: str,
        message: str,
        *,
        field: str = "",
        params: Mapping[str, object] | None = None,
        more: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field
        self.params = dict(params or {})
        self.more = dict(more or {})


class Invalid(BusinessError):
    """A value that cannot be, whatever else is there."""

    status = 422


class NotFound(BusinessError):
    """A name or id that names nothing."""

    status = 404


class Conflict(BusinessError):
    """Right by itself, but not together with what is there already."""

    status = 409


class Forbidden(BusinessError):
    """Not for this person."""

    status = 403


class Unauthenticated(BusinessError):
    """Who it is has not been shown."""

    status = 401


class TooMany(BusinessError):
    """Right by itself, but not now. wait_seconds: after so long it may be tried again."""

    status = 429

    def __init__(
        self, code: str, message: str, *, wait_seconds: int, field: str = "", status: int = 429
    ) -> None:
        super().__init__(code, message, field=field)
        self.wait_seconds = wait_seconds
        self.status = status
