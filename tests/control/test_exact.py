"""What is asked under /api is what is meant: no parameter that is not known, no field twice."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import pytest

from aipool.accounts.types import Role
from aipool.control.described import document
from aipool.control.exact import FIELDS_MAX
from aipool.control.openapi import operations
from tests.control.api_rig import Api, api

GETS = [
    (path, [one["name"] for one in operation.get("parameters", ()) if one["in"] == "query"])
    for method, path, operation in operations(document())
    if method == "GET" and path.startswith("/api/")
]


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with api(tmp_path_factory.mktemp("exact") / "data") as served:
        yield served


@pytest.fixture(scope="module")
def person(opened: Api) -> Api:
    return opened.signed_in()


def twice(text: bytes) -> dict[str, Any]:
    return {"code": "repeated_field", "field": text.decode()}


# --- parameters -----------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.parametrize(("path", "names"), GETS, ids=[path for path, _ in GETS])
def test_every_route_refuses_a_parameter_that_it_does_not_have(
    opened: Api, path: str, names: list[str]
) -> None:
    target = path.replace("{name}", "m1").replace("{request_id}", "req_1")
    target = "/".join("1" if part[:1] == "{" else part for part in target.split("/"))

    found = opened.refused(422, "GET", f"{target}?nonsense=1")
    known = [opened.ask("GET", f"{target}?{name}=x") for name in names]

    assert (found["code"], found["field"]) == ("unknown_parameter", "nonsense")
    assert "unknown_parameter" not in {said.json["code"] for said in known if said.status == 422}


IDS = sorted(
    (method, path, parameter["in"], parameter["name"])
    for method, path, operation in operations(document())
    for parameter in operation.get("parameters", ())
    if re.fullmatch(r"(\w+_)?id|user|token|group|vendor|key|target|cursor", parameter["name"])
    and "integer" in repr(parameter["schema"])
)


@pytest.mark.slow
@pytest.mark.parametrize(("method", "path", "where", "name"), IDS, ids=lambda word: word)
def test_an_id_is_digits(opened: Api, method: str, path: str, where: str, name: str) -> None:
    for odd in ("999999.0", "%2B999999", "999_999", "999999%0A", "%20999999", "%D9%A9"):
        given = odd if where == "path" else "999999"
        target = re.sub(r"\{\w+\}", given, path) + (f"?{name}={odd}" if where == "query" else "")
        refused = opened.refused(422, method, target)
        assert refused["code"] == "malformed_request", odd
        assert name in [error["field"] for error in refused["errors"]], odd


def test_every_id_in_an_address_is_held_to_it() -> None:
    assert {name for *_, name in IDS} > {"user_id", "key_id", "token_id", "token", "user", "cursor"}
    assert len(IDS) > 60


def test_a_mistyped_filter_of_a_file_gives_no_file(person: Api) -> None:
    for path in ("/api/calls/export", "/api/balance-flow/export"):
        assert person.refused(422, "GET", f"{path}?tokn=7")["field"] == "tokn"
    person.good("GET", "/api/calls?from=2026-01-01&to=2026-01-02&limit=1")
    person.good("GET", "/api/usage?range=24h")


def test_a_parameter_is_sent_once(person: Api) -> None:
    for target in ("/api/calls?model=a&mod%65l=b", "/api/calls/export?model=a&model=a"):
        found = person.refused(422, "GET", target)
        assert (found["code"], found["field"]) == ("repeated_field", "model")
    assert person.refused(422, "GET", "/api/tokens?limit=1&limit=1")["field"] == "limit"


def test_a_change_has_no_unknown_parameter_either(person: Api) -> None:
    found = person.refused(422, "POST", "/api/tokens?dry_run=1", {"name": "dry"})

    assert found["field"] == "dry_run"
    assert person.good("GET", "/api/tokens")["items"] == []


def test_a_stranger_learns_nothing_of_parameters(opened: Api) -> None:
    assert opened.ask("GET", "/api/calls?nonsense=1", headers={}).status == 401


def test_the_name_of_a_parameter_is_told_short_and_printable(person: Api) -> None:
    found = person.refused(422, "GET", f"/api/calls?%00{'x' * 5_000}=1")

    assert len(found["field"]) <= 200
    assert found["field"].isprintable()
    assert len(found["detail"]) < 400


# --- bodies ---------------------------------------------------------------------------------------


def test_a_field_that_is_there_twice_is_refused_and_nothing_is_done(person: Api) -> None:
    found = person.refused(422, "POST", "/api/tokens", b'{"name": "first", "name": "second"}')

    assert twice(b"name").items() <= found.items()
    assert person.good("GET", "/api/tokens")["items"] == []


def test_an_amount_that_is_there_twice_moves_no_money(opened: Api, person: Api) -> None:
    assert person.user is not None
    admin = opened.signed_in(Role.ADMIN)
    target = f"/api/admin/users/{person.user.id}/adjust"
    headers = {**admin.credentials(), "Idempotency-Key": "twice"}

    said = admin.ask(
        "POST", target, b'{"amount": "1", "reason": "x", "\\u0061mount": "1000"}', headers
    )

    assert (said.status, said.json["field"]) == (422, "amount")
    assert admin.good("GET", f"/api/admin/users/{person.user.id}")["balance"] == "0"


@pytest.mark.parametrize(
    ("body", "field"),
    [
        (b'{"name": "x", "limits": {"rpm": 1, "tpm": 2, "rpm": 3}}', "rpm"),
        (b'{"lines": [{"a": 1}, {"a": 1, "a": 1}]}', "a"),
        (b'{"\\ud800": 1, "\\ud800": 2}', "?"),
        (b'{"' + b"k" * 300 + b'": 1, "' + b"k" * 300 + b'": 2}', "k" * 200),
        ('{"n": 1, "n": 2}'.encode("utf-16"), "n"),
    ],
)
def test_a_field_is_found_twice_wherever_it_stands(person: Api, body: bytes, field: str) -> None:
    found = person.refused(422, "POST", "/api/tokens", body)

    assert (found["code"], found["field"]) == ("repeated_field", field)


def test_what_is_no_json_or_has_no_end_is_refused_as_before(person: Api) -> None:
    assert person.refused(422, "POST", "/api/tokens", b'{"a": 1, "a": 2')["code"] == (
        "malformed_request"
    )
    deep = b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    assert person.ask("POST", "/api/tokens", deep).status == 400


def test_the_same_name_in_different_objects_is_no_repetition(person: Api) -> None:
    body = b'{"file": "{}", "cny_per_usd": "7", "cny_per_usd_of": {"cny_per_usd": 1}}'

    assert person.refused(422, "POST", "/api/tokens", body)["code"] == "malformed_request"


@pytest.mark.parametrize(
    "kind", ["text/plain", "application/x-www-form-urlencoded", "application/jsonp", "json", ""]
)
def test_what_is_not_called_json_is_not_read_as_json(person: Api, kind: str) -> None:
    headers = {**person.credentials(), "Content-Type": kind, "Accept-Language": "zh-CN"}
    said = person.ask("POST", "/api/tokens", b'{"name": "x"}', headers)

    assert (said.status, said.json["code"]) == (415, "not_json")
    assert "application/json" in said.json["detail"]
    assert person.good("GET", "/api/tokens")["items"] == []


@pytest.mark.parametrize("kind", ["application/json; charset=utf-8", "Application/JSON"])
def test_json_is_read_however_it_is_called(person: Api, kind: str) -> None:
    headers = {**person.credentials(), "Content-Type": kind}

    assert person.ask("POST", "/api/tokens/preview", b"{}", headers).status == 200


def test_a_flood_of_fields_is_refused_before_each_is_told_of(opened: Api) -> None:
    # Each would be a mistake of its own to be written down: seconds, for whoever asks.
    flood = {f"f{number}": 0 for number in range(FIELDS_MAX)}
    visitor = {"Content-Type": "application/json"}
    for body in ({**flood, "login": "x"}, {"login": "x", "proof": {**flood, "answer": ""}}):
        said = opened.ask("POST", "/api/auth/login", body, visitor)
        assert (said.status, said.json["code"]) == (422, "too_many_fields")
        assert len(said.text) < 500
    said = opened.ask("POST", "/api/auth/login", flood, visitor)
    assert said.json["code"] == "malformed_request"
