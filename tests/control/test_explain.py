"""The dry run says what the workers would do: asked as an operator asks, on real records."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aipool.accounts import service as accounts
from aipool.accounts.types import Status
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import ApiToken
from aipool.catalog import service as catalog
from aipool.catalog.types import Route
from aipool.control.explain import Explained, Place, explain
from aipool.groups.service import put_group
from aipool.kit.db import Transaction
from aipool.kit.errors import NotFound
from aipool.kit.money import PPM
from aipool.pool import service as pool
from aipool.pool.tables import key_health, upstream_keys
from aipool.pool.types import KeyTerms, UpstreamKey, Vendor
from aipool.vendors.types import KeySettings, Ordering, Timeouts
from aipool.wire.limits import Limits
from tests.control.api_rig import api
from tests.world import COST, SECRET, World, open_world

NOW_MS = 1_700_000_000_000
LATER_MS = NOW_MS + 60_000


@dataclass
class Stage:
    """A vendor with three keys that serves m1 to one token."""

    world: World
    vendor: Vendor
    token: ApiToken

    def explained(self, model: str = "m1", **other: Any) -> Explained:
        with self.world.database.read() as connection:
            return explain(
                connection,
                token_id=self.token.id,
                model_name=model,
                stream=other.get("stream", False),
                limits=Limits(),
                now_ms=other.get("now_ms", NOW_MS),
            )

    def keys(self, way: int = 0) -> dict[str, Place]:
        return {place.key: place for place in self.explained().routes[way].keys}

    def turns(self, way: int = 0) -> list[tuple[str, int, str]]:
        return [(key.key, key.turn, key.why) for key in self.explained().routes[way].keys]

    def key(self, tx: Transaction, name: str) -> UpstreamKey:
        return pool.key_named(tx.connection, self.vendor, name)

    def note(self, name: str, health: str, until_ms: int, model: str = "", why: str = "w") -> None:
        with self.world.database.write() as tx:
            key = self.key(tx, name)
            row = {"key_id": key.id, "model": model, "generation": key.generation, "step": 1}
            row |= {"health": health, "until_ms": until_ms, "since_ms": 1, "why": why}
            tx.connection.execute(key_health.insert().values(**row))

    def configure(self, name: str, **settings: Any) -> None:
        world = self.world
        with world.database.write() as tx:
            wanted = KeySettings(**settings)
            key = self.key(tx, name)
            keyring = world.secrets.keyring
            pool.change_key(tx, world.act, keyring, world.vet, key, settings=wanted)

    def route(self, *routes: Route) -> None:
        with self.world.database.write() as tx:
            model = catalog.get_model(tx.connection, "m1")
            catalog.put_routes(tx, self.world.act, model, routes)

    def order(self, ordering: Ordering, **other: Any) -> None:
        world = self.world
        with world.database.write() as tx:
            pool.change_vendor(tx, world.act, world.vet, self.vendor, ordering=ordering, **other)


@pytest.fixture(scope="module")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The installation with which each test begins: copying it is quicker than making it."""
    folder = tmp_path_factory.mktemp("stage")
    with open_world(folder) as world, world.database.write() as tx:
        world.model(tx, world.vendor(tx, keys=("a", "b", "c")))
        world.token(tx, world.user(tx))
    return folder


@pytest.fixture
def stage(prepared: Path, tmp_path: Path) -> Iterator[Stage]:
    shutil.copytree(prepared, tmp_path / "copy")
    with open_world(tmp_path / "copy") as world:
        with world.database.read() as connection:
            vendor = pool.get_vendor(connection, "mm")
            (token,) = api_tokens.list_tokens(connection)
        yield Stage(world, vendor, token)


# --- the keys -----------------------------------------------------------------------------------


