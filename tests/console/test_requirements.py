"""What is promised of the pages alone, in a real browser."""

from __future__ import annotations

import re

import pytest
from playwright.sync_api import Browser, expect

from tests.console.browser import needs_browser, visit
from tests.platform import Platform

pytestmark = [pytest.mark.slow, needs_browser]


def test_s0_1_a_visitor_registers_from_the_upper_right(served: Platform, chrome: Browser) -> None:
    with visit(chrome, served, viewport={"width": 1280, "height": 800}) as person:
        person.go("/login")
        link = person.page.get_by_role("banner").get_by_role("link", name=person.word("register"))

        box = link.bounding_box()
        assert box is not None
        assert box["y"] + box["height"] < 100
        assert box["x"] + box["width"] > 1280 - 100
        link.click()
        person.page.wait_for_url("**/register")
        expect(person.page.get_by_label(person.word("phone"), exact=True)).to_be_visible()


def test_s0_6_the_wallet_is_in_the_bar_of_every_page(served: Platform, chrome: Browser) -> None:
    with visit(chrome, served) as person:
        person.register("13800138061")
        person.credit("13800138061", "12.5")
        for path in ("/console", "/console/tokens", "/console/account"):
            person.go(path)
            bar = person.page.get_by_role("banner")
            expect(bar.get_by_text("12.50")).to_be_visible()


@pytest.mark.parametrize(
    ("language", "phone", "words"),
    [
        ("en", "13800138062", ("Name a token", "each project and each environment", "describe")),
        ("zh-CN", "13800138063", ("命名", "项目", "环境")),
    ],
)
def test_s0_37_the_page_of_tokens_says_how_to_name_and_divide_them(
    served: Platform, chrome: Browser, language: str, phone: str, words: tuple[str, ...]
) -> None:
    with visit(chrome, served, language) as person:
        person.register(phone)
        person.go("/console/tokens")
        practices = person.page.locator("details")

        practices.locator("summary").click()

        for word in words:
            expect(practices.get_by_text(re.compile(word)).first).to_be_visible()
