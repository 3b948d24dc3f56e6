"""The site over HTTP: what anybody sees, what root changes, and what nobody is shown."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.control.api_rig import Api, api
from tests.fakes.aliyun import KEY_SECRET, aliyun

CANARY = "canary-secret-0123456789"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    environ = {
        "AIPOOL_PRIVATE_UPSTREAMS": "127.0.0.0/8",
        "AIPOOL_SITE_ICP_NUMBER": "京ICP备12345678号",
        "AIPOOL_SITE_SMTP_PASSWORD": CANARY,
    }
    with api(tmp_path_factory.mktemp("site") / "data", environ=environ) as found:
        yield found


def site(opened: Api) -> dict[str, Any]:
    found: dict[str, Any] = opened.ask("GET", "/api/site", headers={}).json
    return found


def change(opened: Api, **settings: Any) -> dict[str, dict[str, Any]]:
    items = opened.good("PATCH", "/api/admin/settings", {"settings": settings})["items"]
    return {item["name"]: item for item in items}


def test_anybody_sees_the_site_and_no_more_of_it_than_is_public(opened: Api) -> None:
    change(opened, name="算力池", terms_text="# 1", terms_version="2026-11")

    found = site(opened)

    assert (found["name"], found["terms_version"]) == ("算力池", "2026-11")
    assert found["icp_number"] == "京ICP备12345678号"
    assert found["registration"] == {
        "mode": "open",
        "verify_phone": "off",
        "verify_email": "off",
        "proof_of_work": "after_tries",
        "country_codes": ["86"],
        "can_text": False,
        "can_mail": False,
    }
    assert found["password"] == {
        "characters_least": 8,
        "characters_least_admin": 12,
        "characters_max": 128,
    }
    assert found["needs_setup"] is False
    assert not {"terms_text", "sms_provider", "smtp_host"} & found.keys()


def test_a_change_acts_at_once_and_null_takes_it_back(opened: Api) -> None:
    items = change(opened, registration="invitation", low_balance="12.5")
    assert items["registration"]["origin"] == "database"
    assert items["low_balance"]["value"] == "12.5"
    assert site(opened)["registration"]["mode"] == "invitation"

    assert change(opened, registration=None)["registration"]["origin"] == "default"
    assert site(opened)["registration"]["mode"] == "open"


def test_what_the_environment_fixes_is_locked(opened: Api) -> None:
    items = {item["name"]: item for item in opened.good("GET", "/api/admin/settings")["items"]}

    assert items["icp_number"]["locked"] is True
    assert items["icp_number"]["place"] == "AIPOOL_SITE_ICP_NUMBER in the environment"
    problem = opened.refused(409, "PATCH", "/api/admin/settings", {"settings": {"icp_number": "x"}})
    assert (problem["code"], problem["field"]) == ("setting_fixed", "icp_number")


def test_secrets_are_written_and_never_read(opened: Api) -> None:
    items = change(opened, sms_webhook_secret=CANARY)

    for name in ("sms_webhook_secret", "smtp_password"):
        assert (items[name]["value"], items[name]["default"]) == (None, None)
        assert items[name]["is_set"] is True
    opened.good("GET", "/api/admin/settings")
    opened.good("GET", "/api/admin/system")
    assert CANARY not in "".join(opened.said)


@pytest.mark.parametrize(
    ("body", "code"),
    [
        ({"settings": {"nmae": "x"}}, "setting_unknown"),
        ({"settings": {"smtp_port": "587"}}, "setting_invalid"),
        ({"settings": {"totp_required": 1}}, "setting_invalid"),
        ({"settings": {"name": ["x"]}}, "setting_invalid"),
        ({"settings": {"name": {"x": 1}}}, "malformed_request"),
        ({"settings": {"name": 1.5}}, "malformed_request"),
        ({"settings": {}}, "malformed_request"),
        ({"settings": {"x" * 81: 1}}, "malformed_request"),
        ({"name": "x"}, "malformed_request"),
        ({"settings": {"verify_phone": "required"}}, "sms_provider_missing"),
    ],
)
def test_what_cannot_be_is_refused(opened: Api, body: Any, code: str) -> None:
    assert opened.refused(422, "PATCH", "/api/admin/settings", body)["code"] == code


def test_the_pages_of_terms_and_privacy_run_nothing_that_was_written_in_them(opened: Api) -> None:
    change(
        opened,
        privacy_text="# Title\n<script>alert(1)</script>\n- **a** [b](https://c.example/?d=1&e=2)\n"
        '- [x](javascript:alert(1)) [y](https://z" onclick="alert(1))',
    )

    page = opened.ask("GET", "/privacy", headers={})

    assert (page.status, page.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert "<h2>Title</h2>" in page.text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page.text
    assert '<strong>a</strong> <a href="https://c.example/?d=1&amp;e=2"' in page.text
    assert "<script>alert" not in page.text
    assert page.text.count("<a href") == 2  # this one, and the way home
    assert 'onclick="' not in page.text
    change(opened, terms_version=None, terms_text=None)
    assert opened.ask("GET", "/terms", headers={}).status == 404


def test_a_trial_says_what_the_carrier_said(opened: Api) -> None:
    target = "/api/admin/settings/test-sms"
    with aliyun() as fake:
        change(opened, **fake.settings())
        fake.answers.append((200, "isv.SMS_TEMPLATE_ILLEGAL", f"13800138009 {KEY_SECRET}"))

        refused = opened.good("POST", target, {"to": "13800138009", "purpose": "reset"})
        taken = opened.good("POST", target, {"to": "13800138009"})

    change(opened, sms_provider=None)
    assert refused["sent"] is False
    assert "isv.SMS_TEMPLATE_ILLEGAL" in refused["problem"]
    assert taken == {"sent": True, "problem": None}
    assert [one.phone for one in fake.carried] == ["13800138009"]
    assert "13800138009" not in repr(refused) and KEY_SECRET not in "".join(opened.said)
    problem = opened.refused(422, "POST", target, {"to": "12"})
    assert problem["code"] == "malformed_request"
    assert opened.refused(422, "POST", target, {"to": "1234567"})["code"] == "invalid_phone"


def test_a_trial_of_a_mail_server_that_is_not_set_says_so(opened: Api) -> None:
    found = opened.good("POST", "/api/admin/settings/test-mail", {"to": "a@example.com"})

    assert found == {"sent": False, "problem": "nobody is set who would carry it"}


def test_the_system_says_where_its_settings_come_from(opened: Api) -> None:
    found = opened.good("GET", "/api/admin/system")

    variables = {variable["name"]: variable for variable in found["variables"]}
    assert found["database"] == "sqlite"
    assert variables["AIPOOL_PRIVATE_UPSTREAMS"]["origin"] == "environment"
    assert variables["AIPOOL_PRIVATE_UPSTREAMS"]["value"] == "127.0.0.0/8"
    assert variables["AIPOOL_DATABASE_URL"]["value"] is None
    assert variables["AIPOOL_LIMIT_BACKLOG"]["default"] == "4096"


def test_only_the_root_account_sees_settings(opened: Api) -> None:
    for target in ("/api/admin/settings", "/api/admin/system"):
        assert opened.ask("GET", target, headers={}).status == 401
