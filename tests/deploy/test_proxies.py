"""The platform behind nginx and Caddy, as the samples in deploy/ set them up: real proxies, real
sockets, a fake vendor behind it all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.calls.types import CallRow
from tests.deploy import proxies
from tests.deploy.proxies import Proxy
from tests.fakes.books import ANSWERING
from tests.platform import CHAT, Customer, Platform, eventually, head, platform, simple_catalogue
from tests.platform import wish as wanted

pytestmark = pytest.mark.slow

#: Where the customer is, as the proxy sees it; and somebody who is elsewhere.
HOME, AWAY = "127.0.0.9", "127.0.0.7"


@pytest.fixture(scope="module")
def house() -> Iterator[Platform]:
    believed = {"AIPOOL_TRUSTED_PROXIES": "127.0.0.1"}
    with platform(catalogue=simple_catalogue, environment=believed) as running:
        yield running


@pytest.fixture(scope="module")
def customer(house: Platform) -> Customer:
    return house.customer(ips=(HOME,))


@pytest.fixture(scope="module", params=["nginx", "caddy"])
def proxy(
    request: pytest.FixtureRequest, house: Platform, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    folder: Path = tmp_path_factory.mktemp(request.param)
    with getattr(proxies, request.param)(folder, house.address[1]) as running:
        yield running


def body(text: str = "Hello!") -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}]}).encode()


def headers(customer: Customer, **more: str) -> dict[str, str]:
    named = {name.replace("_", "-"): value for name, value in more.items()}
    return {
        "Authorization": f"Bearer {customer.token}",
        "Content-Type": "application/json",
        **named,
    }


def test_a_call_is_answered_and_charged(proxy: Proxy, house: Platform, customer: Customer) -> None:
    said = proxy.ask("POST", CHAT, body(), headers(customer), source=HOME)

    assert said.status == 200, said.body
    assert house.row(said.rid).charged_nano > 0


def test_a_stream_passes_event_by_event_and_who_leaves_is_seen_to_leave(
    proxy: Proxy, house: Platform, customer: Customer
) -> None:
    # After five events the vendor is silent: what a proxy kept back would not come meanwhile.
    silent = {"events": 200, "interval": 0.02, "pause_after": 5, "pause": 2.0}
    asked = wanted("m", silent, stream=True)
    raw = json.dumps(asked).encode()
    before = {row.rid for row in house.rows(customer)}
    with proxy.connect(HOME) as sock:
        sock.sendall(head(customer.token, len(raw)) + raw)
        got = b""
        while got.count(b"data: ") < 5:
            piece = sock.recv(65536)
            assert piece, got
            got += piece
        entry = house.vendors[0].books.entries[-1]
        assert (entry.phase, entry.events_sent) == (ANSWERING, 5)
    assert got.startswith(b"HTTP/1.1 200")

    def left() -> CallRow | None:
        return next((row for row in house.rows(customer) if row.rid not in before), None)

    row = eventually(left, "the call in the books")
    assert (row.status, row.error) == (499, "client_gone"), row
    assert row.charged_nano > 0


def test_a_client_is_who_the_proxy_says(proxy: Proxy, customer: Customer) -> None:
    assert proxy.ask("POST", CHAT, body(), headers(customer), source=HOME).status == 200

    refused = proxy.ask("POST", CHAT, body(), headers(customer), source=AWAY)

    assert (refused.status, refused.error["code"]) == (403, "ip_not_allowed")


@pytest.mark.parametrize("name", ["X-Forwarded-For", "X-Real-IP", "Forwarded"])
def test_what_a_client_says_of_itself_is_dropped(
    proxy: Proxy, customer: Customer, name: str
) -> None:
    said = {"Forwarded": f"for={HOME}"}.get(name, HOME)

    forged = headers(customer) | {name: said}

    assert proxy.ask("POST", CHAT, body(), forged, source=AWAY).status == 403


def test_whoever_is_no_trusted_proxy_is_not_believed(house: Platform, customer: Customer) -> None:
    past_the_proxy = Proxy(house.address[1], None)
    forged = headers(customer, X_Forwarded_For=HOME)

    assert past_the_proxy.ask("POST", CHAT, body(), forged, source=AWAY).status == 403
    assert past_the_proxy.ask("POST", CHAT, body(), forged, source="127.0.0.1").status == 200


def test_a_large_question_passes(proxy: Proxy, customer: Customer) -> None:
    said = proxy.ask("POST", CHAT, body("word " * 60_000), headers(customer), source=HOME)

    assert said.status in (200, 400), said.body  # 400: more than the model takes, says the platform
    assert said.rid


def test_the_pages_of_the_platform_are_served_too(proxy: Proxy) -> None:
    said = proxy.ask("GET", "/api/site")

    assert said.status == 200
    secure = proxy.tls is not None
    assert ("strict-transport-security" in said.headers) == secure
