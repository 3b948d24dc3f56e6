"""Every page, in both themes and both languages, has nothing seriously wrong (axe-core)."""

from __future__ import annotations

import pytest
from playwright.sync_api import Browser, expect

from tests.console.browser import AXE, needs_browser, visit
from tests.platform import Platform

pytestmark = [
    pytest.mark.slow,
    needs_browser,
    pytest.mark.skipif(not AXE.is_file(), reason="axe-core is not installed: npm ci in console/"),
]

PHONES = {("light", "en"): "13800138011", ("light", "zh-CN"): "13800138012"} | {
    ("dark", "en"): "13800138013",
    ("dark", "zh-CN"): "13800138014",
}


@pytest.mark.parametrize("language", ["en", "zh-CN"])
@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_page_is_for_everybody(
    served: Platform, chrome: Browser, theme: str, language: str
) -> None:
    wrong: dict[str, list[str]] = {}
    with visit(chrome, served, language, color_scheme=theme) as person:
        page = person.page
        for path in ("/login", "/register", "/reset"):
            person.go(path)
            page.get_by_role("main").wait_for()
            wrong[path] = person.axe()
        person.register(PHONES[theme, language])
        assert page.evaluate("document.documentElement.dataset.mantineColorScheme") == theme
        for path in ("/console", "/console/account", "/console/tokens"):
            person.go(path)
            page.get_by_role("heading", level=1).wait_for()
            wrong[path] = person.axe()
        person.button("create").click()
        page.get_by_role("dialog").wait_for()
        wrong["the form of a token"] = person.axe()
        page.keyboard.press("Escape")
        person.create_token("production")
        wrong["the key"] = person.axe()
        person.button("copy").click()
        person.button("done").click()
        page.get_by_role("dialog").wait_for(state="detached")
        wrong["a list of tokens"] = person.axe()
        person.button("more").click()
        page.get_by_role("menuitem", name=person.word("delete"), exact=True).click()
        page.get_by_role("button", name=person.word("for_good")).wait_for()
        wrong["a question"] = person.axe()

    assert not any(wrong.values()), {place: found for place, found in wrong.items() if found}


def test_a_window_is_called_after_its_page(served: Platform, chrome: Browser) -> None:
    """Of many tabs one is found by it, and it is what is said aloud first."""
    with visit(chrome, served, "zh-CN") as person:
        page = person.page
        person.go("/login")
        expect(page).to_have_title("登录 · AI-POOL")
        person.register("13800138318")
        expect(page).to_have_title("个人中心 · AI-POOL")
        page.get_by_role("navigation").get_by_role("link", name="令牌管理").click()
        expect(page).to_have_title("令牌管理 · AI-POOL")
        person.go("/console/nowhere")
        expect(page).to_have_title("页面不存在 · AI-POOL")
