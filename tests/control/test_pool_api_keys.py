"""Upstream keys over HTTP: what people do to them, one by one and many at once, and their order."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from aipool.calls.tables import key_hours
from aipool.kit.clock import now_ms
from aipool.pool.tables import key_health
from tests.control.api_rig import (
    OTHER_SECRET,
    SECRET,
    Api,
    Said,
    api,
    key_of,
    keys_of,
    vendor_of,
)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("pool-api")
    with api(folder, {"private_upstreams": "10.0.0.0/8"}) as ready:
        yield ready
        # Whatever was asked and however it was refused: no answer had a secret in it.
        assert not [said for said in ready.said if "sk-canary" in said]


def note_health(opened: Api, key_id: int, health: str, **fields: Any) -> None:
    """As the ledger process writes what calls have shown."""
    row = {
        "key_id": key_id,
        "model": "",
        "generation": 1,
        "step": 1,
        "health": health,
        "until_ms": 0,
        "since_ms": 1_700_000_000_000,
        "why": "rate_limited",
        **fields,
    }
    with opened.world.database.write() as tx:
        tx.connection.execute(key_health.insert().values(**row))


# --- keys ---------------------------------------------------------------------------------------


def test_a_key_is_made_changed_disabled_enabled_and_deleted(opened: Api) -> None:
    vendor = vendor_of(opened)
    key = key_of(opened, vendor, expires_at="30d", config={"weight": 3, "query": {"a": "b"}})
    path = f"/api/keys/{key['id']}"
    assert (key["name"], key["priority"], key["config"]) == (
        "key2",
        2,
        {"weight": 3, "query": {"a": "b"}},
    )

    changed = opened.good(
        "PATCH", path, {"name": "spare", "config": {"weight": None, "proxy": "http://10.1.1.1:80"}}
    )
    assert changed["config"] == {"query": {"a": "b"}, "proxy": "http://10.1.1.1:80"}
    assert (changed["name"], changed["expires_at"]) == ("spare", key["expires_at"])
    assert opened.good("PATCH", path, {"expires_at": None})["expires_at"] is None
    secret = opened.good("PATCH", path, {"api_key": OTHER_SECRET})
    assert secret["secret"] == "…8765"
    assert secret["changed"] == ["api_key"]

    assert opened.good("POST", f"{path}/disable")["enabled"] is False
    assert opened.good("GET", path)["status"] == "disabled"
    assert opened.good("POST", f"{path}/enable")["enabled"] is True
    assert opened.ask("DELETE", path).status == 204
    assert opened.refused(404, "GET", path)["code"] == "key_unknown"


def test_a_key_that_is_exceeded_is_normal_again_once_a_person_enables_it(opened: Api) -> None:
    vendor = vendor_of(opened)
    key_id = vendor["default_key"]["id"]
    note_health(opened, key_id, "exceeded", why="quota_used_up", until_ms=1_999_999_999_000)

    shown = opened.good("GET", f"/api/keys/{key_id}")
    assert (shown["status"], shown["why"], shown["until"]) == (
        "exceeded",
        "quota_used_up",
        "2033-05-18T03:33:19.000Z",
    )
    opened.good("POST", f"/api/keys/{key_id}/enable")

    shown = opened.good("GET", f"/api/keys/{key_id}")
    assert (shown["status"], shown["why"], shown["until"]) == ("normal", "", None)


def test_models_that_rest_on_a_key_are_named(opened: Api) -> None:
    key_id = vendor_of(opened)["default_key"]["id"]
    note_health(opened, key_id, "cooling", model="m1", until_ms=1_999_999_999_000)

    shown = opened.good("GET", f"/api/keys/{key_id}")

    assert shown["status"] == "normal"
    assert shown["models"] == [
        {
            "model": "m1",
            "health": "cooling",
            "why": "rate_limited",
            "until": "2033-05-18T03:33:19.000Z",
        }
    ]


def test_a_key_tells_what_the_log_of_calls_knows_of_it(opened: Api) -> None:
    vendor = vendor_of(opened)
    key_id, unused = vendor["default_key"]["id"], key_of(opened, vendor)["id"]
    hour = now_ms() // 3_600_000
    row = {"key_id": key_id, "tries": 8, "failures": 2, "cost_nano": 1_500_000_000}
    row |= {"input_tokens": 30, "output_tokens": 12, "last_at_ms": hour * 3_600_000}
    row |= {"last_error": "rate_limited", "last_error_at_ms": 1_700_000_000_000}
    with opened.world.database.write() as tx:
        tx.connection.execute(key_hours.insert(), [{**row, "hour": hour}, {**row, "hour": 1}])

    shown = {key["id"]: key for key in keys_of(opened, vendor)}

    assert {
        "used_tokens": 84,
        "calls": 16,
        "failures": 4,
        "error_rate": 0.25,
        "cost": "3",
        "last_error": "rate_limited",
        "last_error_at": "2023-11-14T22:13:20.000Z",
    }.items() <= shown[key_id].items()
    assert shown[key_id]["last_used_at"]
    assert (shown[unused]["calls"], shown[unused]["error_rate"]) == (0, None)
    assert shown[unused]["last_used_at"] is None
    assert shown[key_id]["resolved_url"].startswith("https://api.deepseek.com/")
    assert opened.good("GET", f"/api/keys/{key_id}") == shown[key_id]


def test_keys_are_found_by_vendor_status_and_text_page_by_page(opened: Api) -> None:
    vendor = vendor_of(opened)
    for number in range(4):
        key_of(opened, vendor, name=f"findme-{number}")
    off = keys_of(opened, vendor)[2]
    opened.good("POST", f"/api/keys/{off['id']}/disable")

    def names(query: str) -> tuple[list[str], int]:
        found = opened.good("GET", f"/api/keys?vendor={vendor['id']}&{query}")
        return [key["name"] for key in found["keys"]], found["total"]

    assert names("q=FINDME&limit=2") == (["findme-0", "findme-1"], 4)
    assert names("q=findme&limit=2&offset=2") == (["findme-2", "findme-3"], 4)
    assert names("status=disabled") == ([off["name"]], 1)
    assert [key["priority"] for key in keys_of(opened, vendor)] == [1, 2, 3, 4, 5]
    assert opened.good("GET", f"/api/keys?q={vendor['name']}&limit=200")["total"] >= 5


@pytest.mark.parametrize(
    "query", ["limit=0", "limit=201", "offset=-1", "limit=many", "vendor=x", "status=nice"]
)
def test_a_list_that_cannot_be_is_refused_with_its_field(opened: Api, query: str) -> None:
    problem = opened.refused(422, "GET", f"/api/keys?{query}")

    assert problem["field"] == query.split("=")[0]


@pytest.mark.parametrize(
    ("method", "target", "body", "status", "code"),
    [
        ("PATCH", "/api/keys/999999", {"name": "x"}, 404, "key_unknown"),
        ("DELETE", "/api/keys/999999", None, 404, "key_unknown"),
        ("POST", "/api/keys/999999/enable", None, 404, "key_unknown"),
        ("POST", "/api/keys/999999/disable", None, 404, "key_unknown"),
        ("POST", "/api/keys/999999/test", None, 404, "key_unknown"),
        ("POST", "/api/keys/999999/balance", None, 404, "key_unknown"),
        ("GET", "/api/vendors/999999", None, 404, "vendor_unknown"),
        ("PATCH", "/api/vendors/999999", {"name": "x"}, 404, "vendor_unknown"),
        ("POST", "/api/vendors/999999/keys", {"api_key": SECRET}, 404, "vendor_unknown"),
        ("POST", "/api/vendors/999999/keys/paste", {"lines": []}, 404, "vendor_unknown"),
        (
            "PUT",
            "/api/vendors/999999/keys/order",
            {"version": 1, "keys": []},
            404,
            "vendor_unknown",
        ),
        ("PUT", "/api/vendors/999999/default-key", {"key": 1}, 404, "vendor_unknown"),
        ("POST", "/api/vendors/999999/models/fetch", {}, 404, "vendor_unknown"),
        ("POST", "/api/vendors/999999/models", {"models": []}, 404, "vendor_unknown"),
        ("DELETE", "/api/keywords/999999", None, 404, "keyword_unknown"),
        ("DELETE", "/api/keys/one", None, 422, "malformed_request"),
        ("GET", "/api/nothing", None, 404, "not_found"),
        ("PUT", "/api/vendors", {}, 405, "method_not_allowed"),
        ("DELETE", f"/api/keys/{10**30}", None, 422, "malformed_request"),
        ("GET", f"/api/keys?vendor={10**30}", None, 422, "malformed_request"),
    ],
)
def test_what_is_not_there_is_said_so(
    opened: Api, method: str, target: str, body: Any, status: int, code: str
) -> None:
    assert opened.refused(status, method, target, body)["code"] == code


def test_the_default_key_is_replaced_and_never_deleted(opened: Api) -> None:
    vendor = vendor_of(opened)
    first, second = vendor["default_key"], key_of(opened, vendor)
    elsewhere = vendor_of(opened)["default_key"]
    path = f"/api/vendors/{vendor['id']}/default-key"

    assert opened.refused(409, "DELETE", f"/api/keys/{first['id']}")["code"] == "key_is_default"
    expiry = opened.refused(409, "PATCH", f"/api/keys/{first['id']}", {"expires_at": "7d"})
    assert (expiry["code"], expiry["field"]) == ("default_key_expires", "expires_at")
    assert opened.good("PUT", path, {"key": second["id"]}) == {"default_key": second["id"]}
    assert opened.good("GET", f"/api/vendors/{vendor['id']}")["default_key"] == second["id"]
    opened.good("DELETE", f"/api/keys/{first['id']}")
    for stranger in (elsewhere["id"], 999_999):
        problem = opened.refused(404, "PUT", path, {"key": stranger})
        assert (problem["code"], problem["field"]) == ("key_unknown", "key")


@pytest.mark.parametrize("text", ["yesterday", "2020-01-01", "-7d", "7 weeks"])
def test_an_expiry_that_cannot_be_is_refused(opened: Api, text: str) -> None:
    vendor = vendor_of(opened)
    fields = {"api_key": SECRET, "expires_at": text}

    problem = opened.refused(422, "POST", f"/api/vendors/{vendor['id']}/keys", fields)

    assert problem["field"] == "expires_at"


def test_many_keys_are_pasted_with_a_result_for_each_line(opened: Api) -> None:
    vendor = vendor_of(opened)
    lines = [
        OTHER_SECRET,
        "",
        f"spare {SECRET}-2",
        SECRET,
        "sk-canary-ü",
        f"spare {SECRET}-3",
        "a b c d e f sk-canary-words",
    ]

    results = opened.good("POST", f"/api/vendors/{vendor['id']}/keys/paste", {"lines": lines})

    states = [line["state"] for line in results["lines"]]
    assert [line["line"] for line in results["lines"]] == list(range(1, 8))
    assert states[:4] == ["created", "blank", "created", "duplicate"]
    assert states[4:6] == ["refused", "refused"]
    assert results["lines"][5]["code"] == "key_exists"
    assert results["lines"][2]["name"] == "spare"
    made = [line["key_id"] for line in results["lines"] if line["state"] == "created"]
    assert [key["id"] for key in keys_of(opened, vendor)][1:] == made


@pytest.mark.slow
def test_a_thousand_lines_fit_and_one_more_is_refused_whole(opened: Api) -> None:
    vendor = vendor_of(opened)
    path = f"/api/vendors/{vendor['id']}/keys/paste"
    lines = [f"name-{number} sk-canary-{number:0400}" for number in range(1000)]

    problem = opened.refused(422, "POST", path, {"lines": [*lines, SECRET]})
    assert (problem["code"], problem["field"]) == ("too_many_lines", "lines")
    assert len(keys_of(opened, vendor)) == 1
    results = opened.good("POST", path, {"lines": lines, "expires_at": "7d"})["lines"]

    assert {line["state"] for line in results} == {"created"}
    assert opened.good("GET", f"/api/keys?vendor={vendor['id']}&limit=1")["total"] == 1001


def test_a_body_beyond_the_bound_is_refused(opened: Api) -> None:
    said = opened.ask("POST", "/api/vendors", b" " * (512 * 1024 + 1))

    assert (said.status, said.json["code"]) == (413, "request_too_large")


def test_many_keys_are_changed_at_once_and_one_that_fails_stops_no_other(opened: Api) -> None:
    vendor = vendor_of(opened)
    default = vendor["default_key"]["id"]
    ids = [key_of(opened, vendor)["id"] for _ in range(3)]

    def bulk(action: str, wanted: list[int]) -> dict[int, str]:
        results = opened.good("POST", "/api/keys/bulk", {"action": action, "ids": wanted})
        return {one["id"]: one["code"] or "ok" for one in results["results"]}

    assert bulk("disable", ids) == dict.fromkeys(ids, "ok")
    assert {key["enabled"] for key in keys_of(opened, vendor)[1:]} == {False}
    assert bulk("enable", [ids[0], 999_999, ids[1], ids[1]]) == {
        ids[0]: "ok",
        999_999: "key_unknown",
        ids[1]: "ok",
    }
    assert bulk("delete", [ids[0], default, ids[2]]) == {
        ids[0]: "ok",
        default: "key_is_default",
        ids[2]: "ok",
    }
    assert [key["id"] for key in keys_of(opened, vendor)] == [default, ids[1]]
    sent: dict[str, Any] = {"action": "rename", "ids": []}
    assert opened.refused(422, "POST", "/api/keys/bulk", sent)["field"] == "action"
    sent = {"action": "test", "ids": list(range(1, 52))}
    assert opened.refused(422, "POST", "/api/keys/bulk", sent)["code"] == "too_many_tests"


def test_an_expired_key_can_only_be_deleted(opened: Api) -> None:
    from aipool.pool.tables import upstream_keys

    vendor = vendor_of(opened)
    key = key_of(opened, vendor, expires_at="7d")
    path = f"/api/keys/{key['id']}"
    with opened.world.database.write() as tx:
        tx.connection.execute(
            upstream_keys.update()
            .where(upstream_keys.c.id == key["id"])
            .values(expires_at=1_600_000_000)
        )

    assert opened.good("GET", path)["status"] == "expired"
    for method, target, body in (
        ("POST", f"{path}/enable", None),
        ("POST", f"{path}/disable", None),
        ("PATCH", path, {"name": "again"}),
        ("POST", f"{path}/test", None),
        ("POST", f"{path}/balance", None),
    ):
        assert opened.refused(409, method, target, body)["code"] == "key_expired"
    assert opened.ask("DELETE", path).status == 204


def test_the_keys_of_a_vendor_are_listed_in_the_order_of_trying(opened: Api) -> None:
    vendor, other = vendor_of(opened), vendor_of(opened)
    ids = [vendor["default_key"]["id"], key_of(opened, vendor)["id"]]
    path = f"/api/vendors/{vendor['id']}/keys"
    version = opened.good("GET", f"/api/vendors/{vendor['id']}")["order_version"]
    opened.good("PUT", f"{path}/order", {"version": version, "keys": ids[::-1]})
    opened.good("POST", f"/api/keys/{ids[0]}/disable")

    listed = opened.good("GET", path)

    assert listed == opened.good("GET", f"/api/keys?vendor={vendor['id']}")
    assert [key["id"] for key in listed["keys"]] == ids[::-1]
    assert opened.good("GET", f"{path}?limit=1&offset=1") == {
        "keys": listed["keys"][1:],
        "total": 2,
    }
    assert [key["id"] for key in opened.good("GET", f"{path}?status=disabled")["keys"]] == ids[:1]
    assert opened.good("GET", f"/api/vendors/{other['id']}/keys")["total"] == 1
    assert opened.refused(404, "GET", "/api/vendors/999999/keys")["code"] == "vendor_unknown"


# --- the order ------------------------------------------------------------------------------------


def test_an_order_is_put_whole_and_an_old_one_meets_the_current(opened: Api) -> None:
    vendor = vendor_of(opened)
    ids = [vendor["default_key"]["id"], *(key_of(opened, vendor)["id"] for _ in range(2))]
    path = f"/api/vendors/{vendor['id']}"
    version = opened.good("GET", path)["order_version"]
    wanted = [ids[2], ids[0], ids[1]]

    put = opened.good("PUT", f"{path}/keys/order", {"version": version, "keys": wanted})

    assert put["keys"] == wanted
    assert put["version"] > version
    assert [key["id"] for key in keys_of(opened, vendor)] == wanted
    stale = opened.refused(409, "PUT", f"{path}/keys/order", {"version": version, "keys": ids})
    assert stale["code"] == "order_changed"
    assert stale["current"] == {"version": put["version"], "keys": wanted}
    assert [key["id"] for key in keys_of(opened, vendor)] == wanted
    for keys in (ids[:2], [*ids[:2], ids[0]], [*ids, 999_999]):
        problem = opened.refused(
            422, "PUT", f"{path}/keys/order", {"version": put["version"], "keys": keys}
        )
        assert (problem["code"], problem["field"]) == ("order_incomplete", "keys")


def test_of_two_who_order_at_once_one_is_shown_the_order_of_the_other(opened: Api) -> None:
    vendor = vendor_of(opened)
    ids = [vendor["default_key"]["id"], *(key_of(opened, vendor)["id"] for _ in range(2))]
    path = f"/api/vendors/{vendor['id']}"
    version = opened.good("GET", path)["order_version"]
    wanted = [[ids[2], ids[0], ids[1]], [ids[1], ids[2], ids[0]]]

    def put(keys: list[int]) -> Said:
        return opened.ask("PUT", f"{path}/keys/order", {"version": version, "keys": keys})

    with ThreadPoolExecutor(2) as both:
        said = sorted(both.map(put, wanted), key=lambda one: one.status)

    assert [one.status for one in said] == [200, 409]
    assert said[1].json["current"] == said[0].json
    assert opened.good("GET", path)["keys"] == said[0].json["keys"]


# --- the trail ------------------------------------------------------------------------------------


def test_every_change_of_a_key_is_in_its_trail_with_who_did_it(opened: Api) -> None:
    key = key_of(opened, vendor_of(opened))
    path = f"/api/keys/{key['id']}"
    opened.good("POST", f"{path}/disable")
    opened.good("PATCH", path, {"api_key": OTHER_SECRET})

    entries = opened.good("GET", f"{path}/trail")["entries"]

    assert [entry["action"] for entry in entries] == ["key.change", "key.disable", "key.create"]
    assert {entry["actor"] for entry in entries} == {"user:1"}
    assert entries[1]["after"] == {"enabled": False}
    older = opened.good("GET", f"{path}/trail?limit=1&before={entries[0]['id']}")["entries"]
    assert older == entries[1:2]
