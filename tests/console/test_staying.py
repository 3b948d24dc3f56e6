"""What is shown once and what was typed are not lost: not by the back button, not by a slip, not
by a session that ends meanwhile."""

from __future__ import annotations

import re

import pyotp
import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.browser import Visit, needs_browser, visit
from tests.platform import Platform

pytestmark = [pytest.mark.slow, needs_browser]


def to_the_tokens(person: Visit) -> Page:
    """There by a link, so that the back button leads to another page of the console."""
    page = person.page
    page.get_by_role("navigation").get_by_role("link", name=person.word("tokens")).click()
    page.wait_for_url("**/console/tokens")
    return page


def test_a_key_that_nobody_took_outlives_the_back_button(served: Platform, chrome: Browser) -> None:
    with visit(chrome, served) as person:
        person.register("13800138301")
        page = to_the_tokens(person)
        key = person.create_token("shop")

        page.go_back()

        page.wait_for_timeout(300)
        assert page.url.endswith("/console/tokens")
        assert person.shown_key() == key
        page.get_by_label("I saved it").check()
        page.go_back()
        page.wait_for_url("**/console")
        assert key not in page.content()


def test_what_was_typed_is_asked_about_before_it_is_lost(served: Platform, chrome: Browser) -> None:
    with visit(chrome, served) as person:
        person.register("13800138302")
        page = to_the_tokens(person)
        person.button("create").click()
        form = page.get_by_role("dialog").filter(has_text="Create a token")
        name = form.get_by_label("Name").first
        page.keyboard.press("Escape")
        form.wait_for(state="detached")

        person.button("create").click()
        name.fill("half typed")
        asks = page.get_by_role("dialog").filter(has_text="Discard what you typed?")
        for leave in (
            lambda: page.keyboard.press("Escape"),
            lambda: page.mouse.click(5, 300),
            lambda: form.get_by_role("button", name="Close", exact=True).click(),
            page.go_back,
        ):
            leave()
            asks.wait_for()
            page.keyboard.press("Escape")
            asks.wait_for(state="hidden")
            expect(name).to_have_value("half typed")

        page.keyboard.press("Escape")
        asks.get_by_role("button", name="Discard").click()
        form.wait_for(state="detached")
        assert page.url.endswith("/console/tokens")


def test_a_session_that_ends_takes_nothing_that_was_typed(
    served: Platform, chrome: Browser
) -> None:
    with visit(chrome, served, "zh-CN") as person:
        person.register("13800138303")
        page = to_the_tokens(person)
        person.button("create").click()
        form = page.get_by_role("dialog")
        form.get_by_label("名称").first.fill("商城")
        page.context.clear_cookies()
        form.get_by_label("描述").fill("写到一半")

        form.get_by_role("alert").get_by_text("登录已失效").wait_for()
        expect(form.get_by_label("名称").first).to_have_value("商城")
        with page.context.expect_page() as opened:
            form.get_by_role("link", name="在新标签页登录").click()
        elsewhere = Visit(served, opened.value, "zh-CN")
        elsewhere.log_in("13800138303", here=True)
        elsewhere.page.wait_for_url("**/console")
        elsewhere.page.close()
        form.get_by_role("button", name="创建", exact=True).click()

        assert person.shown_key()


def test_recovery_codes_stay_until_they_are_kept(served: Platform, chrome: Browser) -> None:
    with visit(chrome, served) as person:
        page = person.page
        person.register("13800138304")
        page.get_by_role("navigation").get_by_role("link", name="Account").click()
        page.get_by_role("button", name="Set up").click()
        dialog = page.get_by_role("dialog")
        device = pyotp.TOTP(dialog.locator("code").inner_text())
        dialog.get_by_label("Code of the second factor").fill(device.now())
        dialog.get_by_role("button", name="Confirm").click()
        kept = dialog.get_by_role("button", name="I saved them")
        kept.wait_for()

        page.keyboard.press("Escape")
        page.go_back()
        page.wait_for_timeout(300)

        assert page.url.endswith("/console/account")
        assert len(dialog.locator("code").all()) == 10
        assert dialog.get_by_role("button", name="Close").count() == 0
        kept.click()
        page.get_by_text(re.compile("On · 10 recovery codes left")).wait_for()
