"""The table of policies: a route without a line, or a line without a route, stops everything."""

from __future__ import annotations

import re

import pytest
from fastapi import FastAPI

from aipool.control.policies import POLICIES, Policy, Registry, Served, Unguarded, Who, served_by


def served(method: str, path: str, pattern: str) -> Served:
    return Served(method, path, re.compile(pattern))


ONE = served("GET", "/api/things/{thing_id}", "^/api/things/(?P<thing_id>[^/]+)$")
POLICY = Policy(Who.USER)


def test_x06_a_route_without_a_policy_stops_the_application_from_being_built() -> None:
    with pytest.raises(Unguarded, match=r"no policy: GET /api/things/\{thing_id\}"):
        Registry([ONE], {})


def test_x06_a_policy_without_a_route_stops_it_as_well() -> None:
    policies = {("GET", ONE.path): POLICY, ("POST", ONE.path): POLICY}
    with pytest.raises(Unguarded, match=r"no route: POST /api/things/\{thing_id\}"):
        Registry([ONE], policies)


def test_a_policy_is_found_as_the_application_finds_its_route() -> None:
    bulk = served("GET", "/api/things/bulk", "^/api/things/bulk$")
    root = Policy(Who.ROOT)
    registry = Registry([bulk, ONE], {("GET", bulk.path): root, ("GET", ONE.path): POLICY})

    assert registry.policy_of("GET", "/api/things/bulk") is root
    assert registry.policy_of("GET", "/api/things/1") is POLICY
    assert registry.policy_of("POST", "/api/things/1") is None
    assert registry.policy_of("GET", "/api/things/1/more") is None


def test_the_routes_of_an_application_are_all_seen() -> None:
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None)

    @app.put("/api/things/{name:path}/parts")
    def put_parts(name: str) -> str:
        return name

    (found,) = served_by(app)
    assert (found.method, found.path) == ("PUT", "/api/things/{name}/parts")
    assert found.pattern.match("/api/things/a/b/parts")


def test_s10_what_is_sensitive_needs_a_step_up() -> None:
    named = ("keys", "price", "adjust", "routes", "reset-link", "reset-totp")
    for (method, path), policy in POLICIES.items():
        if method in ("POST", "PUT") and path.rpartition("/")[2] in named:
            assert policy.step_up, (method, path)
    for path in ("/api/vendors/{vendor_id}", "/api/keys/{key_id}", "/api/admin/users/{user_id}"):
        assert POLICIES["PATCH", path].step_up


def test_what_only_reads_is_open_to_tokens_that_only_read() -> None:
    assert POLICIES["POST", "/api/tokens/preview"].reads
    assert not POLICIES["POST", "/api/tokens"].reads
