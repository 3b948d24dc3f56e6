"""Secrets that stand in for a token's own: the one before a rotation, and playground keys."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import pytest
import sqlalchemy as sa

from aipool.accounts import service as accounts
from aipool.accounts.types import Status as AccountStatus
from aipool.accounts.types import User
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.tables import token_stand_ins
from aipool.api_tokens.types import ApiToken, TokenWithOwner
from aipool.audit.types import Act
from aipool.books.publish import token_view
from aipool.control.groups_admin import dissolve
from aipool.doors.snapshot import TokenView
from aipool.groups import service as groups
from aipool.kit.db import Transaction
from aipool.kit.digests import digest, generate, is_token
from aipool.kit.errors import Conflict, Forbidden, Invalid
from tests.world import World

HOUR = 3600
DAY = 24 * HOUR
#: Of the world's act.
NOW = 1_700_000_000
SESSION, OTHER_SESSION = 7, 8
_phones = count(1)


def digest_of(world: World, secret: str) -> bytes:
    return digest(world.secrets.pepper, secret.encode())


def found(world: World, secret: str) -> TokenWithOwner | None:
    with world.database.read() as connection:
        return api_tokens.look_up(connection, digest_of(world, secret))


def view(world: World, secret: str) -> TokenView:
    with world.database.read() as connection:
        seen = token_view(connection, digest_of(world, secret))
    assert seen is not None
    return seen


def new_user(world: World, tx: Transaction) -> User:
    return world.user(tx, f"+86137{next(_phones):08}")


def make(world: World, **terms: Any) -> tuple[ApiToken, str]:
    with world.database.write() as tx:
        return world.token(tx, new_user(world, tx), **terms)


def rotate(world: World, token: ApiToken, grace: int = 0, at: int = NOW) -> tuple[str, set[bytes]]:
    with world.database.write() as tx:
        act = Act("test", at * 1000)
        pepper = world.secrets.pepper
        _, secret = api_tokens.rotate_token(tx, act, pepper, token, grace_seconds=grace)
    return secret, tx.changes.digests


def playground(
    world: World, token: ApiToken, session_id: int = SESSION, at: int = NOW
) -> tuple[str, int]:
    with world.database.write() as tx:
        act = Act("test", at * 1000)
        pepper = world.secrets.pepper
        return api_tokens.make_playground_key(tx, act, pepper, token, session_id)


# --- rotation ---------------------------------------------------------------------------------


def test_s0_38_a_rotation_gives_another_secret_and_ends_the_old_one_at_once(world: World) -> None:
    token, old = make(world, limit_nano=5)

    new, told = rotate(world, token)

    assert is_token(new.encode())
    assert found(world, old) is None
    after = found(world, new)
    assert after is not None
    assert after.token == replace(token, last4=new[-4:])
    assert told == {digest_of(world, old), digest_of(world, new)}


def test_s0_38_in_its_grace_the_old_secret_is_the_same_token_until_it_ends(world: World) -> None:
    token, old = make(world, limit_nano=5, ips=("10.0.0.1/32",))

    new, told = rotate(world, token, grace=HOUR)

    before, after = view(world, old), view(world, new)
    assert before.expires_at == NOW + HOUR
    assert after.expires_at == 0
    assert (before.id, before.budgets, before.ips) == (after.id, after.budgets, after.ips)
    assert before.origin == ""
    assert told == {digest_of(world, old), digest_of(world, new)}


def test_a_grace_does_not_outlive_the_token(world: World) -> None:
    token, old = make(world, expires_at=NOW + 10)

    rotate(world, token, grace=HOUR)

    assert view(world, old).expires_at == NOW + 10


def test_who_rotates_twice_ends_the_first_secrets_grace(world: World) -> None:
    token, first = make(world)
    second, _ = rotate(world, token, grace=DAY)

    third, told = rotate(world, token)

    assert (found(world, first), found(world, second)) == (None, None)
    assert found(world, third) is not None
    assert told == {digest_of(world, one) for one in (first, second, third)}


@pytest.mark.parametrize("grace", [-1, 30 * DAY + 1])
def test_a_grace_is_at_most_thirty_days(world: World, grace: int) -> None:
    token, _ = make(world)

    with pytest.raises(Invalid) as refused:
        rotate(world, token, grace=grace)

    assert (refused.value.code, refused.value.field) == ("grace_out_of_range", "grace_seconds")


def test_a_secret_in_its_grace_can_be_made_the_tokens_own_again(world: World) -> None:
    token, old = make(world)
    new, _ = rotate(world, token, grace=DAY)

    with world.database.write() as tx:
        api_tokens.change_token(tx, world.act, world.secrets.pepper, token, token.terms, secret=old)

    assert found(world, new) is None
    assert view(world, old).expires_at == 0


def test_a_secret_in_its_grace_cannot_be_anothers(world: World) -> None:
    token, old = make(world)
    rotate(world, token, grace=DAY)

    with world.database.write() as tx, pytest.raises(Conflict) as refused:
        user = accounts.user_by_id(tx.connection, token.user_id)
        terms = replace(token.terms, name="other")
        api_tokens.create_token(tx, world.act, world.secrets.pepper, user, terms, secret=old)

    assert refused.value.code == "secret_taken"


def test_what_has_ended_is_forgotten_a_day_later(world: World) -> None:
    token, old = make(world)
    rotate(world, token, grace=HOUR)
    with world.database.write() as tx:
        user = accounts.user_by_id(tx.connection, token.user_id)
        other, _ = world.token(tx, user, "other")

    playground(world, other, at=NOW + HOUR + DAY)
    assert found(world, old) is not None
    playground(world, other, at=NOW + HOUR + DAY + 1)
    assert found(world, old) is None


# --- playground keys --------------------------------------------------------------------------


def test_a_playground_key_is_its_token_for_a_quarter_of_an_hour(world: World) -> None:
    token, secret = make(
        world, limit_nano=5, total_nano=9, models=("m1",), ips=("10.0.0.1/32",), expires_at=0
    )

    key, until = playground(world, token)

    assert is_token(key.encode())
    own, stands_in = view(world, secret), view(world, key)
    assert until == stands_in.expires_at == NOW + 15 * 60
    assert (stands_in.ips, stands_in.origin) == ((), "playground")
    for field in ("id", "user_id", "group_id", "name", "models", "budgets", "limits", "blocked"):
        assert getattr(stands_in, field) == getattr(own, field), field


def test_a_playground_key_ends_with_a_token_that_ends_sooner(world: World) -> None:
    token, _ = make(world, expires_at=NOW + 60)

    key, until = playground(world, token)

    assert until == view(world, key).expires_at == NOW + 60


def test_a_playground_key_ends_with_its_session_and_no_other_does(world: World) -> None:
    token, secret = make(world)
    session_id = next(_phones) + 1000
    mine, _ = playground(world, token, session_id)
    others, _ = playground(world, token, OTHER_SESSION)

    with world.database.write() as tx:
        api_tokens.drop_playground_keys(tx, session_id)

    assert tx.changes.digests == {digest_of(world, mine)}
    assert found(world, mine) is None
    assert found(world, others) is not None
    assert found(world, secret) is not None


def test_a_playground_key_is_refused_and_ends_with_its_token(world: World) -> None:
    token, secret = make(world)
    key, _ = playground(world, token)
    both = {digest_of(world, one) for one in (secret, key)}

    with world.database.write() as tx:
        api_tokens.set_enabled(tx, world.act, token, enabled=False)
    assert tx.changes.digests == both
    assert view(world, key).blocked == "disabled"

    with world.database.write() as tx:
        api_tokens.delete_token(tx, world.act, token)
    assert tx.changes.digests == both
    assert found(world, key) is None
    with world.database.read() as connection:
        left = sa.select(token_stand_ins).where(token_stand_ins.c.token_id == token.id)
        assert connection.execute(left).all() == []


def test_every_change_of_a_token_is_told_by_all_it_is_known_by(world: World) -> None:
    token, first = make(world)
    second, _ = rotate(world, token, grace=DAY)
    key, _ = playground(world, token)

    with world.database.write() as tx:
        terms = replace(token.terms, limit_nano=7)
        api_tokens.change_token(tx, world.act, world.secrets.pepper, token, terms)

    assert tx.changes.digests == {digest_of(world, one) for one in (first, second, key)}


def test_a_rotation_leaves_the_playground_alone(world: World) -> None:
    token, _ = make(world)
    key, _ = playground(world, token)

    _, told = rotate(world, token)

    assert found(world, key) is not None
    assert digest_of(world, key) in told


def test_the_owner_can_forbid_it_and_what_there_is_ends(world: World) -> None:
    token, secret = make(world)
    key, _ = playground(world, token)

    with world.database.write() as tx:
        terms = replace(token.terms, playground_allowed=False)
        changed = api_tokens.change_token(tx, world.act, world.secrets.pepper, token, terms)
        token = api_tokens.get_token(tx.connection, token.id)

    assert changed == ("playground forbidden",)
    assert tx.changes.digests == {digest_of(world, secret), digest_of(world, key)}
    assert found(world, key) is None
    with pytest.raises(Forbidden, match="playground"):
        playground(world, token)


def test_without_a_session_there_is_none(world: World) -> None:
    token, _ = make(world)

    with pytest.raises(Forbidden) as refused:
        playground(world, token, session_id=0)

    assert refused.value.code == "session_needed"


def test_of_too_many_playground_keys_the_oldest_end(world: World) -> None:
    token, _ = make(world)
    kept = api_tokens.PLAYGROUND_KEYS_MAX
    keys = [playground(world, token, at=NOW + number)[0] for number in range(kept + 2)]

    assert [found(world, key) is not None for key in keys] == [False] * 2 + [True] * kept


def test_a_playground_key_is_not_stored_nor_in_the_trail(world: World) -> None:
    token, _ = make(world)
    key, _ = playground(world, token)

    with world.database.read() as connection:
        for name in sa.inspect(connection).get_table_names():
            everything = str(connection.exec_driver_sql(f'SELECT * FROM "{name}"').all())
            assert key not in everything
            if name != "token_stand_ins":
                assert str(digest_of(world, key)) not in everything


# --- the group --------------------------------------------------------------------------------


def test_a_token_whose_group_was_taken_away_says_so_until_it_is_given_back(world: World) -> None:
    with world.database.write() as tx:
        user = new_user(world, tx)
        group, _ = groups.put_group(tx, world.act, name="vip", multiplier_ppm=800_000, models=None)
        groups.grant(tx, world.act, user.id, group)
        # What others have is no business of this user's tokens.
        groups.grant(tx, world.act, new_user(world, tx).id, group)
        token, secret = world.token(tx, user)
        terms = replace(token.terms, group_id=group.id)
        api_tokens.change_token(tx, world.act, world.secrets.pepper, token, terms)
    assert view(world, secret).blocked == ""

    with world.database.write() as tx:
        groups.revoke(tx, world.act, user.id, group)
    assert view(world, secret).blocked == "group_not_granted"
    assert view(world, secret).group_id == group.id

    with world.database.write() as tx:
        groups.grant(tx, world.act, user.id, group)
    assert view(world, secret).blocked == ""


def test_the_default_group_is_everybodys(world: World) -> None:
    _, secret = make(world)

    assert view(world, secret).blocked == ""


def test_a_frozen_account_comes_before_a_group(world: World) -> None:
    token, secret = make(world)
    with world.database.write() as tx:
        user = accounts.user_by_id(tx.connection, token.user_id)
        accounts.set_status(tx, world.act, user, AccountStatus.DISABLED)

    assert view(world, secret).blocked == "user_frozen"


def test_moving_a_groups_tokens_is_a_persons_choice_and_is_counted(world: World) -> None:
    token, secret = make(world)
    with world.database.write() as tx:
        old, heir = (
            groups.put_group(tx, world.act, name=name, multiplier_ppm=1, models=None)[0]
            for name in ("old", "heir")
        )
        terms = replace(token.terms, group_id=old.id)
        api_tokens.change_token(tx, world.act, world.secrets.pepper, token, terms)
        assert api_tokens.counts_by_group(tx.connection)[old.id] == 1

        # It was taken from its owner: what is refused is not to work again at another price.
        assert api_tokens.move_group(tx, world.act, old, heir) == 0
        groups.grant(tx, world.act, token.user_id, old)
        assert api_tokens.move_group(tx, world.act, old, heir) == 1
        assert api_tokens.move_group(tx, world.act, old, heir) == 0

    assert tx.changes.everything
    assert view(world, secret).group_id == heir.id


def test_a_token_that_was_refused_is_refused_when_its_group_is_deleted(world: World) -> None:
    token, secret = make(world)
    with world.database.write() as tx:
        heir = groups.default_group(tx, world.act)
        gone, _ = groups.put_group(tx, world.act, name="gone", multiplier_ppm=800_000, models=None)
        terms = replace(token.terms, group_id=gone.id)
        api_tokens.change_token(tx, world.act, world.secrets.pepper, token, terms)
    assert view(world, secret).blocked == "group_not_granted"

    with world.database.write() as tx:
        # The target is everybody's, and yet the token is not to work again at its price.
        moved = dissolve(tx, world.act, gone, heir)

    assert (moved.tokens, moved.tokens_left) == (0, 1)
    assert (view(world, secret).blocked, view(world, secret).group_id) == (
        "group_not_granted",
        gone.id,
    )


def test_a_secret_of_nobody_is_nobodys(world: World) -> None:
    assert found(world, generate()) is None


# --- what has ended -----------------------------------------------------------------------------


def test_what_its_owner_ended_is_not_brought_back_by_a_file(world: World) -> None:
    token, rotated = make(world)
    replaced, _ = rotate(world, token)
    del replaced
    with world.database.write() as tx:
        user = accounts.user_by_id(tx.connection, token.user_id)
        other, deleted = world.token(tx, user, "other")
        api_tokens.delete_token(tx, world.act, other)

    for secret in (rotated, deleted):
        with world.database.write() as tx, pytest.raises(Conflict) as refused:
            terms = replace(token.terms, name="again")
            api_tokens.create_token(tx, world.act, world.secrets.pepper, user, terms, secret=secret)
        assert refused.value.code == "secret_ended"
        with world.database.write() as tx, pytest.raises(Conflict) as refused:
            api_tokens.change_token(
                tx, world.act, world.secrets.pepper, token, token.terms, secret=secret
            )
        assert refused.value.code == "secret_ended"


def test_after_its_grace_a_secret_does_not_come_back_either(world: World) -> None:
    token, old = make(world)
    rotate(world, token, grace=HOUR)
    later = replace(world.act, at_ms=world.act.at_ms + HOUR * 1000)

    with world.database.write() as tx, pytest.raises(Conflict) as refused:
        api_tokens.change_token(tx, later, world.secrets.pepper, token, token.terms, secret=old)

    assert refused.value.code == "secret_ended"
