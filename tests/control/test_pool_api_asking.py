"""The pool over HTTP where vendors are asked: tests, balances, models, and what is made of them;
and the channels over which people are told."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from aipool.groups.service import put_group
from aipool.kit.money import PPM
from aipool.pool.tables import key_health
from tests.control.api_rig import Api, api
from tests.control.asked import SmallVendor, small_vendor

SECRET = "sk-canary-0123456789abcdef-4321"
_numbers = count(1)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with api(tmp_path_factory.mktemp("asking"), {"private_upstreams": "127.0.0.0/8"}) as ready:
        yield ready
        assert not [said for said in ready.said if "canary" in said]


@pytest.fixture
def small() -> Iterator[SmallVendor]:
    with small_vendor() as made:
        yield made


def vendor_of(opened: Api, small: SmallVendor, **fields: Any) -> dict[str, Any]:
    given = {
        "name": f"v{next(_numbers)}",
        "type": "openai_compatible",
        "base_url": small.base_url,
        "api_key": SECRET,
        **fields,
    }
    made: dict[str, Any] = opened.good("POST", "/api/vendors", given)
    return made


def said_of(price: dict[str, Any]) -> dict[str, str]:
    """What a price says, without the units that it has no price for."""
    return {unit: amount for unit, amount in price.items() if amount}


def test_a_key_is_tested_by_a_real_call_and_healed_by_a_good_one(
    opened: Api, small: SmallVendor
) -> None:
    small.serves("m-1")
    key_id = vendor_of(opened, small)["default_key"]["id"]
    with opened.world.database.write() as tx:
        row = {"key_id": key_id, "model": "", "generation": 1, "step": 1, "health": "invalid"}
        row |= {"until_ms": 0, "since_ms": 1, "why": "unauthorized"}
        tx.connection.execute(key_health.insert().values(**row))
    assert opened.good("GET", f"/api/keys/{key_id}")["status"] == "error"

    said = opened.good("POST", f"/api/keys/{key_id}/test")

    assert (said["ok"], said["status"], said["model"], said["healed"]) == (True, 200, "m-1", True)
    assert said["latency_ms"] >= 0
    assert said["url"] == f"{small.base_url}/chat/completions"
    assert small.books[-1].headers["authorization"] == f"Bearer {SECRET}"
    assert opened.good("GET", f"/api/keys/{key_id}")["status"] == "normal"
    named = opened.good("POST", f"/api/keys/{key_id}/test", {"model": "m-2"})
    assert (named["model"], named["healed"]) == ("m-2", False)
    assert small.books[-1].json["model"] == "m-2"


def test_a_failed_test_tells_the_verdict_and_never_repeats_the_secret(
    opened: Api, small: SmallVendor
) -> None:
    refusal = {"error": {"message": f"Incorrect API key {SECRET}", "code": "invalid_api_key"}}
    small.says("/v1/chat/completions", 401, refusal)
    key_id = vendor_of(opened, small)["default_key"]["id"]

    said = opened.good("POST", f"/api/keys/{key_id}/test", {"model": "m"})

    assert (said["ok"], said["status"]) == (False, 401)
    assert said["verdict"]["action"] == "invalid"
    assert "Incorrect API key" in said["said"]
    assert opened.good("GET", f"/api/keys/{key_id}")["status"] == "normal"


def test_a_host_that_cannot_be_reached_is_a_result_not_an_error(
    opened: Api, small: SmallVendor
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        port = closed.getsockname()[1]
    vendor = vendor_of(opened, small, base_url=f"http://127.0.0.1:{port}/v1")
    key_id = vendor["default_key"]["id"]

    said = opened.good("POST", f"/api/keys/{key_id}/test", {"model": "m"})
    fetched = opened.good("POST", f"/api/vendors/{vendor['id']}/models/fetch")

    assert (said["ok"], said["status"], fetched["models"]) == (False, 0, [])
    assert "No connection" in said["said"]
    assert "No connection" in fetched["said"]


def test_a_redirect_is_no_answer_and_is_not_followed(opened: Api, small: SmallVendor) -> None:
    elsewhere = {"Location": "https://elsewhere.example/v1/chat/completions"}
    small.says("/v1/chat/completions", 302, b"", elsewhere)
    key_id = vendor_of(opened, small)["default_key"]["id"]

    said = opened.good("POST", f"/api/keys/{key_id}/test", {"model": "m"})

    assert (said["ok"], said["status"]) == (False, 302)
    assert len(small.books) == 1


def test_many_keys_are_tested_at_once(opened: Api, small: SmallVendor) -> None:
    small.serves("m-1")
    vendor = vendor_of(opened, small)
    other = opened.good("POST", f"/api/vendors/{vendor['id']}/keys", {"api_key": SECRET + "x"})
    ids = [vendor["default_key"]["id"], 999_999, other["id"]]

    sent = {"action": "test", "ids": ids}
    results = opened.good("POST", "/api/keys/bulk", sent)["results"]

    assert [(one["id"], one["ok"]) for one in results] == [
        (ids[0], True),
        (999_999, False),
        (ids[2], True),
    ]
    assert results[1]["code"] == "key_unknown"


def test_a_key_without_its_secret_is_not_asked_with(opened: Api, small: SmallVendor) -> None:
    vendor = vendor_of(opened, small)
    path = f"/api/vendors/{vendor['id']}"
    opened.good("PATCH", path, {"base_url": "https://elsewhere.example/v1"})
    key_id = vendor["default_key"]["id"]

    assert opened.refused(409, "POST", f"/api/keys/{key_id}/test")["code"] == "api_key_missing"
    assert opened.refused(409, "POST", f"/api/keys/{key_id}/balance")["field"] == "api_key"
    assert opened.refused(409, "POST", f"{path}/models/fetch")["field"] == "api_key"


def test_a_balance_is_told_where_the_vendor_has_one(opened: Api, small: SmallVendor) -> None:
    told = {
        "is_available": True,
        "balance_infos": [
            {
                "currency": "CNY",
                "total_balance": "110.00",
                "granted_balance": "10.00",
                "topped_up_balance": "100.00",
            }
        ],
    }
    small.says("/user/balance", 200, told)
    base_url = small.base_url.removesuffix("/v1")
    deepseek = vendor_of(opened, small, type="deepseek", base_url=base_url)
    silent = vendor_of(opened, small)

    said = opened.good("POST", f"/api/keys/{deepseek['default_key']['id']}/balance")
    assert said["balance"] == {"amount": "110.00", "currency": "CNY"}
    said = opened.good("POST", f"/api/keys/{silent['default_key']['id']}/balance")
    assert said["balance"] is None
    assert said["said"]


# --- from a key to something callable -----------------------------------------------------------


def test_from_a_key_to_a_model_on_sale_in_one_step(opened: Api, small: SmallVendor) -> None:
    name = f"gpt-{next(_numbers)}"
    small.serves(name, "text-embedding-3-small")
    vendor = vendor_of(opened, small)
    path = f"/api/vendors/{vendor['id']}/models"
    with opened.world.database.write() as tx:
        put_group(tx, opened.world.act, name="vip", multiplier_ppm=PPM, models=None)

    sent = {"cny_per_usd": "7", "markup": "1.5"}
    offered = opened.good("POST", f"{path}/fetch", sent)["models"]
    assert [(one["upstream_model"], one["kind"]) for one in offered] == [
        (name, "chat"),
        ("text-embedding-3-small", "embedding"),
    ]
    choices = [
        {
            "upstream_model": name,
            "name": f"our-{name}",
            "price": {"input": "2", "output": "8.5"},
            "cost": {"input": "1", "cached_input": "0.5", "output": "4"},
            "groups": ["vip"],
        },
        {"upstream_model": "text-embedding-3-small", "kind": "embedding"},
        {"upstream_model": "no-price"},
    ]
    taken = opened.good("POST", path, {"models": choices})["models"]

    assert [one["outcome"] for one in taken] == ["created", "refused", "refused"]
    assert taken[2]["code"] == "price_missing"
    models = {one["name"]: one for one in opened.good("GET", "/api/admin/models")["items"]}
    made = models[f"our-{name}"]
    assert said_of(made["price"]) == {"input": "2", "cached_input": "2", "output": "8.5"}
    (route,) = made["routes"]
    assert (route["place"], route["vendor_name"], route["upstream_model"], route["groups"]) == (
        1,
        vendor["name"],
        name,
        ["vip"],
    )
    assert said_of(route["cost"]) == {"input": "1", "cached_input": "0.5", "output": "4"}
    again = opened.good("POST", f"{path}/fetch")["models"]
    assert again[0]["taken_as"] == [f"our-{name}"]


@pytest.mark.parametrize(
    ("choice", "field"),
    [
        ({"price": {"input": "many", "output": "1"}}, "models.0.price.input"),
        ({"price": {"input": "1", "output": "-1"}}, "models.0.price.output"),
        (
            {"cost": {"input": "1", "output": "1", "cached_input": "x"}},
            "models.0.cost.cached_input",
        ),
        ({"price": {"input": 1, "output": "1"}}, "models.0.price.input"),
        ({"groups": ["nobody"]}, "models.0.groups"),
        ({"colour": "canary"}, "models.0.colour"),
    ],
)
def test_a_choice_that_cannot_be_read_is_refused_whole(
    opened: Api, small: SmallVendor, choice: dict[str, Any], field: str
) -> None:
    vendor = vendor_of(opened, small)
    before = opened.good("GET", "/api/admin/models")
    sent = {"models": [{"upstream_model": "m", **choice}]}

    problem = opened.refused(422, "POST", f"/api/vendors/{vendor['id']}/models", sent)

    assert problem["field"] == field
    assert opened.good("GET", "/api/admin/models") == before


@pytest.mark.parametrize("text", ["0", "-1", "NaN", "Infinity", "1e9", "much"])
def test_a_rate_that_cannot_be_is_refused(opened: Api, small: SmallVendor, text: str) -> None:
    vendor = vendor_of(opened, small)
    path = f"/api/vendors/{vendor['id']}/models/fetch"

    for field in ("cny_per_usd", "markup"):
        assert opened.refused(422, "POST", path, {field: text})["field"] == field
    assert opened.refused(404, "POST", path, {"key": 999_999})["code"] == "key_unknown"


def test_the_routes_of_a_model_are_put_whole(opened: Api, small: SmallVendor) -> None:
    first, second = vendor_of(opened, small), vendor_of(opened, small)
    name = f"org/model-{next(_numbers)}"
    choice = {"upstream_model": name, "price": {"input": "1", "output": "2"}}
    opened.good("POST", f"/api/vendors/{first['id']}/models", {"models": [choice]})
    path = f"/api/admin/models/{name}/routes"
    routes = [
        {"vendor": second["id"], "upstream_model": "other", "cost": {"input": "0.1"}},
        {"vendor": first["id"]},
    ]

    put = opened.good("PUT", path, {"routes": routes})

    assert [
        (one["vendor"], one["upstream_model"], one["cost"]["input"]) for one in put["routes"]
    ] == [
        (second["id"], "other", "0.1"),
        (first["id"], name, "0"),
    ]
    before = opened.good("GET", "/api/admin/models")
    for wanted, status, field in (
        ([], 422, "routes"),
        ([{"vendor": 999_999}], 422, "routes.0.vendor"),
        ([routes[1], {"vendor": first["id"], "groups": ["nobody"]}], 422, "routes.1.groups"),
        ([{"vendor": first["id"], "upstream_model": "a b"}], 422, "routes.0.upstream_model"),
        ([{"vendor": first["id"], "cost": {"output": "x"}}], 422, "routes.0.cost.output"),
        ([routes[1]] * 101, 422, "routes"),
    ):
        assert opened.refused(status, "PUT", path, {"routes": wanted})["field"] == field
    problem = opened.refused(
        404, "PUT", "/api/admin/models/nothing/routes", {"routes": [routes[1]]}
    )
    assert problem["code"] == "model_unknown"
    problem = opened.refused(422, "PUT", "/api/admin/models/a%00b/routes", {"routes": [routes[1]]})
    assert problem["code"] == "invalid_name"
    assert opened.good("GET", "/api/admin/models") == before


# --- alerts -------------------------------------------------------------------------------------


def test_a_channel_is_added_tried_and_deleted_and_keeps_its_secrets(opened: Api) -> None:
    hook = {
        "name": f"hook{next(_numbers)}",
        "kind": "webhook",
        "url": "https://hooks.example/canary-token",
        "secret": "canary-0123456789abcdef",
        "events": ["key_invalid"],
    }
    made = opened.good("POST", "/api/alerts/channels", hook)
    mail = {
        "name": f"mail{next(_numbers)}",
        "kind": "mail",
        "host": "mail.example",
        "password": "canary-password",
        "user": "pool",
        "from": "pool@mail.example",
        "to": ["ops@mail.example"],
    }
    posted = opened.good("POST", "/api/alerts/channels", mail)

    assert (made["host"], made["events"], made["enabled"]) == (
        "hooks.example",
        ["key_invalid"],
        True,
    )
    assert (posted["from"], posted["to"], posted["port"]) == (
        "pool@mail.example",
        ["ops@mail.example"],
        587,
    )
    assert opened.good("GET", "/api/alerts/channels")["channels"] == [made, posted]
    told = opened.good("POST", f"/api/alerts/channels/{made['id']}/test")
    (alert,) = opened.good("GET", "/api/alerts")["alerts"]
    assert (alert["id"], alert["event"]) == (told["alert"], "test")
    assert alert["deliveries"][0]["channel_id"] == made["id"]
    assert alert["deliveries"][0]["state"] == "pending"
    assert opened.refused(409, "POST", "/api/alerts/channels", hook)["code"] == "channel_exists"
    for channel in (made, posted):
        assert opened.ask("DELETE", f"/api/alerts/channels/{channel['id']}").status == 204
    for method, target in (("DELETE", "/999999"), ("POST", "/999999/test")):
        opened.refused(404, method, f"/api/alerts/channels{target}")


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"kind": "pigeon"}, "kind"),
        ({"url": ""}, "url"),
        ({"url": "https://192.168.1.1/canary"}, "url"),
        ({"url": "canary"}, "url"),
        ({"secret": "canary"}, "secret"),
        ({"events": ["rain"]}, "events"),
        ({"kind": "mail", "host": "mail.example", "tls": "perhaps"}, "tls"),
        ({"surprise": "canary"}, "surprise"),
    ],
)
def test_a_channel_that_cannot_be_is_refused_with_its_field(
    opened: Api, fields: dict[str, Any], field: str
) -> None:
    given = {
        "name": f"c{next(_numbers)}",
        "kind": "webhook",
        "url": "https://hooks.example/canary",
        "secret": "canary-0123456789abcdef",
        **fields,
    }

    assert opened.refused(422, "POST", "/api/alerts/channels", given)["field"] == field
    assert opened.good("GET", "/api/alerts/channels")["channels"] == []
