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

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import IntEnum

from fastapi import FastAPI
from fastapi.routing import iter_route_contexts


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


_ANYONE = Policy(Who.ANYONE)
_USER = Policy(Who.USER)
_USER_SENSITIVE = Policy(Who.USER, step_up=True)
_LOOKS = Policy(Who.USER, reads=True)
_ADMIN = Policy(Who.ADMIN)
_ASKS = Policy(Who.ADMIN, reads=True)
_SENSITIVE = Policy(Who.ADMIN, step_up=True)
_ROOT = Policy(Who.ROOT)
_ROOT_SENSITIVE = Policy(Who.ROOT, step_up=True)

#: By method and path, in the order of the slices.
POLICIES: Mapping[tuple[str, str], Policy] = {
    # control: pages, and what programs are told of the interface
    ("GET", "/"): _ANYONE,
    ("GET", "/setup"): _ANYONE,
    ("GET", "/setup.js"): _ANYONE,
    ("POST", "/setup"): _ANYONE,
    ("GET", "/llms.txt"): _ANYONE,
    ("GET", "/api/openapi.json"): _ANYONE,
    ("GET", "/api/docs"): _ANYONE,
    ("GET", "/api/docs.js"): _ANYONE,
    # control: the console, whose pages ask for what they show
    ("GET", "/login"): _ANYONE,
    ("GET", "/register"): _ANYONE,
    ("GET", "/reset"): _ANYONE,
    ("GET", "/console"): _ANYONE,
    ("GET", "/console/{path}"): _ANYONE,
    # site: what anybody may know, and what the root account changes
    ("GET", "/api/site"): _ANYONE,
    ("GET", "/terms"): _ANYONE,
    ("GET", "/privacy"): _ANYONE,
    ("GET", "/api/admin/settings"): _ROOT,
    ("PATCH", "/api/admin/settings"): _ROOT_SENSITIVE,
    ("POST", "/api/admin/settings/test-sms"): _ROOT_SENSITIVE,
    ("POST", "/api/admin/settings/test-mail"): _ROOT_SENSITIVE,
    ("GET", "/api/admin/system"): _ROOT,
    # accounts: coming in, and what people do with their own account
    ("POST", "/api/auth/challenge"): _ANYONE,
    ("POST", "/api/auth/register"): _ANYONE,
    ("POST", "/api/auth/login"): _ANYONE,
    ("POST", "/api/auth/logout"): _ANYONE,
    ("POST", "/api/auth/codes"): _ANYONE,
    ("POST", "/api/auth/reset"): _ANYONE,
    ("GET", "/api/me"): _USER,
    ("PATCH", "/api/me"): _USER,
    ("POST", "/api/me/password"): _USER,
    ("POST", "/api/me/step-up"): _USER,
    ("PUT", "/api/me/phone"): _USER_SENSITIVE,
    ("PUT", "/api/me/email"): _USER_SENSITIVE,
    ("GET", "/api/me/sessions"): _USER,
    ("DELETE", "/api/me/sessions"): _USER,
    ("DELETE", "/api/me/sessions/{session_id}"): _USER,
    ("POST", "/api/me/totp"): _USER_SENSITIVE,
    ("POST", "/api/me/totp/confirm"): _USER,
    ("DELETE", "/api/me/totp"): _USER_SENSITIVE,
    ("POST", "/api/me/totp/recovery-codes"): _USER_SENSITIVE,
    ("GET", "/api/me/access-tokens"): _USER,
    ("POST", "/api/me/access-tokens"): _USER_SENSITIVE,
    ("DELETE", "/api/me/access-tokens/{access_token_id}"): _USER,
    ("GET", "/api/admin/invitations"): _ADMIN,
    ("POST", "/api/admin/invitations"): _SENSITIVE,
    ("DELETE", "/api/admin/invitations/{invitation_id}"): _ADMIN,
    # pool: vendors and their keys
    ("GET", "/api/vendor-types"): _ADMIN,
    ("GET", "/api/vendors"): _ADMIN,
    ("POST", "/api/vendors"): _SENSITIVE,
    ("GET", "/api/vendors/{vendor_id}"): _ADMIN,
    ("PATCH", "/api/vendors/{vendor_id}"): _SENSITIVE,
    ("DELETE", "/api/vendors/{vendor_id}"): _SENSITIVE,
    ("PUT", "/api/vendors/{vendor_id}/default-key"): _SENSITIVE,
    ("POST", "/api/vendors/{vendor_id}/keys"): _SENSITIVE,
    ("POST", "/api/vendors/{vendor_id}/keys/paste"): _SENSITIVE,
    ("PUT", "/api/vendors/{vendor_id}/keys/order"): _ADMIN,
    ("PATCH", "/api/keys/{key_id}"): _SENSITIVE,
    ("DELETE", "/api/keys/{key_id}"): _SENSITIVE,
    ("POST", "/api/keys/{key_id}/enable"): _ADMIN,
    ("POST", "/api/keys/{key_id}/disable"): _ADMIN,
    ("GET", "/api/keys/{key_id}/trail"): _ADMIN,
    ("GET", "/api/keywords"): _ADMIN,
    ("POST", "/api/keywords"): _ADMIN,
    ("DELETE", "/api/keywords/{keyword_id}"): _ADMIN,
    # control: keys across slices, and what vendors say
    ("GET", "/api/vendors/{vendor_id}/keys"): _ADMIN,
    ("GET", "/api/keys"): _ADMIN,
    ("GET", "/api/keys/{key_id}"): _ADMIN,
    ("POST", "/api/keys/{key_id}/test"): _ADMIN,
    ("POST", "/api/keys/{key_id}/balance"): _ASKS,
    ("POST", "/api/keys/bulk"): _SENSITIVE,
    ("POST", "/api/vendors/{vendor_id}/models/fetch"): _ASKS,
    ("POST", "/api/vendors/{vendor_id}/models"): _SENSITIVE,
    ("GET", "/api/route/explain"): _ADMIN,
    # control: what was said in calls
    ("GET", "/api/calls/{request_id}/content"): _USER,
    ("DELETE", "/api/calls/{request_id}/content"): _USER,
    # catalog
    ("GET", "/api/models"): _ANYONE,
    ("GET", "/api/models/{name}"): _ANYONE,
    ("POST", "/api/admin/prices/import/preview"): _ASKS,
    ("POST", "/api/admin/prices/import/apply"): _SENSITIVE,
    ("GET", "/api/admin/models"): _ADMIN,
    ("POST", "/api/admin/models"): _SENSITIVE,
    ("POST", "/api/admin/models/seed"): _ADMIN,
    ("GET", "/api/admin/models/{name}"): _ADMIN,
    ("PATCH", "/api/admin/models/{name}"): _SENSITIVE,
    ("DELETE", "/api/admin/models/{name}"): _SENSITIVE,
    ("PUT", "/api/admin/models/{name}/routes"): _SENSITIVE,
    ("PUT", "/api/admin/models/{name}/price"): _SENSITIVE,
    ("GET", "/api/admin/models/{name}/prices"): _ADMIN,
    ("POST", "/api/admin/models/{name}/enable"): _ADMIN,
    ("POST", "/api/admin/models/{name}/disable"): _ADMIN,
    # groups: those that the caller may choose, and all of them for operators
    ("GET", "/api/groups"): _USER,
    ("GET", "/api/admin/groups"): _ADMIN,
    ("POST", "/api/admin/groups"): _SENSITIVE,
    ("GET", "/api/admin/groups/{group_id}"): _ADMIN,
    ("PATCH", "/api/admin/groups/{group_id}"): _SENSITIVE,
    ("DELETE", "/api/admin/groups/{group_id}"): _SENSITIVE,
    ("GET", "/api/admin/groups/{group_id}/members"): _ADMIN,
    # people, for those who administer them
    ("GET", "/api/admin/users"): _ADMIN,
    ("POST", "/api/admin/users"): _SENSITIVE,
    ("GET", "/api/admin/users/{user_id}"): _ADMIN,
    ("PATCH", "/api/admin/users/{user_id}"): _SENSITIVE,
    ("POST", "/api/admin/users/{user_id}/adjust"): _SENSITIVE,
    ("GET", "/api/admin/adjustments"): _ADMIN,
    ("POST", "/api/admin/adjustments/{adjustment_id}/agree"): _SENSITIVE,
    ("POST", "/api/admin/adjustments/{adjustment_id}/decline"): _ADMIN,
    ("POST", "/api/admin/users/{user_id}/approve"): _ADMIN,
    ("POST", "/api/admin/users/{user_id}/reset-totp"): _SENSITIVE,
    ("POST", "/api/admin/users/{user_id}/reset-link"): _SENSITIVE,
    ("DELETE", "/api/admin/users/{user_id}/sessions"): _ADMIN,
    # the trail: what was done, and what was done to one's own account
    ("GET", "/api/me/trail"): _USER,
    ("GET", "/api/admin/trail"): _ADMIN,
    ("GET", "/api/admin/trail/export"): _ADMIN,
    # the log of calls: one's own, and all of it
    ("GET", "/api/calls"): _USER,
    ("GET", "/api/calls/export"): _USER,
    ("GET", "/api/calls/{request_id}"): _USER,
    ("GET", "/api/calls/{request_id}/price"): _USER,
    ("GET", "/api/balance-flow"): _USER,
    ("GET", "/api/balance-flow/usage"): _USER,
    ("GET", "/api/balance-flow/export"): _USER,
    ("GET", "/api/usage"): _USER,
    ("GET", "/api/admin/calls"): _ADMIN,
    ("GET", "/api/admin/calls/export"): _ADMIN,
    ("GET", "/api/admin/calls/{request_id}"): _ADMIN,
    ("GET", "/api/admin/calls/{request_id}/price"): _ADMIN,
    ("GET", "/api/admin/users/{user_id}/balance-flow"): _ADMIN,
    ("GET", "/api/admin/users/{user_id}/balance-flow/export"): _ADMIN,
    ("GET", "/api/admin/usage"): _ADMIN,
    # API tokens: everybody's own, and those of others for operators
    ("GET", "/api/tokens"): _USER,
    ("POST", "/api/tokens"): _USER,
    ("POST", "/api/tokens/bulk"): _USER,
    ("POST", "/api/tokens/preview"): _LOOKS,
    ("GET", "/api/tokens/{token_id}"): _USER,
    ("PATCH", "/api/tokens/{token_id}"): _USER,
    ("DELETE", "/api/tokens/{token_id}"): _USER,
    ("POST", "/api/tokens/{token_id}/enable"): _USER,
    ("POST", "/api/tokens/{token_id}/disable"): _USER,
    ("POST", "/api/tokens/{token_id}/rotate"): _USER,
    ("POST", "/api/tokens/{token_id}/playground-key"): _USER,
    ("GET", "/api/tokens/{token_id}/preview"): _USER,
    ("GET", "/api/admin/tokens"): _ADMIN,
    ("POST", "/api/admin/tokens/{token_id}/enable"): _ADMIN,
    ("POST", "/api/admin/tokens/{token_id}/disable"): _ADMIN,
    ("DELETE", "/api/admin/tokens/{token_id}"): _SENSITIVE,
    # An API token about itself: known by the token, not by a person (control.token_self).
    ("GET", "/v1/token"): _ANYONE,
    ("GET", "/v1/calls/{request_id}"): _ANYONE,
    # notices
    ("GET", "/api/alerts"): _ADMIN,
    ("GET", "/api/alerts/channels"): _ADMIN,
    ("POST", "/api/alerts/channels"): _SENSITIVE,
    ("DELETE", "/api/alerts/channels/{channel_id}"): _SENSITIVE,
    ("POST", "/api/alerts/channels/{channel_id}/test"): _ADMIN,
}


