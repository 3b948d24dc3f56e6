"""Refusals in the language of who asks."""

from __future__ import annotations

import ast
import functools
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Any

import pytest

from aipool.control import app, chinese
from aipool.control.languages import preferred, translation_for
from aipool.kit import errors
from aipool.kit.problems import Words, Wrong
from aipool.notices.codes import Locale
from aipool.site.types import SETTINGS
from tests.control.api_rig import Api, api

SOURCE = Path(__file__).parents[2] / "src/aipool"
#: What only the command line, a file or a start refuses.
NOT_OVER_HTTP = ("apply", "backup", "books", "cli", "doors", "gateway", "moving", "supervisor")
_CODE = r"[a-z]+(_[a-z]+)*"
#: They hand on what others say.
FORWARDERS = ("control/access.py", "control/app.py", "kit/problems.py", "kit/errors.py")
#: What a refusal carries for one of its reasons only, or says without need.
UNSAID = {
    "adjustment_refused": frozenset({"balance", "free", "held", "reason"}),
    "url_not_allowed": frozenset({"most"}),
}
MAKERS = {
    "problem",
    "_Discord",
    *(name for name, made in vars(errors).items() if isinstance(made, type)),
}


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with api(tmp_path_factory.mktemp("languages") / "data") as served:
        yield served


@dataclass(frozen=True)
class Made:
    """A refusal as it stands in the source. code: "" = that of another one.  message: None =
    nothing is said of it here.  params: as an expression, None = there are none."""

    where: str
    code: str
    message: ast.expr | None
    params: ast.expr | None


def _made() -> Iterator[Made]:
    """Every refusal that stands in the source."""
    for path in sorted(SOURCE.rglob("*.py")):
        if path.relative_to(SOURCE).parts[0] in NOT_OVER_HTTP:
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        constants = {
            ast.unparse(node.targets[0]): node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant)
        }
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call):
                continue
            name = ast.unparse(node.func).rpartition(".")[2]
            is_own = ast.unparse(node.func) == "super().__init__" and node.args
            if is_own and isinstance(node.args[0], ast.Constant):
                name = "BusinessError"
            place = 1 if name == "problem" else 0
            if name not in MAKERS or len(node.args) <= place:
                continue
            first = node.args[place]
            code = str(constants.get(ast.unparse(first), getattr(first, "value", "-")))
            named = {keyword.arg: keyword.value for keyword in node.keywords}
            if name == "_Discord" and len(node.args) > 3:
                named["params"] = node.args[3]
            yield Made(
                f"{path.relative_to(SOURCE)}:{node.lineno}",
                code if re.fullmatch(_CODE, code) else "",
                node.args[place + 1] if len(node.args) > place + 1 else None,
                named.get("params"),
            )


@functools.cache
def refusals_made() -> tuple[Made, ...]:
    """Looked for once."""
    return tuple(_made())


def codes() -> frozenset[tuple[str, str]]:
    """Every code that stands in the source, as (code, where)."""
    return frozenset((made.code, made.where) for made in refusals_made() if made.code)


def texts_of(code: str) -> tuple[str, ...]:
    said = chinese.DETAILS[code]
    return (said,) if isinstance(said, str) else said


def values_in(text: str) -> frozenset[str]:
    return frozenset(name for _, name, _, _ in Formatter().parse(text) if name)


def test_every_refusal_is_said_in_chinese_too() -> None:
    missing = {(code, where) for code, where in codes() if code not in chinese.DETAILS}

    assert missing == set()


def test_the_catalogue_has_no_refusal_that_nobody_makes() -> None:
    made = {code for code, _ in codes()} | {code for code, _ in app._SAID.values()}
    made |= {"malformed_request", "refused", "narrow_the_search"}
    text = "".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    stale = [code for code in chinese.DETAILS if code not in made and text.count(f'"{code}"') < 2]

    assert stale == []


def test_what_is_said_with_values_carries_them() -> None:
    """An f-string, or the words of another refusal: both have values, and a language needs them."""
    without = [
        made.where
        for made in refusals_made()
        if made.message is not None
        and not isinstance(made.message, ast.Constant)
        and made.params is None
        and made.where.partition(":")[0] not in FORWARDERS
    ]

    assert without == []


