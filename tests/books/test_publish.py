"""What the workers are given: the snapshot, and a token by its digest."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool.accounts import service as accounts
from aipool.accounts.types import Status
from aipool.api_tokens import service as api_tokens
from aipool.books.publish import build_snapshot, current_revision, token_view
from aipool.catalog import service as catalog
from aipool.doors.snapshot import GroupView, Snapshot, TokenView, VendorView
from aipool.groups import service as groups
from aipool.kit.digests import digest
from aipool.pool import service as pool
from tests.world import SECRET, World, open_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as opened:
        yield opened


def snapshot(world: World) -> Snapshot:
    with world.database.read() as connection:
        return build_snapshot(connection, world.secrets.keyring)


def view(world: World, secret: str) -> TokenView | None:
    with world.database.read() as connection:
        return token_view(connection, digest(world.secrets.pepper, secret.encode()))


def keys(vendor: VendorView) -> list[str]:
    return [key.name for key in vendor.keys]


def test_an_empty_installation_has_an_empty_snapshot(world: World) -> None:
    empty = snapshot(world)

    assert (empty.revision, empty.groups, empty.vendors, empty.models) == (0, (), (), ())


def test_the_snapshot_holds_what_is_for_sale_with_plain_secrets(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        world.model(tx, vendor)
        group = groups.default_group(tx, world.act)

    whole = snapshot(world)

    assert whole.revision == tx.revision == 1
    assert whole.groups == (GroupView(group.id, "default", 1_000_000, None),)
    assert whole.vendors[0].type == "minimax"
    assert whole.vendors[0].keys[0].secret == SECRET
    model = whole.models[0]
    assert (model.name, model.kind, model.created_at) == ("m1", "chat", 1_700_000_000)
    assert (model.price.input_nano, model.price.cached_input_nano, model.price.output_nano) == (
        2_000_000_000,
        500_000_000,
        8_000_000_000,
    )
    assert model.routes[0].vendor_id == vendor.id
    assert model.routes[0].cost.output_nano == 4_000_000_000


def test_keys_stand_in_the_order_of_trying_without_the_disabled(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx, keys=("a", "b", "c"))
        pool.put_first(tx, world.act, vendor, ["c", "a"])
        pool.disable_key(tx, world.act, pool.key_named(tx.connection, vendor, "a"))

    assert keys(snapshot(world).vendors[0]) == ["c", "b"]


def test_a_model_off_sale_is_not_in_it(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        world.model(tx, vendor, "m1")
        world.model(tx, vendor, "m2")
        catalog.set_enabled(tx, world.act, "m1", enabled=False)

    assert [model.name for model in snapshot(world).models] == ["m2"]


def test_building_leaves_the_garbage_collector_as_it_was(world: World) -> None:
    snapshot(world)

    assert gc.isenabled()


def test_every_change_of_the_catalogue_bumps_the_revision(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
    with world.database.write() as tx:
        world.model(tx, vendor)
    with world.database.read() as connection:
        assert current_revision(connection) == 2


def test_a_token_is_seen_with_its_wallet_and_its_own_limit(world: World) -> None:
    with world.database.write() as tx:
        user = world.user(tx)
        free, free_secret = world.token(tx, user, "free")
        terms = {"limit_nano": 5, "expires_at": 9, "models": ("m1",), "ips": ("10.0.0.1/32",)}
        tied, tied_secret = world.token(tx, user, "tied", **terms)

    wallet = f"wallet:{user.id}"
    seen = view(world, free_secret)
    assert seen is not None
    assert (seen.models, seen.ips, seen.expires_at, seen.blocked) == (None, (), 0, "")
    assert seen.budgets == (wallet,)
    assert view(world, tied_secret) == TokenView(
        id=tied.id,
        user_id=user.id,
        group_id=tied.group_id,
        name="tied",
        expires_at=9,
        models=("m1",),
        ips=("10.0.0.1/32",),
        budgets=(wallet, f"token:{tied.id}"),
        blocked="",
    )
    assert free.id != tied.id


def test_an_unknown_digest_is_nobody(world: World) -> None:
    assert view(world, "sk-nobody") is None


def test_why_a_token_is_blocked_is_said(world: World) -> None:
    with world.database.write() as tx:
        user = world.user(tx)
        token, secret = world.token(tx, user)
        accounts.set_status(tx, world.act, user, Status.DISABLED)
    seen = view(world, secret)
    assert seen is not None
    assert seen.blocked == "user_frozen"

    with world.database.write() as tx:
        api_tokens.set_enabled(tx, world.act, token, enabled=False)
    seen = view(world, secret)
    assert seen is not None
    assert seen.blocked == "disabled"
