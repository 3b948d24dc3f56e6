"""The catalogue that ships."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.catalog import rules, seed
from aipool.catalog import service as catalog
from aipool.catalog.types import Kind
from aipool.kit.errors import Conflict, Invalid
from tests.world import World, open_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as opened:
        yield opened


def test_s3_8_the_seed_covers_every_kind_with_words_for_people() -> None:
    planted = seed.seeds()

    assert len(planted) >= 40
    assert len({terms.name for terms in planted}) == len(planted)
    kinds = Counter(terms.kind for terms in planted)
    assert set(kinds) == set(Kind)
    for terms in planted:
        assert terms.about is not None
        assert terms.about.maker
        assert len(terms.about.description) > 15
        assert terms.about.endpoints
        assert terms.about.parameters
        assert terms.enabled is False
        assert not terms.routes


def test_what_is_published_in_yuan_comes_with_its_price_and_source() -> None:
    by_name = {terms.name: terms for terms in seed.seeds()}

    glm = by_name["glm-5.3"]
    assert (glm.price.input_nano, glm.price.output_nano) == (8_000_000_000, 28_000_000_000)
    assert glm.quote.source.startswith("https://docs.bigmodel.cn/")
    assert rules.unpriced(Kind.CHAT, by_name["gpt-4o"].price) == "input and output"


def test_planting_twice_is_planting_once_and_leaves_what_is_there(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        world.model(tx, vendor, "gpt-4o")
        first = seed.plant(tx, world.act)
    with world.database.write() as tx:
        assert seed.plant(tx, world.act) == []
        assert catalog.get_model(tx.connection, "gpt-4o").routes

    assert "gpt-4o" not in first
    assert len(first) == len(seed.seeds()) - 1
    assert tx.revision == 0


def test_a_planted_model_is_not_sold_without_a_price_and_a_route(world: World) -> None:
    with world.database.write() as tx:
        seed.plant(tx, world.act)
        with pytest.raises(Invalid, match="price for input and output"):
            catalog.set_enabled(tx, world.act, "gpt-4o", enabled=True)
        with pytest.raises(Conflict, match="no route"):
            catalog.set_enabled(tx, world.act, "glm-5.3", enabled=True)
