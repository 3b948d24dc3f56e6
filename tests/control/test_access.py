"""The door of the interface: who gets in, and what everybody else is told."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from aipool.accounts import service as accounts
from aipool.accounts import sessions, tables
from aipool.accounts.throttle import network_of
from aipool.accounts.types import Role, Status
from aipool.control import tries
from aipool.control.access import CHANGES_MAX
from aipool.control.tries import TRIES_MAX
from aipool.kit.clock import now_ms
from tests.control.api_rig import Api, Said, api


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with api(tmp_path_factory.mktemp("access")) as ready:
        yield ready


def bearer(token: str, address: str = "203.0.113.1") -> dict[str, str]:
    return {"Authorization": f"Bearer {token}", "X-Forwarded-For": address}


CHINESE = {"Accept-Language": "zh-CN"}


def whole(said: Said) -> tuple[int, str, dict[str, str]]:
    """An answer without what differs from request to request."""
    named = {k: v for k, v in said.headers.items() if k not in ("date", "x-request-id")}
    return said.status, said.text.replace(said.headers["x-request-id"], ""), named


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
    assert (problem["status"], problem["code"]) == (401, "login_needed")
    assert strangers[0].headers["www-authenticate"] == "Bearer"
    assert strangers[0].headers["content-type"] == "application/problem+json"
    assert "content-security-policy" in strangers[0].headers


def test_a_path_that_only_looks_like_the_interface_is_no_way_around(opened: Api) -> None:
    for target in ("//api/vendors", "/api%2Fvendors", "/API/vendors", "/apivendors"):
        said = opened.ask("GET", target, headers={"X-Forwarded-For": "203.0.113.11"})
        assert said.status in (401, 404)


VENDORS = "/api/vendors"
KEYWORD = {"phrase": "no credit left", "action": "exceeded"}


def test_a_person_gets_in_by_the_cookie_of_their_session(opened: Api) -> None:
    admin = opened.signed_in(Role.ADMIN)

    assert "vendors" in admin.good("GET", VENDORS)
    made = admin.good("POST", "/api/keywords", KEYWORD)
    admin.good("DELETE", f"/api/keywords/{made['id']}")


def test_a_role_below_is_refused_and_told_so(opened: Api) -> None:
    person = opened.signed_in()

    assert person.refused(403, "GET", VENDORS)["code"] == "not_allowed"
    assert person.refused(404, "GET", "/api/nothing")["code"] == "not_found"
    said = person.ask("PATCH", VENDORS)
    assert (said.status, said.json["code"]) == (405, "method_not_allowed")


def test_how_a_path_may_be_asked_is_told_whole(opened: Api) -> None:
    person = opened.signed_in()
    for method, path, allowed in (
        ("PUT", "/api/me", "GET, PATCH"),
        ("HEAD", "/api/me/sessions/7", "DELETE"),
        ("PATCH", "/api/admin/users", "GET, POST"),
    ):
        said = person.ask(method, path)
        assert (said.status, said.headers["allow"]) == (405, allowed)


def test_an_ended_session_opens_nothing(opened: Api) -> None:
    admin = opened.signed_in(Role.ADMIN)
    assert admin.user is not None
    admin.good("GET", VENDORS)
    with opened.world.database.write() as tx:
        sessions.end_sessions(tx, admin.user.id)

    assert admin.refused(401, "GET", VENDORS)["code"] == "login_needed"


def test_a_session_ends_by_itself_when_nothing_happens(opened: Api) -> None:
    admin = opened.signed_in(Role.ADMIN)
    idle_since_ms = now_ms() - sessions.OPERATOR_IDLE_MS
    with opened.world.database.write() as tx:
        tx.connection.execute(
            tables.sessions.update()
            .where(tables.sessions.c.user_id == cast(Any, admin.user).id)
            .values(seen_at_ms=idle_since_ms)
        )

    admin.refused(401, "GET", VENDORS)


def test_that_a_session_is_in_use_is_noted(opened: Api) -> None:
    admin = opened.signed_in(Role.ADMIN)
    before_ms = now_ms() - 5 * 60_000
    mine = tables.sessions.c.user_id == cast(Any, admin.user).id
    with opened.world.database.write() as tx:
        tx.connection.execute(tables.sessions.update().where(mine).values(seen_at_ms=before_ms))

    admin.good("GET", VENDORS)

    with opened.world.database.read() as connection:
        row = connection.execute(tables.sessions.select().where(mine)).one()
    assert row.seen_at_ms > before_ms


@pytest.mark.parametrize(
    ("changed", "code"),
    [
        ({"X-AIPool": None}, "header_needed"),
        ({"X-AIPool": "0"}, "header_needed"),
        ({"Origin": None}, "foreign_origin"),
        ({"Origin": "null"}, "foreign_origin"),
        ({"Origin": "http://evil.example"}, "foreign_origin"),
        ({"Origin": "http://pool.example.evil.example"}, "foreign_origin"),
        ({"Origin": "http://pool.example:8080"}, "foreign_origin"),
        ({"Origin": "pool.example"}, "foreign_origin"),
        ({"Origin": "ftp://pool.example"}, "foreign_origin"),
        ({"Sec-Fetch-Site": "cross-site"}, "foreign_origin"),
        ({"Sec-Fetch-Site": "same-site"}, "foreign_origin"),
        ({"Sec-Fetch-Site": "none"}, "foreign_origin"),
    ],
)
def test_a_change_by_cookie_that_no_page_of_ours_asked_for_is_not_done(
    opened: Api, changed: dict[str, str | None], code: str
) -> None:
    admin = opened.signed_in(Role.ADMIN)
    named = {**admin.credentials(), **changed}
    headers = {name: value for name, value in named.items() if value is not None}

    for method, target in (("POST", "/api/keywords"), ("DELETE", "/api/keywords/1")):
        said = admin.ask(method, target, KEYWORD, headers)
        assert (said.status, said.json["code"]) == (403, code)
    assert opened.good("GET", "/api/keywords")["keywords"] == []
    # What changes nothing may be asked for from anywhere; no other page can read the answer.
    assert admin.ask("GET", VENDORS, headers=headers).status == 200


def test_an_old_browser_says_less_and_gets_in_all_the_same(opened: Api) -> None:
    admin = opened.signed_in(Role.ADMIN)
    headers = {k: v for k, v in admin.credentials().items() if k != "Sec-Fetch-Site"}
    made = admin.ask("POST", "/api/keywords", KEYWORD, headers)

    assert made.status == 201
    admin.good("DELETE", f"/api/keywords/{made.json['id']}")


def test_the_public_address_is_ours_where_a_proxy_in_front_names_another(tmp_path: Path) -> None:
    public = {"AIPOOL_SITE_BASE_URL": "https://ai.example.com"}
    with api(tmp_path, environ=public) as opened:
        admin = opened.signed_in(Role.ADMIN)
        headers = {**admin.credentials(), "Origin": "https://ai.example.com"}
        plain = {**headers, "Origin": "http://ai.example.com"}

        assert admin.ask("POST", "/api/keywords", KEYWORD, headers).status == 201
        assert admin.ask("POST", "/api/keywords", KEYWORD, plain).status == 403
        assert admin.ask("POST", "/api/keywords", KEYWORD).status == 409


def test_where_a_token_is_sent_no_cookie_is_looked_at(opened: Api) -> None:
    admin = opened.signed_in(Role.ADMIN)
    both = {**admin.credentials(), **bearer("x", "203.0.113.21")}
    assert admin.ask("GET", VENDORS, headers=both).status == 401
    right = {"Cookie": f"{sessions.COOKIE}=x", **bearer(opened.token, "203.0.113.21")}
    assert admin.ask("GET", VENDORS, headers=right).status == 200


def test_an_access_token_that_only_reads_changes_nothing(opened: Api) -> None:
    person = opened.signed_in(Role.ADMIN)
    assert person.user is not None
    reader = opened.program(person.user, read_only=True)

    reader.good("GET", VENDORS)
    assert reader.refused(403, "POST", "/api/keywords", KEYWORD)["code"] == "token_only_reads"
    # It asks a vendor and changes nothing here.
    reader.refused(404, "POST", "/api/keys/1/balance")


def test_something_sensitive_is_done_only_shortly_after_a_password(opened: Api) -> None:
    vendor = {"name": "stepped", "type": "deepseek", "api_key": "sk-canary-0123456789-4321"}
    admin = opened.signed_in(Role.ADMIN, stepped_up=False)
    assert admin.user is not None
    program = opened.program(admin.user, sensitive=False)

    assert admin.refused(403, "POST", VENDORS, vendor)["code"] == "step_up_needed"
    assert program.refused(403, "POST", VENDORS, vendor)["code"] == "step_up_needed"
    made = opened.program(admin.user).good("POST", VENDORS, vendor)
    opened.signed_in(user=admin.user).good("DELETE", f"{VENDORS}/{made['id']}")


def test_who_must_do_something_first_gets_no_further(tmp_path: Path) -> None:
    with api(tmp_path, environ={"AIPOOL_SITE_TOTP_REQUIRED": "true"}) as opened:
        admin, person = opened.signed_in(Role.ADMIN), opened.signed_in()

        assert admin.refused(403, "GET", VENDORS)["code"] == "totp_set_up_needed"
        assert admin.refused(404, "GET", "/api/me/nothing")["code"] == "not_found"
        assert person.refused(403, "GET", VENDORS)["code"] == "not_allowed"
        # Their programs neither.
        assert opened.refused(403, "GET", VENDORS)["code"] == "totp_set_up_needed"


@pytest.mark.parametrize("role", [Role.ADMIN, Role.ROOT])
def test_a_disabled_account_gets_in_no_more(opened: Api, role: Role) -> None:
    admin = opened.signed_in(role)
    assert admin.user is not None
    program = opened.program(admin.user)
    with opened.world.database.write() as tx:
        accounts.set_status(tx, opened.world.act, admin.user, Status.DISABLED)

    admin.refused(401, "GET", VENDORS)
    program.refused(401, "GET", VENDORS)


def test_every_answer_carries_the_headers_that_browsers_need(opened: Api) -> None:
    person = opened.signed_in()
    answers = [
        person.ask("GET", "/api/nothing"),
        person.ask("GET", VENDORS),
        person.ask("POST", VENDORS, headers={}),
        opened.ask("GET", VENDORS),
        opened.ask("POST", VENDORS, b"{"),
        opened.ask("POST", VENDORS, b"x" * 600_000),
        opened.ask("GET", "/"),
    ]
    for said in answers:
        assert said.headers["x-content-type-options"] == "nosniff"
        assert "default-src 'self'" in said.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in said.headers["content-security-policy"]
        assert said.headers["referrer-policy"] == "no-referrer"
        assert said.headers["cross-origin-opener-policy"] == "same-origin"
        assert said.headers["cache-control"] == "no-store"
        assert said.headers["x-request-id"].startswith("req_")
        assert "strict-transport-security" not in said.headers
    safe = opened.ask("GET", "/", headers={"X-Forwarded-Proto": "https"})
    assert safe.headers["strict-transport-security"] == "max-age=31536000"


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


def test_who_changes_something_all_the_time_is_asked_to_wait(opened: Api) -> None:
    person, other, admin = opened.signed_in(), opened.signed_in(), opened.signed_in(Role.ADMIN)
    assert person.user is not None
    program = opened.program(person.user)
    reads = opened.program(person.user, read_only=True)

    for _ in range(5):  # What changes nothing, or is not let in, does not count.
        person.good("GET", "/api/me")
        person.good("POST", "/api/tokens/preview", {})
        person.refused(403, "POST", "/api/keywords", KEYWORD)
        reads.refused(403, "PATCH", "/api/me", {"name": "x"})
    seen = [program.ask("PATCH", "/api/me", {"name": 1}).status for _ in range(CHANGES_MAX)]
    refused = program.refused(429, "PATCH", "/api/me", {"name": "x"})
    waiting = program.ask("DELETE", "/api/tokens/1")

    assert set(seen) == {422}
    assert refused["code"] == waiting.json["code"] == "too_many_changes"
    assert 1 <= int(waiting.headers["retry-after"]) <= 61
    assert program.ask("PATCH", "/api/me", {}, bearer(program.token) | CHINESE).json["detail"] == (
        "修改过于频繁，请稍后再试。"
    )
    program.good("GET", "/api/me")
    program.good("POST", "/api/tokens/preview", {})
    # A program that runs wild, or a thief with its token, keeps nobody from ending it.
    person.good("PATCH", "/api/me", {"name": "x"})
    other.good("PATCH", "/api/me", {"name": "x"})
    many = [admin.ask("PATCH", "/api/me", {"name": 1}).status for _ in range(CHANGES_MAX + 1)]
    assert set(many) == {422}


def test_who_gets_an_account_back_is_not_asked_to_wait(opened: Api) -> None:
    person = opened.signed_in()
    for _ in range(CHANGES_MAX + 1):
        waiting = person.ask("PATCH", "/api/me", {"name": 1})

    assert waiting.status == 429
    assert person.refused(422, "POST", "/api/me/step-up", {"x": 1})["code"] == "malformed_request"
    assert person.refused(422, "POST", "/api/me/password", {})["code"] == "malformed_request"
    person.good("POST", "/api/auth/logout")


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def test_a_minute_later_the_count_begins_anew() -> None:
    clock = Clock()
    counted = tries.Tries(clock)
    waits = [counted.one_more("a") for _ in range(TRIES_MAX + 2)]
    clock.now += 59.5
    last = counted.one_more("a")
    clock.now += 0.5

    assert waits == [0] * TRIES_MAX + [61, 61]
    assert last == 1
    assert counted.one_more("a") == 0


def test_the_memory_of_addresses_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tries, "_NAMES_MAX", 3)
    clock = Clock()
    counted = tries.Tries(clock)
    for address in "abc":
        counted.one_more(address)

    others = [counted.one_more(f"other {number}") for number in range(TRIES_MAX + 1)]

    assert others == [0] * TRIES_MAX + [61]
    assert counted.one_more("a") == 0
    clock.now += 60
    assert counted.one_more("d") == 0
    assert len(counted._counts) == 1


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
    assert (network_of(one) == network_of(other)) is same
