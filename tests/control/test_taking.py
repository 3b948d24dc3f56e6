"""Models are taken over from a vendor."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.audit import service as audit
from aipool.catalog import service as catalog
from aipool.catalog.types import NOT_SAID, TYPED, Kind, ModelTerms
from aipool.control.taking import Choice, Outcome, Result, take_over
from aipool.groups import service as groups
from aipool.kit.errors import Invalid
from aipool.pool import service as pool
from aipool.rating.types import Price
from tests.world import PRICE, World, open_world


@pytest.fixture
def shop(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path / "shop", kind) as opened:
        yield opened


def taken(world: World, *choices: Choice) -> list[Result]:
    with world.database.write() as tx:
        return take_over(tx, world.act, pool.get_vendor(tx.connection, "mm"), choices)


def made(world: World) -> None:
    with world.database.write() as tx:
        world.vendor(tx)


COST = Price(0, 1, 1, 2)


def test_a_choice_makes_a_model_and_again_nothing(shop: World) -> None:
    made(shop)
    choice = Choice("their-m", "m", "chat", PRICE, COST, 4096, None)

    assert [result.outcome for result in taken(shop, choice)] == [Outcome.CREATED]
    assert [result.outcome for result in taken(shop, choice)] == [Outcome.UNCHANGED]

    with shop.database.read() as connection:
        model = catalog.get_model(connection, "m")
    assert (model.context_tokens, model.max_output_tokens) == (4096, 4096)
    assert catalog.describe(model.price) == "2/0.5/8"
    assert [(one.upstream_model, one.cost.output_nano) for one in model.routes] == [("their-m", 2)]


def test_a_model_that_is_there_gets_a_route_and_keeps_its_price(shop: World) -> None:
    made(shop)
    taken(shop, Choice("one", "m", "chat", PRICE, COST, 4096, 100))

    (result,) = taken(shop, Choice("two", "m", "chat", Price(0, 9, 9, 9), COST, 7, 7))

    with shop.database.read() as connection:
        model = catalog.get_model(connection, "m")
    assert result.outcome is Outcome.ROUTED
    assert [route.upstream_model for route in model.routes] == ["one", "two"]
    assert catalog.describe(model.price) == "2/0.5/8"
    assert (model.context_tokens, model.max_output_tokens) == (4096, 100)


def test_a_chat_model_gets_no_route_to_what_does_not_chat(shop: World) -> None:
    made(shop)
    _, result = taken(
        shop, Choice("one", "m", "chat", PRICE), Choice("bge", "m", "embedding", None)
    )

    assert (result.outcome, result.code) == (Outcome.REFUSED, "invalid_kind")


def test_a_cost_that_nobody_said_is_not_said(shop: World) -> None:
    made(shop)
    taken(shop, Choice("one", "m", "chat", PRICE))
    taken(shop, Choice("two", "m", "chat", None, Price(0, 0, 0, 0)), Choice("3", "m", "chat", None))

    with shop.database.read() as connection:
        model = catalog.get_model(connection, "m")
        quotes = catalog.list_quotes(connection, [model])
    said = [quotes[route.cost.id] for route in model.routes]
    assert said == [NOT_SAID, TYPED, NOT_SAID]


def test_a_route_for_some_groups_is_not_one_for_all(shop: World) -> None:
    made(shop)
    with shop.database.write() as tx:
        group = groups.default_group(tx, shop.act)
    for_some = Choice("one", "m", "chat", PRICE, groups=(group.id,))
    for_all = Choice("one", "m", "chat", PRICE)

    outcomes = [taken(shop, one)[0].outcome for one in (for_some, for_some, for_all, for_some)]

    assert outcomes == [Outcome.CREATED, Outcome.UNCHANGED, Outcome.ROUTED, Outcome.UNCHANGED]


def test_a_model_that_is_there_needs_no_price_to_get_a_route(shop: World) -> None:
    made(shop)
    results = taken(
        shop,
        Choice("one", "m", "chat", PRICE),
        Choice("two", "m", "chat", None),
        Choice("three", "other", "chat", None),
    )

    assert [(one.outcome, one.code) for one in results] == [
        (Outcome.CREATED, ""),
        (Outcome.ROUTED, ""),
        (Outcome.REFUSED, "price_missing"),
    ]


def test_a_choice_that_cannot_be_is_refused_and_the_others_are_carried_out(shop: World) -> None:
    made(shop)
    dear = Price(0, 0, 0, 10**18)
    wrong = [
        (Choice("m", "m", "colour", PRICE), "invalid_kind", "kind"),
        (Choice("m", "no blanks", "chat", PRICE), "invalid_name", "name"),
        (Choice("", "m", "chat", PRICE), "invalid_name", "name"),
        (Choice("m", "m", "chat", None), "price_missing", "price"),
        (Choice("m", "m", "chat", Price(0, -1, 0, 0)), "price_out_of_range", "price"),
        (Choice("m", "m", "chat", PRICE, dear), "price_out_of_range", "cost"),
        (Choice("m", "m", "chat", PRICE, None, 0), "invalid_tokens", "context_tokens"),
        (Choice("m", "m", "chat", PRICE, None, 1, 2), "max_output_too_large", "max_output_tokens"),
        (Choice("m", "m", "chat", PRICE, groups=(99,)), "group_unknown", "groups"),
    ]

    results = taken(shop, *(choice for choice, _, _ in wrong), Choice("g", "g", "chat", PRICE))

    assert [(one.code, one.field) for one in results[:-1]] == [(c, f) for _, c, f in wrong]
    assert all(one.outcome is Outcome.REFUSED and one.problem for one in results[:-1])
    assert results[-1].outcome is Outcome.CREATED
    with shop.database.read() as connection:
        assert [model.name for model in catalog.list_models(connection)] == ["g"]


def test_more_choices_than_can_be_meant_are_refused_at_once(shop: World) -> None:
    made(shop)

    with pytest.raises(Invalid, match="at most 1000"):
        taken(shop, *[Choice(f"m{n}", f"m{n}", "chat", PRICE) for n in range(1001)])


def test_a_refused_choice_leaves_nothing_of_itself_behind(shop: World) -> None:
    made(shop)
    planted = ModelTerms("m", Kind.CHAT, 1000, 100, Price(0, 0, 0, 0), (), enabled=False)
    with shop.database.write() as tx:
        catalog.put_model(tx, shop.act, planted)

    (result,) = taken(shop, Choice("one", "m", "chat", Price(0, 9, 9, 0), COST, 7, 7))

    with shop.database.read() as connection:
        model = catalog.get_model(connection, "m")
        told = [entry.action for entry in audit.entries(connection, f"model:{model.id}")]
    assert (result.outcome, result.code) == (Outcome.REFUSED, "price_missing")
    assert (model.routes, model.price.input_nano, model.enabled) == ((), 0, False)
    assert told == ["model.create"]
