"""Odd requests for the log, balances, statistics, models and settings are answered in words."""

from __future__ import annotations

import http.client
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote

import pytest

from aipool.calls.types import DAY_MS
from aipool.control import exports
from aipool.kit.clock import now_ms
from tests.calls.rows import record, row
from tests.control.api_rig import Api, api

TODAY = now_ms() // DAY_MS * DAY_MS


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with api(tmp_path_factory.mktemp("log") / "data") as opened:
        yield opened


@pytest.fixture(scope="module")
def mine(root: Api) -> Api:
    found = root.signed_in()
    assert found.user is not None
    record(root.world.database, row(TODAY - 1, user=found.user.id, token=7))
    return found


ODD = [
    "/api/calls?from=0001-01-01",
    "/api/calls?to=0001-01-01",
    "/api/calls?from=9999-12-31&to=9999-12-31T23:59:59.999999Z",
    "/api/calls?from=0001-01-01T00:00:00%2B14:00",
    "/api/calls?to=9999-12-31T23:59:59-14:00",
    "/api/calls?token=9223372036854775807",
    "/api/calls?token=99999999999999999999999999",
    "/api/calls?token=" + "9" * 5000,
    "/api/calls?id=%00",
    "/api/calls?model=%25",
    "/api/calls?model=%00",
    "/api/calls?error=%ED%A0%80",
    "/api/calls?cursor=AAAA",
    "/api/calls?limit=0",
    "/api/calls/..%2f..%2fetc",
    "/api/calls/%00",
    "/api/calls/%00/price",
    "/api/calls/" + "x" * 101,
    "/api/balance-flow?from=0001-01-01&to=9999-12-31",
    "/api/balance-flow?cursor=LTEuLTEuLTE",
    "/api/balance-flow?cursor=" + "9" * 5000,
    "/api/balance-flow/usage?day=0001-01-01&token=1",
    "/api/balance-flow/usage?day=9999-12-31&token=1",
    "/api/balance-flow/usage?day=2027-13-01&token=1",
    "/api/balance-flow/usage?day=%00&token=1",
    "/api/usage?to=9999-12-31T23:59:59.999999Z&from=9999-12-31",
    "/api/usage?to=9999-12-31T23:59:59.999999Z&from=9999-12-01&bucket=day",
    "/api/usage?to=1970-01-01",
    "/api/usage?from=0001-01-01&to=0001-01-02",
    "/api/models/..",
    "/api/models/%2e%2e%2f%2e%2e",
    "/api/models/a%00",
    "/api/models/%ED%A0%80",
    "/api/models//a",
    "/api/models/a/",
    "/api/models/a%25b",
    "/api/models?q=%25%25",
    "/api/models?q=%00%00",
    "/api/models?cursor=%00",
    "/api/models?group=9223372036854775807",
]


@pytest.mark.parametrize("target", ODD)
def test_an_odd_request_is_answered_in_words(root: Api, mine: Api, target: str) -> None:
    for client, path in ((mine, target), (root, target.replace("/api/", "/api/admin/", 1))):
        said = client.ask("GET", path)
        assert said.status < 500, (path, said.status, said.text)


@pytest.mark.parametrize(
    ("method", "target", "body"),
    [
        (
            "POST",
            "/api/admin/prices/import/preview",
            {"file": '{"m1": {"input_cost_per_token": 1e99999999999}}', "cny_per_usd": "7"},
        ),
        ("POST", "/api/admin/prices/import/preview", {"file": "[" * 9999, "cny_per_usd": "7"}),
        ("POST", "/api/admin/prices/import/preview", {"file": "{}", "cny_per_usd": "1e400"}),
        ("POST", "/api/admin/prices/import/preview", {"file": "{}", "cny_per_usd": "NaN"}),
        ("POST", "/api/admin/prices/import/preview", {"file": "{}", "cny_per_usd": "0"}),
        (
            "POST",
            "/api/admin/prices/import/preview",
            {"file": '{"a":{}}', "cny_per_usd": "7", "models": ["\x00\ud800"]},
        ),
        ("PATCH", "/api/admin/settings", {"settings": {"name": "a\r\nBcc: x"}}),
        ("PATCH", "/api/admin/settings", {"settings": {"name": "\ud800"}}),
        ("PATCH", "/api/admin/settings", {"settings": {"terms_text": "\ud800\x00"}}),
        ("PATCH", "/api/admin/settings", {"settings": {"\ud800": "x"}}),
        ("PATCH", "/api/admin/settings", {"settings": {"logo": "javascript:alert(1)"}}),
        ("PATCH", "/api/admin/settings", {"settings": {"smtp_port": 10**400}}),
        ("PATCH", "/api/admin/settings", {"settings": {"smtp_host": "a\r\nb"}}),
    ],
)
def test_an_odd_change_is_refused_in_words(root: Api, method: str, target: str, body: Any) -> None:
    person = root.signed_in(role=_root_role())
    said = person.ask(method, target, body)
    assert 400 <= said.status < 500, (said.status, said.text)


def _root_role() -> Any:
    from aipool.accounts.types import Role

    return Role.ROOT


@pytest.mark.slow
def test_a_file_that_breaks_off_does_not_look_whole(
    root: Api, mine: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(*_: object, **__: object) -> Iterator[exports.Row]:
        yield from ({"id": number} for number in range(exports._CHUNK_ROWS))
        raise RuntimeError("the database is gone")

    monkeypatch.setattr(exports, "call_rows", breaks)
    for form in ("csv", "jsonl"):
        with pytest.raises((http.client.HTTPException, OSError)):
            mine.ask("GET", f"/api/calls/export?format={form}")
    monkeypatch.undo()
    assert mine.ask("GET", "/api/calls/export").status == 200


def test_somebody_elses_token_group_and_user_say_nothing(root: Api, mine: Api) -> None:
    other = root.signed_in()
    for query in ("token=7", "group=1"):
        answer = other.good("GET", f"/api/calls?{query}&from={quote('2020-01-01')}")
        assert answer == {"items": [], "next_cursor": None}
        assert "m0" not in other.ask("GET", f"/api/calls/export?{query}").text
    for query in ("user=1", "key=1", "vendor=1", "upstream_request_id=x"):
        for path in ("/api/calls", "/api/calls/export"):
            said = other.refused(422, "GET", f"{path}?{query}")
            assert (said["code"], said["field"]) == ("unknown_parameter", query.partition("=")[0])
    answer = other.good("GET", "/api/balance-flow/usage?day=2026-11-22&token=7")
    assert answer["items"] == []


def test_a_kept_password_goes_to_no_other_mail_server(root: Api) -> None:
    person = root.signed_in(role=_root_role())

    def change(**settings: Any) -> Any:
        return person.ask("PATCH", "/api/admin/settings", {"settings": settings})

    first = change(
        smtp_host="mail.example.com",
        smtp_from="a@example.com",
        smtp_user="u",
        smtp_password="canary-pass",
    )
    assert first.status == 200, first.text
    taken = change(smtp_host="evil.example.com")
    assert (taken.status, taken.json["code"]) == (422, "password_must_be_reentered")
    assert change(smtp_host="evil.example.com", smtp_password=None, smtp_user=None).status == 200
    assert "canary-pass" not in first.text + taken.text
