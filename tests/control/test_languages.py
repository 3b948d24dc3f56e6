"""Refusals in the language of who asks."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.control import app, chinese
from aipool.control.languages import preferred, translation_for
from aipool.kit import errors
from aipool.kit.problems import Words, Wrong
from aipool.notices.codes import Locale
from tests.control.api_rig import Api, api

SOURCE = Path(__file__).parents[2] / "src/aipool"
#: What only the command line, a file or a start refuses.
NOT_OVER_HTTP = ("apply", "backup", "books", "cli", "doors", "gateway", "moving", "supervisor")
_CODE = r"[a-z]+(_[a-z]+)*"
MAKERS = {"problem", *(name for name, made in vars(errors).items() if isinstance(made, type))}


def _codes() -> Iterator[tuple[str, str]]:
    """Every code that stands in the source, as (code, where)."""
    for path in sorted(SOURCE.rglob("*.py")):
        if path.relative_to(SOURCE).parts[0] in NOT_OVER_HTTP:
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            if ast.unparse(node.func) == "super().__init__" and node.args:
                name = "BusinessError"
            place = 1 if name == "problem" else 0
            if name in MAKERS and len(node.args) > place:
                code = node.args[place]
                if isinstance(code, ast.Constant) and re.fullmatch(_CODE, str(code.value)):
                    yield str(code.value), str(path.relative_to(SOURCE))


@functools.cache
def codes() -> frozenset[tuple[str, str]]:
    """Looked for once."""
    return frozenset(_codes())


def test_every_refusal_is_said_in_chinese_too() -> None:
    missing = {(code, where) for code, where in codes() if code not in chinese.DETAILS}

    assert missing == set()


def test_the_catalogue_has_no_refusal_that_nobody_makes() -> None:
    made = {code for code, _ in codes()} | {code for code, _ in app._SAID.values()}
    made |= {"malformed_request", "refused", "narrow_the_search"}
    text = "".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    stale = [code for code in chinese.DETAILS if code not in made and text.count(f'"{code}"') < 2]

    assert stale == []


def test_every_chinese_text_is_chinese() -> None:
    for text in (*chinese.TITLES.values(), *chinese.DETAILS.values(), *chinese.RULES.values()):
        assert any("一" <= mark <= "鿿" for mark in text), text


@pytest.mark.parametrize(
    ("header", "locale"),
    [
        ("", Locale.ENGLISH),
        ("zh-CN", Locale.CHINESE),
        ("zh", Locale.CHINESE),
        ("ZH-hans-CN;q=0.9", Locale.CHINESE),
        ("en-GB,zh;q=0.9", Locale.ENGLISH),
        ("de,zh-CN;q=0.4,en;q=0.2", Locale.CHINESE),
        ("zh;q=0", Locale.ENGLISH),
        ("zh;q=nan", Locale.ENGLISH),
        ("zh;level=1", Locale.ENGLISH),
        ("*", Locale.ENGLISH),
        ("zh" * 1000, Locale.ENGLISH),
        (";;,,=;q", Locale.ENGLISH),
    ],
)
def test_the_language_that_is_liked_best_is_spoken(header: str, locale: Locale) -> None:
    assert preferred(header) is locale


def test_english_is_said_as_in_the_source() -> None:
    assert translation_for("en") is None


def test_what_is_not_in_the_catalogue_is_said_as_in_the_source() -> None:
    translation = translation_for("zh-CN")
    assert translation is not None
    wrong = [Wrong("a", "too odd", "odd"), Wrong("b", "too long", "string_too_long", {})]

    said = translation(418, "odd", Words("Teapot", "It is odd."), [])
    fields = translation(422, "malformed_request", Words("X", "y"), wrong)

    assert said == Words("Teapot", "It is odd.", [])
    assert fields.errors == ["too odd", "too long"]


def test_a_refusal_is_said_in_the_language_of_who_asks(tmp_path: Path) -> None:
    with api(tmp_path) as opened:
        said = {locale: refusals(opened, locale) for locale in ("en", "zh-CN")}

    assert [one["code"] for one in said["en"]] == [one["code"] for one in said["zh-CN"]]
    english, chinese_said = said["en"][0], said["zh-CN"][0]
    assert english["detail"] == "there is no vendor 999"
    assert (chinese_said["title"], chinese_said["detail"]) == (
        "不存在",
        chinese.DETAILS["vendor_unknown"],
    )
    form = said["zh-CN"][1]
    assert form["errors"] == [
        {"field": "name", "detail": "必须填写"},
        {"field": "colour", "detail": "没有这个字段"},
    ]
    assert form["detail"] == "name: 必须填写"
    assert said["zh-CN"][2]["detail"] == chinese.DETAILS["login_needed"]


def refusals(opened: Api, locale: str) -> list[dict[str, object]]:
    told = {"Accept-Language": locale}
    mine = {**opened.credentials(), **told}
    sent = {"type": "deepseek", "colour": "red"}
    return [
        opened.ask("GET", "/api/vendors/999", headers=mine).json,
        opened.ask("POST", "/api/vendors", sent, mine).json,
        opened.ask("GET", "/api/vendors", headers=told).json,
    ]
