"""The description of the interface: exact, whole, and the same as what is kept in the tree."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from fastapi import FastAPI

from aipool.control import reference
from aipool.control.described import document
from aipool.control.openapi import TAGS, Ambiguous, described, operations, text_of
from aipool.control.policies import Policy, Who
from tests.control.api_rig import api

ROOT = Path(__file__).parents[2]
DOCUMENT = document()
OPERATIONS = list(operations(DOCUMENT))


def test_the_document_in_the_tree_is_that_of_the_interface() -> None:
    kept = (ROOT / "console/openapi.json").read_text(encoding="utf-8")

    assert kept == text_of(DOCUMENT), "run: aipool openapi > console/openapi.json"


def test_it_is_openapi_3_1_with_a_name_and_a_version() -> None:
    assert DOCUMENT["openapi"] == "3.1.0"
    assert DOCUMENT["info"]["title"] == "AI-POOL"
    assert DOCUMENT["info"]["version"]
    assert len(OPERATIONS) > 100


@pytest.mark.parametrize(
    ("path", "operation"),
    [(path, operation) for _, path, operation in OPERATIONS],
    ids=[f"{method} {path}" for method, path, _ in OPERATIONS],
)
def test_every_operation_is_told_whole(path: str, operation: dict[str, Any]) -> None:
    assert re.fullmatch(r"[a-z]+(_[a-z]+)+", operation["operationId"])
    assert operation.get("description"), "its docstring is its description"
    assert operation["tags"][0] in {tag.name for tag in TAGS}
    good = {status: said for status, said in operation["responses"].items() if status < "300"}
    assert good
    for status, said in good.items():
        if status not in ("202", "204"):
            assert said["content"], (path, status)
            assert said["content"].get("application/json", {"schema": True})["schema"], path
    for status, said in operation["responses"].items():
        if status >= "400" and path.startswith("/api/"):
            assert said == {"$ref": f"#/components/responses/Refused{status}"}
    if operation["x-who"] != "anyone":
        assert operation["security"] == [{"session": []}, {"access_token": []}]
        assert {"401", "403"} <= operation["responses"].keys()


#: What programs were told that they would find.
PROMISED = """
POST /api/auth/register
POST /api/auth/login
POST /api/auth/logout
GET /api/me
GET /api/tokens
POST /api/tokens
GET /api/groups
GET /api/models
GET /api/vendors
POST /api/vendors
GET /api/vendors/{}/keys
POST /api/vendors/{}/keys
PUT /api/vendors/{}/keys/order
GET /api/calls
GET /api/balance-flow
GET /api/usage
GET /api/admin/users
POST /api/admin/users/{}/adjust
"""


@pytest.mark.parametrize("promised", PROMISED.split("\n")[1:-1])
def test_every_path_that_was_promised_is_there(promised: str) -> None:
    served = {f"{method} {re.sub(r'{[a-z_]+}', '{}', path)}" for method, path, _ in OPERATIONS}

    assert promised in served


def schemas_of_requests() -> list[tuple[str, str, dict[str, Any]]]:
    """Every field of everything that is sent, as (operation, name, schema)."""
    return [
        (f"{method} {path}", parameter["name"], parameter["schema"])
        for method, path, operation in OPERATIONS
        for parameter in operation.get("parameters", ())
    ]


def test_x08_every_number_that_is_asked_for_is_bounded() -> None:
    for where, name, schema in schemas_of_requests():
        for one in schema.get("anyOf", [schema]):
            if one.get("type") == "integer":
                assert "minimum" in one and "maximum" in one, (where, name)
            if name == "limit":
                assert one.get("maximum", 0) <= 200, (where, name)


def test_every_reference_in_the_document_leads_somewhere() -> None:
    for target in re.findall(r'"\$ref": "#/([^"]+)"', json.dumps(DOCUMENT)):
        found: Any = DOCUMENT
        for part in target.split("/"):
            found = found[part]


def test_two_routes_of_one_name_are_refused() -> None:
    app = FastAPI(generate_unique_id_function=lambda route: route.name)

    def nothing() -> None:
        """Nothing."""

    for path in ("/api/one", "/api/two"):
        app.get(path, name="same")(nothing)
    policies = {("GET", path): Policy(Who.USER) for path in ("/api/one", "/api/two")}

    with pytest.warns(UserWarning, match="Duplicate"), pytest.raises(Ambiguous, match="same"):
        described(app, policies)


def test_the_reference_names_every_operation_and_loads_nothing_from_elsewhere() -> None:
    page = reference.page(DOCUMENT)

    for _, path, operation in OPERATIONS:
        assert f'id="{operation["operationId"]}"' in page
        assert path in page
    assert re.findall(r"<script[^>]*>", page) == ['<script src="/api/docs.js">']
    assert not re.findall(r'(?:src|href)="(?:https?:)?//', page)
    assert " onclick" not in page


def test_what_stands_in_the_document_is_text_in_the_page() -> None:
    odd = json.loads(json.dumps(DOCUMENT))
    odd["paths"]["/api/vendors"]["get"]["description"] = "<script>alert(1)</script>"

    assert "<script>alert" not in reference.page(odd)
    assert "&lt;script&gt;alert" in reference.page(odd)


@pytest.mark.slow
def test_anybody_may_read_what_the_interface_is(tmp_path: Path) -> None:
    with api(tmp_path) as opened:
        stranger = {"Host": "ai.example.com", "X-Forwarded-Proto": "https"}
        served = opened.ask("GET", "/api/openapi.json", headers=stranger)
        page = opened.ask("GET", "/api/docs", headers=stranger)
        script = opened.ask("GET", "/api/docs.js", headers=stranger)
        index = opened.ask("GET", "/llms.txt", headers=stranger)

    assert served.text == text_of(DOCUMENT)
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert script.headers["content-type"].startswith("text/javascript")
    assert index.text.startswith("# AI-POOL\n")
    assert "https://ai.example.com/v1/chat/completions" in index.text
