"""When something is wrong, the page says what, in its own language, where it is seen, and goes on
once it is well again."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, expect

from tests.console.browser import needs_browser, visit
from tests.platform import Platform

pytestmark = [pytest.mark.slow, needs_browser]

PHONE: dict[str, Any] = {"viewport": {"width": 360, "height": 640}}


def gone(route: Any) -> None:
    route.abort()


def test_a_page_comes_once_the_server_is_back(served: Platform, chrome: Browser) -> None:
    with visit(chrome, served) as person:
        page = person.page
        person.register("13800138305")
        page.route("**/api/**", gone)
        person.go("/console/account")
        page.get_by_text("The server cannot be reached").wait_for()

        page.unroute("**/api/**")
        page.get_by_role("button", name="Try again").click()

        page.get_by_role("heading", name="Account").wait_for()


def test_a_server_that_is_away_takes_no_page_along(served: Platform, chrome: Browser) -> None:
    """Pointing at a link fetches its page beforehand, and what does not come costs nothing."""
    with visit(chrome, served) as person:
        page = person.page
        person.register("13800138306")
        person.go("/console/account")
        page.get_by_label("Display name").fill("half typed")
        page.route("**/*", gone)

        page.get_by_role("link", name="API Tokens").hover()

        page.wait_for_timeout(1000)
        expect(page.get_by_label("Display name")).to_have_value("half typed")
        page.get_by_role("link", name="API Tokens").click()
        page.get_by_text("The server cannot be reached").wait_for()


def test_what_goes_wrong_on_the_way_is_said_in_the_language_of_the_page(
    served: Platform, chrome: Browser
) -> None:
    def no_server(route: Any) -> None:
        route.fulfill(status=503, body="<html>nobody is there</html>", content_type="text/html")

    with visit(chrome, served, "zh-CN") as person:
        page = person.page
        person.register("13800138307")
        person.go("/console/tokens")
        person.create_token("production")
        page.get_by_label("我已保存").check()
        person.button("done").click()
        page.route("**/api/tokens/**", gone)
        page.get_by_role("switch", name=person.word("switch")).locator("xpath=../span").click()
        page.get_by_role("alert").get_by_text("无法连接服务器").wait_for()
        page.unroute("**/api/tokens/**")

        page.route("**/api/tokens?*", no_server)
        page.get_by_label("状态", exact=True).select_option("expired")

        page.get_by_role("main").get_by_text("服务器暂时不可用").wait_for()
        assert page.get_by_role("table").count() == 0, "nothing seems to be on its way"
        page.unroute("**/api/tokens?*")
        page.get_by_role("button", name="重试").click()
        page.get_by_text("没有符合条件的令牌").wait_for()


def test_the_field_that_is_wrong_comes_into_sight(served: Platform, chrome: Browser) -> None:
    """On a telephone the form is longer than the window, and its button at the end."""
    with visit(chrome, served, **PHONE) as person:
        page = person.page
        person.register("13800138308")
        person.go("/console/tokens")
        person.button("create").click()
        form = page.get_by_role("dialog")
        submit = form.get_by_role("button", name="Create", exact=True)

        submit.click()
        expect(form.get_by_text("A token needs a name.")).to_be_in_viewport()
        expect(form.get_by_label("Name").first).to_be_focused()

        form.get_by_label("Name").first.fill("shop")
        unfold = form.get_by_role("button", name="Addresses, limits of calls")
        unfold.click()
        form.get_by_label("Allowed IP addresses").fill("192.0.2.7， 192.0.2.300")
        unfold.click()
        submit.click()
        refusal = form.get_by_text("'192.0.2.300' is no address or network")
        expect(refusal).to_be_in_viewport()
        expect(form.get_by_label("Allowed IP addresses")).to_be_focused()

        form.get_by_label("Allowed IP addresses").fill("192.0.2.7，192.0.2.8；2001:db8::1")
        form.get_by_label("RPM").fill("0")
        submit.click()
        expect(form.get_by_text("A whole number of 1 or more, or nothing")).to_be_in_viewport()
        form.get_by_label("RPM").fill("")
        page.route("**/api/tokens", gone)
        submit.click()
        expect(form.get_by_text("The server cannot be reached")).to_be_in_viewport()
        page.unroute("**/api/tokens")
        submit.click()
        person.shown_key()


def test_why_nothing_can_be_called_is_said_in_chinese(served: Platform, chrome: Browser) -> None:
    with visit(chrome, served, "zh-CN") as person:
        page = person.page
        person.register("13800138309")
        person.go("/console/tokens")
        person.button("create").click()

        said = page.get_by_role("dialog").get_by_role("note")

        expect(said).to_contain_text("暂时不可用： 余额已用完，请充值。")
        assert not re.search(r"[A-Za-z]{4,} [A-Za-z]+", said.inner_text()), "no English"

        person.button("cancel").click()
        person.create_token("production")
        page.get_by_label("我已保存").check()
        person.button("done").click()
        person.button("more").click()
        page.get_by_role("menuitem", name="查看权限").click()
        whole = page.get_by_role("dialog")
        expect(whole).to_contain_text("不限 IP")
        assert "：\n" not in whole.inner_text() + "\n", "no limit is named that there is not"


def test_who_is_refused_at_the_door_is_told_so_at_once(served: Platform, chrome: Browser) -> None:
    """Of the tests' own help: what the page says is in the failure."""
    with visit(chrome, served) as person:
        person.register("13800138310")
    with (
        visit(chrome, served) as other,
        pytest.raises(AssertionError, match=r"13800138310.*already"),
    ):
        other.register("13800138310")
