"""Vendors and keywords over HTTP, and what is told of a change."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from aipool.doors.frames import Acknowledged, Changed, Splitter, from_worker, pack
from aipool.installation import own, run_directory
from aipool.vendors import VENDORS_BY_TYPE
from tests.control.api_rig import (
    SECRET,
    Api,
    api,
    key_of,
    keys_of,
    vendor_of,
)

_numbers = count(1)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("pool-api")
    with api(folder, {"private_upstreams": "10.0.0.0/8"}) as ready:
        yield ready
        # Whatever was asked and however it was refused: no answer had a secret in it.
        assert not [said for said in ready.said if "sk-canary" in said]


# --- vendors ------------------------------------------------------------------------------------


def test_every_kind_of_vendor_is_described_with_its_form(opened: Api) -> None:
    types = {one["type"]: one for one in opened.good("GET", "/api/vendor-types")["vendor_types"]}

    assert set(types) == set(VENDORS_BY_TYPE)
    azure = types["azure_openai"]
    assert azure["base_url"] is None
    assert "api_version" in {field["name"] for field in azure["fields"]}
    deepseek = types["deepseek"]
    assert deepseek["base_url"].startswith("https://")
    assert deepseek["key_page"].startswith("https://")
    assert {"name", "kind", "required", "help", "default"} == set(deepseek["fields"][0])
    for one in types.values():
        assert {"title", "dialects", "verified", "sources"} <= set(one)


def test_a_vendor_comes_with_its_default_key(opened: Api) -> None:
    made = vendor_of(opened, ordering="weighted", concurrency=7, low_balance="20.5")

    key = made.pop("default_key")
    assert (key["name"], key["default"], key["priority"]) == ("key1", True, 1)
    assert key["secret"] == "…4321"
    shown = opened.good("GET", f"/api/vendors/{made['id']}")
    assert shown["default_key"] == key["id"]
    assert shown["keys"] == [key["id"]]
    assert (shown["ordering"], shown["concurrency"], shown["low_balance"]) == (
        "weighted",
        7,
        "20.5",
    )
    assert shown["resolved_url"].endswith("/chat/completions")
    assert shown["order_version"] >= 1
    assert made["name"] in {one["name"] for one in opened.good("GET", "/api/vendors")["vendors"]}


def test_every_kind_of_vendor_can_be_set_up_by_its_own_form(opened: Api) -> None:
    for kind in opened.good("GET", "/api/vendor-types")["vendor_types"]:
        needed = {
            field["name"]: "x1"
            for field in kind["fields"]
            if field["required"] and "." not in field
        }
        base_url = needed.pop("base_url", "")
        if kind["base_url"] is None and kind["type"] != "sandbox":
            base_url = "https://own.example/v1"
        vendor = vendor_of(opened, type=kind["type"], base_url=base_url, config=needed)

        (key,) = keys_of(opened, vendor)
        assert key["config"] == needed
        assert key["resolved_url"]


def test_a_vendor_is_changed_and_says_which_keys_lost_their_secret(opened: Api) -> None:
    vendor = vendor_of(opened)
    path = f"/api/vendors/{vendor['id']}"
    key_of(opened, vendor, name="spare")

    same_host = opened.good("PATCH", path, {"base_url": "https://api.deepseek.com/beta"})
    assert same_host["secrets_dropped"] == []
    moved = opened.good("PATCH", path, {"base_url": "https://other.example/v1", "concurrency": 3})

    assert moved["secrets_dropped"] == ["key1", "spare"]
    assert (moved["base_url"], moved["concurrency"]) == ("https://other.example/v1", 3)
    assert {key["status"] for key in keys_of(opened, vendor)} == {"error"}
    assert all(key["secret_missing"] and not key["secret"] for key in keys_of(opened, vendor))


def test_a_vendor_is_deleted_with_its_keys_unless_a_model_needs_it(opened: Api) -> None:
    vendor = vendor_of(opened)
    with opened.world.database.write() as tx:
        from aipool.pool import service as pool

        opened.world.model(tx, pool.vendor_by_id(tx.connection, vendor["id"]), "needed")

    assert opened.refused(409, "DELETE", f"/api/vendors/{vendor['id']}")["code"] == "vendor_in_use"
    unneeded = vendor_of(opened)
    assert opened.ask("DELETE", f"/api/vendors/{unneeded['id']}").status == 204
    assert opened.refused(404, "GET", f"/api/vendors/{unneeded['id']}")["code"] == "vendor_unknown"
    opened.refused(404, "GET", f"/api/keys/{unneeded['default_key']['id']}")


@pytest.mark.parametrize(
    ("fields", "code", "field"),
    [
        ({"type": "nobody"}, "vendor_type_unknown", "type"),
        ({"base_url": "https://10.9.8.7/v1"}, None, ""),
        ({"base_url": "http://192.168.1.7/v1"}, "base_url_not_allowed", "base_url"),
        ({"base_url": "https://169.254.169.254/v1"}, "base_url_not_allowed", "base_url"),
        ({"base_url": "ftp://files.example"}, "base_url_not_allowed", "base_url"),
        ({"base_url": "https://me:sk-canary@a.example"}, "base_url_not_allowed", "base_url"),
        ({"config": {"proxy": "http://me:sk-canary@a:1"}}, "config_malformed", "config.proxy"),
        ({"api_key": ""}, "api_key_missing", "api_key"),
        ({"api_key": "sk-canary-ü"}, "api_key_malformed", "api_key"),
        ({"name": ""}, "invalid_name", "name"),
        ({"key_name": " x"}, "invalid_name", "key_name"),
        ({"ordering": "by chance"}, "invalid_ordering", "ordering"),
        ({"concurrency": -1}, "invalid_concurrency", "concurrency"),
        ({"low_balance": "much"}, "invalid_amount", "low_balance"),
        ({"config": {"colour": "red"}}, "config_malformed", "config.colour"),
        ({"config": {"timeouts": {"idle": "long"}}}, "config_malformed", "config.timeouts.idle"),
        ({"config": {"weight": 0}}, "config_malformed", "config.weight"),
        (
            {"config": {"headers": {"Authorization": "Bearer sk-canary-x"}}},
            "config_malformed",
            "config.headers.Authorization",
        ),
        (
            {"config": {"base_url": "https://127.0.0.1/v1"}},
            "base_url_not_allowed",
            "config.base_url",
        ),
        ({"api_kye": "sk-canary-typo"}, "malformed_request", "api_kye"),
        ({"api_key": 7}, "malformed_request", "api_key"),
        ({"api_key": ["sk-canary-list"]}, "malformed_request", "api_key"),
        ({"concurrency": "7"}, "malformed_request", "concurrency"),
        ({"concurrency": True}, "malformed_request", "concurrency"),
        ({"config": "sk-canary-text"}, "malformed_request", "config"),
    ],
)
def test_a_vendor_that_cannot_be_is_refused_with_its_field_and_nothing_is_stored(
    opened: Api, fields: dict[str, Any], code: str | None, field: str
) -> None:
    before = opened.good("GET", "/api/vendors")["vendors"]
    given = {"name": f"refused-{next(_numbers)}", "type": "deepseek", "api_key": SECRET, **fields}

    if code is None:  # a private network that the operator has listed
        opened.good("POST", "/api/vendors", given)
        return
    problem = opened.refused(422, "POST", "/api/vendors", given)

    assert (problem["code"], problem["field"]) == (code, field)
    assert problem["detail"] and problem["title"] and problem["type"]
    assert opened.good("GET", "/api/vendors")["vendors"] == before


def test_all_fields_that_are_wrong_are_named_at_once(opened: Api) -> None:
    problem = opened.refused(422, "POST", "/api/vendors", {"api_key": 1, "surprise": SECRET})

    named = {error["field"] for error in problem["errors"]}
    assert named == {"name", "type", "api_key", "surprise"}


@pytest.mark.parametrize("body", [b"", b"{", b'"sk-canary"', b"[]", b"\xff\xfe", b"[" * 100_000])
def test_a_body_that_is_no_object_is_refused(opened: Api, body: bytes) -> None:
    said = opened.ask("POST", "/api/vendors", body)

    assert said.status in (400, 422)
    assert said.headers["content-type"] == "application/problem+json"


def test_a_name_that_is_taken_is_a_conflict(opened: Api) -> None:
    vendor = vendor_of(opened)
    again = {"name": vendor["name"], "type": "deepseek", "api_key": SECRET}

    assert opened.refused(409, "POST", "/api/vendors", again)["code"] == "vendor_exists"


# --- keywords -----------------------------------------------------------------------------------


def test_keywords_are_added_listed_and_deleted(opened: Api) -> None:
    sent = {"phrase": "Kein Guthaben", "action": "exceeded", "vendor_type": "deepseek"}
    added = opened.good("POST", "/api/keywords", sent)

    assert added["phrase"] == "kein guthaben"
    assert added in opened.good("GET", "/api/keywords")["keywords"]
    assert opened.refused(409, "POST", "/api/keywords", sent)["code"] == "keyword_exists"
    for fields, field in (
        ({"action": "strip"}, "action"),
        ({"action": "sing"}, "action"),
        ({"phrase": "x"}, "phrase"),
        ({"vendor_type": "nobody"}, "vendor_type"),
    ):
        problem = opened.refused(422, "POST", "/api/keywords", {**sent, **fields})
        assert problem["field"] == field
    assert opened.ask("DELETE", f"/api/keywords/{added['id']}").status == 204
    assert added not in opened.good("GET", "/api/keywords")["keywords"]


# --- who acts on a change -------------------------------------------------------------------------


@contextmanager
def ledger_process(path: Path, answer: Callable[[Changed], Acknowledged | None]) -> Iterator[None]:
    """Somebody at the socket of the ledger process, who answers so."""

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                splitter = Splitter()
                for payload in splitter.feed(connection.recv(65536)):
                    changed = from_worker.decode(payload)
                    assert isinstance(changed, Changed)
                    said = answer(changed)
                    if said is not None:
                        connection.sendall(pack(said))

    path.unlink(missing_ok=True)
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as listener:
        listener.bind(str(path))
        listener.listen()
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            thread.join(20)
            path.unlink(missing_ok=True)


def test_a_change_that_not_every_worker_acts_on_is_answered_202_and_names_them(
    opened: Api,
) -> None:
    vendor = vendor_of(opened)
    data_dir = opened.world.data_dir
    heard: list[Changed] = []
    missing: tuple[str, ...] = ("worker 1 (process 7)",)

    def answer(changed: Changed) -> Acknowledged | None:
        heard.append(changed)
        return Acknowledged(changed.revision, missing)

    path = run_directory(data_dir).link_socket
    with own(data_dir), ledger_process(path, answer):
        late = opened.ask("POST", f"/api/vendors/{vendor['id']}/keys", {"api_key": SECRET})
        gone = opened.ask("DELETE", f"/api/keys/{late.json['id']}")
        missing = ()
        done = opened.ask("POST", f"/api/vendors/{vendor['id']}/keys", {"api_key": SECRET})
        heard_of_changes = len(heard)
        opened.good("GET", "/api/vendors")
    with own(data_dir):
        unheard = opened.ask("DELETE", f"/api/keys/{done.json['id']}")

    assert late.status == gone.status == 202
    assert late.json["not_in_force_on"] == ["worker 1 (process 7)"]
    assert late.json["name"] == "key2"
    assert gone.json == {"not_in_force_on": ["worker 1 (process 7)"]}
    assert done.status == 201
    assert "not_in_force_on" not in done.json
    assert heard_of_changes == len(heard) == 3
    assert all(changed.catalogue for changed in heard)
    assert len({changed.revision for changed in heard}) == 3
    # Committed all the same, though nobody could be told.
    assert unheard.json == {"not_in_force_on": ["the ledger process"]}
    assert len(keys_of(opened, vendor)) == 1


def test_no_request_of_the_root_account_needs_a_cookie_or_is_kept(opened: Api) -> None:
    said = opened.ask("GET", "/api/vendors")

    assert "set-cookie" not in said.headers
    assert said.headers["cache-control"] == "no-store"
    assert json.loads(said.text)["vendors"] is not None
