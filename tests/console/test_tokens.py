"""The list of tokens and their form at the edges: a group that was taken back, content that is
kept, more tokens than one request may name, amounts and moments in full; and one's own settings.
"""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from aipool.accounts import service as accounts
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import Reset, TokenTerms
from aipool.groups import service as groups
from tests.console.browser import needs_browser, visit
from tests.platform import Platform

pytestmark = [pytest.mark.slow, needs_browser]

MESSAGES = {"model": "m", "messages": [{"role": "user", "content": "Hello!"}]}
WIDE: dict[str, Any] = {"viewport": {"width": 1360, "height": 800}}


def make_tokens(platform: Platform, phone: str, names: list[str], **terms: Any) -> list[str]:
    """Tokens of somebody, in one transaction; their secrets."""
    session = platform.session()
    with session.change() as tx:
        user = accounts.find_user(tx.connection, f"+86{phone}")
        assert user is not None
        group = groups.default_group(tx, session.act)
        return [
            api_tokens.create_token(
                tx, session.act, session.secrets.pepper, user, TokenTerms(name, group.id, **terms)
            )[1]
            for name in names
        ]


def row(page: Page, name: str) -> Any:
    return page.get_by_role("row").filter(has_text=name)


def save(page: Page) -> None:
    dialog = page.get_by_role("dialog")
    dialog.get_by_role("button", name="Save").click()
    dialog.wait_for(state="detached")


def test_a_token_whose_group_was_revoked_is_repaired(served: Platform, chrome: Browser) -> None:
    """S0.17: its form shows the group that is lost, and takes the default group in its place."""
    served.cli("group", "create", "partners", "--multiplier", "0.5")
    with visit(chrome, served, **WIDE) as person:
        page = person.page
        person.register("13800138201")
        person.credit("13800138201", "5")
        served.cli("group", "grant", "partners", "13800138201")
        person.go("/console/tokens")
        key = person.create_token("shop")
        page.get_by_label("I saved it").check()
        person.button("done").click()
        page.get_by_role("button", name="Edit shop").click()
        choice = page.get_by_role("dialog").get_by_label("Group", exact=True)
        choice.select_option(label="partners · ×0.5 · 1 model")
        save(page)
        assert served.chat(key, MESSAGES).status == 200
        served.cli("group", "revoke", "partners", "13800138201")

        page.reload()
        expect(row(page, "shop")).to_contain_text("Group revoked")
        assert served.chat(key, MESSAGES).status == 403
        page.get_by_role("button", name="Edit shop").click()
        expect(choice.locator("option:checked")).to_have_text(re.compile("partners · not open"))
        page.get_by_role("dialog").get_by_text("are refused until you choose another").wait_for()
        # Whatever else is changed leaves the token where it is.
        page.get_by_role("dialog").get_by_label("Description").fill("the shop's own")
        save(page)
        expect(row(page, "shop")).to_contain_text("the shop's own")
        expect(row(page, "shop")).to_contain_text("Group revoked")

        page.get_by_role("button", name="Edit shop").click()
        choice.select_option(label="default · ×1 · 1 model")
        save(page)
        expect(row(page, "shop")).to_contain_text("Active")
        assert served.chat(key, MESSAGES).status == 200


def test_content_is_kept_only_where_the_list_says_so(served: Platform, chrome: Browser) -> None:
    """S-18: off unless its owner asks for it, and then it is seen in the list."""
    with visit(chrome, served, **WIDE) as person:
        page = person.page
        person.register("13800138202")
        make_tokens(served, "13800138202", ["plain", "kept"])
        person.go("/console/tokens")
        row(page, "kept").wait_for()
        assert page.get_by_text("content kept").count() == 0

        page.get_by_role("button", name="Edit kept").click()
        dialog = page.get_by_role("dialog")
        dialog.get_by_role("button", name="Addresses, limits of calls, stored content").click()
        days = dialog.get_by_label("Keep prompts and answers (days)")
        expect(days).to_have_value("")
        dialog.get_by_text("you alone can read them").wait_for()
        days.fill("31")
        dialog.get_by_role("button", name="Save").click()
        dialog.get_by_text("A whole number up to 30, or nothing").wait_for()
        days.fill("30")
        save(page)

        expect(row(page, "kept")).to_contain_text("content kept 30 d")
        expect(row(page, "plain")).not_to_contain_text("content kept")
        page.get_by_role("button", name="Edit kept").click()
        expect(days).to_have_value("30")
        days.fill("")
        save(page)
        expect(row(page, "kept")).not_to_contain_text("content kept")


