"""Models are listed by their names, a page at a time."""

from __future__ import annotations

import pytest

from aipool.catalog.listing import Filter, page_of
from aipool.catalog.types import About, Kind, Model, ModelId
from aipool.kit.errors import Invalid
from aipool.rating.types import Price


def model(number: int, name: str, kind: Kind = Kind.CHAT, *, enabled: bool = True) -> Model:
    return Model(ModelId(number), name, kind, 1, 1, enabled, 0, Price(0, 0, 0, 0), ())


MODELS = [
    model(1, "c/slash"),
    model(2, "a"),
    model(3, "b", Kind.IMAGE),
    model(4, "d", enabled=False),
]
ABOUTS = {2: About("OpenAI", "Sees 50% more", ("vision",)), 3: About("Zhipu", "draws")}


def names(wanted: Filter, cursor: str | None = None) -> list[str]:
    page = page_of(MODELS, ABOUTS, wanted, limit=100, cursor=cursor)
    return [one.name for one, _ in page.models]


def test_pages_follow_each_other_without_a_gap() -> None:
    seen, cursor = [], None
    for _ in range(4):
        page = page_of(MODELS, ABOUTS, Filter(), limit=1, cursor=cursor)
        seen += [one.name for one, _ in page.models]
        cursor = page.cursor
        assert page.total == 4

    assert seen == ["a", "b", "c/slash", "d"]
    assert cursor is None


def test_filters_are_taken_together() -> None:
    assert names(Filter(kind=Kind.IMAGE)) == ["b"]
    assert names(Filter(maker="openai")) == ["a"]
    assert names(Filter(ability="vision")) == ["a"]
    assert names(Filter(enabled=False)) == ["d"]
    assert names(Filter(q="SLASH")) == ["c/slash"]
    assert names(Filter(q="50%")) == ["a"]
    assert names(Filter(q="5_%")) == []
    assert names(Filter(kind=Kind.CHAT, maker="Zhipu")) == []


@pytest.mark.parametrize("cursor", ["%", "a b", "ÿ", "====", "IA"])
def test_a_cursor_that_was_not_given_here_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid):
        names(Filter(), cursor)
