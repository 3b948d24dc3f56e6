"""Whose is which route: the one table, and whoever is not in it is not let in.

A route of the application without a line here stops the application from being built, and so does
a line without a route. Paths are those of the OpenAPI document; `{…}` stands for one segment, or
for the rest of the path where the route says so.

    Who.ANYONE   no credential is asked for; one that is sent is looked at all the same
    Who.USER     any account that may be used: what it sees is its own
    Who.ADMIN    an administrator or the root account
    Who.ROOT     the root account

`step_up`: the person must have shown again, a short while ago, that it is them (security S-10).
`reads`: it changes nothing although it is a POST, so an access token that only reads may use it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum


class Who(IntEnum):
    """The least that somebody must be."""

    ANYONE = 0
    USER = 1
    ADMIN = 2
    ROOT = 3


@dataclass(frozen=True, slots=True)
class Policy:
    """See the module."""

    who: Who
    step_up: bool = False
    reads: bool = False


_ADMIN = Policy(Who.ADMIN)
_SENSITIVE = Policy(Who.ADMIN, step_up=True)

#: By method and path, in the order of the slices.
POLICIES: Mapping[tuple[str, str], Policy] = {
    # pool: vendors and their keys
    ("GET", "/api/vendor-types"): _ADMIN,
    ("GET", "/api/vendors"): _ADMIN,
    ("POST", "/api/vendors"): _SENSITIVE,
    ("GET", "/api/vendors/{vendor_id}"): _ADMIN,
    ("PATCH", "/api/vendors/{vendor_id}"): _SENSITIVE,
    ("DELETE", "/api/vendors/{vendor_id}"): _SENSITIVE,
    ("PUT", "/api/vendors/{vendor_id}/order"): _ADMIN,
    ("PUT", "/api/vendors/{vendor_id}/default-key"): _SENSITIVE,
    ("POST", "/api/vendors/{vendor_id}/keys"): _SENSITIVE,
    ("POST", "/api/vendors/{vendor_id}/keys/paste"): _SENSITIVE,
}
