"""Groups: what they are, to whom they are granted, and what becomes of those who had a deleted
one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from aipool.accounts.types import User
from aipool.api_tokens import service as api_tokens
from aipool.books.publish import build_snapshot, token_view
from aipool.catalog import service as catalog
from aipool.groups import service as groups
from aipool.groups.types import CallLimits, Group
from aipool.kit import digests
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, Invalid, NotFound
from aipool.kit.money import PPM
from aipool.rating.rate import rate
from aipool.rating.types import Usage
from tests.world import World, open_world

OTHER_PHONE = "+8613800138002"


@pytest.fixture
def world(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path / "data", kind) as opened:
        yield opened


def group_of(tx: Transaction, world: World, name: str = "vip", ppm: int = 800_000) -> Group:
    group, _ = groups.put_group(tx, world.act, name=name, multiplier_ppm=ppm, models=None)
    return group


def blocked(world: World, secret: str) -> str:
    """Why a worker refuses calls with this secret, "" = it does not."""
    with world.database.read() as connection:
        view = token_view(connection, digests.digest(world.secrets.pepper, secret.encode()))
    assert view is not None
    return view.blocked


def token_in(
    tx: Transaction, world: World, user: User, group: Group, name: str = "t"
) -> tuple[int, str]:
    token, secret = world.token(tx, user, name)
    terms = replace(token.terms, group_id=group.id)
    api_tokens.change_token(tx, world.act, world.secrets.pepper, token, terms)
    return token.id, secret


# --- to whom they are granted ---------------------------------------------------------------------


def test_s2_15_a_group_is_chosen_only_by_whom_it_is_granted(world: World) -> None:
    with world.database.write() as tx:
        default = groups.default_group(tx, world.act)
        vip = group_of(tx, world)
        user, other = world.user(tx), world.user(tx, OTHER_PHONE)
        assert groups.grant(tx, world.act, user.id, vip)
        assert not groups.grant(tx, world.act, user.id, vip)

    with world.database.read() as connection:
        assert groups.granted_ids(connection, user.id) == {default.id, vip.id}
        assert groups.granted_ids(connection, other.id) == {default.id}
        assert groups.granted_groups(connection, user.id) == [default, vip]
        assert groups.is_granted(connection, user.id, vip.id)
        assert not groups.is_granted(connection, other.id, vip.id)
        assert [one.user_id for one in groups.members(connection, vip)] == [user.id]
        assert groups.granted_to(connection, [user.id, other.id]) == {user.id: {vip.id}}


def test_s2_15_calls_in_a_group_that_was_revoked_are_refused_and_move_nowhere(world: World) -> None:
    with world.database.write() as tx:
        user, vip = world.user(tx), group_of(tx, world)
        groups.grant(tx, world.act, user.id, vip)
        token_id, secret = token_in(tx, world, user, vip)
    assert blocked(world, secret) == ""

    with world.database.write() as tx:
        assert groups.revoke(tx, world.act, user.id, vip)
        assert not groups.revoke(tx, world.act, user.id, vip)
        assert tx.changes.everything
    assert blocked(world, secret) == "group_not_granted"

    with world.database.write() as tx:
        groups.grant(tx, world.act, user.id, vip)
    assert blocked(world, secret) == ""
    with world.database.read() as connection:
        view = token_view(connection, digests.digest(world.secrets.pepper, secret.encode()))
    assert view is not None
    assert (view.id, view.group_id) == (token_id, vip.id)


def test_s2_15_all_groups_of_a_user_are_set_at_once(world: World) -> None:
    with world.database.write() as tx:
        groups.default_group(tx, world.act)
        user = world.user(tx)
        first, second = group_of(tx, world, "a"), group_of(tx, world, "b")
        assert groups.set_grants(tx, world.act, user.id, ["a", "default"])
        assert not groups.set_grants(tx, world.act, user.id, ["a"])
        assert groups.granted_to(tx.connection, [user.id]) == {user.id: {first.id}}
        assert groups.set_grants(tx, world.act, user.id, ["b"])
        assert groups.granted_to(tx.connection, [user.id]) == {user.id: {second.id}}
        with pytest.raises(NotFound):
            groups.set_grants(tx, world.act, user.id, ["nowhere"])
        assert groups.set_grants(tx, world.act, user.id, [])
        assert groups.granted_to(tx.connection, [user.id]) == {}


# --- the default one ------------------------------------------------------------------------------


def test_the_first_group_called_default_is_the_default_one(world: World) -> None:
    with world.database.write() as tx:
        made, _ = groups.put_group(tx, world.act, name="default", multiplier_ppm=PPM, models=None)
        assert made.is_default
        assert groups.default_group(tx, world.act) == made
        assert not group_of(tx, world).is_default


def test_another_default_takes_nothing_from_anybody(world: World) -> None:
    with world.database.write() as tx:
        before = groups.default_group(tx, world.act)
        vip, user = group_of(tx, world), world.user(tx)
        _, secret = world.token(tx, user)
        groups.grant(tx, world.act, user.id, vip)

        after = groups.make_default(tx, world.act, vip)

        assert groups.make_default(tx, world.act, after) == after
        assert groups.default_group(tx, world.act) == after
        newcomer = world.user(tx, OTHER_PHONE)
        assert groups.granted_ids(tx.connection, user.id) == {before.id, vip.id}
        assert groups.granted_ids(tx.connection, newcomer.id) == {vip.id}
    assert blocked(world, secret) == ""


# --- what they are --------------------------------------------------------------------------------


def test_s2_5_a_group_has_a_multiplier_and_a_set_of_models(world: World) -> None:
    with world.database.write() as tx:
        world.model(tx, world.vendor(tx), "m1")
        vip, made = groups.put_group(
            tx, world.act, name="vip", multiplier_ppm=800_000, models=["m1"], description="for few"
        )
        assert made
        kept, changed = groups.put_group(
            tx, world.act, name="vip", multiplier_ppm=800_000, models=["m1"]
        )
        assert (kept, changed) == (vip, False)

    with world.database.read() as connection:
        (view,) = build_snapshot(connection, world.secrets.keyring).groups
        assert groups.get_group(connection, "vip") == vip
    assert vip.description == "for few"
    assert (view.multiplier_ppm, view.models) == (800_000, ("m1",))


def test_s2_12_a_group_names_the_models_it_sells(world: World) -> None:
    with world.database.write() as tx:
        vendor = world.vendor(tx)
        world.model(tx, vendor, "m1")
        world.model(tx, vendor, "m2")
        some, _ = groups.put_group(
            tx, world.act, name="basic", multiplier_ppm=PPM, models=("m2", "m1")
        )
        everything = replace(some, models=None)
        after, changed = groups.change_group(tx, world.act, some, everything)

        assert some.models == ("m1", "m2")
        assert changed
        assert after.models is None
        assert groups.differences(some, after) == ("models",)
        with pytest.raises(Invalid):
            catalog.check_names(tx.connection, ["m3"])


def test_s2_13_the_multiplier_is_the_real_rate_of_consumption(world: World) -> None:
    with world.database.write() as tx:
        vip = group_of(tx, world, ppm=800_000)
        world.model(tx, world.vendor(tx), "m1")
        price = catalog.get_model(tx.connection, "m1").price

    usage = Usage(1000, 0, 500, 0)
    assert rate(usage, price, vip.multiplier_ppm) * 10 == rate(usage, price, PPM) * 8


def test_s2_14_limits_are_those_of_each_user_and_of_the_whole(world: World) -> None:
    each, whole = CallLimits(rpm=60, tpm=9000), CallLimits(rpm=600, requests_per_day=10_000)
    with world.database.write() as tx:
        group, _ = groups.put_group(
            tx,
            world.act,
            name="vip",
            multiplier_ppm=PPM,
            models=None,
            each_user=each,
            whole=whole,
        )

    with world.database.read() as connection:
        (view,) = build_snapshot(connection, world.secrets.keyring).groups
        assert groups.group_by_id(connection, group.id) == group
    assert (view.each_user.rpm, view.each_user.tpm, view.each_user.requests_per_day) == (
        60,
        9000,
        0,
    )
    assert (view.whole.rpm, view.whole.requests_per_day) == (600, 10_000)


def test_a_name_is_taken_once_and_free_after_the_group_is_gone(world: World) -> None:
    with world.database.write() as tx:
        first, other = group_of(tx, world, "a"), group_of(tx, world, "b")
        with pytest.raises(Conflict):
            groups.change_group(tx, world.act, other, replace(other, name="a"))
        renamed, _ = groups.change_group(tx, world.act, other, replace(other, name="c"))
        groups.delete_group(tx, world.act, first, None)
        again = group_of(tx, world, "a")

        assert again.id not in (first.id, other.id)
        assert groups.list_groups(tx.connection) == [renamed, again]
        assert groups.group_names(tx.connection)[first.id] == "a"
        with pytest.raises(NotFound):
            groups.group_by_id(tx.connection, first.id)


def test_whoever_had_a_deleted_group_has_its_heir(world: World) -> None:
    with world.database.write() as tx:
        default = groups.default_group(tx, world.act)
        old, heir = group_of(tx, world, "old"), group_of(tx, world, "heir")
        one, two = world.user(tx), world.user(tx, OTHER_PHONE)
        for user in (one, two):
            groups.grant(tx, world.act, user.id, old)
        groups.grant(tx, world.act, two.id, heir)

        assert groups.delete_group(tx, world.act, old, heir) == 2

        for user in (one, two):
            assert groups.granted_ids(tx.connection, user.id) == {default.id, heir.id}
        assert groups.delete_group(tx, world.act, heir, default) == 2
        assert groups.granted_to(tx.connection, [one.id, two.id]) == {}
        with pytest.raises(Conflict) as caught:
            groups.delete_group(tx, world.act, default, None)
    assert caught.value.code == "group_is_default"
