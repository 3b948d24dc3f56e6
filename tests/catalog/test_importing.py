"""Prices are taken over from a list: first a plan, then that plan."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from aipool.catalog import importing, seed
from aipool.catalog import service as catalog
from aipool.catalog.importing import Applied, Options, Plan, State
from aipool.catalog.price_sources import Package, PriceList, Where, read_file
from aipool.catalog.quoting import Exchange, amounts_of
from aipool.catalog.types import TYPED, Kind, ModelTerms, Route
from aipool.control.parties import vendors_at
from aipool.kit.errors import Conflict, Invalid
from aipool.rating.types import Extras, Price, Tier
from tests.world import World, open_world

AT = datetime(2026, 11, 22, 2, tzinfo=UTC)
SEVEN = Options(Exchange("USD", Decimal(7), "2026-11-22"), Decimal("1.5"))
NO_COST = Price(0, 0, 0, 0)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as opened:
        yield opened


def listed(**models: dict[str, Any]) -> PriceList:
    return read_file("prices.json 2026-11-22", json.dumps(models))


def text(given: float, answered: float, **more: float) -> dict[str, Any]:
    """As such files write it: dollars for one token."""
    return {"input_cost_per_token": given, "output_cost_per_token": answered, **more}


def sold(world: World, name: str = "m1", **terms: Any) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        made = replace(world.terms(vendor, name), routes=(Route(vendor.id, name, NO_COST),))
        catalog.put_model(tx, world.act, replace(made, **terms))


def planned(world: World, source: PriceList, options: Options = SEVEN) -> Plan:
    with world.database.read() as connection:
        return importing.plan(connection, source, options, vendors_at)


def applied(world: World, source: PriceList, plan: Plan, *confirmed: str) -> Applied:
    with world.database.write() as tx:
        return importing.apply(
            tx,
            world.act,
            source,
            SEVEN,
            vendors_at,
            digest=plan.digest,
            confirmed=confirmed,
        )


def read_back(world: World, name: str = "m1") -> tuple[dict[str, Any], list[dict[str, Any]]]:
    with world.database.read() as connection:
        model = catalog.get_model(connection, name)
        return amounts_of(model.price), [amounts_of(route.cost) for route in model.routes]


def test_cost_is_the_list_at_the_rate_and_sale_is_cost_times_markup_rounded_up(
    world: World,
) -> None:
    sold(world)
    source = listed(m1=text(2.5e-07, 0.0000010000000001, cache_read_input_token_cost=7e-8))

    plan = planned(world, source)
    done = applied(world, source, plan, "m1")

    assert (plan.source, [line.state for line in plan.lines]) == (source.name, [State.CHANGE])
    assert done == (("m1",), ())
    sale, (cost,) = read_back(world)
    assert cost == {"input": "1.75", "cached_input": "0.49", "output": "7.000000001"}
    assert sale == {"input": "2.625", "cached_input": "0.735", "output": "10.500000002"}
    with world.database.read() as connection:
        model = catalog.get_model(connection, "m1")
        quote = catalog.list_quotes(connection, [model])[model.price.id]
    assert (quote.currency, quote.rate, quote.rate_on) == ("USD", "7", "2026-11-22")
    assert quote.amounts == {"input": "0.25", "output": "1.0000000001", "cached_input": "0.07"}
    assert quote.source == source.name
    assert [line.state for line in planned(world, source).lines] == [State.SAME]


def test_a_change_of_more_than_30_per_cent_or_to_zero_needs_a_tick(world: World) -> None:
    sold(world)
    per_yuan = 1e-6 / 7 / 1.5

    # It is sold at 2, 0.5 and 8 yuan.
    cached = {"cache_read_input_token_cost": 0.5 * per_yuan}

    def needs(given: float, answered: float) -> tuple[str, ...]:
        plan = planned(world, listed(m1=text(given * per_yuan, answered * per_yuan, **cached)))
        return plan.lines[0].needs

    assert needs(2.59, 8) == ()
    assert needs(2.61, 8) == ("sale of input: by +30 %",)
    assert needs(2, 5.5) == ("sale of output: by -32 %",)
    assert needs(2, 0) == ("it would be free", "sale of output: to zero")


def test_what_needs_a_tick_and_has_none_is_skipped_and_told(world: World) -> None:
    sold(world)
    source = listed(m1=text(1e-3, 1e-3))
    before = read_back(world)

    assert applied(world, source, planned(world, source)) == ((), ("m1",))
    assert read_back(world) == before


def test_a_price_written_by_hand_is_left_and_so_is_a_cost(world: World) -> None:
    sold(world, price_locked=True)
    with world.database.write() as tx:
        vendor = world.vendor(tx, "other")
        catalog.put_model(tx, world.act, world.terms(vendor, "m2"))
    source = listed(m1=text(1e-6, 4e-6), m2=text(1e-6, 4e-6))
    sale, _ = read_back(world)
    _, typed = read_back(world, "m2")

    plan = planned(world, source)
    applied(world, source, plan, "m1", "m2")

    assert [line.locked for line in plan.lines] == [True, False]
    assert read_back(world) == (sale, [{"input": "7", "cached_input": "7", "output": "28"}])
    assert read_back(world, "m2")[1] == typed


def test_models_that_the_list_does_not_know_are_listed(world: World) -> None:
    sold(world)

    assert [line.state for line in planned(world, listed(m9=text(1, 1))).lines] == [State.MISSING]
    with pytest.raises(Invalid, match="no-such"):
        planned(world, listed(m1=text(1, 1)), replace(SEVEN, only=("no-such",)))


def test_a_plan_that_would_be_another_by_now_is_not_carried_out(world: World) -> None:
    sold(world)
    source = listed(m1=text(1e-6, 4e-6))
    plan = planned(world, source)
    with world.database.write() as tx:
        model = catalog.get_model(tx.connection, "m1")
        catalog.set_price(tx, world.act, model, Price(0, 9, 9, 9))

    with pytest.raises(Conflict, match="plan again"):
        applied(world, source, plan, "m1")


def test_what_cannot_be_a_price_is_refused_by_itself(world: World) -> None:
    sold(world)
    with world.database.write() as tx:
        vendor = world.vendor(tx, "other")
        catalog.put_model(tx, world.act, world.terms(vendor, "m2"))
    falling = text(1e-6, 4e-6, output_cost_per_token_above_200k_tokens=1e-6)
    source = listed(m1=falling, m2={"input_cost_per_token": 1e-6})

    plan = planned(world, source)

    assert [line.state for line in plan.lines] == [State.REFUSED, State.REFUSED]
    assert "at least as dear" in plan.lines[0].note
    assert "no price for output" in plan.lines[1].note
    assert applied(world, source, plan) == ((), ())


def test_the_units_and_tiers_of_a_file_are_ours(world: World) -> None:
    source = read_file(
        "f",
        json.dumps(
            {
                "minimax/m1": text(
                    1e-6,
                    2e-6,
                    cache_creation_input_token_cost=3e-6,
                    input_cost_per_audio_token=4e-6,
                    input_cost_per_token_above_128k_tokens=5e-6,
                    output_cost_per_token_above_200k_tokens=6e-6,
                    search_context_cost_per_query=0.01,
                ),
                "m1": text(9, 9),
            }
        ),
    )

    found = source.find("m1", Where("minimax", "https://x.example"))

    assert found is not None
    assert {unit: str(amount.normalize()) for unit, amount in found.amounts.items()} == {
        "input": "1",
        "output": "2",
        "cache_write": "3",
        "audio_input": "4",
    }
    assert [
        (tier["above_tokens"], int(tier["input"]), int(tier["output"])) for tier in found.tiers
    ] == [(128_000, 5, 2), (200_000, 5, 6)]
    assert "search_context_cost_per_query" in found.note


@pytest.mark.parametrize("text", ["", "[]", "{", "{}", '{"a": 1}', "[" * 100_000])
def test_a_file_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        read_file("f", text)


def test_the_package_prices_planted_models_and_first_what_is_published_in_yuan(
    world: World,
) -> None:
    with world.database.write() as tx:
        seed.plant(tx, world.act)
        for name in ("gpt-5.4", "whisper-1", "tts-1"):
            assert catalog.get_model(tx.connection, name).price.input_nano == 0
    source = Package(AT)
    only = ("gpt-5.4", "gpt-4o", "glm-5.3", "whisper-1", "tts-1", "text-embedding-3-small")

    plan = planned(world, source, replace(SEVEN, only=only))

    lines = {line.name: line for line in plan.lines}
    assert plan.source.startswith("genai-prices ")
    assert all(line.state is State.CHANGE and not line.costs for line in plan.lines)
    sales = {name: amounts_of(line.sale_after) for name, line in lines.items() if line.sale_after}
    assert sales["gpt-4o"] == {"input": "26.25", "cached_input": "13.125", "output": "105"}
    assert sales["gpt-5.4"]["tiers"][0]["above_tokens"] == 272_000
    assert sales["glm-5.3"]["input"] == "12"
    assert sales["whisper-1"]["second"] == "0.00105"
    assert sales["tts-1"]["character"] == "157.5"
    assert sales["text-embedding-3-small"]["input"] == "0.21"
    assert lines["glm-5.3"].quote.source.startswith("https://docs.bigmodel.cn/")


def test_a_model_of_another_kind_is_priced_by_its_own_units(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        route = Route(vendor.id, "draw", NO_COST)
        terms = ModelTerms("draw", Kind.IMAGE, 1, 1, NO_COST, (route,), enabled=False)
        catalog.put_model(tx, world.act, terms)
    source = listed(draw={"output_cost_per_image": 0.04})

    assert applied(world, source, planned(world, source)) == (("draw",), ())
    assert read_back(world, "draw")[0]["image"] == "0.42"


# --- what nobody has ticked -----------------------------------------------------------------------

CNY = 1_000_000_000
#: A dollar is a yuan here, so that what is for a token here is for a million of them there.
AT_COST = Options(Exchange("USD", Decimal(1), "2026-11-22"))
YUAN = 1e-6


def served(world: World, *costs: Price, price: Price, typed: int = 9) -> None:
    """m1 at this price, with a route for each of these costs. typed: so many of them somebody
    typed."""
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        routes = tuple(
            Route(vendor.id, f"m1-{place}", cost) for place, cost in enumerate(costs, start=1)
        )
        quotes = (TYPED,) * min(typed, len(routes))
        made = replace(world.terms(vendor), routes=routes, cost_quotes=quotes, price=price)
        catalog.put_model(tx, world.act, made)


def price(given: float, answered: float, extras: Extras | None = None) -> Price:
    given_nano = int(given * CNY)
    return Price(0, given_nano, given_nano, int(answered * CNY), extras)


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("input_cost_per_query", "call"),
        ("output_cost_per_image", "image"),
        ("output_cost_per_second", "second"),
        ("input_cost_per_character", "character"),
    ],
)
def test_a_fee_that_a_price_did_not_have_needs_a_tick(world: World, theirs: str, ours: str) -> None:
    sold(world, price=price(1.08, 4.32))
    source = listed(m1=text(1.08 * YUAN, 4.32 * YUAN, **{theirs: 0.5}))
    before = read_back(world)

    plan = planned(world, source, AT_COST)

    assert plan.lines[0].needs == (f"sale of {ours}: new",)
    with world.database.write() as tx:
        done = importing.apply(tx, world.act, source, AT_COST, vendors_at, digest=plan.digest)
    assert done == ((), ("m1",))
    assert read_back(world) == before


def test_a_unit_of_text_that_costs_more_of_its_own_needs_a_tick(world: World) -> None:
    sold(world, price=price(1, 4))
    source = listed(m1=text(YUAN, 4 * YUAN, cache_creation_input_token_cost=1.25 * YUAN))
    same = listed(m1=text(YUAN, 4 * YUAN, cache_creation_input_token_cost=YUAN))

    assert planned(world, source, AT_COST).lines[0].needs == ("sale of cache_write: new",)
    assert planned(world, same, AT_COST).lines[0].needs == ()


def test_what_was_free_of_charge_in_a_price_and_is_no_longer_needs_a_tick(world: World) -> None:
    sold(world, price=price(0, 4), free=True)

    assert planned(world, listed(m1=text(YUAN, 4 * YUAN)), AT_COST).lines[0].needs == (
        "it is free on purpose",
        "sale of input: new",
        "sale of cached_input: new",
    )


def test_a_first_price_needs_no_tick(world: World) -> None:
    sold(world, price=NO_COST, enabled=False)
    source = listed(m1=text(YUAN, 4 * YUAN, input_cost_per_query=0.5))

    assert planned(world, source, AT_COST).lines[0].needs == ()


def test_a_sound_that_follows_a_dear_tier_from_now_on_needs_a_tick(world: World) -> None:
    tier = Tier(1_000, 10 * CNY, 10 * CNY, 40 * CNY)
    sold(world, price=price(1, 4, Extras(audio_input_nano=CNY, tiers=(tier,))))
    above = "put_cost_per_token_above_1k_tokens"
    long = {f"in{above}": 10 * YUAN, f"out{above}": 40 * YUAN}
    source = listed(m1=text(YUAN, 4 * YUAN, **long))

    assert planned(world, source, AT_COST).lines[0].needs == (
        "sale of audio_input above 1000: by +900 %",
    )


# --- never below cost -----------------------------------------------------------------------------


def test_the_sale_price_covers_a_cost_that_somebody_typed(world: World) -> None:
    served(world, price(9, 30), NO_COST, price=price(10, 33), typed=1)
    source = listed(**{"m1-1": text(YUAN, 4 * YUAN), "m1-2": text(YUAN, 4 * YUAN)})

    (line,) = planned(world, source, AT_COST).lines

    assert line.sale_after is not None
    assert amounts_of(line.sale_after) == {"input": "9", "cached_input": "9", "output": "30"}
    assert line.needs == ()
    assert [change.place for change in line.costs] == [2]


def test_the_sale_price_covers_a_route_that_the_list_does_not_know(world: World) -> None:
    served(world, price(9, 30), price(1, 1), price=price(10, 33))
    known = {"m1-2": text(YUAN, 4 * YUAN)}

    (line,) = planned(world, listed(**known), AT_COST).lines

    assert line.sale_after is not None
    assert amounts_of(line.sale_after)["output"] == "30"
    assert not line.costs


def test_no_unit_is_sold_below_what_any_route_costs(world: World) -> None:
    """The one route is dearer by its answers, the other by its questions and by the call."""
    tier = Tier(2_000, 8 * CNY, 8 * CNY, 9 * CNY)
    served(
        world,
        price(1, 8),
        price(5, 6, Extras(call_nano=CNY, audio_input_nano=2 * CNY)),
        price(2, 2, Extras(audio_output_nano=3 * CNY, tiers=(tier,))),
        price=price(5, 8),
    )

    (line,) = planned(world, listed(**{"m1-1": text(YUAN, YUAN)}), SEVEN).lines

    assert line.sale_after is not None
    assert amounts_of(line.sale_after) == {
        "input": "7.5",
        "cached_input": "7.5",
        "output": "12",
        "audio_input": "12",
        "audio_output": "12",
        "call": "1.5",
        "tiers": [{"above_tokens": 2000, "input": "12", "cached_input": "12", "output": "13.5"}],
    }
    assert line.quote.currency == "CNY"
    assert not any("below" in need for need in line.needs)


def test_a_sale_below_a_cost_needs_a_tick(world: World) -> None:
    sold(world, price=price(1, 4))
    cheap = replace(AT_COST, markup=Decimal("0.9"))
    source = listed(m1=text(YUAN, 4 * YUAN))

    (line,) = planned(world, source, cheap).lines

    assert line.needs == (
        "sale of input below the cost of route 1",
        "sale of cached_input below the cost of route 1",
        "sale of output below the cost of route 1",
    )


def test_a_locked_price_that_no_longer_covers_a_cost_needs_a_tick(world: World) -> None:
    sold(world, price=price(1, 4), price_locked=True)

    (line,) = planned(world, listed(m1=text(YUAN, 5 * YUAN)), AT_COST).lines

    assert (line.sale_after, line.locked) == (None, True)
    assert line.needs == ("sale of output below the cost of route 1",)


def test_a_cost_of_nothing_that_somebody_typed_is_never_overwritten(world: World) -> None:
    served(world, NO_COST, price=price(7, 28))
    source = listed(**{"m1-1": text(2 * YUAN, 4 * YUAN)})

    plan = planned(world, source, AT_COST)
    applied(world, source, planned(world, source), "m1")

    assert not plan.lines[0].costs
    assert plan.lines[0].sale_after == price(2, 4), "sold at the list's price, nothing is lost"
    assert read_back(world)[1] == [{"input": "0", "cached_input": "0", "output": "0"}]


def test_a_zero_typed_later_where_nobody_had_said_anything_is_typed(world: World) -> None:
    sold(world)
    source = listed(m1=text(YUAN, 4 * YUAN))
    assert planned(world, source).lines[0].costs
    with world.database.write() as tx:
        model = catalog.get_model(tx.connection, "m1")
        (route,) = model.routes
        said = [route._replace(cost=NO_COST)]
        assert not catalog.put_routes(tx, world.act, model, said), "nobody says anything"
        assert catalog.put_routes(tx, world.act, model, said, [TYPED])
        assert not catalog.put_routes(tx, world.act, model, said, [TYPED])
        assert catalog.put_routes(tx, world.act, model, [route._replace(cost=NO_COST, groups=(1,))])

    assert not planned(world, source).lines[0].costs
