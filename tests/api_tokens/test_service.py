"""API tokens: made, changed, disabled, deleted; what is stored and who is told."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.tables import api_tokens as table
from aipool.api_tokens.types import TokenTerms
from aipool.audit.tables import audit_entries
from aipool.kit.digests import digest, generate
from aipool.kit.errors import Conflict, Invalid, NotFound
from aipool.ledger.service import budget_state
from aipool.ledger.types import token_budget
from tests.world import World, open_world


@pytest.fixture
def world(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path, kind) as opened:
        yield opened


def digest_of(world: World, secret: str) -> bytes:
    return digest(world.secrets.pepper, secret.encode())


def test_a_new_token_is_found_by_its_digest_and_announced(world: World) -> None:
    with world.database.write() as tx:
        token, secret = world.token(tx, world.user(tx))

    assert tx.changes.digests == {digest_of(world, secret)}
    with world.database.read() as connection:
        found = api_tokens.look_up(connection, digest_of(world, secret))
        assert found is not None
        assert found.token == token
        assert found.user_active
        assert api_tokens.look_up(connection, digest_of(world, generate())) is None


def test_the_database_does_not_hold_the_secret(world: World) -> None:
    with world.database.write() as tx:
        _, secret = world.token(tx, world.user(tx))

    with world.database.read() as connection:
        for name in sa.inspect(connection).get_table_names():
            everything = connection.exec_driver_sql(f"SELECT * FROM {name}").all()
            assert secret not in str(everything)
        trail = str(connection.execute(sa.select(audit_entries)).all())
    assert digest_of(world, secret).hex() not in trail
    assert str(digest_of(world, secret)) not in trail


def test_a_name_is_taken_once_per_user_and_free_after_deletion(world: World) -> None:
    with world.database.write() as tx:
        user, other = world.user(tx), world.user(tx, "+8613800138002")
        token, _ = world.token(tx, user)
        world.token(tx, other)
        with pytest.raises(Conflict):
            world.token(tx, user)

        api_tokens.delete_token(tx, world.act, token)
        again, _ = world.token(tx, user)

    assert again.id > token.id


def test_a_deleted_token_matches_nothing_and_is_announced(world: World) -> None:
    with world.database.write() as tx:
        token, secret = world.token(tx, world.user(tx))
    with world.database.write() as tx:
        api_tokens.delete_token(tx, world.act, token)

    assert tx.changes.digests == {digest_of(world, secret)}
    with world.database.read() as connection:
        assert api_tokens.look_up(connection, digest_of(world, secret)) is None
        assert api_tokens.list_tokens(connection) == []
        with pytest.raises(NotFound):
            api_tokens.get_token(connection, token.id)


def test_disabling_and_enabling_are_announced_by_digest_alone(world: World) -> None:
    with world.database.write() as tx:
        token, secret = world.token(tx, world.user(tx))
    with world.database.write() as tx:
        assert api_tokens.set_enabled(tx, world.act, token, enabled=False)

    assert tx.changes.digests == {digest_of(world, secret)}
    assert not tx.changes.catalogue
    assert not tx.changes.everything


def test_a_given_secret_is_kept_and_cannot_be_anothers(world: World) -> None:
    with world.database.write() as tx:
        user = world.user(tx)
        first, secret = world.token(tx, user, "first")
        terms = TokenTerms("second", first.group_id)
        pepper = world.secrets.pepper
        with pytest.raises(Conflict):
            api_tokens.create_token(tx, world.act, pepper, user, terms, secret=secret)
        with pytest.raises(Invalid):
            api_tokens.create_token(tx, world.act, pepper, user, terms, secret="sk-short")

        mine = generate()
        token, shown = api_tokens.create_token(tx, world.act, pepper, user, terms, secret=mine)

        assert shown == mine
        assert api_tokens.is_secret_of(tx.connection, pepper, token, mine)


def test_a_limit_is_a_budget_and_follows_changes(world: World) -> None:
    def cap(budget: str) -> int | None:
        with world.database.read() as connection:
            state = budget_state(connection, budget)
            return state.cap if state else -1

    with world.database.write() as tx:
        user = world.user(tx)
        unlimited, _ = world.token(tx, user, "unlimited")
        limited, _ = world.token(tx, user, "limited", limit_nano=5)
    assert cap(token_budget(unlimited.id)) == -1
    assert cap(token_budget(limited.id)) == 5

    with world.database.write() as tx:
        terms = TokenTerms("limited", limited.group_id, limit_nano=7)
        changed = api_tokens.change_token(tx, world.act, world.secrets.pepper, limited, terms)
    assert changed == ("limit 0.000000005 -> 0.000000007",)
    assert cap(token_budget(limited.id)) == 7


def test_the_same_terms_again_change_nothing(world: World) -> None:
    with world.database.write() as tx:
        token, secret = world.token(tx, world.user(tx), limit_nano=5, ips=("10.0.0.1/32",))
    with world.database.write() as tx:
        terms = TokenTerms("t", token.group_id, None, ("10.0.0.1/32",), 0, 5)
        pepper = world.secrets.pepper
        changed = api_tokens.change_token(tx, world.act, pepper, token, terms, secret=secret)

    assert changed == ()
    assert tx.revision == 0


def test_another_secret_ends_the_one_before_and_both_are_announced(world: World) -> None:
    with world.database.write() as tx:
        token, old = world.token(tx, world.user(tx))
    new = generate()
    with world.database.write() as tx:
        terms = TokenTerms("t", token.group_id)
        pepper = world.secrets.pepper
        changed = api_tokens.change_token(tx, world.act, pepper, token, terms, secret=new)

    assert changed == ("secret",)
    assert tx.changes.digests == {digest_of(world, old), digest_of(world, new)}
    with world.database.read() as connection:
        assert api_tokens.look_up(connection, digest_of(world, old)) is None
        assert api_tokens.look_up(connection, digest_of(world, new)) is not None


def test_a_million_tokens_would_be_found_by_index(world: World) -> None:
    with world.database.read() as connection:
        indexes = sa.inspect(connection).get_unique_constraints(table.name)

    assert ["digest"] in [index["column_names"] for index in indexes]
