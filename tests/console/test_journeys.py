"""What people do in the console, in a real browser, on a real platform."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser

from tests.console.browser import Visit, needs_browser, visit
from tests.platform import Platform, eventually

pytestmark = [pytest.mark.slow, needs_browser]

MESSAGES = {"model": "m", "messages": [{"role": "user", "content": "Hello!"}]}


def call(platform: Platform, token: str) -> int:
    return platform.chat(token, MESSAGES).status


@pytest.mark.parametrize(("language", "phone"), [("en", "13800138001"), ("zh-CN", "13800138002")])
def test_from_registering_to_a_deleted_token(
    served: Platform, chrome: Browser, language: str, phone: str
) -> None:
    """S0.1, S0.2, S0.4, S0.13, S0.14, S0.19 to S0.21, S0.23, S0.31, S0.32, S2.3, S3.1."""
    context = {"permissions": ["clipboard-read", "clipboard-write"]}
    with visit(chrome, served, language, **context) as person:
        page = person.page
        assert page.evaluate("document.documentElement.lang") in ("", language)
        person.register(phone)
        assert page.evaluate("document.documentElement.lang") == language
        person.credit(phone, "12.5")
        page.get_by_role("navigation").get_by_role("link", name=person.word("tokens")).click()
        page.get_by_text(person.word("empty")).wait_for()
        assert page.get_by_role("alert").count() == 0, "nobody reads along on loopback"

        key = person.create_token("production")

        page.keyboard.press("Escape")
        done = person.button("done")
        assert done.is_disabled(), "a key that nobody took is not gone"
        person.button("copy").click()
        assert page.evaluate("navigator.clipboard.readText()") == key
        done.click()
        page.get_by_role("dialog").wait_for(state="detached")
        assert key not in page.content(), "shown once"
        assert call(served, key) == 200

        # What is seen of a switch lies over it.
        switch = page.get_by_role("switch", name=person.word("switch")).locator("xpath=../span")
        switch.click()
        eventually(lambda: call(served, key) in (401, 403), "the disabled token is refused")
        switch.click()
        eventually(lambda: call(served, key) == 200, "the enabled token is accepted")
        _delete(person)
        assert call(served, key) == 401
        page.get_by_text(person.word("empty")).wait_for()


def _delete(person: Visit) -> None:
    page = person.page
    person.button("more").click()
    page.get_by_role("menuitem", name=person.word("delete"), exact=True).click()
    asks = page.get_by_role("dialog")
    asks.wait_for()
    cancel = asks.get_by_role("button", name=person.word("cancel"))
    eventually(lambda: cancel.evaluate("it => it === document.activeElement"), "focus on Cancel")
    asks.get_by_role("button", name=person.word("for_good")).click()
    asks.wait_for(state="detached")


def test_a_token_is_created_with_the_keyboard_alone(served: Platform, chrome: Browser) -> None:
    with visit(chrome, served) as person:
        page = person.page
        person.register("13800138003")
        person.go("/console/tokens")
        person.button("create").wait_for()

        _tab_to(person, "Create Token")
        page.keyboard.press("Enter")
        page.get_by_role("dialog").wait_for()
        eventually(
            lambda: page.evaluate("document.activeElement.tagName") == "INPUT",
            "the name has the focus",
        )
        page.keyboard.type("by keyboard")
        page.keyboard.press("Enter")
        person.shown_key()
        _tab_to(person, "I saved it")
        page.keyboard.press("Space")
        _tab_to(person, "Done")
        page.keyboard.press("Enter")

        page.get_by_role("dialog").wait_for(state="detached")
        page.get_by_role("cell", name="by keyboard").first.wait_for()


def _tab_to(person: Visit, name: str) -> None:
    """Tab by Tab, as somebody without a mouse goes."""
    script = """() => {
      const it = document.activeElement;
      const label = it.labels && it.labels[0] ? it.labels[0].innerText : it.innerText;
      return (it.getAttribute('aria-label') || label || '').trim();
    }"""
    for _ in range(40):
        if person.page.evaluate(script) == name:
            return
        person.page.keyboard.press("Tab")
    raise AssertionError(f"{name} is not reached by the Tab key")


def test_what_is_looked_for_stands_in_the_address(served: Platform, chrome: Browser) -> None:
    with visit(chrome, served) as person:
        page = person.page
        person.register("13800138004")
        person.go("/console/tokens")
        for name in ("shop", "blog"):
            person.create_token(name)
            page.get_by_label("I saved it").check()
            person.button("done").click()
            page.get_by_role("dialog").wait_for(state="detached")

        page.get_by_placeholder("Search name, description, end of the key").fill("shop")

        page.wait_for_url("**q=shop*")
        page.get_by_text("1 of 1").wait_for()
        page.reload()
        page.get_by_text("1 of 1").wait_for()
        assert page.get_by_role("cell", name="blog").count() == 0


def test_the_server_speaks_the_language_of_the_page(served: Platform, chrome: Browser) -> None:
    with visit(chrome, served, "zh-CN") as person:
        page = person.page
        person.go("/login")
        page.get_by_label("手机号或邮箱").fill("13800138999")
        page.get_by_label("密码", exact=True).fill("not the password")
        page.locator("form").get_by_role("button", name="登录").click()

        refusal = page.get_by_role("alert")
        refusal.wait_for()
        assert any("\u4e00" <= mark <= "\u9fff" for mark in refusal.inner_text())
        assert "invalid_credentials" in refusal.inner_text()

        page.get_by_role("button", name="语言").click()
        page.get_by_role("menuitemradio", name="English").click()
        page.get_by_role("heading", name="Log in").wait_for()
        page.reload()
        page.get_by_role("heading", name="Log in").wait_for()


def test_a_call_is_made_with_what_the_example_says(served: Platform, chrome: Browser) -> None:
    """S0.22: the example that is shown has the address and the key of its reader."""
    with visit(chrome, served) as person:
        person.register("13800138005")
        person.credit("13800138005", "1")
        person.go("/console/tokens")
        key = person.create_token("example")

        shown = person.page.get_by_role("region", name="curl").inner_text()

        assert f"{served.url}/v1/chat/completions" in shown
        assert f"Bearer {key}" in shown