def test_healthy_keys_are_called_in_the_order_of_the_list(stage: Stage) -> None:
    found = stage.explained()

    assert (found.refusal, found.group, found.model) == ("", "default", "m1")
    (way,) = found.routes
    assert (way.place, way.vendor, way.upstream_model, way.why) == (1, "mm", "m1", "")
    assert stage.turns() == [("a", 1, ""), ("b", 2, ""), ("c", 3, "")]
    assert way.keys[0].says == "would be called now"
    assert "as number 2" in way.keys[1].says


def test_what_people_and_calls_say_of_a_key_keeps_it_out_with_its_reason(stage: Stage) -> None:
    with stage.world.database.write() as tx:
        pool.disable_key(tx, stage.world.act, stage.key(tx, "a"))
    stage.note("b", "cooling", LATER_MS, why="rate_limited")

    keys = stage.keys()

    assert stage.turns() == [("a", 0, "disabled"), ("b", 0, "cooling"), ("c", 1, "")]
    assert "rate_limited" in keys["b"].says
    assert keys["b"].until == "2023-11-14T22:14:20Z"
    assert keys["a"].until == ""


@pytest.mark.parametrize("health", ["exceeded", "invalid"])
def test_what_does_not_end_by_itself_waits_for_a_person(stage: Stage, health: str) -> None:
    stage.note("a", health, 0)

    key = stage.keys()["a"]

    assert (key.turn, key.why, key.until) == (0, health, "")
    assert "until a person enables it again" in key.says


def test_a_quota_that_is_given_again_tells_when(stage: Stage) -> None:
    stage.note("a", "exceeded", LATER_MS)

    assert stage.keys()["a"].until == "2023-11-14T22:14:20Z"


def test_a_key_whose_time_is_over_is_probed_by_one_call(stage: Stage) -> None:
    stage.note("a", "cooling", NOW_MS)

    key = stage.keys()["a"]

    assert (key.turn, key.why) == (1, "")
    assert "finds out whether it is well again" in key.says


def test_what_was_known_before_a_person_enabled_a_key_is_void(stage: Stage) -> None:
    stage.note("a", "invalid", 0)
    with stage.world.database.write() as tx:
        pool.enable_key(tx, stage.world.act, stage.key(tx, "a"))

    assert stage.turns()[0] == ("a", 1, "")


def test_a_model_may_rest_on_a_key_that_serves_others(stage: Stage) -> None:
    stage.note("a", "cooling", LATER_MS, model="m1")
    stage.note("b", "cooling", LATER_MS, model="another")

    assert stage.turns() == [("a", 0, "model_cooling"), ("b", 1, ""), ("c", 2, "")]


def test_a_key_serves_what_it_is_configured_for(stage: Stage) -> None:
    stage.configure("a", models=("another",))
    stage.configure("b", models=("m1",), concurrency=4)

    assert stage.turns()[:2] == [("a", 0, "model_not_served"), ("b", 1, "")]
    assert "at most 4 calls at a time" in stage.keys()["b"].says


