"""What an operator does to vendors and keys by mistake, or somebody does in his name: no secret
is shown, none goes where it was not given to, and nothing ends in a failure of ours."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from aipool.pool import rules
from tests.control.api_rig import Api, api, key_of, vendor_of
from tests.control.asked import SECRET, SmallVendor, small_vendor

FIRST = "sk-first-0123456789abcdefghij"
SECOND = "sk-second-0123456789abcdefghij"
_numbers = count(1)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with api(tmp_path_factory.mktemp("mistakes"), {"private_upstreams": "127.0.0.0/8"}) as ready:
        yield ready
        for secret in (FIRST, SECOND):
            assert not [said for said in ready.said if secret in said]


@pytest.fixture(scope="module")
def small() -> Iterator[SmallVendor]:
    with small_vendor() as made:
        yield made


def own_server(opened: Api, base_url: str, **fields: Any) -> dict[str, Any]:
    name = f"own{next(_numbers)}"
    given = {"name": name, "type": "openai_compatible", "base_url": base_url, **fields}
    made: dict[str, Any] = opened.good("POST", "/api/vendors", given)
    return made


@pytest.mark.parametrize(
    "line",
    [
        f"{FIRST},{SECOND}",
        f"{FIRST} {SECOND}",
        f"spare {FIRST},{SECOND}",
        f"{FIRST};{SECOND}",
        f'"{FIRST}"',
        f"OPENAI_API_KEY={FIRST}",
        "# comment",
        "0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f0 0f1e2d3c-4b5a-6978-8796-a5b4c3d2e1f1",
        "0123456789abcdef0123456789abcdef.0123456789abcdef secret",
    ],
)
def test_a_line_with_two_secrets_makes_no_key_that_is_named_by_one(opened: Api, line: str) -> None:
    vendor = vendor_of(opened)

    path = f"/api/vendors/{vendor['id']}/keys/paste"
    (said,) = opened.good("POST", path, {"lines": [line]})["lines"]

    assert (said["state"], said["code"]) == ("refused", "line_malformed")
    assert opened.good("GET", f"/api/vendors/{vendor['id']}")["keys"] == [
        vendor["default_key"]["id"]
    ]


@pytest.mark.parametrize(
    "line",
    [
        "a" + "\t" * 200_000 + ",,",
        " ,\t" * 60_000 + "x y",
        "a" * 400_000 + ",",
        "a1" * 9 + "-" * 400_000,
    ],
)
def test_a_line_of_any_shape_is_read_in_one_pass(line: str) -> None:
    """By a cubic search such a line held the database for as long as it took: a second for 800
    tabs, for ever for these."""
    rules.name_and_secret(line)


@pytest.mark.parametrize("name", ["production-eu-2", "team a 2026-11", "bce-v3", "key7", "a" * 40])
def test_ordinary_names_are_no_secrets(name: str) -> None:
    assert rules.name_and_secret(f"{name},{SECOND}") == (name, SECOND)


def test_what_may_hold_a_credential_does_not_go_along_to_another_host(opened: Api) -> None:
    vendor = own_server(opened, "https://one.example/v1")
    key = key_of(
        opened,
        vendor,
        api_key="",
        config={"headers": {"X-Team": "canary-1"}, "query": {"team": "canary-2"}, "weight": 2},
    )

    opened.good("PATCH", f"/api/vendors/{vendor['id']}", {"base_url": "https://two.example/v1"})

    assert opened.good("GET", f"/api/keys/{key['id']}")["config"] == {"weight": 2}


@pytest.mark.parametrize(("scheme", "kept"), [("http", False), ("https", True)])
def test_a_proxy_that_would_read_a_secret_does_not_get_it(
    opened: Api, scheme: str, kept: bool
) -> None:
    vendor = own_server(opened, f"{scheme}://127.0.0.1:8000/v1", api_key=SECRET)
    path = f"/api/keys/{vendor['default_key']['id']}"

    said = opened.good("PATCH", path, {"config": {"proxy": "http://127.0.0.1:3128"}})

    assert said["secret_missing"] is not kept
    opened.good("PATCH", path, {"api_key": SECRET})
    assert not opened.good("PATCH", path, {"config": {"proxy": None}})["secret_missing"]


@pytest.mark.parametrize("name", ["key", "API_KEY", "access_token"])
def test_a_key_in_an_address_is_refused_and_not_repeated(opened: Api, name: str) -> None:
    vendor = own_server(opened, "https://one.example/v1")
    path = f"/api/keys/{vendor['default_key']['id']}"
    address = f"https://one.example/v1?{name}={FIRST}"

    for target, body, field in (
        (f"/api/vendors/{vendor['id']}", {"base_url": address}, "base_url"),
        (path, {"config": {"base_url": address}}, "config.base_url"),
        (path, {"config": {"query": {name: FIRST}}}, f"config.query.{name}"),
    ):
        assert opened.refused(422, "PATCH", target, body)["field"] == field


def test_a_field_that_does_not_exist_is_refused_also_when_it_is_set_back(opened: Api) -> None:
    key_id = vendor_of(opened)["default_key"]["id"]

    said = opened.refused(422, "PATCH", f"/api/keys/{key_id}", {"config": {"weigth": None}})

    assert said["field"] == "config.weigth"


@pytest.mark.parametrize("body", [b"[" * 50_000, b'{"concurrency":' + b"9" * 5000 + b"}"])
def test_a_body_that_cannot_be_read_is_said_to_be_that(opened: Api, body: bytes) -> None:
    said = opened.refused(400, "PATCH", "/api/vendors/1", body)

    assert said["code"] == "malformed_request"
    assert "JSON" in said["detail"]


@pytest.mark.parametrize("location", ["http://[evil", "//[::1", "http://[::1]x:y/"])
def test_a_redirect_to_no_address_is_told_like_any_other(
    opened: Api, small: SmallVendor, location: str
) -> None:
    key_id = own_server(opened, small.base_url, api_key=SECRET)["default_key"]["id"]
    small.says("/v1/chat/completions", 302, b"", {"Location": location})

    said = opened.good("POST", f"/api/keys/{key_id}/test", {"model": "m"})

    assert (said["ok"], said["status"]) == (False, 302)
    assert "redirects" in said["said"]


def test_a_number_after_key_may_be_long() -> None:
    assert rules.next_key_name(["key999999999", "key1000000000"]) == "key1000000001"


def test_a_low_balance_that_nobody_would_ever_tell_is_refused(opened: Api) -> None:
    vendor = own_server(opened, "https://one.example/v1")

    said = opened.refused(422, "PATCH", f"/api/vendors/{vendor['id']}", {"low_balance": "20"})

    assert (said["code"], said["field"]) == ("balance_not_told", "low_balance")
    assert "deepseek" in said["detail"]
