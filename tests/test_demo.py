"""The demo: everything for a first call, made once."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from aipool import demo
from aipool.accounts import service as accounts
from aipool.api_tokens import service as api_tokens
from aipool.books.publish import build_snapshot, token_view
from aipool.books.verify import verify
from aipool.catalog import service as catalog
from aipool.kit.db import current_revision
from aipool.kit.digests import digest, is_token
from aipool.ledger.service import wallet_balance
from aipool.pool import service as pool
from tests.world import World, open_world


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as opened:
        yield opened


def seed(world: World) -> str:
    return demo.seed(world.database, world.act, world.secrets, world.data_dir)


def works(world: World, secret: str) -> bool:
    with world.database.read() as connection:
        view = token_view(connection, digest(world.secrets.pepper, secret.encode()))
    return view is not None and view.blocked == ""


def revision(world: World) -> int:
    with world.database.read() as connection:
        return current_revision(connection)


def test_the_three_models_can_be_called_with_the_token_from_real_money(world: World) -> None:
    secret = seed(world)

    assert is_token(secret.encode())
    assert works(world, secret)
    with world.database.read() as connection:
        whole = build_snapshot(connection, world.secrets.keyring)
        wallet = wallet_balance(connection, accounts.get_user(connection, demo.PHONE).id)
    assert [model.name for model in whole.models] == ["gpt-3.5-turbo", "gpt-4o-mini", "MiniMax-M3"]
    assert all(model.routes and model.price.output_nano for model in whole.models)
    assert len(whole.vendors[0].keys) == 1
    assert wallet is not None
    assert wallet.balance_nano == 100_000_000_000
    assert verify(world.database).count == 0


def test_the_token_is_kept_privately_and_given_again(world: World) -> None:
    secret = seed(world)
    path = world.data_dir / demo.FILE_NAME
    before = revision(world)

    assert seed(world) == secret
    assert revision(world) == before
    assert path.read_text() == secret + "\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


@pytest.mark.parametrize("loss", ["gone", "garbled", "readable by others", "another token"])
def test_a_lost_file_ends_the_old_token_and_makes_a_new_one(world: World, loss: str) -> None:
    old = seed(world)
    path = world.data_dir / demo.FILE_NAME
    if loss == "gone":
        path.unlink()
    elif loss == "garbled":
        path.write_text("sk-garbled")
    elif loss == "readable by others":
        path.chmod(0o644)
    else:
        path.write_text("sk-" + "a" * 43)

    new = seed(world)

    assert new != old
    assert works(world, new)
    assert not works(world, old)
    assert seed(world) == new


def test_what_an_operator_changed_is_left_alone(world: World) -> None:
    seed(world)
    with world.database.write() as tx:
        catalog.set_enabled(tx, world.act, "gpt-4o-mini", enabled=False)
        vendor = pool.get_vendor(tx.connection, demo.VENDOR_NAME)
        catalog.put_model(tx, world.act, world.terms(vendor, "MiniMax-M3"))

    seed(world)

    with world.database.read() as connection:
        assert not catalog.get_model(connection, "gpt-4o-mini").enabled
        assert catalog.describe(catalog.get_model(connection, "MiniMax-M3").price) == "2/0.5/8"


def test_only_demo_tokens_are_disabled_by_a_lost_file(world: World) -> None:
    seed(world)
    with world.database.write() as tx:
        user = accounts.get_user(tx.connection, demo.PHONE)
        _, mine = world.token(tx, user, "mine")
    (world.data_dir / demo.FILE_NAME).unlink()

    seed(world)

    assert works(world, mine)
    with world.database.read() as connection:
        tokens = api_tokens.list_tokens(connection, user=user)
    assert [(token.name, token.enabled) for token in tokens] == [
        ("demo", False),
        ("mine", True),
        ("demo-2", True),
    ]
