"""Every word of the console is there in both languages, and none is there that nobody reads."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

SOURCE = Path(__file__).resolve().parents[2] / "console" / "src"
LANGUAGES = ("en", "zh-CN")
FEATURES = sorted(path.parent.name for path in SOURCE.glob("*/en.json"))

_PLACE = re.compile(r"\{\{(\w+)\}\}|<(\w+)>")


def leaves(words: Any, above: str = "") -> Iterator[tuple[str, str]]:
    for key, value in words.items():
        if isinstance(value, dict):
            yield from leaves(value, f"{above}{key}.")
        else:
            yield f"{above}{key}", value


def words(feature: str, language: str) -> dict[str, str]:
    path = SOURCE / feature / f"{language}.json"
    return dict(leaves(json.loads(path.read_text(encoding="utf-8"))))


def singular(key: str) -> str:
    """A language without a singular has the other form alone."""
    return re.sub(r"_(one|other)$", "", key)


@pytest.mark.parametrize("feature", FEATURES)
def test_both_languages_say_the_same_things(feature: str) -> None:
    english, chinese = (words(feature, language) for language in LANGUAGES)

    assert {singular(key) for key in english} == {singular(key) for key in chinese}
    assert all(text.strip() for text in (*english.values(), *chinese.values()))


@pytest.mark.parametrize("feature", FEATURES)
def test_both_languages_name_the_same_values(feature: str) -> None:
    english, chinese = (words(feature, language) for language in LANGUAGES)
    for key, text in chinese.items():
        assert set(_PLACE.findall(text)) == set(_PLACE.findall(english[key])), key


@pytest.mark.parametrize("feature", FEATURES)
def test_no_word_is_kept_that_nobody_reads(feature: str) -> None:
    source = "\n".join(
        path.read_text(encoding="utf-8")
        for path in SOURCE.rglob("*.ts*")
        if "schema.gen" not in path.name
    )
    # t(`status.${status}`) reads all that begin so.
    families = set(re.findall(r"`(?:\w+:)?([\w.]+\.)\$\{", source))
    literal = set(re.findall(r"[\"'`](?:\w+:)?([\w.]+)[\"'`]", source))

    unread = [
        key
        for key in words(feature, "en")
        if singular(key) not in literal and not any(key.startswith(part) for part in families)
    ]

    assert not unread


def test_there_are_features_at_all() -> None:
    assert {"accounts", "api_tokens", "kit", "shell", "site"} <= set(FEATURES)
