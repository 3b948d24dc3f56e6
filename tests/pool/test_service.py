"""Vendors and upstream keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from aipool.audit.tables import audit_entries
from aipool.kit.db import Transaction
from aipool.kit.errors import BusinessError, Conflict, Invalid, NotFound
from aipool.kit.sealing import Unsealable
from aipool.pool import service as pool
from aipool.pool.tables import upstream_keys
from aipool.pool.types import KeyTerms, Vendor
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
        assert pool.set_default_key(tx, world.act, vendor, "spare")
        assert not pool.set_default_key(tx, world.act, vendor, "spare")

        main, spare = pool.list_keys(tx.connection, vendor)
        assert (main.default, spare.default) == (False, True)


def test_the_id_of_a_deleted_key_is_not_given_again(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("main", "spare"))
        spare = pool.get_key(tx.connection, vendor, "spare")
        pool.delete_key(tx, world.act, spare)
        world.key(tx, vendor, "new")

        assert pool.get_key(tx.connection, vendor, "new").id > spare.id


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

        pool.order_keys(tx, world.act, vendor, ["d", "b"])

        assert names(tx, vendor) == ["d", "b", "a", "c"]
        with pytest.raises(NotFound):
            pool.order_keys(tx, world.act, vendor, ["nobody"])
        with pytest.raises(Invalid):
            pool.order_keys(tx, world.act, vendor, ["a", "a"])


def test_a_secret_is_stored_sealed_and_only_its_end_is_shown(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        key = pool.get_key(tx.connection, vendor, "main")

        stored = str(tx.connection.execute(sa.select(upstream_keys)).all())
        trail = str(tx.connection.execute(sa.select(audit_entries)).all())

    assert SECRET not in stored + trail + repr(key)
    assert key.last4 == SECRET[-4:]


def test_nothing_of_a_short_secret_is_shown(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=())
        world.key(tx, vendor, "main", "short")

        assert pool.get_key(tx.connection, vendor, "main").last4 == ""


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
        key, changed = pool.put_key(tx, world.act, world.secrets.keyring, vendor, terms)
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
            lambda: pool.create_key(tx, world.act, keyring, vendor, KeyTerms("main", SECRET)),
            lambda: pool.get_key(tx.connection, vendor, "nobody"),
            lambda: pool.get_vendor(tx.connection, "nobody"),
        ):
            with pytest.raises(BusinessError):
                act()
