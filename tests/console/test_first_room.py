"""What people do with their account and their tokens, in a real browser: the second factor, work
after many tries, what the site wants first, and a token's whole life.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import re
import threading
import time
from collections.abc import Iterator
from typing import Any

import pyotp
import pytest
from playwright.sync_api import Browser, Page, expect

from aipool.accounts import service as accounts
from aipool.site.service import Site
from tests.console.browser import PASSWORD, needs_browser, visit
from tests.notices.receivers import MailServer, mailing
from tests.platform import Platform, eventually

pytestmark = [pytest.mark.slow, needs_browser]

MESSAGES = {"model": "m", "messages": [{"role": "user", "content": "Hello!"}]}

#: The settings that tests change.
WANTED = (
    "terms_text",
    "terms_version",
    "totp_required",
    "verify_email",
    "sms_provider",
    "smtp_host",
    "smtp_port",
    "smtp_tls",
    "smtp_from",
)


@pytest.fixture(autouse=True)
def _as_installed(served: Platform) -> Iterator[None]:
    """What a test wants of the site ends with it."""
    yield
    settle(served, **dict.fromkeys(WANTED))


def settle(platform: Platform, **changes: object) -> None:
    """Settings of the site, as an administrator changes them."""
    session = platform.session()
    site = Site(session.settings, session.secrets.keyring)
    with session.change() as tx:
        site.set_values(tx, session.act, changes)


def call(platform: Platform, token: str) -> int:
    return platform.chat(token, MESSAGES).status


def log_out(page: Page) -> None:
    page.get_by_role("button", name=re.compile("Account menu|账户菜单")).click()
    page.get_by_role("menuitem", name=re.compile("Log out|退出登录")).click()
    page.wait_for_url("**/login")


# --- coming in ------------------------------------------------------------------------------------


def test_a_second_factor_is_set_up_and_asked_for(served: Platform, chrome: Browser) -> None:
    """S0.12: with the device's code, and where the device is lost with a recovery code."""
    with visit(chrome, served) as person:
        page = person.page
        person.register("13800138101")
        person.go("/console/account")

        page.get_by_role("button", name="Set up").click()
        dialog = page.get_by_role("dialog")
        secret = dialog.locator("code").inner_text()
        device = pyotp.TOTP(secret)
        dialog.get_by_label("Code of the second factor").fill("000000")
        dialog.get_by_role("button", name="Confirm").click()
        expect(dialog.get_by_role("alert")).to_contain_text("code_wrong")
        dialog.get_by_label("Code of the second factor").fill(device.now())
        dialog.get_by_role("button", name="Confirm").click()
        dialog.get_by_text("Each of them works once").wait_for()
        recovery = dialog.locator("code").all_inner_texts()
        assert len(recovery) == 10
        dialog.get_by_role("button", name="I saved them").click()
        page.get_by_text("On · 10 recovery codes left").wait_for()
        assert secret not in page.content() and recovery[0] not in page.content()

        log_out(page)
        person.log_in("13800138101")
        asked = page.get_by_label("Code of the second factor")
        expect(asked).to_be_focused()
        asked.fill("12345")
        page.keyboard.press("Enter")
        expect(asked).to_have_attribute("aria-invalid", "true")
        # Each code is good once: this is the one that comes next.
        asked.fill(device.at(int(time.time()) + 30))
        page.keyboard.press("Enter")
        page.wait_for_url("**/console")

        log_out(page)
        person.log_in("13800138101")
        asked.fill(recovery[0])
        page.keyboard.press("Enter")
        page.wait_for_url("**/console")
        person.go("/console/account")
        page.get_by_text("On · 9 recovery codes left").wait_for()


def test_whoever_tries_often_works_and_waits(served: Platform, chrome: Browser) -> None:
    """S0.8: the page does the work by itself, and says how long it must wait."""
    with visit(chrome, served) as owner:
        owner.register("13800138102")
    with visit(chrome, served, "zh-CN") as person:
        page = person.page
        sent: list[dict[str, Any]] = []
        answered: list[int] = []

        def note(response: Any) -> None:
            if response.url.endswith("/api/auth/login"):
                sent.append(response.request.post_data_json)
                answered.append(response.status)

        page.on("response", note)
        person.go("/login")
        page.get_by_label("手机号或邮箱").fill("13800138102")
        submit = page.locator("form").get_by_role("button", name="登录", exact=True)
        field = page.get_by_label("密码", exact=True)
        # Five are free, then each must have worked and waited; after seven it is four seconds.
        for tries in range(1, 8):
            field.fill(f"not the password {tries}")
            while answered.count(401) < tries:
                # Cannot be pressed before the time is over.
                with page.expect_response(_is_last_word):
                    submit.click()
        assert all(body.get("proof") is None for body in sent[:5])
        assert any(body.get("proof") for body in sent[5:])
        field.fill(PASSWORD)
        submit.click()
        waits = page.get_by_role("button", name="秒后可重试")
        expect(waits).to_be_disabled()
        submit.click()
        page.wait_for_url("**/console")
        assert sent[-1]["proof"]["answer"]


