"""Errors that people cause and can put right.

    BusinessError             says what is wrong, of which field, and what to do instead
    ├── Invalid               a value that cannot be (422)
    ├── NotFound              a name that names nothing (404)
    ├── Conflict              right by itself, but not with what is there (409)
    └── Forbidden             not for this person (403)

The edges turn them into their own shape: the command line into one line and exit code 1,
HTTP into problem details. Everything else that is raised is either the world's fault
(`kit.db.DatabaseBusy`, …) or ours.
"""

from __future__ import annotations


class BusinessError(Exception):
    """code: a stable word for programs.  field: what it is about, "" when it is the whole.
    message: one or two sentences for a person, without a final secret or stack."""

    status = 400

    def __init__(self, code: str, message: str, *, field: str = "") -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.field = field


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
