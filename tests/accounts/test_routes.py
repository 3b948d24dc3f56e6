"""Accounts over HTTP, as a browser has them: the real application over a socket."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from itertools import count
from pathlib import Path
from typing import Any

import pyotp
import pytest

from aipool.accounts import entry, throttle
from aipool.kit.clock import now_ms
from tests.accounts.people import solve
from tests.control.api_rig import Api, api
from tests.control.rig import UnixConnection

PASSWORD = "violet harbour 93"
_phones = count(13_800_138_100)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with pytest.MonkeyPatch.context() as patched:
        for module in (entry, throttle):
            patched.setattr(module, "BITS_LEAST", 6)
        with api(tmp_path_factory.mktemp("accounts") / "data") as served:
            yield served


@dataclass
class Said:
    status: int
    headers: dict[str, str]
    cookies: SimpleCookie
    text: str

    @property
    def json(self) -> Any:
        return json.loads(self.text)


@dataclass
class Browser:
    """Keeps cookies, and says what a page of ours says. said: every body that was answered."""

    path: Path
    ip: str = "203.0.113.7"
    scheme: str = "http"
    cookies: dict[str, str] = field(default_factory=dict)
    said: list[str] = field(default_factory=list)

    def ask(
        self, method: str, target: str, body: Any = None, headers: dict[str, str] | None = None
    ) -> Said:
        given = {
            "X-Forwarded-For": self.ip,
            "X-Forwarded-Proto": self.scheme,
            "User-Agent": "a browser",
            "X-AIPool": "1",
            "Origin": f"{self.scheme}://pool.example",
            "Sec-Fetch-Site": "same-origin",
            **(headers or {}),
        }
        if self.cookies:
            given["Cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent = None
        if body is not None:
            sent = json.dumps(body)
            given["Content-Type"] = "application/json"
        connection = UnixConnection(self.path)
        try:
            connection.request(method, target, body=sent, headers=given)
            response = connection.getresponse()
            text = response.read().decode()
            answered = {name.lower(): value for name, value in response.getheaders()}
            set_cookies = response.headers.get_all("set-cookie") or []
        finally:
            connection.close()
        cookies: SimpleCookie = SimpleCookie()
        for line in set_cookies:
            cookies.load(line)
        for name, morsel in cookies.items():
            if morsel.value:
                self.cookies[name] = morsel.value
            else:
                self.cookies.pop(name, None)
        self.said.append(text)
        return Said(response.status, answered, cookies, text)

    def good(self, method: str, target: str, body: Any = None) -> Any:
        said = self.ask(method, target, body)
        assert said.status in (200, 201, 202, 204), (said.status, said.text)
        return said.json if said.text else None

    def refused(self, status: int, code: str, method: str, target: str, body: Any = None) -> Any:
        said = self.ask(method, target, body)
        assert (said.status, said.json["code"]) == (status, code), said.text
        return said.json


_addresses = count(1)


def browser(opened: Api, **more: Any) -> Browser:
    return Browser(opened.path, f"198.51.100.{next(_addresses)}", **more)


def registered(opened: Api, **more: Any) -> tuple[Browser, str]:
    """Somebody who has just registered, and their number."""
    phone = f"+86{next(_phones)}"
    person = browser(opened, **more)
    person.good("POST", "/api/auth/register", {"phone": phone, "password": PASSWORD})
    return person, phone


def test_s0_4_register_look_log_out_log_in(opened: Api) -> None:
    person, phone = registered(opened)
    me = person.good("GET", "/api/me")
    assert (me["phone"], me["role"], me["balance"]) == (phone, "user", "0")
    assert me["session"]["is_current"]
    assert me["session"]["user_agent"] == "a browser"

    person.good("POST", "/api/auth/logout")
    assert "aipool" not in person.cookies
    person.refused(401, "login_needed", "GET", "/api/me")
    person.good("POST", "/api/auth/login", {"login": phone, "password": PASSWORD})
    assert person.good("GET", "/api/me")["last_login_at"]


def test_s0_3_the_answer_to_a_registration_hints_at_the_strength_of_the_password(
    opened: Api,
) -> None:
    person = browser(opened)
    sent = {"phone": f"+86{next(_phones)}", "password": "ksdjfhweoiru"}

    assert person.good("POST", "/api/auth/register", sent)["password_strength"] == "good"


@pytest.mark.parametrize(
    ("scheme", "name", "secure"), [("http", "aipool", False), ("https", "__Host-aipool", True)]
)
def test_s_06_the_cookie_is_for_this_host_and_out_of_reach_of_scripts(
    opened: Api, scheme: str, name: str, secure: bool
) -> None:
    person, phone = registered(opened, scheme=scheme)
    said = person.ask("POST", "/api/auth/login", {"login": phone, "password": PASSWORD})

    for cookie in (name, f"{name}-device"):
        morsel = said.cookies[cookie]
        assert morsel["httponly"]
        assert morsel["path"] == "/"
        assert morsel["samesite"] == "lax"
        assert bool(morsel["secure"]) is secure
        assert not morsel["domain"]
    assert person.good("GET", "/api/me")["phone"] == phone


def test_s_06_a_login_and_a_step_up_give_a_new_secret(opened: Api) -> None:
    person, phone = registered(opened)
    first = person.cookies["aipool"]
    old = browser(opened, cookies={"aipool": first})
    person.good("POST", "/api/auth/login", {"login": phone, "password": PASSWORD})
    second = person.cookies["aipool"]
    until = person.good("POST", "/api/me/step-up", {"password": PASSWORD})["step_up_until"]
    third = person.cookies["aipool"]

    assert len({first, second, third}) == 3
    assert person.good("GET", "/api/me")["step_up_until"] == until
    old.refused(401, "login_needed", "GET", "/api/me")
    old.cookies = {"aipool": second}
    old.refused(401, "login_needed", "GET", "/api/me")


def test_s_06_a_page_of_somebody_else_logs_nobody_in_or_out(opened: Api) -> None:
    person, phone = registered(opened)
    sent = {"login": phone, "password": PASSWORD}
    foreign = {"Origin": "https://evil.example", "Sec-Fetch-Site": "cross-site"}

    for target, body in (("/api/auth/login", sent), ("/api/auth/logout", None)):
        assert person.ask("POST", target, body, foreign).status == 403
    person.good("GET", "/api/me")


def test_s_08_unknown_and_wrong_are_one_answer(opened: Api) -> None:
    _, phone = registered(opened)
    said = [
        browser(opened).ask("POST", "/api/auth/login", {"login": login, "password": "x" * 9})
        for login in (phone, f"+86{next(_phones)}", "a@b.example", "\x00")
    ]

    bodies = {json.dumps({**one.json, "request_id": ""}) for one in said}
    assert len(bodies) == 1
    assert {one.status for one in said} == {401}
    assert not any(one.cookies for one in said)


def test_s_08_after_five_wrong_passwords_work_is_asked_for_and_taken(opened: Api) -> None:
    _, phone = registered(opened)
    stranger = browser(opened)
    wrong = {"login": phone, "password": "wrong"}
    for _ in range(5):
        stranger.refused(401, "invalid_credentials", "POST", "/api/auth/login", wrong)
    problem = stranger.refused(428, "challenge_needed", "POST", "/api/auth/login", wrong)
    found = solve(problem["challenge"], problem["bits"])
    proof = {"challenge": found.challenge, "answer": found.answer}

    too_early = stranger.ask("POST", "/api/auth/login", {**wrong, "proof": proof})
    assert too_early.status == 429
    assert int(too_early.headers["retry-after"]) >= 1


def test_people_see_and_end_their_own_sessions(opened: Api) -> None:
    person, phone = registered(opened)
    other = browser(opened)
    other.good("POST", "/api/auth/login", {"login": phone, "password": PASSWORD})
    stranger, _ = registered(opened)
    listed = person.good("GET", "/api/me/sessions")["items"]
    assert [one["is_current"] for one in listed] == [False, True]
    theirs = f"/api/me/sessions/{listed[0]['id']}"

    # A foreign one and one that is not there are refused alike.
    said = [
        stranger.ask("DELETE", theirs),
        stranger.ask("DELETE", "/api/me/sessions/999999"),
    ]
    assert [one.status for one in said] == [404, 404]
    person.good("DELETE", theirs)
    other.refused(401, "login_needed", "GET", "/api/me")
    other.good("POST", "/api/auth/login", {"login": phone, "password": PASSWORD})
    person.good("DELETE", "/api/me/sessions")
    other.refused(401, "login_needed", "GET", "/api/me")
    assert len(person.good("GET", "/api/me/sessions")["items"]) == 1


def test_a_profile_is_changed_field_by_field(opened: Api) -> None:
    person, _ = registered(opened)
    changed = person.good("PATCH", "/api/me", {"name": "王小明", "low_balance": "12.5"})
    assert (changed["name"], changed["low_balance"], changed["locale"]) == ("王小明", "12.5", "")
    assert person.good("PATCH", "/api/me", {"locale": "en"})["name"] == "王小明"

    person.refused(422, "invalid_amount", "PATCH", "/api/me", {"low_balance": "-1"})
    person.refused(422, "malformed_request", "PATCH", "/api/me", {"role": "root"})
    person.refused(422, "malformed_request", "PATCH", "/api/me", {"locale": "fr"})


def test_nobody_agrees_to_terms_that_are_not_there_yet(opened: Api) -> None:
    person, _ = registered(opened)
    site = {"terms_version": "2030-01", "terms_text": "What is agreed to."}
    person.good("PATCH", "/api/me", {"terms_version": "2030-01"})
    opened.good("PATCH", "/api/admin/settings", {"settings": site})
    try:
        assert person.good("GET", "/api/me")["agree_needed"]
        person.good("PATCH", "/api/me", {"terms_version": "2030-01"})
        assert not person.good("GET", "/api/me")["agree_needed"]
    finally:
        opened.good("PATCH", "/api/admin/settings", {"settings": dict.fromkeys(site)})


def test_another_password_ends_the_other_sessions(opened: Api) -> None:
    person, phone = registered(opened)
    other = browser(opened)
    other.good("POST", "/api/auth/login", {"login": phone, "password": PASSWORD})
    new = {"current_password": PASSWORD, "password": "orange kettle 51"}

    assert person.good("POST", "/api/me/password", new)["password_strength"] == "strong"
    other.refused(401, "login_needed", "GET", "/api/me")
    person.good("GET", "/api/me")


def test_s_10_a_second_factor_from_the_device_to_the_login(opened: Api) -> None:
    person, phone = registered(opened)
    begun = person.good("POST", "/api/me/totp")
    now = now_ms() // 1000
    code = {"code": pyotp.TOTP(begun["secret"]).at(now)}
    codes = person.good("POST", "/api/me/totp/confirm", code)["recovery_codes"]
    assert person.good("GET", "/api/me")["totp"]

    login = {"login": phone, "password": PASSWORD}
    person.refused(401, "totp_needed", "POST", "/api/auth/login", login)
    person.good("POST", "/api/auth/login", {**login, "code": codes[0]})
    person.refused(422, "code_wrong", "POST", "/api/auth/login", {**login, "code": codes[0]})
    assert len(person.good("POST", "/api/me/totp/recovery-codes")["recovery_codes"]) == 10
    person.good("DELETE", "/api/me/totp")
    person.good("POST", "/api/auth/login", login)


def test_an_access_token_is_for_programs(opened: Api) -> None:
    person, phone = registered(opened)
    sent = {"name": "ci", "read_only": True, "expires_at": "30d"}
    made = person.good("POST", "/api/me/access-tokens", sent)
    program = browser(opened)
    bearer = {"Authorization": f"Bearer {made['secret']}", "Origin": "", "Sec-Fetch-Site": "none"}
    for name in ("Origin", "Sec-Fetch-Site"):
        bearer.pop(name)

    me = program.ask("GET", "/api/me", None, bearer)
    assert (me.json["phone"], me.json["session"]) == (phone, None)
    assert program.ask("PATCH", "/api/me", {"name": "x"}, bearer).status == 403
    (listed,) = person.good("GET", "/api/me/access-tokens")["items"]
    assert listed["last_used_at"]
    assert made["secret"] not in json.dumps(listed)
    person.good("DELETE", f"/api/me/access-tokens/{listed['id']}")
    assert program.ask("GET", "/api/me", None, bearer).status == 401


def test_what_opens_an_account_is_not_changed_without_a_step_up(opened: Api) -> None:
    person, _ = registered(opened)
    with opened.world.database.write() as tx:
        tx.connection.exec_driver_sql("UPDATE sessions SET stepped_up_until_ms = 0")

    for method, target, body in (
        ("PUT", "/api/me/phone", {"phone": "13800138999"}),
        ("PUT", "/api/me/email", {"email": "a@b.example"}),
        ("POST", "/api/me/totp", None),
        ("DELETE", "/api/me/totp", None),
        ("POST", "/api/me/totp/recovery-codes", None),
        ("POST", "/api/me/access-tokens", {"name": "x"}),
    ):
        person.refused(403, "step_up_needed", method, target, body)
    person.good("POST", "/api/me/step-up", {"password": PASSWORD})
    person.good("PUT", "/api/me/email", {"email": "a@b.example"})


def test_invitations_are_made_by_administrators(opened: Api) -> None:
    person, _ = registered(opened)
    person.refused(403, "not_allowed", "GET", "/api/admin/invitations")
    made = opened.good("POST", "/api/admin/invitations", {"uses": 3, "note": "spring"})
    assert made["secret"].startswith("aipool-invite-")

    page = opened.good("GET", "/api/admin/invitations?limit=1")
    assert [one["uses_left"] for one in page["items"]] == [3]
    assert made["secret"] not in json.dumps(page)
    opened.good("DELETE", f"/api/admin/invitations/{made['id']}")
    opened.refused(404, "DELETE", f"/api/admin/invitations/{made['id']}")


def test_secrets_are_in_no_answer_that_does_not_give_them(opened: Api) -> None:
    person, phone = registered(opened)
    sent = {"login": phone, "password": "canary-" + "x" * 600}
    person.ask("POST", "/api/auth/login", sent)
    person.ask("POST", "/api/auth/reset", {"password": "canary-1", "link": "aipool-reset-x"})
    person.ask("POST", "/api/me/step-up", {"password": "canary-2"})
    person.ask("POST", "/api/auth/register", {"phone": phone, "password": ["canary-3"]})

    assert "canary" not in "".join(person.said)
    with opened.world.database.read() as connection:
        trail = connection.exec_driver_sql("SELECT * FROM audit_entries").all()
    assert PASSWORD not in repr(trail)
    assert not any(cookie in repr(trail) for cookie in person.cookies.values())
