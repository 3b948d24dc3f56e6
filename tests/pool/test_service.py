"""Vendors and upstream keys."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from aipool.audit import service as audit
from aipool.audit.tables import audit_entries
from aipool.kit.db import Transaction
from aipool.kit.errors import BusinessError, Conflict, Invalid, NotFound
from aipool.kit.sealing import Unsealable
from aipool.pool import service as pool
from aipool.pool.tables import upstream_keys
from aipool.pool.types import KeyTerms, Vendor
from aipool.vendors.types import Action, KeySettings, Keyword, Ordering
from tests.world import SECRET, World, open_world


@pytest.fixture
def world(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path, kind) as opened:
        yield opened


def names(tx: Transaction, vendor: Vendor) -> list[str]:
    return [key.name for key in pool.list_keys(tx.connection, vendor)]


def test_the_first_key_is_the_default_one_and_cannot_be_deleted(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("main", "spare"))
        main, spare = pool.list_keys(tx.connection, vendor)
        assert (main.default, spare.default) == (True, False)
        with pytest.raises(Conflict):
            pool.delete_key(tx, world.act, main)

        pool.delete_key(tx, world.act, spare)

        assert names(tx, vendor) == ["main"]


def test_another_key_can_become_the_default_one(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("main", "spare"))
        assert pool.set_default_key(tx, world.act, pool.key_named(tx.connection, vendor, "spare"))
        assert not pool.set_default_key(
            tx, world.act, pool.key_named(tx.connection, vendor, "spare")
        )

        main, spare = pool.list_keys(tx.connection, vendor)
        assert (main.default, spare.default) == (False, True)


def test_the_id_of_a_deleted_key_is_not_given_again(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("main", "spare"))
        spare = pool.key_named(tx.connection, vendor, "spare")
        pool.delete_key(tx, world.act, spare)
        world.key(tx, vendor, "new")

        assert pool.key_named(tx.connection, vendor, "new").id > spare.id


def test_a_key_moves_to_a_place_and_the_others_keep_their_order(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("a", "b", "c", "d"))

        assert pool.move_key(tx, world.act, vendor, "c", 1)
        assert names(tx, vendor) == ["c", "a", "b", "d"]
        assert pool.move_key(tx, world.act, vendor, "c", 4)
        assert names(tx, vendor) == ["a", "b", "d", "c"]
        assert not pool.move_key(tx, world.act, vendor, "c", 4)


@pytest.mark.parametrize("place", [0, 5, -1])
def test_a_place_outside_the_order_is_refused(world: World, place: int) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("a", "b", "c", "d"))
        with pytest.raises(Invalid):
            pool.move_key(tx, world.act, vendor, "a", place)


def test_named_keys_come_first_and_the_rest_follows(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("a", "b", "c", "d"))

        pool.put_first(tx, world.act, vendor, ["d", "b"])

        assert names(tx, vendor) == ["d", "b", "a", "c"]
        with pytest.raises(NotFound):
            pool.put_first(tx, world.act, vendor, ["nobody"])
        with pytest.raises(Invalid):
            pool.put_first(tx, world.act, vendor, ["a", "a"])


def test_a_secret_is_stored_sealed_and_only_its_end_is_shown(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        key = pool.key_named(tx.connection, vendor, "main")

        stored = str(tx.connection.execute(sa.select(upstream_keys)).all())
        trail = str(tx.connection.execute(sa.select(audit_entries)).all())

    assert SECRET not in stored + trail + repr(key)
    assert key.last4 == SECRET[-4:]


def test_nothing_of_a_short_secret_is_shown(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=())
        world.key(tx, vendor, "main", "short")

        assert pool.key_named(tx.connection, vendor, "main").last4 == ""


def test_a_sealed_secret_copied_to_another_key_does_not_open(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("a", "b"))
        first, second = pool.list_keys(tx.connection, vendor)
        sealed = sa.select(upstream_keys.c.sealed_secret).where(upstream_keys.c.id == first.id)
        tx.connection.execute(
            sa.update(upstream_keys)
            .where(upstream_keys.c.id == second.id)
            .values(sealed_secret=sealed.scalar_subquery())
        )
        with pytest.raises(Unsealable, match=f"upstream_key:{second.id}"):
            pool.open_secrets(tx.connection, world.secrets.keyring)


def test_the_same_terms_again_change_nothing(world: World) -> None:
    with world.database.write() as tx:
        world.vendor(tx)
    with world.database.write() as tx:
        world.vendor(tx)

    assert tx.revision == 0


def test_another_secret_is_a_change_and_is_used(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
    with world.database.write() as tx:
        terms = KeyTerms("main", "another-secret-0123456789")
        key, changed = pool.put_key(tx, world.act, world.secrets.keyring, world.vet, vendor, terms)
        secrets = pool.open_secrets(tx.connection, world.secrets.keyring)

    assert changed == ("api_key",)
    assert secrets == {key.id: "another-secret-0123456789"}
    assert tx.revision > 0


def test_a_vendor_that_moves_gets_no_key_that_is_not_given_again(world: World) -> None:
    def move(tx: Transaction, reentered: tuple[str, ...]) -> None:
        pool.put_vendor(
            tx,
            world.act,
            world.vet,
            name="mm",
            vendor_type="minimax",
            base_url="https://elsewhere.example/v1",
            reentered=reentered,
        )

    with world.database.write() as tx:
        world.vendor(tx, keys=("a", "b"))
    for reentered in ((), ("a",)):
        with pytest.raises(Conflict) as caught, world.database.write() as tx:
            move(tx, reentered)
        assert caught.value.code == "keys_must_be_reentered"
    with world.database.write() as tx:
        move(tx, ("a", "b"))

        assert pool.get_vendor(tx.connection, "mm").base_url == "https://elsewhere.example/v1"


def test_a_vendor_keeps_its_type(world: World) -> None:
    with world.database.write() as tx:
        world.vendor(tx)
        with pytest.raises(Conflict):
            pool.put_vendor(tx, world.act, world.vet, name="mm", vendor_type="openai", base_url="")


def test_a_taken_name_and_an_unknown_one_are_refused(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        keyring = world.secrets.keyring
        for act in (
            lambda: pool.create_key(
                tx, world.act, keyring, world.vet, vendor, KeyTerms("main", SECRET)
            ),
            lambda: pool.key_named(tx.connection, vendor, "nobody"),
            lambda: pool.get_vendor(tx.connection, "nobody"),
        ):
            with pytest.raises(BusinessError):
                act()


def test_a_vendor_that_a_route_names_cannot_be_deleted(world: World) -> None:
    with world.database.write() as tx:
        vendor, spare = world.vendor(tx), world.vendor(tx, "spare")
        world.model(tx, vendor)
        with pytest.raises(Conflict, match="m1") as caught:
            pool.delete_vendor(tx, world.act, vendor)
        assert caught.value.code == "vendor_in_use"

        pool.delete_vendor(tx, world.act, spare)

        assert [one.name for one in pool.list_vendors(tx.connection)] == ["mm"]
        assert all(key.vendor_id == vendor.id for key in pool.list_keys(tx.connection))


def test_a_vendor_is_changed_in_what_is_said(world: World) -> None:
    with world.database.write() as tx:
        vendor = pool.create_vendor(tx, world.act, world.vet, name="kimi", vendor_type="moonshot")
        world.vendor(tx, "taken")
        after, dropped = pool.change_vendor(
            tx,
            world.act,
            world.vet,
            vendor,
            name="other",
            ordering=Ordering.WEIGHTED,
            concurrency=9,
            low_balance="20.5",
        )

        assert dropped == ()
        stored = pool.get_vendor(tx.connection, "other")
        assert stored == after
        assert (stored.ordering, stored.concurrency, stored.low_balance, stored.base_url) == (
            Ordering.WEIGHTED,
            9,
            "20.5",
            vendor.base_url,
        )
        with pytest.raises(Conflict):
            pool.change_vendor(tx, world.act, world.vet, vendor, name="taken")
        for wrong in ({"concurrency": -1}, {"low_balance": "-1"}, {"base_url": "https://[::1]"}):
            with pytest.raises(Invalid):
                pool.change_vendor(
                    tx,
                    world.act,
                    world.vet,
                    vendor,
                    **wrong,
                )


def test_a_vendor_is_made_once(world: World) -> None:
    with world.database.write() as tx:
        for name in ("mm", "other"):
            pool.create_vendor(tx, world.act, world.vet, name=name, vendor_type="minimax")
        with pytest.raises(Conflict):
            pool.create_vendor(tx, world.act, world.vet, name="mm", vendor_type="openai")


def test_a_keyword_is_added_once_changed_and_deleted(world: World) -> None:
    with world.database.write() as tx:
        added = pool.add_keyword(
            tx, world.act, vendor_type="", phrase="  Account  FROZEN ", action=Action.INVALID
        )
        assert added.keyword == Keyword("", "account frozen", Action.INVALID)
        with pytest.raises(Conflict):
            pool.add_keyword(
                tx, world.act, vendor_type="", phrase="account frozen", action=Action.COOL
            )
        again = {"vendor_type": "", "phrase": "account frozen"}
        assert pool.put_keyword(tx, world.act, **again, action=Action.INVALID) == ()
        assert pool.put_keyword(tx, world.act, **again, action=Action.COOL) == (
            "action invalid -> cool",
        )
        with pytest.raises(Invalid):
            pool.add_keyword(tx, world.act, vendor_type="nothing", phrase="xx", action=Action.COOL)
        with pytest.raises(Invalid):
            pool.add_keyword(tx, world.act, vendor_type="", phrase="xx", action=Action.STRIP)

        pool.delete_keyword(tx, world.act, added.id)

        assert pool.list_keywords(tx.connection) == []
        with pytest.raises(NotFound):
            pool.delete_keyword(tx, world.act, added.id)


def test_health_is_void_when_a_key_is_called_otherwise_and_not_by_its_name_or_share(
    world: World,
) -> None:
    def change(**fields: object) -> int:
        with world.database.write() as tx:
            after, _ = pool.change_key(
                tx,
                world.act,
                world.secrets.keyring,
                world.vet,
                key,
                **fields,  # type: ignore[arg-type]
            )
        return after.generation

    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("main", "spare"))
        key = pool.key_named(tx.connection, vendor, "spare")

    assert change(name="other") == 1
    assert change(expires_at=world.act.at_ms // 1000 + 60) == 1
    assert change(settings=KeySettings(weight=5, concurrency=3)) == 1
    assert change(settings=KeySettings(weight=5, concurrency=3, query={"a": "b"})) == 2
    assert change(secret="another-secret-0123456789") == 3


def test_a_test_that_was_good_is_not_heard_when_the_key_was_changed_meanwhile(
    world: World,
) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        tested = pool.key_named(tx.connection, vendor, "main")
        pool.enable_key(tx, world.act, tested)

        assert not pool.clear_health(tx, world.act, tested, why="it answered")
        now = pool.get_key(tx.connection, tested.id)
        assert pool.clear_health(tx, world.act, now, why="it answered")

        tx.finish()
        entry, *_ = audit.entries(tx.connection, pool.key_target(now.id))
        assert (entry.action, entry.after) == ("key.clear_health", {"why": "it answered"})
        assert pool.get_key(tx.connection, now.id).generation == now.generation + 1


def test_the_terms_of_a_key_are_put_whole(world: World) -> None:
    def put(**terms: object) -> tuple[str, ...] | None:
        with world.database.write() as tx:
            wanted = replace(KeyTerms("spare", SECRET), **terms)  # type: ignore[arg-type]
            _, changed = pool.put_key(
                tx, world.act, world.secrets.keyring, world.vet, vendor, wanted
            )
        return changed

    with world.database.write() as tx:
        vendor = world.vendor(tx)
    elsewhere = KeySettings(base_url="https://elsewhere.example/v1")
    assert put(settings=KeySettings(weight=2)) is None
    assert put(settings=KeySettings(weight=2)) == ()
    assert put() == ("config.weight",)
    # The secret stands in the same terms, so it may go there.
    assert put(settings=elsewhere) == ("config.base_url", "api_key")
    assert put(settings=elsewhere, expires_at=1_800_000_000) == (
        "expires never -> 2027-01-15T08:00:00Z",
    )


def test_at_most_so_many_keys_are_pasted_at_once(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        with pytest.raises(Invalid):
            pool.create_keys(
                tx,
                world.act,
                world.secrets.keyring,
                world.vet,
                vendor,
                ["x"] * (pool.LINES_MAX + 1),
                settings=KeySettings(),
                expires_at=0,
            )


def test_the_trail_of_a_key_is_read_newest_first_and_page_by_page(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("main", "other"))
        key = pool.key_named(tx.connection, vendor, "main")
        pool.disable_key(tx, world.act, key)
        pool.enable_key(tx, world.act, key)

        tx.finish()
        newest, disabled = audit.entries(tx.connection, pool.key_target(key.id), limit=2)
        (created,) = audit.entries(tx.connection, pool.key_target(key.id), before_id=disabled.id)

    assert (newest.action, newest.actor) == ("key.enable", "test")
    assert (disabled.before, disabled.after) == ({"enabled": True}, {"enabled": False})
    assert (created.action, created.before) == ("key.create", None)