def _is_last_word(response: Any) -> bool:
    """Was the try answered with something else than a demand for work?"""
    return bool(response.url.endswith("/api/auth/login") and response.status != 428)


@contextlib.contextmanager
def mail_server() -> Iterator[MailServer]:
    """A mail server in a thread of its own: the browser is driven without asyncio."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def run(coroutine: Any) -> Any:
        return asyncio.run_coroutine_threadsafe(coroutine, loop).result(15)

    serving = mailing()
    try:
        yield run(serving.__aenter__())
    finally:
        run(serving.__aexit__(None, None, None))
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def code_in(text: str) -> str:
    found = re.search(r"\b\d{6}\b", text)
    assert found is not None, text
    return found[0]


def test_a_mail_address_and_a_number_are_proved_by_codes(served: Platform, chrome: Browser) -> None:
    """S0.5, S0.9: with an account, and later from one's own page. Whoever had the number without
    proof chooses another, and keeps everything else."""
    with mail_server() as mail, visit(chrome, served, "zh-CN") as other:
        other.register("13800138108")
        other.go("/console/tokens")
        settle(
            served,
            verify_email="required",
            smtp_host="127.0.0.1",
            smtp_port=mail.port,
            smtp_tls="none",
            smtp_from="pool@example.com",
            sms_provider="console",
        )
        with visit(chrome, served) as person:
            page = person.page
            person.go("/register")
            page.get_by_label("Phone number").fill("13800138107")
            page.get_by_label("Password", exact=True).fill(PASSWORD)
            page.get_by_label("E-mail").fill("ada@example.com")
            page.get_by_role("button", name="Send a code").click()
            eventually(lambda: mail.box, "a mail")
            page.get_by_role("button", name="Again in").wait_for()
            code = code_in(mail.box[-1].message.get_content())
            page.get_by_label("Code from the mail").fill(code)
            page.locator("form").get_by_role("button", name="Register").click()
            page.wait_for_url("**/console")
            person.go("/console/account")
            page.get_by_text("ada@example.com").wait_for()
            expect(page.get_by_text("verified", exact=True)).to_have_count(1)

            page.get_by_role("button", name="Change the phone number").click()
            page.get_by_label("Your phone number").fill("13800138108")
            page.get_by_role("button", name="Send a code").click()
            eventually(lambda: "sms_printed" in served.log, "a text message")
            page.get_by_role("button", name="Again in").wait_for()
            printed = [line for line in served.log.splitlines() if "sms_printed" in line]
            code = code_in(json.loads(printed[-1])["text"])
            page.get_by_label("Code from the SMS").fill(code)
            page.get_by_role("button", name="Save").click()
            page.get_by_text("+8613800138108").first.wait_for()
            expect(page.get_by_text("verified", exact=True)).to_have_count(2)
            page.get_by_role("button", name="Change the e-mail address").click()
            page.get_by_label("Your e-mail address").fill("")
            page.get_by_role("button", name="Save").click()
            page.get_by_text("a mail address is needed here").wait_for()

        other.page.get_by_label("状态", exact=True).select_option("disabled")
        other.page.get_by_role("heading", name="请设置手机号").wait_for()
        assert not other.axe()
        other.page.get_by_label("您的手机号").fill("13800138109")
        other.page.get_by_role("button", name="保存").click()
        other.page.get_by_role("heading", name="令牌管理").wait_for()


# --- what the site wants first --------------------------------------------------------------------


def test_newer_terms_are_agreed_to_before_anything_else(served: Platform, chrome: Browser) -> None:
    with visit(chrome, served, "zh-CN") as person:
        page = person.page
        person.register("13800138103")
        settle(served, terms_text="Be kind.", terms_version="2026-12")

        person.go("/console/tokens")

        page.get_by_role("heading", name="协议已更新").wait_for()
        assert page.get_by_role("link", name="令牌管理").count() == 0
        assert not person.axe()
        with page.context.expect_page() as opened:
            page.get_by_role("link", name="用户协议").first.click()
        opened.value.get_by_text("Be kind.").wait_for()
        opened.value.close()
        agree = page.get_by_role("button", name="同意并继续")
        expect(agree).to_be_disabled()
        page.get_by_role("checkbox").check()
        # Whoever agrees does so to what is in force, not to what they were shown.
        settle(served, terms_version="2027-01")
        agree.click()
        expect(page.get_by_role("alert")).to_contain_text("terms_not_agreed")
        page.get_by_role("checkbox").check()
        agree.click()
        page.get_by_role("heading", name="令牌管理").wait_for()
        page.reload()
        page.get_by_role("heading", name="令牌管理").wait_for()


def test_an_administrator_is_led_through_the_second_factor(
    served: Platform, chrome: Browser
) -> None:
    """A session that was ended leads to the login and back; what is wanted from now on is asked
    where the person is, and the recovery codes stay until they are kept."""
    with visit(chrome, served) as person:
        page = person.page
        person.register("13800138104")
        person.go("/console/tokens?status=active")
        page.get_by_label("Status", exact=True).wait_for()
        served.cli("user", "set-role", "13800138104", "admin")

        page.get_by_label("Status", exact=True).select_option("expired")
        page.wait_for_url("**/login?next=*")
        person.log_in("13800138104", here=True)
        page.wait_for_url("**/console/tokens?status=expired")
        # What is still being asked for would be answered with the demand too.
        page.wait_for_load_state("networkidle")

        settle(served, totp_required=True)
        page.get_by_label("Status", exact=True).select_option("disabled")
        page.get_by_role("heading", name="Set up the second factor first").wait_for()
        assert page.get_by_role("link", name="API Tokens").count() == 0
        page.get_by_role("button", name="Set up").click()
        dialog = page.get_by_role("dialog")
        device = pyotp.TOTP(dialog.locator("code").inner_text())
        dialog.get_by_label("Code of the second factor").fill(device.now())
        dialog.get_by_role("button", name="Confirm").click()
        saved = dialog.get_by_role("button", name="I saved them")
        saved.wait_for()
        # The page knows by now that nothing is wanted any more.
        goes_on = page.get_by_role("button", name="Go on", include_hidden=True)
        goes_on.wait_for(state="attached")
        assert len(dialog.locator("code").all()) == 10
        saved.click()
        page.get_by_role("heading", name="API Tokens").wait_for()


def test_a_password_that_is_too_short_for_an_administrator_is_changed_first(
    served: Platform, chrome: Browser
) -> None:
    with visit(chrome, served) as person:
        page = person.page
        person.register("13800138106", "kite 4 me")
        served.cli("user", "set-role", "13800138106", "admin")
        person.log_in("13800138106", "kite 4 me")
        page.get_by_role("heading", name="Choose a longer password first").wait_for()
        assert page.get_by_role("link", name="API Tokens").count() == 0

        page.get_by_label("Current password", exact=True).fill("kite 4 me")
        page.get_by_label("New password", exact=True).fill(PASSWORD)
        page.get_by_text("At least 12 characters.").wait_for()
        page.get_by_role("button", name="Change the password").click()
        page.get_by_role("heading", name="Personal Center").wait_for()


def test_who_has_neither_number_nor_address_names_one_behind_the_link(
    served: Platform, chrome: Browser
) -> None:
    session = served.session()
    with session.change() as tx:
        nobody = accounts.create_user(tx, session.act, phone="", password_hash="x")
        link = accounts.issue_reset_link(tx, session.act, session.secrets.pepper, nobody)
    with visit(chrome, served) as person:
        page = person.page
        person.go(f"/reset#{link}")
        page.get_by_label("Password", exact=True).fill(PASSWORD)
        page.get_by_role("button", name="Set the password").click()
        named = page.get_by_label("Phone number or e-mail")
        named.fill("13800138107")
        page.get_by_role("button", name="Set the password").click()
        page.get_by_role("status").get_by_role("link", name="To the login").click()
        person.log_in("13800138107", here=True)
        page.get_by_role("heading", name="Personal Center").wait_for()


# --- a token's life -------------------------------------------------------------------------------


def test_a_token_is_edited_and_rotated(served: Platform, chrome: Browser) -> None:
    """S0.15 to S0.18, S0.24, S0.25, S0.27: its key stays when its terms change; when the key
    changes, the old one is good for as long as it was given."""
    served.cli("group", "create", "half", "--multiplier", "0.5")
    with visit(chrome, served, "zh-CN", viewport={"width": 1360, "height": 800}) as person:
        page = person.page
        person.register("13800138105")
        person.credit("13800138105", "5")
        served.cli("group", "grant", "half", "13800138105")
        person.go("/console/tokens")
        person.button("create").click()
        page.get_by_role("dialog").get_by_text("7 天").click()
        page.keyboard.press("Escape")
        page.get_by_role("button", name="放弃").click()
        page.get_by_role("dialog").wait_for(state="detached")
        key = person.create_token("production")
        _put_away(page, "我已保存", "完成")

        page.get_by_role("button", name="编辑 production").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_label("名称").fill("商城")
        dialog.get_by_label("额度（元）").fill("2.5")
        dialog.get_by_label("重置周期").select_option("daily")
        dialog.get_by_text("30 天").click()
        dialog.get_by_label("分组", exact=True).select_option(label="half · ×0.5 · 1 个模型")
        dialog.get_by_text("价格 ×0.5").wait_for()
        dialog.get_by_role("button", name="保存").click()
        dialog.wait_for(state="detached")

        row = page.get_by_role("row").filter(has_text="商城")
        expect(row).to_contain_text("half")
        expect(row).to_contain_text("剩余 ¥2.50 / ¥2.50")
        in_thirty_days = page.evaluate(
            "new Intl.DateTimeFormat('zh-CN', {year: 'numeric', month: '2-digit', day: '2-digit'})"
            ".format(Date.now() + 30 * 86400000)"
        )
        expect(row).to_contain_text(in_thirty_days)
        frame = page.locator("section", has=page.get_by_role("table"))
        assert frame.evaluate("it => it.scrollWidth <= it.clientWidth"), "no column hides another"
        assert call(served, key) == 200, "the key is the same"

        second = _rotated(page, "1 天后失效")
        assert [call(served, key), call(served, second)] == [200, 200]
        third = _rotated(page, "立即失效")
        eventually(lambda: call(served, second) == 401, "the one before is refused at once")
        assert call(served, third) == 200


def _rotated(page: Page, grace: str) -> str:
    """Another key, through the dialog."""
    page.get_by_role("button", name="商城 的更多操作").click()
    page.get_by_role("menuitem", name="轮换并复制新密钥").click()
    dialog = page.get_by_role("dialog")
    dialog.get_by_label(grace).check()
    dialog.get_by_role("button", name="更换密钥").click()
    found = re.search(r"sk-\S+", dialog.locator("pre").first.inner_text())
    assert found is not None
    _put_away(page, "我已保存", "完成")
    return found[0]


def _put_away(page: Page, saved: str, done: str) -> None:
    dialog = page.get_by_role("dialog")
    dialog.get_by_label(saved).check()
    dialog.get_by_role("button", name=done).click()
    dialog.wait_for(state="detached")


def test_many_tokens_are_found_and_changed_at_once(served: Platform, chrome: Browser) -> None:
    """S0.28 to S0.30: what is looked for and its order stand in the address, and come back from
    it; what is chosen is disabled and deleted together."""
    with visit(chrome, served) as person:
        page = person.page
        person.register("13800138110")
        person.credit("13800138110", "1")
        person.go("/console/tokens")
        keys = {}
        for name in ("shop-a", "shop-b", "blog"):
            keys[name] = person.create_token(name)
            _put_away(page, "I saved it", "Done")

        for name in ("shop-a", "shop-b"):
            page.get_by_role("checkbox", name=f"Select {name}").check()
        page.get_by_text("2 selected").wait_for()
        page.get_by_role("button", name="Disable").click()
        eventually(lambda: call(served, keys["shop-a"]) in (401, 403), "it is refused")
        assert call(served, keys["shop-b"]) in (401, 403)
        assert call(served, keys["blog"]) == 200

        page.get_by_label("Status", exact=True).select_option("disabled")
        page.get_by_placeholder("Search name").fill("shop")
        page.get_by_role("button", name="Name", exact=True).click()
        page.get_by_role("button", name="Name", exact=True).click()
        page.wait_for_url(
            lambda url: all(
                part in url for part in ("status=disabled", "q=shop", "sort=name", "order=asc")
            )
        )
        page.reload()
        page.get_by_text("2 of 2").wait_for()
        assert [row.split("\n")[0] for row in _names(page)] == ["shop-a", "shop-b"]
        header = page.get_by_role("columnheader", name="Name")
        expect(header).to_have_attribute("aria-sort", "ascending")

        page.get_by_role("checkbox", name="Select all that are shown").check()
        page.get_by_role("button", name="Delete", exact=True).click()
        dialog = page.get_by_role("dialog")
        expect(dialog).to_contain_text("Delete 2 tokens?")
        dialog.get_by_role("button", name="Delete for good").click()
        page.get_by_text("No token is like that.").wait_for()
        page.get_by_role("button", name="Clear").first.click()
        page.get_by_text("1 of 1").wait_for()
        assert [call(served, keys[name]) for name in ("shop-a", "blog")] == [401, 200]


def _names(page: Page) -> list[str]:
    return page.locator("tbody td[data-label='Name']").all_inner_texts()
