"""What the pool of upstream keys promises an operator, requirement by requirement."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import msgspec
import pytest

from aipool.audit import service as audit
from aipool.audit.types import Act
from aipool.books.publish import build_snapshot
from aipool.catalog import service as catalog
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, Invalid
from aipool.kit.expiry import moment_or_days
from aipool.pool import service as pool
from aipool.pool.health import Health, Status
from aipool.pool.tables import key_health
from aipool.pool.types import KeyTerms, UpstreamKey, Vendor
from aipool.vendors import VENDORS_BY_TYPE
from aipool.vendors.types import KeySettings, Timeouts
from tests.world import COST, SECRET, World, open_world

DAY_MS = 86_400_000


@pytest.fixture
def world(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path, kind) as opened:
        yield opened


def names(tx: Transaction, vendor: Vendor) -> list[str]:
    return [key.name for key in pool.list_keys(tx.connection, vendor)]


def add(world: World, tx: Transaction, vendor: Vendor, **terms: object) -> UpstreamKey:
    wanted = replace(KeyTerms("", SECRET), **terms)  # type: ignore[arg-type]
    return pool.create_key(tx, world.act, world.secrets.keyring, world.vet, vendor, wanted)


def change(world: World, tx: Transaction, key: UpstreamKey, **fields: object) -> UpstreamKey:
    after, _ = pool.change_key(
        tx,
        world.act,
        world.secrets.keyring,
        world.vet,
        key,
        **fields,  # type: ignore[arg-type]
    )
    return after


def shown(
    tx: Transaction, key: UpstreamKey, health: Health, *, generation: int | None = None
) -> None:
    """What calls have shown of a key, as the ledger process writes it."""
    tx.connection.execute(
        key_health.insert().values(
            key_id=key.id,
            model="",
            generation=key.generation if generation is None else generation,
            step=1,
            health=health,
            until_ms=0,
            since_ms=1,
            why="insufficient_quota",
        )
    )


def status(tx: Transaction, key: UpstreamKey, at_ms: int) -> Status:
    return pool.key_status(key, pool.health_rows(tx.connection), at_ms)


def called(world: World) -> list[str]:
    """The names of the keys the workers are given, in their order."""
    with world.database.read() as connection:
        snapshot = build_snapshot(connection, world.secrets.keyring)
    return [key.name for vendor in snapshot.vendors for key in vendor.keys]


def week(world: World) -> int:
    return world.act.at_ms // 1000 + 7 * 86_400


def later(world: World, days: int) -> Act:
    return Act(world.act.actor, world.act.at_ms + days * DAY_MS)


def test_s1_01_all_keys_of_all_vendors_are_seen_and_managed_in_one_place(world: World) -> None:
    with world.database.write() as tx:
        one = world.vendor(tx, "one", keys=("a", "b"))
        two = world.vendor(tx, "two", keys=("c",))
        pool.move_key(tx, world.act, one, "b", 1)

        page, total = pool.search_keys(tx.connection, at_ms=world.act.at_ms)

    assert [(row.vendor.name, row.key.name) for row in page] == [
        ("one", "b"),
        ("one", "a"),
        ("two", "c"),
    ]
    assert total == 3
    assert two.id == page[2].key.vendor_id


def test_s1_02_every_key_has_a_status_in_one_word(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("main",))
        keys = {word: add(world, tx, vendor, name=word) for word in map(str, Status)}
        keys["expired"] = change(world, tx, keys["expired"], expires_at=week(world))
        pool.disable_key(tx, world.act, keys["disabled"])
        for word, health in (
            ("cooling", Health.COOLING),
            ("exceeded", Health.EXCEEDED),
            ("error", Health.INVALID),
        ):
            shown(tx, keys[word], health)
        shown(tx, keys["normal"], Health.INVALID, generation=0)

        page, _ = pool.search_keys(tx.connection, text="", at_ms=later(world, 8).at_ms)
        found = {row.key.name: row.status.value for row in page}
        moved, _ = pool.change_vendor(
            tx, world.act, world.vet, vendor, base_url="https://other.example/v1"
        )
        without_secret = pool.key_named(tx.connection, moved, "normal")

        assert found == {"main": "normal", **{word: word for word in keys}}
        assert status(tx, without_secret, world.act.at_ms) is Status.ERROR


def test_s1_03_the_priority_of_a_key_is_visible_and_can_be_changed(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("a", "b", "c"))
        assert [key.position for key in pool.list_keys(tx.connection, vendor)] == [0, 1, 2]

        pool.move_key(tx, world.act, vendor, "c", 1)

        assert names(tx, vendor) == ["c", "a", "b"]
    assert called(world) == ["c", "a", "b"]


def test_s1_04_an_order_is_put_whole_and_an_old_one_gets_the_one_there_is(world: World) -> None:
    with world.database.write() as tx:
        vendor = pool.get_vendor(tx.connection, world.vendor(tx, keys=("a", "b", "c")).name)
        ids = [key.id for key in pool.list_keys(tx.connection, vendor)]

        after = pool.order_keys(tx, world.act, vendor, ids[::-1], vendor.order_version)

        assert names(tx, vendor) == ["c", "b", "a"]
        assert after.order_version == vendor.order_version + 1
        with pytest.raises(pool.StaleOrder) as caught:
            pool.order_keys(tx, world.act, vendor, ids, vendor.order_version)
        assert (caught.value.code, caught.value.status) == ("order_changed", 409)
        assert caught.value.current == (after.order_version, tuple(ids[::-1]))
        for wrong in (ids[:2], [*ids, ids[0]], [*ids[:2], 99]):
            with pytest.raises(Invalid):
                pool.order_keys(tx, world.act, vendor, wrong, after.order_version)
        assert names(tx, vendor) == ["c", "b", "a"]


def test_s1_04_an_order_of_keys_that_are_not_the_same_any_more_is_an_old_one(
    world: World,
) -> None:
    with world.database.write() as tx:
        vendor = pool.get_vendor(tx.connection, world.vendor(tx, keys=("a", "b")).name)
        ids = [key.id for key in pool.list_keys(tx.connection, vendor)]
        world.key(tx, vendor, "c")

        with pytest.raises(pool.StaleOrder):
            pool.order_keys(tx, world.act, vendor, ids, vendor.order_version)


def test_s1_07_the_order_across_vendors_is_that_of_a_models_routes(world: World) -> None:
    with world.database.write() as tx:
        one, two = world.vendor(tx, "one"), world.vendor(tx, "two")
        world.model(tx, one)
        model = catalog.get_model(tx.connection, "m1")
        other = model.routes[0]._replace(vendor_id=two.id, cost=COST)

        assert catalog.put_routes(tx, world.act, model, [other, *model.routes])
        assert not catalog.put_routes(tx, world.act, model, [other, *model.routes])
        routes = catalog.get_model(tx.connection, "m1").routes

    assert [route.vendor_id for route in routes] == [two.id, one.id]


def test_s1_08_the_key_that_comes_with_a_vendor_is_its_default_key(world: World) -> None:
    with world.database.write() as tx:
        vendor = pool.create_vendor(tx, world.act, world.vet, name="mm", vendor_type="minimax")
        first, second = add(world, tx, vendor), add(world, tx, vendor)
        assert (first.default, second.default) == (True, False)

        assert pool.set_default_key(tx, world.act, second)

        first, second = pool.list_keys(tx.connection, vendor)
        assert (first.default, second.default) == (False, True)
        replaced = change(world, tx, second, secret="another-secret-0123456789")
        assert replaced.default


def test_s1_09_the_default_key_cannot_be_deleted_even_when_it_is_disabled(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("main",))
        (main,) = pool.list_keys(tx.connection, vendor)
        pool.disable_key(tx, world.act, main)
        with pytest.raises(Conflict, match="default key"):
            pool.delete_key(tx, world.act, main)

        pool.set_default_key(tx, world.act, add(world, tx, vendor))
        pool.delete_key(tx, world.act, main)

        assert names(tx, vendor) == ["key1"]


def test_s1_10_more_keys_are_added_one_by_one_or_pasted_with_a_result_a_line(world: World) -> None:
    paste = f"""
{SECRET}
sk-new-one
named sk-new-two
other, sk-new-three
sk-new-one
named sk-new-four
bad sk-bäd""".split("\n")
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("main",))
        results = pool.create_keys(
            tx,
            world.act,
            world.secrets.keyring,
            world.vet,
            vendor,
            paste,
            settings=KeySettings(weight=3),
            expires_at=week(world),
        )
        keys = pool.list_keys(tx.connection, vendor)

    assert [(one.line, one.state.value, one.name) for one in results] == [
        (1, "blank", ""),
        (2, "duplicate", "main"),
        (3, "created", "key1"),
        (4, "created", "named"),
        (5, "created", "other"),
        (6, "duplicate", "key1"),
        (7, "refused", ""),
        (8, "refused", ""),
    ]
    assert [one.code for one in results[6:]] == ["key_exists", "api_key_malformed"]
    assert not any("sk-" in one.message for one in results)
    assert [(key.name, key.settings.weight, key.expires_at) for key in keys[1:]] == [
        (name, 3, week(world)) for name in ("key1", "named", "other")
    ]


def test_s1_11_a_name_is_key_and_the_largest_number_plus_one_and_can_be_changed(
    world: World,
) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=())
        keys = [add(world, tx, vendor) for _ in range(3)]
        pool.delete_key(tx, world.act, keys[1])
        assert add(world, tx, vendor).name == "key4"

        change(world, tx, keys[2], name="spare")

        assert names(tx, vendor) == ["key1", "spare", "key4"]
        with pytest.raises(Conflict):
            change(world, tx, keys[2], name="key1")
        with pytest.raises(Invalid):
            change(world, tx, keys[2], name=" key9")


def test_s1_12_a_key_has_settings_of_its_own_beside_its_secret(world: World) -> None:
    settings = KeySettings(
        base_url="https://mirror.example/v1/",
        model_map={"m1": "my-m1"},
        headers={"X-Team": "blue"},
        query={"tenant": "7"},
        body_set={"top_k": 5},
        timeouts=Timeouts(first_byte=9.0),
        capabilities={"stream_options": False},
        weight=2,
        concurrency=8,
    )
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        made = add(world, tx, vendor, settings=settings)
        key = pool.get_key(tx.connection, made.id)
        tx.finish()
        trail = audit.entries(tx.connection, pool.key_target(key.id))

        assert key.settings == replace_url(settings, "https://mirror.example/v1")
        assert (
            pool.resolved_url(vendor, key, "m1")
            == "https://mirror.example/v1/chat/completions?tenant=7"
        )
        assert "blue" not in str(trail)
        for wrong, field in (
            ({"base_url": "http://127.0.0.1/v1"}, "config.base_url"),
            ({"base_url": "https://localhost/v1"}, "config.base_url"),
            ({"headers": {"Authorization": "x"}}, "config.headers.Authorization"),
            ({"weight": 0}, "config.weight"),
        ):
            with pytest.raises(Invalid) as caught:
                add(world, tx, vendor, settings=KeySettings(**wrong))
            assert caught.value.field == field
        assert len(names(tx, vendor)) == 2
    with world.database.read() as connection:
        (views,) = build_snapshot(connection, world.secrets.keyring).vendors
    assert views.keys[1].settings == key.settings


def replace_url(settings: KeySettings, base_url: str) -> KeySettings:
    return msgspec.structs.replace(settings, base_url=base_url)


def test_s1_12_a_key_that_goes_to_another_host_loses_its_secret(world: World) -> None:
    elsewhere = KeySettings(base_url="https://elsewhere.example/v1")
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("main", "spare"))
        main, spare = pool.list_keys(tx.connection, vendor)

        main = change(world, tx, main, settings=elsewhere)
        spare = change(world, tx, spare, settings=elsewhere, secret="given-again-0123456789")

        assert (main.secret_missing, main.last4) == (True, "")
        assert pool.open_secrets(tx.connection, world.secrets.keyring) == {
            spare.id: "given-again-0123456789"
        }
        path = KeySettings(base_url="https://elsewhere.example/v2")
        assert not change(world, tx, spare, settings=path).secret_missing
    assert called(world) == ["spare"]


def test_s1_12_headers_stay_behind_when_a_key_goes_to_another_host(world: World) -> None:
    team = {"X-Team": "canary"}
    here = KeySettings(base_url="https://one.example/v1", headers=team, query={"tenant": "7"})
    there = msgspec.structs.replace(here, base_url="https://two.example/v1")
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("main",))
        key = add(world, tx, vendor, name="headed", settings=here)

        moved = change(world, tx, key, settings=there)
        assert (moved.settings.headers, moved.settings.query) == ({}, {})
        again = msgspec.structs.replace(here, headers={"X-Team": "blue"})
        back = change(world, tx, moved, settings=again, secret="given-again-0123456789")
        assert back.settings == again


def test_s1_12_a_vendor_that_moves_takes_no_secret_and_no_header_along(world: World) -> None:
    own = KeySettings(base_url="https://mirror.example/v1", headers={"X-Own": "1"})
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("main",))
        add(world, tx, vendor, name="headed", settings=KeySettings(headers={"X-Team": "blue"}))
        add(world, tx, vendor, name="own", settings=own)
        before = pool.list_keys(tx.connection, vendor)

        same_host, none = pool.change_vendor(
            tx, world.act, world.vet, vendor, base_url="https://api.minimaxi.com/v2"
        )
        moved, dropped = pool.change_vendor(
            tx, world.act, world.vet, vendor, base_url="https://elsewhere.example/v1"
        )

        after = pool.list_keys(tx.connection, vendor)
        assert (none, dropped) == ((), ("main", "headed"))
        assert [key.secret_missing for key in after] == [True, True, False]
        assert [key.settings.headers for key in after] == [{}, {}, {"X-Own": "1"}]
        assert [
            new.generation - old.generation for new, old in zip(after, before, strict=True)
        ] == [
            2,
            2,
            0,
        ]
        assert moved.base_url == "https://elsewhere.example/v1"
        assert same_host.base_url == "https://api.minimaxi.com/v2"
    assert called(world) == ["own"]


def test_s1_12_a_server_that_asks_for_no_secret_can_move(world: World) -> None:
    with world.database.write() as tx:
        vendor = pool.create_vendor(
            tx,
            world.act,
            world.vet,
            name="own",
            vendor_type="openai_compatible",
            base_url="https://one.example/v1",
        )
        add(world, tx, vendor, secret="")

        _, dropped = pool.change_vendor(
            tx, world.act, world.vet, vendor, base_url="https://two.example/v1"
        )

        assert dropped == ()
    assert called(world) == ["key1"]


def test_s1_13_a_key_expires_when_it_is_said_to_and_never_otherwise(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("main",))
        forever, ends = add(world, tx, vendor), add(world, tx, vendor, expires_at=week(world))

        assert (forever.expires_at, ends.expires_at) == (0, week(world))
        assert status(tx, ends, later(world, 6).at_ms) is Status.NORMAL
        assert status(tx, ends, later(world, 7).at_ms) is Status.EXPIRED
        assert status(tx, forever, later(world, 99_999).at_ms) is Status.NORMAL
        for past in (world.act.at_ms // 1000, 1, -5):
            with pytest.raises(Invalid):
                add(world, tx, vendor, expires_at=past)
            with pytest.raises(Invalid):
                change(world, tx, forever, expires_at=past)
        assert change(world, tx, ends, expires_at=0).expires_at == 0
    assert moment_or_days("+7d", world.act.at_ms // 1000) == week(world)


def test_s1_13_the_default_key_does_not_expire(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=())
        with pytest.raises(Conflict):
            add(world, tx, vendor, expires_at=week(world))
        main, ends = add(world, tx, vendor), add(world, tx, vendor, expires_at=week(world))

        with pytest.raises(Conflict):
            change(world, tx, main, expires_at=week(world))
        with pytest.raises(Conflict):
            pool.set_default_key(tx, world.act, ends)
        assert pool.get_key(tx.connection, main.id).default


def test_s1_14_a_key_is_disabled_and_enabled(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("a", "b"))
        key = pool.key_named(tx.connection, vendor, "a")
        pool.disable_key(tx, world.act, key)
        pool.disable_key(tx, world.act, key)
        assert status(tx, pool.get_key(tx.connection, key.id), world.act.at_ms) is Status.DISABLED
    assert called(world) == ["b"]

    with world.database.write() as tx:
        pool.enable_key(tx, world.act, key)
        tx.finish()
        trail = [entry.action for entry in audit.entries(tx.connection, pool.key_target(key.id))]
    assert called(world) == ["a", "b"]
    assert trail == ["key.enable", "key.disable", "key.create"]


def test_s1_15_a_key_that_has_expired_can_only_be_deleted(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("main",))
        key = add(world, tx, vendor, expires_at=week(world))
        world.act = later(world, 7)

        for refused in (
            lambda: pool.enable_key(tx, world.act, key),
            lambda: pool.disable_key(tx, world.act, key),
            lambda: pool.set_default_key(tx, world.act, key),
            lambda: change(world, tx, key, name="other"),
            lambda: change(world, tx, key, secret="another-secret-0123456789"),
            lambda: change(world, tx, key, settings=KeySettings(weight=2)),
            lambda: change(world, tx, key, expires_at=0),
        ):
            with pytest.raises(Conflict) as caught:
                refused()
            assert caught.value.code == "key_expired"
        assert not pool.clear_health(tx, world.act, key, why="it answered")
        assert pool.get_key(tx.connection, key.id) == key

        pool.delete_key(tx, world.act, key)
        assert names(tx, vendor) == ["main"]


def test_s1_17_enabling_makes_a_key_without_quota_normal(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("main",))
        (key,) = pool.list_keys(tx.connection, vendor)
        shown(tx, key, Health.EXCEEDED)
        assert status(tx, key, world.act.at_ms) is Status.EXCEEDED

        after = pool.enable_key(tx, world.act, key)

        assert status(tx, after, world.act.at_ms) is Status.NORMAL
        assert after.generation == key.generation + 1
        tx.finish()
        entry, *_ = audit.entries(tx.connection, pool.key_target(key.id))
        assert "exceeded: insufficient_quota" in str(entry.before)
    with world.database.read() as connection:
        (vendor_view,) = build_snapshot(connection, world.secrets.keyring).vendors
    assert vendor_view.keys[0].generation == after.generation


def test_s1_18_a_list_is_searched_filtered_and_turned_page_by_page(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=tuple(f"Main{number}" for number in range(7)))
        world.vendor(tx, "other", keys=("x",))
        pool.disable_key(tx, world.act, pool.key_named(tx.connection, vendor, "Main3"))

        def page(**wanted: object) -> tuple[list[str], int]:
            rows, total = pool.search_keys(
                tx.connection,
                at_ms=world.act.at_ms,
                **wanted,  # type: ignore[arg-type]
            )
            return [row.key.name for row in rows], total

        assert page(offset=2, limit=3) == (["Main2", "Main3", "Main4"], 8)
        assert page(offset=7, limit=3) == (["x"], 8)
        assert page(text="MAIN5") == (["Main5"], 1)
        assert page(text="oth") == (["x"], 1)
        assert page(status=Status.DISABLED) == (["Main3"], 1)
        assert page(vendor_id=vendor.id, status=Status.NORMAL, limit=1) == (["Main0"], 6)


def test_s1_18_secrets_are_masked_and_edits_are_dated(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("main",))
        (key,) = pool.list_keys(tx.connection, vendor)
        world.act = later(world, 1)
        after = change(world, tx, key, name="other")

    assert after.last4 == SECRET[-4:]
    assert SECRET not in repr(after) + repr(KeyTerms("x", SECRET))
    assert after.edited_at_ms == world.act.at_ms > key.edited_at_ms == key.created_at_ms


def test_s1_18_a_vendors_page_for_keys_is_known(world: World) -> None:
    asking = [
        vendor for vendor in VENDORS_BY_TYPE.values() if vendor.base_url and not vendor.socket
    ]

    assert all(vendor.key_page.startswith("https://") for vendor in asking)