def test_the_values_of_a_refusal_stand_in_its_chinese_text() -> None:
    wrong = []
    for made in refusals_made():
        if not made.code or not isinstance(made.params, ast.Dict) or None in made.params.keys:
            continue
        given = {ast.literal_eval(key) for key in made.params.keys if key is not None}
        said = next((text for text in texts_of(made.code) if values_in(text) <= given), None)
        if said is None or not values_in(said):
            wrong.append((made.where, made.code, given))
            continue
        spoken = values_in(said) | UNSAID.get(made.code, frozenset())
        if not given <= spoken:
            wrong.append((made.where, made.code, given - spoken))

    assert wrong == []


def test_every_phrase_is_there_and_none_for_nobody() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in SOURCE.rglob("*.py"))
    kinds = {str(setting.kind.params["why"]) for setting in SETTINGS}

    assert kinds <= chinese.PHRASES.keys()
    for word in chinese.PHRASES:
        assert word in kinds or text.count(f'"{word}"') >= 2, word


def test_a_setting_is_refused_with_the_same_numbers_in_both_languages() -> None:
    translation = translation_for("zh-CN")
    assert translation is not None
    for setting in SETTINGS:
        params = {"name": setting.name, **setting.kind.params}
        said = translation(422, "setting_invalid", Words("X", "y"), [], params).detail
        numbers = re.findall(r"\d+", setting.kind.allowed)
        assert [number for number in numbers if number not in said] == [], (setting.name, said)


#: One of each shape: the numbers, the reason and the names of the case, over the interface.
SAMPLES: tuple[tuple[str, str, Any, tuple[str, ...]], ...] = (
    ("POST", "/api/tokens", {"name": "x", "limit": "0.0000000001"}, ("9", "位")),
    ("POST", "/api/tokens", {"name": "x", "limit": "-1"}, ("0", "1000000", "-1")),
    ("POST", "/api/tokens", {"name": "x", "models": ["none-such"]}, ("none-such",)),
    ("POST", "/api/admin/groups", {"name": "x", "multiplier": "101"}, ("0", "100", "101")),
    ("POST", "/api/admin/groups", {"name": "x", "multiplier": "0.0000001"}, ("6", "位")),
    ("PATCH", "/api/admin/settings", {"settings": {"smtp_port": 0}}, ("65535", "整数")),
    ("POST", "/api/admin/users/1/adjust", {"amount": "-7", "reason": "x"}, ("-7", "余额为 0 元")),
    (
        "POST",
        "/api/vendors",
        {"name": "x", "type": "openai_compatible", "base_url": "https://a.example:22"},
        ("22", "1024"),
    ),
    ("GET", "/api/usage?range=7d&bucket=hour&from=2020-01-01T00:00:00Z", None, ("小时",)),
)


@pytest.mark.parametrize(("method", "target", "body", "facts"), SAMPLES)
def test_a_refusal_names_the_rule_in_chinese(
    opened: Api, method: str, target: str, body: Any, facts: tuple[str, ...]
) -> None:
    told = {"Accept-Language": "zh-CN", "Idempotency-Key": "k"}
    said = opened.ask(method, target, body, {**opened.credentials(), **told})

    assert said.status in (409, 422), said.text
    assert [fact for fact in facts if fact not in said.json["detail"]] == [], said.json


def test_every_chinese_text_is_chinese() -> None:
    said = (chinese.TITLES, chinese.PHRASES, chinese.RULES)
    texts = [text for catalogue in said for text in catalogue.values()]
    for text in (*texts, *(text for code in chinese.DETAILS for text in texts_of(code))):
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

    said = translation(418, "odd", Words("Teapot", "It is odd."), [], {})
    fields = translation(422, "malformed_request", Words("X", "y"), wrong, {})

    assert said == Words("Teapot", "It is odd.", [])
    assert fields.errors == ["too odd", "too long"]


def test_a_refusal_is_said_in_the_language_of_who_asks(opened: Api) -> None:
    said = {locale: refusals(opened, locale) for locale in ("en", "zh-CN")}

    assert [one["code"] for one in said["en"]] == [one["code"] for one in said["zh-CN"]]
    english, chinese_said = said["en"][0], said["zh-CN"][0]
    assert english["detail"] == "there is no vendor 999"
    assert (chinese_said["title"], chinese_said["detail"]) == (
        "不存在",
        "没有供应商 999。",
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