class Unguarded(Exception):
    """A route without a policy, or a policy without a route: a mistake in the program."""


@dataclass(frozen=True, slots=True)
class Served:
    """A route of the application. path: as in POLICIES and in the OpenAPI document."""

    method: str
    path: str
    pattern: re.Pattern[str]


class Registry:
    """The routes that an application serves, each with its policy."""

    def __init__(
        self, served: Iterable[Served], policies: Mapping[tuple[str, str], Policy]
    ) -> None:
        """Raises Unguarded, naming every route without a policy and every policy without a
        route."""
        routes = list(served)
        there = {(route.method, route.path) for route in routes}
        wrong = [f"no policy: {method} {path}" for method, path in sorted(there - policies.keys())]
        wrong += [f"no route: {method} {path}" for method, path in sorted(policies.keys() - there)]
        if wrong:
            raise Unguarded("; ".join(wrong))
        self._routes = [(route, policies[route.method, route.path]) for route in routes]

    def policy_of(self, method: str, path: str) -> Policy | None:
        """The policy of the route that serves this, in the order in which the application looks
        for it; None = there is none."""
        for route, policy in self._routes:
            if route.method == method and route.pattern.match(path):
                return policy
        return None

    def methods_of(self, path: str) -> list[str]:
        """How this may be asked for, by name; [] = it is not there."""
        return sorted({route.method for route, _ in self._routes if route.pattern.match(path)})


def served_by(app: FastAPI) -> list[Served]:
    """Every route of the application, in the order in which it looks for them."""
    return [
        Served(method, route.path_format, route.path_regex)
        for route in iter_route_contexts(app.routes)
        if route.path_format is not None
        for method in sorted(route.methods or ())
    ]
