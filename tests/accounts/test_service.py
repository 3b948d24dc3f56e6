"""Accounts, and the way in for the first administrator."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from aipool.accounts import service as accounts
from aipool.accounts import sessions, setup
from aipool.accounts.tables import access_tokens, setup_links, users
from aipool.accounts.types import Role, Status, User
from aipool.audit.tables import audit_entries
from aipool.kit.errors import Conflict, Forbidden, NotFound
from tests.world import PHONE, World, open_world


@pytest.fixture
def world(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path, kind) as opened:
        yield opened


def test_a_number_belongs_to_one_account(world: World) -> None:
    with world.database.write() as tx:
        world.user(tx)
    with pytest.raises(Conflict), world.database.write() as tx:
        world.user(tx)


def test_an_account_is_found_however_its_number_is_written(world: World) -> None:
    with world.database.write() as tx:
        user = world.user(tx)

    with world.database.read() as connection:
        assert accounts.get_user(connection, PHONE.removeprefix("+86")) == user
        with pytest.raises(NotFound):
            accounts.get_user(connection, "13900000000")


def test_disabling_an_account_reaches_every_token_of_it(world: World) -> None:
    with world.database.write() as tx:
        user = world.user(tx)
    with world.database.write() as tx:
        assert accounts.set_status(tx, world.act, user, Status.DISABLED)

    assert tx.changes.everything
    assert tx.revision > 0


def test_disabling_twice_changes_nothing(world: World) -> None:
    with world.database.write() as tx:
        user = world.user(tx)
        accounts.set_status(tx, world.act, user, Status.DISABLED)
    with world.database.write() as tx:
        disabled = accounts.get_user(tx.connection, PHONE)
        assert not accounts.set_status(tx, world.act, disabled, Status.DISABLED)

    assert tx.revision == 0


def test_every_change_leaves_one_row_in_the_trail_without_the_hash(world: World) -> None:
    with world.database.write() as tx:
        user = world.user(tx)
        accounts.set_password(tx, world.act, user, password_hash="$argon2id$secret")
        accounts.set_status(tx, world.act, user, Status.DISABLED)

    with world.database.read() as connection:
        rows = connection.execute(sa.select(audit_entries).order_by(audit_entries.c.id)).all()
    assert [row.action for row in rows] == ["user.create", "user.set_password", "user.disable"]
    assert {row.actor for row in rows} == {"test"}
    assert {row.target for row in rows} == {f"user:{user.id}"}
    assert "argon2id" not in str(rows)


def root(world: World, secret: str) -> tuple[User, str]:
    with world.database.write() as tx:
        return setup.create_root(
            tx, world.act, world.secrets.pepper, secret=secret, phone=PHONE, password_hash="x"
        )


def link(world: World) -> str | None:
    with world.database.write() as tx:
        return setup.issue_link(tx, world.act, world.secrets.pepper)


def test_the_link_makes_one_root_account_once(world: World) -> None:
    secret = link(world)
    assert secret is not None

    user, access_token = root(world, secret)

    assert user.role is Role.ROOT
    assert access_token.startswith("aipool-root-")
    with world.database.read() as connection:
        pepper = world.secrets.pepper
        assert setup.is_set_up(connection)
        now_ms = world.act.at_ms
        caller = sessions.caller_of_access_token(connection, pepper, access_token, now_ms)
        assert caller is not None
        assert (caller.user, caller.may_write, caller.stepped_up) == (user, True, True)
    with pytest.raises(Forbidden):
        root(world, secret)


def test_a_new_link_ends_the_one_before(world: World) -> None:
    first, second = link(world), link(world)
    assert first is not None
    assert second is not None
    assert first != second

    with pytest.raises(Forbidden):
        root(world, first)
    root(world, second)


@pytest.mark.parametrize("secret", ["", "aipool-setup-", "wrong"])
def test_a_made_up_secret_opens_nothing(world: World, secret: str) -> None:
    with pytest.raises(Forbidden):
        root(world, secret)
    link(world)
    with pytest.raises(Forbidden):
        root(world, secret)


def test_a_link_opens_nothing_once_there_is_a_root_account_from_elsewhere(world: World) -> None:
    secret = link(world)
    assert secret is not None
    with world.database.write() as tx:
        world.user(tx, "+8613800138009", Role.ROOT)

    with pytest.raises(Forbidden):
        root(world, secret)


def test_no_link_is_issued_once_there_is_a_root_account(world: World) -> None:
    secret = link(world)
    assert secret is not None
    root(world, secret)

    assert link(world) is None


def test_the_database_holds_no_secret_of_the_setup(world: World) -> None:
    secret = link(world)
    assert secret is not None
    with world.database.read() as connection:
        assert secret.encode() not in str(connection.execute(sa.select(setup_links)).all()).encode()

    _, access_token = root(world, secret)

    with world.database.read() as connection:
        for table in (access_tokens, users, audit_entries):
            stored = str(connection.execute(sa.select(table)).all())
            assert access_token not in stored
            assert secret not in stored
        assert connection.execute(sa.select(setup_links)).all() == []


def test_the_trail_cannot_be_rewritten(world: World) -> None:
    with world.database.write() as tx:
        world.user(tx)

    for statement in (sa.delete(audit_entries), sa.update(audit_entries).values(actor="nobody")):
        with (
            pytest.raises(sa.exc.IntegrityError, match="append-only"),
            world.database.write() as tx,
        ):
            tx.connection.execute(statement)