def test_more_than_a_hundred_tokens_are_changed_at_once(served: Platform, chrome: Browser) -> None:
    """S0.30: a request takes a hundred, and people choose what they like. What could not be done
    is told by name."""
    names = [f"t-{number:03}" for number in range(104)]
    with visit(chrome, served) as person:
        page = person.page
        person.register("13800138203")
        make_tokens(served, "13800138203", names)
        asked: list[int] = []
        results: list[bool] = []

        def note(response: Any) -> None:
            if response.url.endswith("/api/tokens/bulk"):
                asked.append(len(response.request.post_data_json["ids"]))
                results.extend(result["ok"] for result in response.json()["results"])

        page.on("response", note)
        person.go("/console/tokens?sort=name&order=asc")
        for shown in (50, 100):
            page.get_by_text(f"{shown} of 104").wait_for()
            page.get_by_role("button", name="Show more").click()
        page.get_by_text("104 of 104").wait_for()
        page.get_by_role("checkbox", name="Select all that are shown").check()
        # Meanwhile, elsewhere:
        session = served.session()
        with session.change() as tx:
            user = accounts.find_user(tx.connection, "+8613800138203")
            assert user is not None
            gone = api_tokens.find_token(tx.connection, user, "t-102")
            assert gone is not None
            api_tokens.delete_token(tx, session.act, gone)

        page.get_by_role("button", name="Disable").click()

        page.get_by_text("103 tokens changed.").wait_for()
        refusal = page.get_by_role("alert").filter(has_text="1 token was not changed")
        expect(refusal).to_contain_text("t-102")
        assert asked == [100, 4]
        assert results.count(True) == 103
        page.get_by_text("103 of 103").wait_for()


def test_amounts_and_resets_are_told_in_full(served: Platform, chrome: Browser) -> None:
    """S3.5: the next reset in the viewer's zone with UTC beside it; every amount that is shown
    rounded is told exactly by the keyboard, for a token without a limit too."""
    with visit(chrome, served, timezone_id="Asia/Shanghai", **WIDE) as person:
        page = person.page
        person.register("13800138204")
        person.credit("13800138204", "12.345678")
        [key] = make_tokens(served, "13800138204", ["free"])
        make_tokens(
            served,
            "13800138204",
            ["daily"],
            limit_nano=2_500_000_001,
            reset=Reset.DAILY,
        )
        assert served.chat(key, MESSAGES).status == 200

        person.go("/console")
        balance = page.get_by_role("main").get_by_text(re.compile(r"^¥12\.\d\d$"))
        balance.focus()
        page.get_by_role("tooltip", name=re.compile(r"^¥12\.\d{3,9}$")).wait_for()

        person.go("/console/tokens")
        daily = row(page, "daily")
        expect(daily).to_contain_text("in all ¥0.00")
        expect(daily).to_contain_text(
            re.compile(r"resets .+ 8:00\sAM \(\d{4}-\d\d-\d\d 00:00 UTC\)")
        )
        daily.get_by_text("¥2.50").first.focus()
        page.get_by_role("tooltip", name="¥2.500000001").wait_for()
        frame = page.locator("section", has=page.get_by_role("table"))
        assert frame.evaluate("it => it.scrollWidth <= it.clientWidth"), "no column hides another"
        row(page, "free").get_by_text("¥0.00").focus()
        page.get_by_role("tooltip", name=re.compile(r"^¥0\.00\d+$")).wait_for()


def test_one_says_how_one_is_called_and_when_to_be_warned(
    served: Platform, chrome: Browser
) -> None:
    with visit(chrome, served) as person:
        page = person.page
        person.register("13800138205")
        person.credit("13800138205", "12.5")
        person.go("/console/account")
        low = page.get_by_label("Warn below (CNY)")
        expect(low).to_have_value("")

        page.get_by_label("Display name").fill("Ada")
        low.fill("a lot")
        page.get_by_role("button", name="Apply").click()
        page.get_by_text("An amount such as 12.5, or nothing").wait_for()
        low.fill("20")
        page.get_by_role("button", name="Apply").click()
        page.get_by_role("button", name="Account menu: Ada").wait_for()
        person.go("/console")
        page.get_by_text("Your balance is down to ¥12.50").wait_for()

        person.go("/console/account")
        expect(low).to_have_value("20")
        low.fill("")
        page.get_by_label("Language", exact=True).last.select_option("zh-CN")
        page.get_by_role("button", name="Apply").click()
        page.get_by_role("heading", name="账户设置").wait_for()
        me = json.loads(page.evaluate("fetch('/api/me').then((it) => it.text())"))
        assert [me["name"], me["low_balance"], me["locale"]] == ["Ada", None, "zh-CN"]
