"""What people name and limit is shown whole, in its place, at every width."""

from __future__ import annotations

import re
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, expect

from tests.console.browser import Visit, needs_browser, visit
from tests.console.test_tokens import make_tokens
from tests.platform import Platform

pytestmark = [pytest.mark.slow, needs_browser]

LONG = "x" * 100
OTHER_KIND = """
models:
  - name: a-model-that-does-not-chat
    kind: embedding
    context: 8000
    price: {input: 1}
    routes: [{vendor: v0, model: e}]
"""


def make(person: Visit, name: str, description: str = "", **limits: str) -> None:
    page = person.page
    person.button("create").click()
    form = page.get_by_role("dialog")
    form.get_by_label("Name").first.fill(name)
    form.get_by_label("Description").fill(description)
    for label, amount in limits.items():
        form.get_by_label(f"{label} (CNY)").fill(amount)
    form.get_by_role("button", name="Create", exact=True).click()
    person.shown_key()
    page.get_by_label("I saved it").check()
    person.button("done").click()
    form.wait_for(state="detached")


def spills(page: Page) -> int:
    """By how many pixels the page is wider than its window."""
    root = "document.documentElement"
    return int(page.evaluate(f"{root}.scrollWidth - {root}.clientWidth"))


@pytest.mark.parametrize(("width", "phone"), [(360, "13800138311"), (1280, "13800138312")])
def test_a_long_name_stays_in_its_place(
    served: Platform, chrome: Browser, width: int, phone: str
) -> None:
    size: dict[str, Any] = {"viewport": {"width": width, "height": 800}}
    with visit(chrome, served, **size) as person:
        page = person.page
        person.register(phone)
        person.go("/console/tokens")
        make(person, LONG, "d" * 500)

        assert spills(page) <= 0
        name = page.get_by_role("cell").get_by_text(LONG, exact=True)
        box, key = name.bounding_box(), page.get_by_text(re.compile("^sk-…")).bounding_box()
        assert box is not None
        assert key is not None
        assert box["x"] + box["width"] <= key["x"] or box["y"] + box["height"] <= key["y"]
        chooses = page.get_by_role("checkbox", name=f"Select {LONG}").bounding_box()
        assert chooses is not None
        assert (
            chooses["x"] + chooses["width"] <= box["x"] or box["x"] + box["width"] <= chooses["x"]
        )

        person.go("/console/account")
        page.get_by_label("Display name").fill("名" * 100)
        page.get_by_role("button", name="Apply").click()
        page.get_by_text("Saved.").wait_for()
        menu = page.get_by_role("button", name="Account menu")
        shown = menu.bounding_box()
        assert shown is not None
        assert shown["x"] + shown["width"] <= width
        assert spills(page) <= 0


def test_both_limits_of_a_token_are_in_the_list(served: Platform, chrome: Browser) -> None:
    """S0.26: what is left is of the limit that is reached first, and the total is there too."""
    with visit(chrome, served, viewport={"width": 1360, "height": 800}) as person:
        person.register("13800138313")
        person.go("/console/tokens")
        make(person, "both", Limit="50", **{"Total cap": "500"})
        make(person, "narrow", Limit="50", **{"Total cap": "5"})

        row = person.page.get_by_role("row")

        expect(row.filter(has_text="both")).to_contain_text("left ¥50.00 / ¥50.00")
        expect(row.filter(has_text="both")).to_contain_text("in all ¥0.00 / ¥500.00")
        expect(row.filter(has_text="narrow")).to_contain_text("left ¥5.00 / ¥5.00")


def test_what_is_done_with_many_stays_in_sight(served: Platform, chrome: Browser) -> None:
    with visit(chrome, served, viewport={"width": 1280, "height": 700}) as person:
        page = person.page
        person.register("13800138317")
        make_tokens(served, "13800138317", [f"t-{number:02}" for number in range(30)])
        person.go("/console/tokens")
        page.get_by_role("checkbox", name="Select all that are shown").check()

        page.get_by_text("Good practice with tokens").scroll_into_view_if_needed()

        expect(page.get_by_text("30 selected")).to_be_in_viewport()
        page.get_by_role("checkbox", name="Select t-00").uncheck()
        expect(page.get_by_text("29 selected")).to_be_in_viewport()
        page.get_by_role("button", name="Disable", exact=True).click()
        page.get_by_text("29 tokens changed.").wait_for()


def test_an_example_names_a_model_that_chats(served: Platform, chrome: Browser) -> None:
    """S0.22: it can be run as it is, whatever else is on sale, and whatever it is called."""
    served.cli("apply", "-", stdin=OTHER_KIND)
    with visit(chrome, served) as person:
        page = person.page
        person.register("13800138314")
        expect(page.get_by_role("region", name="curl")).to_contain_text('"model":"m"')

        person.go("/console/tokens")
        person.create_token("example")

        expect(page.get_by_role("region", name="curl")).to_contain_text('"model":"m"')


def test_a_device_is_called_what_people_call_it(served: Platform, chrome: Browser) -> None:
    agent = (
        "Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) "
        "Version/17.4 Safari/605.1.15"
    )
    with visit(chrome, served, user_agent=agent) as person:
        person.register("13800138315")
        person.go("/console/account")

        person.page.get_by_text("Safari · macOS", exact=True).wait_for()


def test_one_character_is_too_few_to_search_for(served: Platform, chrome: Browser) -> None:
    with visit(chrome, served, "zh-CN") as person:
        page = person.page
        person.register("13800138316")
        person.go("/console/tokens")

        page.get_by_placeholder("搜索名称").fill("商")

        page.get_by_text("请至少输入 2 个字符").wait_for()
