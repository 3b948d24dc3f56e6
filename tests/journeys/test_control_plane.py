"""From registering to a refused call, as a person and an administrator do it over HTTP, in front of
two workers and on each kind of database."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import nullcontext
from typing import Any

import pytest

from aipool.accounts import service as accounts
from aipool.accounts.types import Role
from aipool.kit.money import format_cny, parse_cny
from tests import postgres
from tests.chats import messages
from tests.platform import Platform, Reply, eventually, platform, simple_catalogue
from tests.world import prepared

pytestmark = pytest.mark.slow

PASSWORD = "a rather long sentence nobody says"


class Browser:
    """Asks as a page of the console does: with a cookie, and the header that no form can send."""

    def __init__(self, running: Platform) -> None:
        self.running = running
        self.cookies: dict[str, str] = {}

    def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Reply:
        connection = http.client.HTTPConnection(*self.running.address, timeout=30)
        sent = {"x-aipool": "1", "origin": self.running.url, **headers}
        if self.cookies:
            sent["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        if body is not None:
            sent["content-type"] = "application/json"
        connection.request(method, path, None if body is None else json.dumps(body), sent)
        response = connection.getresponse()
        for line in response.headers.get_all("set-cookie") or ():
            name, _, value = line.partition(";")[0].partition("=")
            self.cookies[name] = value
        reply = Reply(response.status, dict(response.headers.items()), response.read())
        connection.close()
        return reply

    def good(self, method: str, path: str, body: Any = None, **headers: str) -> Any:
        reply = self.ask(method, path, body, **headers)
        assert reply.status in (200, 201, 204), (method, path, reply)
        return json.loads(reply.body) if reply.body else None


@pytest.fixture
def running(kind: str) -> Iterator[Platform]:
    with (
        postgres.fresh(prepared) if kind == "postgres" else nullcontext("") as url,
        platform(
            catalogue=simple_catalogue,
            workers=2,
            environment={"AIPOOL_DATABASE_URL": url} if url else {},
        ) as it,
    ):
        yield it


def administrator(running: Platform) -> Browser:
    """Somebody made by the operator, signed in."""
    from aipool.accounts.passwords import hash_password

    session = running.session()
    with session.change() as tx:
        accounts.create_user(
            tx,
            session.act,
            phone="+8613700137000",
            password_hash=hash_password(PASSWORD),
            role=Role.ADMIN,
        )
    browser = Browser(running)
    browser.good("POST", "/api/auth/login", {"login": "13700137000", "password": PASSWORD})
    return browser


def test_from_registering_to_a_refused_call(running: Platform) -> None:
    admin = administrator(running)
    person = Browser(running)
    made = person.good("POST", "/api/auth/register", {"phone": "13800138000", "password": PASSWORD})
    me = person.good("GET", "/api/me")
    assert (me["phone"], me["balance"]) == ("+8613800138000", "0")

    # S0.5: without money nothing is called.
    token = person.good("POST", "/api/tokens", {"name": "my-project"})
    assert token["secret"].startswith("sk-")
    body = {"model": "m", **messages("hello")}
    assert running.chat(token["secret"], body).status == 402

    credit = {"amount": "20", "reason": "paid by bank transfer"}
    path = f"/api/admin/users/{made['id']}/adjust"
    for _ in range(2):  # a repeat under its key books nothing more
        admin.good("POST", path, credit, **{"idempotency-key": "transfer-1"})
    assert person.good("GET", "/api/me")["balance"] == "20"

    reply = running.chat(token["secret"], body)
    assert reply.status == 200
    charge = reply.headers["x-aipool-charge"]

    itself = running.ask("GET", "/v1/token", token=token["secret"])
    assert (itself.status, itself.json["name"]) == (200, "my-project")
    told = running.ask("GET", f"/v1/calls/{reply.rid}", token=token["secret"])
    assert (told.status, told.json["charge"]) == (200, charge)

    # The log, the bill, the flow and the statistics say the same, to the last unit.
    logged = eventually(lambda: _call(person, reply.rid), "the call in the log")
    assert logged["charge"] == charge
    bill = person.good("GET", f"/api/calls/{reply.rid}/price")
    assert bill["total"] == charge
    left = format_cny(parse_cny("20") - parse_cny(charge))
    assert person.good("GET", "/api/me")["balance"] == left
    flow = person.good("GET", "/api/balance-flow")["items"]
    assert {one["type"] for one in flow} == {"usage", "adjust"}
    assert charge in json.dumps(flow)
    usage = person.good("GET", "/api/usage")
    assert charge in json.dumps(usage)

    # Somebody else's is not there at all.
    stranger = Browser(running)
    stranger.good("POST", "/api/auth/register", {"phone": "13900139000", "password": PASSWORD})
    for gone in (f"/api/tokens/{token['id']}", f"/api/calls/{reply.rid}"):
        assert stranger.ask("GET", gone).status == 404
    assert stranger.good("GET", "/api/calls")["items"] == []

    person.good("POST", f"/api/tokens/{token['id']}/disable")
    refused = [running.chat(token["secret"], body) for _ in range(8)]
    assert {(one.status, one.json["error"]["code"]) for one in refused} == {(401, "token_disabled")}
    person.good("POST", f"/api/tokens/{token['id']}/enable")
    assert running.chat(token["secret"], body).status == 200
    person.good("DELETE", f"/api/tokens/{token['id']}")
    assert running.chat(token["secret"], body).status == 401


def _call(person: Browser, rid: str) -> Any:
    found = person.ask("GET", f"/api/calls/{rid}")
    return json.loads(found.body) if found.status == 200 else None
