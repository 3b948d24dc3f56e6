"""Models, versions of prices, and groups."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from aipool.catalog import rules
from aipool.catalog import service as catalog
from aipool.catalog.tables import prices
from aipool.catalog.types import Route
from aipool.groups import service as groups
from aipool.kit.errors import BusinessError, Invalid
from aipool.kit.money import MoneyError
from aipool.rating.types import Price
from aipool.vendors.types import NO_TIMEOUTS, Timeouts
from tests.world import COST, World, open_world


@pytest.fixture
def world(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path, kind) as opened:
        yield opened


def test_a_model_is_read_back_as_it_was_written(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        made, changed = catalog.put_model(tx, world.act, world.terms(vendor))
        model = catalog.get_model(tx.connection, "m1")

    assert (made, changed) == (True, ())
    assert (model.context_tokens, model.max_output_tokens, model.enabled) == (1000, 100, True)
    assert catalog.describe(model.price) == "2/0.5/8"
    assert [(route.vendor_id, route.upstream_model) for route in model.routes] == [
        (vendor.id, "m1")
    ]
    assert model.price.id > 0
    assert model.routes[0].cost.id > 0


def test_the_same_terms_again_make_no_new_version(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        world.model(tx, vendor)
        before = catalog.get_model(tx.connection, "m1")
    with world.database.write() as tx:
        made, changed = catalog.put_model(tx, world.act, world.terms(vendor))
        assert catalog.get_model(tx.connection, "m1") == before

    assert (made, changed) == (False, ())
    assert tx.revision == 0


def test_another_price_is_a_new_version_and_the_old_one_stays(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        world.model(tx, vendor)
        old = catalog.get_model(tx.connection, "m1")
        dearer = replace_price(old.price, output_nano=9_000_000_000)
        terms = replace(world.terms(vendor), price=dearer)

        _, changed = catalog.put_model(tx, world.act, terms)

        new = catalog.get_model(tx.connection, "m1")
        stored = tx.connection.execute(sa.select(prices).where(prices.c.id == old.price.id)).one()
    assert changed == ("price 2/0.5/8 -> 2/0.5/9",)
    assert new.price.id > old.price.id
    assert new.routes == old.routes
    assert stored.output_nano == old.price.output_nano


def replace_price(price: Price, *, output_nano: int) -> Price:
    return Price(0, price.input_nano, price.cached_input_nano, output_nano)


def test_another_change_keeps_the_version_of_the_price(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        world.model(tx, vendor)
        old = catalog.get_model(tx.connection, "m1")

        catalog.put_model(tx, world.act, replace(world.terms(vendor), context_tokens=2000))

        new = catalog.get_model(tx.connection, "m1")
    assert new.context_tokens == 2000
    assert new.price == old.price
    assert new.routes == old.routes


def test_routes_keep_the_order_in_which_they_are_tried(world: World) -> None:
    with world.database.write() as tx:
        first, second = world.vendor(tx, "a"), world.vendor(tx, "b")
        routes = (Route(second.id, "x", COST), Route(first.id, "y", COST))
        catalog.put_model(tx, world.act, replace(world.terms(first), routes=routes))
        model = catalog.get_model(tx.connection, "m1")
        assert [route.upstream_model for route in model.routes] == ["x", "y"]

        turned = replace(world.terms(first), routes=routes[::-1])
        _, changed = catalog.put_model(tx, world.act, turned)

        after = catalog.get_model(tx.connection, "m1")
    assert changed == ("routes",)
    assert [route.upstream_model for route in after.routes] == ["y", "x"]
    # The costs did not change, so they keep their versions.
    assert {route.cost.id for route in after.routes} == {route.cost.id for route in model.routes}


def test_a_price_cannot_be_rewritten(world: World) -> None:
    with world.database.write() as tx:
        world.model(tx, world.vendor(tx))

    for statement in (sa.update(prices).values(input_nano=0), sa.delete(prices)):
        with (
            pytest.raises(sa.exc.IntegrityError, match="append-only"),
            world.database.write() as tx,
        ):
            tx.connection.execute(statement)


def test_an_output_larger_than_the_context_is_refused(world: World) -> None:
    with world.database.write() as tx:
        terms = replace(world.terms(world.vendor(tx)), max_output_tokens=1001)
        with pytest.raises(Invalid):
            catalog.put_model(tx, world.act, terms)


def test_a_model_goes_off_sale_and_back(world: World) -> None:
    with world.database.write() as tx:
        world.model(tx, world.vendor(tx))
        assert catalog.set_enabled(tx, world.act, "m1", enabled=False)
        assert not catalog.set_enabled(tx, world.act, "m1", enabled=False)
        assert not catalog.get_model(tx.connection, "m1").enabled
        assert catalog.set_enabled(tx, world.act, "m1", enabled=True)


@pytest.mark.parametrize("text", ["-1", "-0.000000001", "1000000.01", "1e3", "", "NaN", "１"])
def test_an_absurd_price_is_refused(text: str) -> None:
    with pytest.raises((BusinessError, MoneyError)):
        rules.price_nano(text)


def test_a_price_is_exact() -> None:
    assert rules.price_nano("0.000000001") == 1
    assert rules.price_nano("1000000") == 10**15


@pytest.mark.parametrize("text", ["0", "-5", "1.5", "", "100000001", "9" * 30, "１２"])
def test_an_absurd_number_of_tokens_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        rules.token_count(text)


@pytest.mark.parametrize("name", ["gpt-4o-mini", "MiniMax-M3", "org/model:free", "a@b+c_1.5"])
def test_names_that_models_have_are_accepted(name: str) -> None:
    assert rules.model_name(name) == name


@pytest.mark.parametrize("name", ["", "-x", "a b", 'a"b', "a\n", "模型", "x" * 201])
def test_names_that_would_not_fit_a_url_are_refused(name: str) -> None:
    with pytest.raises(Invalid):
        rules.model_name(name)


def test_a_group_is_made_changed_and_left_alone(world: World) -> None:
    with world.database.write() as tx:
        world.model(tx, world.vendor(tx))

        def put(multiplier_ppm: int, models: tuple[str, ...] | None) -> bool:
            _, changed = groups.put_group(
                tx, world.act, name="vip", multiplier_ppm=multiplier_ppm, models=models
            )
            return changed

        assert put(800_000, ("m1",))
        assert not put(800_000, ("m1",))
        assert put(900_000, ("m1",))
        assert put(900_000, None)
        assert groups.get_group(tx.connection, "vip").models is None


def test_the_default_group_sells_everything_at_list_price(world: World) -> None:
    with world.database.write() as tx:
        first = groups.default_group(tx, world.act)

        assert groups.default_group(tx, world.act) == first
        assert (first.name, first.multiplier_ppm, first.models) == ("default", 1_000_000, None)


def test_a_list_with_an_unknown_model_is_refused_by_name(world: World) -> None:
    with world.database.write() as tx:
        world.model(tx, world.vendor(tx))
        catalog.check_names(tx.connection, ["m1"])
        with pytest.raises(Invalid, match="nothing-like-it"):
            catalog.check_names(tx.connection, ["m1", "nothing-like-it"])


def test_a_route_may_be_limited_to_groups(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        routes = (Route(vendor.id, "x", COST, (3, 1)), Route(vendor.id, "y", COST))
        catalog.put_model(tx, world.act, replace(world.terms(vendor), routes=routes))

        model = catalog.get_model(tx.connection, "m1")

    assert [route.groups for route in model.routes] == [(3, 1), ()]


def test_routes_are_put_alone_and_keep_the_versions_of_their_costs(world: World) -> None:
    with world.database.write() as tx:
        vendor, other = world.vendor(tx), world.vendor(tx, "other")
        world.model(tx, vendor)
        model = catalog.get_model(tx.connection, "m1")
        (route,) = model.routes
        more = Route(other.id, "up", replace_price(route.cost, output_nano=7), (3,))

        assert catalog.put_routes(tx, world.act, model, [more, route])
        after = catalog.get_model(tx.connection, "m1")
        assert not catalog.put_routes(tx, world.act, model, after.routes)

        assert after.routes[1] == route
        assert (after.routes[0].vendor_id, after.routes[0].groups) == (other.id, (3,))
        assert after.price == model.price
        assert catalog.models_routed_to(tx.connection, other.id) == ["m1"]
        for wrong in ([], [route] * (catalog.ROUTES_MAX + 1)):
            with pytest.raises(Invalid):
                catalog.put_routes(tx, world.act, model, wrong)


def test_timeouts_of_a_model_are_kept_and_changed(world: World) -> None:
    timeouts = Timeouts(first_byte=90.0, idle=2.5)
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        terms = replace(world.terms(vendor), timeouts=timeouts)
        catalog.put_model(tx, world.act, terms)
        assert catalog.get_model(tx.connection, "m1").timeouts == timeouts
        assert catalog.put_model(tx, world.act, world.terms(vendor)) == (False, ("timeouts",))
        model = catalog.get_model(tx.connection, "m1")
        assert model.timeouts == NO_TIMEOUTS

        assert catalog.set_timeouts(tx, world.act, model, timeouts)
        assert not catalog.set_timeouts(tx, world.act, model, timeouts)

        assert catalog.get_model(tx.connection, "m1").timeouts == timeouts


@pytest.mark.parametrize("text", ["0", "-1", "3601", "0.05", "x", "", "inf", "nan"])
def test_an_absurd_timeout_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        rules.timeout_seconds(text)


def test_a_timeout_is_seconds_or_none() -> None:
    assert (rules.timeout_seconds("0.5"), rules.timeout_seconds("none")) == (0.5, None)