def test_an_expired_key_is_expired_whatever_else_it_is(stage: Stage) -> None:
    with stage.world.database.write() as tx:
        key = stage.key(tx, "b")
        pool.disable_key(tx, stage.world.act, key)
        tx.connection.execute(
            upstream_keys.update()
            .where(upstream_keys.c.id == key.id)
            .values(expires_at=NOW_MS // 1000)
        )

    assert stage.turns()[1] == ("b", 0, "expired")


def test_a_key_without_its_secret_is_not_called(stage: Stage) -> None:
    world = stage.world
    with world.database.write() as tx:
        pool.change_vendor(
            tx, world.act, world.vet, stage.vendor, base_url="https://elsewhere.example/v1"
        )

    assert {why for _, _, why in stage.turns()} == {"secret_missing"}
    assert stage.explained().refusal == "no_available_key"


def test_keys_by_weight_share_a_turn_and_their_shares_are_told(stage: Stage) -> None:
    stage.configure("a", weight=3)
    stage.order(Ordering.WEIGHTED, concurrency=9)
    with stage.world.database.write() as tx:
        pool.disable_key(tx, stage.world.act, stage.key(tx, "c"))

    keys = stage.keys()

    assert [key.turn for key in keys.values()] == [1, 1, 0]
    assert "75 % of the calls" in keys["a"].says
    assert "25 % of the calls" in keys["b"].says
    (way,) = stage.explained().routes
    assert "by chance" in way.order
    assert "at most 9 calls at a time" in way.order


def test_who_answers_soonest_only_a_worker_knows(stage: Stage) -> None:
    stage.order(Ordering.LEAST_LATENCY)

    assert {key.turn for key in stage.keys().values()} == {1}
    assert all("answered soonest of late" in key.says for key in stage.keys().values())


def test_how_long_a_key_is_waited_for(stage: Stage) -> None:
    stage.configure("a", timeouts=Timeouts(first_event=7.0))
    with stage.world.database.write() as tx:
        model = catalog.get_model(tx.connection, "m1")
        timeouts = Timeouts(first_byte=9.0, first_event=8.0)
        catalog.set_timeouts(tx, stage.world.act, model, timeouts)
    stage.route(Route(stage.vendor.id, "m1", COST))

    streamed = stage.explained(stream=True).routes[0].keys
    whole = stage.explained(stream=False).routes[0].keys

    assert [key.waits_seconds for key in streamed] == [7.0, 8.0, 8.0]
    assert [key.waits_seconds for key in whole] == [9.0, 9.0, 9.0]


# --- the routes ---------------------------------------------------------------------------------


def test_routes_follow_each_other_and_say_why_they_are_not_used(stage: Stage) -> None:
    with stage.world.database.write() as tx:
        vip, _ = put_group(tx, stage.world.act, name="vip", multiplier_ppm=PPM, models=None)
        empty = pool.create_vendor(
            tx, stage.world.act, stage.world.vet, name="empty", vendor_type="minimax"
        )
        other = stage.world.vendor(tx, "other", keys=("z",))
    stage.route(
        Route(other.id, "m1", COST, (vip.id,)),
        Route(empty.id, "m1", COST),
        Route(stage.vendor.id, "m1", COST),
        Route(stage.vendor.id, "m1-old", COST),
        Route(other.id, "m2", COST),
    )

    ways = stage.explained().routes

    assert [(way.vendor, way.why) for way in ways] == [
        ("other", "other_groups"),
        ("empty", "vendor_without_keys"),
        ("mm", ""),
        ("mm", ""),
        ("other", ""),
    ]
    assert "vip" in ways[0].says
    assert [(key.turn, key.why) for key in ways[0].keys] == [(0, "route_not_used")]
    assert [key.turn for key in ways[2].keys] == [1, 2, 3]
    assert {key.why for key in ways[3].keys} == {"tried_before"}
    assert [key.turn for key in ways[4].keys] == [4]


def test_a_further_route_asks_a_key_for_what_it_did_not_have(stage: Stage) -> None:
    stage.note("a", "cooling", LATER_MS, model="m1")
    stage.route(Route(stage.vendor.id, "m1", COST), Route(stage.vendor.id, "m1-old", COST))

    assert stage.turns(1)[0] == ("a", 3, "")
    assert stage.turns(1)[1] == ("b", 0, "tried_before")


def test_without_a_key_that_may_be_called_the_call_is_refused(stage: Stage) -> None:
    for name in "abc":
        stage.note(name, "cooling", LATER_MS)

    found = stage.explained()

    assert found.refusal == "no_available_key"
    assert stage.explained(now_ms=LATER_MS).refusal == ""


# --- may it? ------------------------------------------------------------------------------------


def test_whom_a_token_belongs_to_and_what_it_may_decides_first(stage: Stage) -> None:
    act = stage.world.act

    def refusal(model: str = "m1") -> str:
        return stage.explained(model).refusal

    assert refusal("nothing") == refusal("no\0thing") == "model_not_found"
    assert stage.explained("nothing").routes == ()
    with stage.world.database.write() as tx:
        catalog.set_enabled(tx, act, "m1", enabled=False)
    assert refusal() == "model_not_found"
    with stage.world.database.write() as tx:
        catalog.set_enabled(tx, act, "m1", enabled=True)
        put_group(tx, act, name="default", multiplier_ppm=PPM, models=[])
    assert refusal() == "model_not_allowed"
    with stage.world.database.write() as tx:
        put_group(tx, act, name="default", multiplier_ppm=PPM, models=None)
        api_tokens.set_enabled(tx, act, stage.token, enabled=False)
    assert refusal() == "token_disabled"
    with stage.world.database.write() as tx:
        disabled = api_tokens.get_token(tx.connection, stage.token.id)
        api_tokens.set_enabled(tx, act, disabled, enabled=True)
        owner = accounts.user_by_id(tx.connection, stage.token.user_id)
        accounts.set_status(tx, act, owner, Status.DISABLED)
    assert refusal() == "account_frozen"
    # What would be tried is told all the same.
    assert [key.turn for key in stage.explained().routes[0].keys] == [1, 2, 3]


def test_a_model_that_no_route_serves_for_the_group_is_not_sold_to_it(stage: Stage) -> None:
    with stage.world.database.write() as tx:
        vip, _ = put_group(tx, stage.world.act, name="vip", multiplier_ppm=PPM, models=None)
    stage.route(Route(stage.vendor.id, "m1", COST, (vip.id,)))

    found = stage.explained()

    assert found.refusal == "model_not_allowed"
    assert found.routes[0].why == "other_groups"


def test_a_tokens_own_models_time_and_addresses_count(stage: Stage) -> None:
    with stage.world.database.write() as tx:
        owner = accounts.user_by_id(tx.connection, stage.token.user_id)
        narrow, _ = stage.world.token(tx, owner, "narrow", models=("m2",), ips=("10.0.0.0/8",))
        old, _ = stage.world.token(tx, owner, "old", expires_at=NOW_MS // 1000)

    stage.token = narrow
    found = stage.explained()
    assert (found.refusal, found.only_from) == ("model_not_allowed", ("10.0.0.0/8",))
    stage.token = old
    assert stage.explained().refusal == "token_expired"
    assert stage.explained(now_ms=NOW_MS - 1000).refusal == ""


def test_a_token_that_does_not_exist_is_unknown(stage: Stage) -> None:
    with (
        stage.world.database.read() as connection,
        pytest.raises(NotFound, match="no token 99"),
    ):
        explain(
            connection, token_id=99, model_name="m1", stream=False, limits=Limits(), now_ms=NOW_MS
        )


# --- over HTTP ------------------------------------------------------------------------------------


def test_the_interface_answers_the_same_and_no_secret(tmp_path: Path) -> None:
    with api(tmp_path) as opened:
        world = opened.world
        with world.database.write() as tx:
            vendor = world.vendor(tx)
            key_terms = KeyTerms("spare", f"{SECRET}-spare")
            pool.create_key(tx, world.act, world.secrets.keyring, world.vet, vendor, key_terms)
            world.model(tx, vendor, "org/m1")
            token, secret = world.token(tx, world.user(tx))

        target = f"/api/route/explain?token={token.id}&model=org/m1"
        found = opened.good("GET", f"{target}&stream=1")
        with world.database.read() as connection:
            shown = explain(
                connection,
                token_id=token.id,
                model_name="org/m1",
                stream=True,
                limits=Limits(),
                now_ms=NOW_MS,
            )

        assert [key["key"] for key in found["routes"][0]["keys"]] == ["main", "spare"]
        assert found["routes"][0]["keys"][0]["says"] == shown.routes[0].keys[0].says
        assert opened.refused(404, "GET", target.replace(f"={token.id}", "=99"))["field"] == "token"
        assert opened.refused(422, "GET", "/api/route/explain?token=x")["field"] == "token"
        assert opened.refused(422, "GET", "/api/route/explain?token=1")["field"] == "model"
        assert opened.ask("GET", target, headers={}).status == 401
        assert not [said for said in opened.said if SECRET in said or secret in said]
