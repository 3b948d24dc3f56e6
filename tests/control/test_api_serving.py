"""The operator's interface through the front door, of the whole platform while it serves."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest

from tests.chats import wish
from tests.control.api_rig import make_root
from tests.platform import Platform, platform, simple_catalogue

pytestmark = pytest.mark.slow


@dataclass
class Town:
    running: Platform
    root: str

    def good(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> Any:
        said = self.running.ask(method, path, body, token=self.root)
        assert said.status == 200, (said.status, said.body)
        return json.loads(said.body)


@pytest.fixture(scope="module")
def town() -> Iterator[Town]:
    with platform(catalogue=simple_catalogue, workers=2) as running:
        session = running.session()
        yield Town(running, make_root(session.database, session.secrets, session.act))


def test_only_the_root_accounts_token_opens_the_interface(town: Town) -> None:
    customer = town.running.customer()

    assert town.good("GET", "/api/vendors")["vendors"][0]["name"] == "v0"
    for token in (None, customer.token):
        said = town.running.ask("GET", "/api/vendors", token=token)
        assert said.status == 401
        assert json.loads(said.body)["code"] == "login_needed"


def test_a_change_is_in_force_at_every_worker_when_it_is_answered(town: Town) -> None:
    customer = town.running.customer()
    first, second = town.good("GET", "/api/keys")["keys"]

    def served() -> set[int]:
        answers = [town.running.chat(customer, wish("api", {})) for _ in range(8)]
        assert {answer.status for answer in answers} == {200}
        return {town.running.row(answer.headers["x-request-id"]).key_id for answer in answers}

    def foretold() -> list[int]:
        routes = town.good("GET", f"/api/route/explain?token={customer.token_id}&model=m")["routes"]
        return [key["key_id"] for key in routes[0]["keys"] if key["turn"] == 1]

    assert [first["name"], second["name"]] == ["a", "b"]
    assert served() == {first["id"]} == set(foretold())
    town.good("POST", f"/api/keys/{first['id']}/disable")
    assert served() == {second["id"]} == set(foretold())
    town.good("POST", f"/api/keys/{first['id']}/enable")
    assert served() == {first["id"]} == set(foretold())
    vendor = town.good("GET", f"/api/vendors/{first['vendor_id']}")
    order = {"version": vendor["order_version"], "keys": [second["id"], first["id"]]}
    town.good("PUT", f"/api/vendors/{vendor['id']}/keys/order", order)
    assert served() == {second["id"]} == set(foretold())
