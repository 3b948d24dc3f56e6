"""Debian's Chromium for tests, and what every page is held to: no violation of the pages' policy,
no error in the console of the browser, nothing asked of another host.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from tests.platform import Platform

ROOT = Path(__file__).resolve().parents[2]
DIST = ROOT / "console" / "dist"
AXE = ROOT / "console" / "node_modules" / "axe-core" / "axe.min.js"

PASSWORD = "a longer phrase of words"

#: The words of the pages that a test presses, by language. Everything else is checked as it is.
WORDS: dict[str, dict[str, str]] = {
    "en": {
        "register": "Register",
        "login": "Log in",
        "phone": "Phone number",
        "who": "Phone number or e-mail",
        "password": "Password",
        "tokens": "API Tokens",
        "create": "Create Token",
        "submit": "Create",
        "name": "Name",
        "copy": "Copy: Key",
        "done": "Done",
        "switch": "Accept calls with production",
        "more": "More for production",
        "delete": "Delete",
        "for_good": "Delete for good",
        "empty": "No tokens yet",
        "cancel": "Cancel",
    },
    "zh-CN": {
        "register": "注册",
        "login": "登录",
        "phone": "手机号",
        "who": "手机号或邮箱",
        "password": "密码",
        "tokens": "令牌管理",
        "create": "创建令牌",
        "submit": "创建",
        "name": "名称",
        "copy": "复制：密钥",
        "done": "完成",
        "switch": "启用 production",
        "more": "production 的更多操作",
        "delete": "删除",
        "for_good": "永久删除",
        "empty": "还没有令牌",
        "cancel": "取消",
    },
}


def chromium() -> str | None:
    """Where Debian's headless Chromium is, None = not installed."""
    return shutil.which("chromium-headless-shell") or shutil.which("chromium")


def why_not() -> str:
    """Why there is nothing to test with, "" = there is."""
    if chromium() is None:
        return "no browser: apt-get install chromium-headless-shell fonts-noto-cjk"
    if not (DIST / "index.html").is_file():
        return "the console is not built: python scripts/_console.py says why"
    return ""


needs_browser = pytest.mark.skipif(bool(why_not()), reason=why_not())


@dataclass
class Visit:
    """One person at one browser."""

    platform: Platform
    page: Page
    language: str
    #: What a page must not do: each entry fails the test at its end.
    complaints: list[str] = field(default_factory=list)

    def word(self, name: str) -> str:
        return WORDS[self.language][name]

    def go(self, path: str) -> None:
        self.page.goto(self.platform.url + path)

    def button(self, name: str, *, exact: bool = True) -> Any:
        return self.page.get_by_role("button", name=self.word(name), exact=exact)

    def register(self, phone: str, password: str = PASSWORD) -> None:
        """Makes an account, from the button at the upper right on."""
        page = self.page
        self.go("/login")
        page.get_by_role("banner").get_by_role("link", name=self.word("register")).click()
        page.get_by_label(self.word("phone"), exact=True).fill(phone)
        page.get_by_label(self.word("password"), exact=True).fill(password)
        form = page.locator("form")
        form.get_by_role("button", name=self.word("register")).click()
        arrived = page.locator(".mantine-AppShell-header")
        refusal = form.locator("[role=alert], .mantine-InputWrapper-error")
        arrived.or_(refusal).first.wait_for()
        if refusal.count():
            said = "; ".join(refusal.all_inner_texts())
            raise AssertionError(f"nobody registers with {phone}: {said}")
        page.wait_for_url("**/console")

    def log_in(self, who: str, password: str = PASSWORD, *, here: bool = False) -> None:
        """Presses the button. here: on the login that is shown."""
        page = self.page
        if not here:
            self.go("/login")
        page.get_by_label(self.word("who")).fill(who)
        page.get_by_label(self.word("password"), exact=True).fill(password)
        page.locator("form").get_by_role("button", name=self.word("login")).click()

    def credit(self, phone: str, amount: str) -> None:
        """An administrator gives money."""
        self.platform.cli("user", "adjust", phone, amount, "--reason", "a test")

    def create_token(self, name: str) -> str:
        """Through the dialog, up to the key that is shown once."""
        page = self.page
        self.button("create").click()
        page.get_by_role("dialog").get_by_label(self.word("name")).first.fill(name)
        page.get_by_role("dialog").get_by_role(
            "button", name=self.word("submit"), exact=True
        ).click()
        return self.shown_key()

    def shown_key(self) -> str:
        code = self.page.get_by_role("dialog").locator("pre").first
        code.wait_for()
        found = re.search(r"sk-\S+", code.inner_text())
        assert found is not None
        return found[0]

    def axe(self) -> list[str]:
        """What is seriously wrong for people with disabilities, on the page as it is."""
        self.page.wait_for_load_state("networkidle")
        # What is half faded in has half its contrast.
        self.page.wait_for_timeout(400)
        self.page.evaluate(AXE.read_text())
        found = self.page.evaluate("axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{violation['id']}: {node['html'][:200]} {node.get('failureSummary', '')[:200]}"
            for violation in found["violations"]
            if violation["impact"] in ("serious", "critical")
            for node in violation["nodes"]
        ]


@contextlib.contextmanager
def browser() -> Iterator[Browser]:
    """A browser without a window."""
    with sync_playwright() as playwright:
        arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
        opened = playwright.chromium.launch(executable_path=chromium(), args=arguments)
        try:
            yield opened
        finally:
            opened.close()


@contextlib.contextmanager
def visit(
    opened: Browser, platform: Platform, language: str = "en", **context: Any
) -> Iterator[Visit]:
    """Somebody who comes for the first time; at the end nothing may have gone wrong."""
    given = opened.new_context(locale=language, **context)
    given.set_default_timeout(15_000)
    page = given.new_page()
    one = Visit(platform, page, language)
    _watch(given, one)
    try:
        yield one
        assert not one.complaints, one.complaints
    finally:
        given.close()


def _watch(context: BrowserContext, one: Visit) -> None:
    context.expose_function("complain", lambda what: one.complaints.append(what))
    context.add_init_script(
        "addEventListener('securitypolicyviolation',"
        " (e) => complain(`policy: ${e.violatedDirective} ${e.blockedURI}`))"
    )
    one.page.on("pageerror", lambda error: one.complaints.append(f"error: {error}"))

    def asked(request: Any) -> None:
        if not request.url.startswith((one.platform.url, "data:", "blob:")):
            one.complaints.append(f"another host: {request.url}")

    one.page.on("request", asked)
