"""The door of the operator's interface: who gets in, and what everybody else is told."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from aipool import config
from aipool.accounts import service as accounts
from aipool.accounts.types import Status
from aipool.control import access
from aipool.control.access import TRIES_MAX
from aipool.control.app import create_app
from aipool.control.asking import Clients
from tests.control.api_rig import Api, Said, api


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with api(tmp_path_factory.mktemp("access")) as ready:
        yield ready


def bearer(token: str, address: str = "203.0.113.1") -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "X-Forwarded-For": address}


def whole(said: Said) -> tuple[int, str, dict[str, str]]:
    return said.status, said.text, {k: v for k, v in said.headers.items() if k != "date"}


def test_the_root_accounts_access_token_opens_the_door(opened: Api) -> None:
    assert opened.good("GET", "/api/vendors") == {"vendors": []}


def test_whoever_else_comes_gets_one_and_the_same_answer(opened: Api) -> None:
    with opened.world.database.write() as tx:
        user = opened.world.user(tx)
        _, api_token = opened.world.token(tx, user)
    almost = opened.token[:-1] + ("A" if opened.token[-1] != "A" else "B")
    strangers = [
        opened.ask("GET", "/api/vendors", headers={"X-Forwarded-For": "203.0.113.9"}),
        opened.ask("GET", "/api/vendors", headers=bearer(almost, "203.0.113.9")),
        opened.ask("GET", "/api/vendors", headers=bearer(api_token, "203.0.113.9")),
        opened.ask("GET", "/api/vendors", headers=bearer("", "203.0.113.9")),
        opened.ask("GET", "/api/vendors", headers=bearer("ä", "203.0.113.9")),
        opened.ask(
            "GET",
            "/api/vendors",
            headers={"Authorization": f"Basic {opened.token}", "X-Forwarded-For": "203.0.113.9"},
        ),
        *(
            opened.ask(
                "GET", f"/api/vendors?{name}={opened.token}", headers={"X-Forwarded-For": "::1"}
            )
            for name in ("key", "token", "access_token")
        ),
        opened.ask("GET", "/api/nothing", headers=bearer("x", "203.0.113.10")),
        opened.ask("DELETE", "/api", headers=bearer("x", "203.0.113.10")),
        opened.ask("POST", "/api/vendors", b"{", headers=bearer("x", "203.0.113.10")),
        opened.ask("PUT", "/api/%76endors", headers=bearer("x", "203.0.113.10")),
    ]

    assert {whole(said)[:2] for said in strangers} == {whole(strangers[0])[:2]}
    assert all(whole(said) == whole(strangers[0]) for said in strangers)
    problem = json.loads(strangers[0].text)
    assert (problem["status"], problem["code"]) == (401, "access_token_needed")
    assert strangers[0].headers["www-authenticate"] == "Bearer"
    assert strangers[0].headers["content-type"] == "application/problem+json"
    assert "content-security-policy" in strangers[0].headers


def served(opened: Api) -> set[tuple[str, str]]:
    """Every route of the interface, as (method, path)."""
    world = opened.world
    settings = config.load({"data_dir": world.data_dir}, {})
    secrets = world.secrets
    clients = Clients(cast(Any, None), cast(Any, None), None)
    app = create_app(world.database, settings, secrets.pepper, secrets.keyring, clients)
    return {
        (method.upper(), path)
        for path, methods in app.openapi()["paths"].items()
        for method in methods
        if path.startswith("/api")
    }


def test_every_route_is_closed_to_strangers(opened: Api) -> None:
    routes = served(opened)
    assert len(routes) > 30

    for number, (method, path) in enumerate(sorted(routes)):
        target = re.sub(r"\{[^}]*\}", "1", path)
        headers = {"X-Forwarded-For": f"192.0.2.{number}"}
        assert opened.ask(method, target, headers=headers).status == 401, (method, path)


def test_every_route_is_in_the_documentation(opened: Api) -> None:
    text = (Path(__file__).parents[2] / "docs/api.md").read_text(encoding="utf-8")
    told = set()
    for cell in re.findall(r"^\| ([^|]*/api[^|]*) \|", text, re.MULTILINE):
        words = re.findall(r"`([^`]+)`", cell)
        paths = [word for word in words if word.startswith("/")]
        told |= {(method, path) for method in words if method not in paths for path in paths}

    named = {(method, re.sub(r"\{\w+_id\}", "{id}", path)) for method, path in served(opened)}
    assert named == told


def test_a_path_that_only_looks_like_the_interface_is_no_way_around(opened: Api) -> None:
    for target in ("//api/vendors", "/api%2Fvendors", "/API/vendors", "/apivendors"):
        said = opened.ask("GET", target, headers={"X-Forwarded-For": "203.0.113.11"})
        assert said.status in (401, 404)


def test_a_frozen_root_account_gets_in_no_more(tmp_path: Path) -> None:
    with api(tmp_path) as opened:
        with opened.world.database.write() as tx:
            root = accounts.get_user(tx.connection, "+8613800138000")
            accounts.set_status(tx, opened.world.act, root, Status.DISABLED)

        opened.refused(401, "GET", "/api/vendors")


def test_who_tries_too_often_from_one_address_is_asked_to_wait(opened: Api) -> None:
    address = "198.51.100.7"
    seen = [
        opened.ask("GET", "/api/keys", headers=bearer("x", address)).status
        for _ in range(TRIES_MAX + 1)
    ]
    waiting = opened.ask("GET", "/api/keys", headers=bearer("x", address))

    assert seen == [401] * TRIES_MAX + [429]
    assert waiting.status == 429
    assert 1 <= int(waiting.headers["retry-after"]) <= 61
    # The one with the right token is not kept out by others at his address, nor are others.
    assert opened.ask("GET", "/api/vendors", headers=bearer(opened.token, address)).status == 200
    assert opened.ask("GET", "/api/vendors", headers=bearer("x", "198.51.100.8")).status == 401


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_minute_later_the_count_begins_anew() -> None:
    clock = Clock()
    tries = access._Tries(clock)
    waits = [tries.one_more("a") for _ in range(TRIES_MAX + 2)]
    clock.now += 59.5
    last = tries.one_more("a")
    clock.now += 0.5

    assert waits == [0] * TRIES_MAX + [61, 61]
    assert last == 1
    assert tries.one_more("a") == 0


def test_the_memory_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(access, "_ADDRESSES_MAX", 3)
    clock = Clock()
    tries = access._Tries(clock)
    for address in "abc":
        tries.one_more(address)

    others = [tries.one_more(f"other {number}") for number in range(TRIES_MAX + 1)]

    assert others == [0] * TRIES_MAX + [61]
    assert tries.one_more("a") == 0
    clock.now += 60
    assert tries.one_more("d") == 0
    assert len(tries._counts) == 1


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("2001:db8:1:2::5", "2001:db8:1:2:ffff::9", True),
        ("2001:db8:1:2::5", "2001:db8:1:3::5", False),
        ("203.0.113.1", "203.0.113.2", False),
        ("", "nonsense", True),
    ],
)
def test_a_house_counts_as_one_address(one: str, other: str, same: bool) -> None:
    assert (access._network_of(one) == access._network_of(other)) is same
