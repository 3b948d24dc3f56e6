"""Sessions and access tokens: what opens an account, for how long, and what ends it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from aipool.accounts import service, sessions
from aipool.accounts.callers import Caller
from aipool.accounts.sessions import OPERATOR_IDLE_MS, OPERATOR_LIFE_MS
from aipool.accounts.store import people as people_store
from aipool.accounts.tables import access_tokens
from aipool.accounts.tables import sessions as session_table
from aipool.accounts.types import Role, Session, Status, User
from aipool.audit import service as audit
from aipool.audit.types import Act
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, Invalid, NotFound
from tests.world import World, open_world

HOUR = 3_600_000
DAY = 24 * HOUR
OTHER = "+8613800138002"


@pytest.fixture
def world(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path, kind) as opened:
        yield opened


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as opened:
        yield opened


def person(world: World, role: Role = Role.USER, phone: str = OTHER) -> User:
    with world.database.write() as tx:
        return world.user(tx, phone, role)


def at(world: World, later_ms: int = 0) -> Act:
    act = world.act
    return replace(act, at_ms=act.at_ms + later_ms, ip="203.0.113.7", user_agent="a browser")


def opened(world: World, user: User, later_ms: int = 0) -> tuple[Session, str]:
    with world.database.write() as tx:
        return sessions.open_session(tx, at(world, later_ms), world.secrets.pepper, user)


def caller(world: World, secret: str, later_ms: int = 0, **more: bool) -> Caller | None:
    with world.database.read() as connection:
        now_ms = world.act.at_ms + later_ms
        return sessions.caller_of_cookie(connection, world.secrets.pepper, secret, now_ms, **more)


def busy_until(world: World, secret: str, user: User, until_ms: int, step_ms: int) -> None:
    """Somebody asks for something every so often."""
    for later_ms in range(0, until_ms, step_ms):
        found = caller(world, secret, later_ms)
        assert found is not None
        with world.database.write() as tx:
            sessions.note_seen(tx, found, world.act.at_ms + later_ms)


def test_s_06_a_session_is_known_by_its_secret_of_which_the_digest_is_stored(world: World) -> None:
    user = person(world)
    session, secret = opened(world, user)

    found = caller(world, secret)
    assert found == Caller(user, session.id, stepped_up=True, seen_at_ms=world.act.at_ms)
    assert len(secret) >= 43
    with world.database.read() as connection:
        row = connection.execute(sa.select(session_table)).one()
    assert secret not in repr(row)
    assert (row.ip, row.user_agent) == ("203.0.113.7", "a browser")


@pytest.mark.parametrize("cookie", ["", "x", "x" * 43, "é" * 43, "x" * 5000])
def test_a_made_up_cookie_is_nobodys(lone: World, cookie: str) -> None:
    opened(lone, person(lone))

    assert caller(lone, cookie) is None


@pytest.mark.parametrize(
    ("role", "idle_ms", "life_ms"),
    [
        (Role.USER, 12 * HOUR, 7 * DAY),
        (Role.ADMIN, HOUR // 2, 12 * HOUR),
        (Role.ROOT, HOUR // 2, 12 * HOUR),
    ],
)
def test_s_06_a_session_ends_when_it_is_idle_and_at_the_latest_after_its_life(
    lone: World, role: Role, idle_ms: int, life_ms: int
) -> None:
    user = person(lone, role)
    _, idle = opened(lone, user)
    assert caller(lone, idle, idle_ms - 1) is not None
    assert caller(lone, idle, idle_ms) is None

    _, busy = opened(lone, user)
    busy_until(lone, busy, user, life_ms, idle_ms - 1)
    assert caller(lone, busy, life_ms) is None


def test_s_06_a_step_up_lasts_a_quarter_of_an_hour_and_changes_the_secret(world: World) -> None:
    user = person(world)
    _, first = opened(world, user)
    assert not caller(world, first, 15 * 60_000).stepped_up  # type: ignore[union-attr]

    before = caller(world, first, 20 * 60_000)
    assert before is not None
    with world.database.write() as tx:
        until_ms, second = sessions.step_up(
            tx, at(world, 20 * 60_000), world.secrets.pepper, before
        )

    assert until_ms == world.act.at_ms + 35 * 60_000
    assert caller(world, first, 20 * 60_000) is None
    after = caller(world, second, 20 * 60_000)
    assert after is not None
    assert (after.session_id, after.stepped_up) == (before.session_id, True)


def test_s_06_password_role_and_status_end_sessions_and_tell_of_them(world: World) -> None:
    user, told = person(world), list[int]()

    def ended(_tx: object, gone: Sequence[int]) -> None:
        told.extend(gone)

    changes: list[Callable[[Transaction, User], object]] = [
        lambda tx, now: service.set_password(tx, world.act, now, password_hash="y", ended=ended),
        lambda tx, now: service.set_role(tx, world.act, now, Role.ADMIN, ended),
        lambda tx, now: service.set_status(tx, world.act, now, Status.DISABLED, ended),
    ]
    for change in changes:
        session, secret = opened(world, user)
        with world.database.write() as tx:
            change(tx, service.user_by_id(tx.connection, user.id))
        assert told == [session.id]
        told.clear()
        assert caller(world, secret) is None


def test_an_access_token_does_not_grow_with_its_owners_role(lone: World) -> None:
    user, pepper = person(lone), lone.secrets.pepper
    with lone.database.write() as tx:
        _, secret = sessions.create_access_token(
            tx, lone.act, pepper, user, name="ci", read_only=False, is_sensitive=True
        )
        service.set_role(tx, lone.act, user, Role.ADMIN)

    with lone.database.read() as connection:
        found = sessions.caller_of_access_token(connection, pepper, secret, lone.act.at_ms)
    assert found is None


def test_the_session_that_changes_the_password_stays(world: World) -> None:
    user = person(world)
    mine, secret = opened(world, user)
    _, other = opened(world, user)
    with world.database.write() as tx:
        service.set_password(tx, world.act, user, password_hash="y", but_session=mine.id)

    assert caller(world, secret) is not None
    assert caller(world, other) is None


def test_a_disabled_account_has_no_caller_whatever_it_holds(lone: World) -> None:
    user = person(lone)
    _, secret = opened(lone, user)
    with lone.database.write() as tx:
        people_store.update_user(tx.connection, user.id, status=Status.PENDING)

    assert caller(lone, secret) is None


def test_the_last_use_is_noted_once_a_minute(world: World) -> None:
    _, secret = opened(world, person(world))
    found = caller(world, secret, 59_999)
    assert found is not None
    assert not sessions.is_due(found, world.act.at_ms + 59_999)
    assert sessions.is_due(found, world.act.at_ms + 60_000)
    # A clock that was set back must not keep it from being noted.
    assert sessions.is_due(found, world.act.at_ms - 1)

    with world.database.write() as tx:
        sessions.note_seen(tx, found, world.act.at_ms + 60_000)
    assert caller(world, secret).seen_at_ms == world.act.at_ms + 60_000  # type: ignore[union-attr]


def test_people_end_their_own_sessions_and_nobody_elses(world: World) -> None:
    mine, theirs = person(world), person(world, phone="+8613800138003")
    session, secret = opened(world, mine)
    other, other_secret = opened(world, theirs)

    with pytest.raises(NotFound) as foreign, world.database.write() as tx:
        sessions.end_session(tx, world.act, mine, other.id)
    with pytest.raises(NotFound) as missing, world.database.write() as tx:
        sessions.end_session(tx, world.act, mine, 99_999)
    assert foreign.value.code == missing.value.code
    with world.database.write() as tx:
        sessions.end_session(tx, world.act, mine, session.id)
    assert caller(world, secret) is None
    assert caller(world, other_secret) is not None


def test_the_number_of_a_session_is_given_once(lone: World) -> None:
    user = person(lone)
    first, _ = opened(lone, user)
    with lone.database.write() as tx:
        sessions.end_session(tx, lone.act, user, first.id)

    assert opened(lone, user)[0].id > first.id


def test_sessions_of_a_person_are_bounded_and_old_ones_are_swept(
    lone: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sessions, "SESSIONS_MAX", 3)
    user = person(lone)
    made = [opened(lone, user, index)[1] for index in range(4)]

    assert [caller(lone, secret, 9) is not None for secret in made] == [False, True, True, True]
    opened(lone, person(lone, phone="+8613800138003"), 8 * DAY)
    with lone.database.read() as connection:
        assert len(connection.execute(sa.select(session_table)).all()) == 1


def test_operators_without_a_second_factor_must_set_it_up_where_it_is_asked_for(
    lone: World,
) -> None:
    for role, must in ((Role.USER, ""), (Role.ADMIN, "totp_set_up_needed")):
        _, secret = opened(lone, person(lone, role, f"+861380013801{len(role)}"))
        found = caller(lone, secret, totp_required=True)
        assert found is not None
        assert found.must == must
        assert caller(lone, secret).must == ""  # type: ignore[union-attr]


def test_operators_sessions_are_shorter() -> None:
    assert OPERATOR_IDLE_MS < sessions.IDLE_MS
    assert OPERATOR_LIFE_MS < sessions.LIFE_MS


# --- access tokens --------------------------------------------------------------------------------


def token_caller(world: World, secret: str, later_ms: int = 0) -> Caller | None:
    with world.database.read() as connection:
        return sessions.caller_of_access_token(
            connection, world.secrets.pepper, secret, world.act.at_ms + later_ms
        )


def test_an_access_token_is_shown_once_and_stored_as_digest(world: World) -> None:
    user = person(world)
    with world.database.write() as tx:
        token, secret = sessions.create_access_token(
            tx, world.act, world.secrets.pepper, user, name="ci"
        )

    assert secret.startswith("aipool-")
    assert secret.endswith(token.last4)
    with world.database.read() as connection:
        assert secret not in repr(connection.execute(sa.select(access_tokens)).all())
    found = token_caller(world, secret)
    assert found == Caller(user, access_token_id=token.id)


@pytest.mark.parametrize(("read_only", "is_sensitive"), [(True, False), (False, True)])
def test_an_access_token_may_what_it_was_made_for(
    world: World, read_only: bool, is_sensitive: bool
) -> None:
    user = person(world)
    with world.database.write() as tx:
        _, secret = sessions.create_access_token(
            tx,
            world.act,
            world.secrets.pepper,
            user,
            name="ci",
            read_only=read_only,
            is_sensitive=is_sensitive,
            expires_at_ms=world.act.at_ms + HOUR,
        )

    found = token_caller(world, secret, HOUR - 1)
    assert found is not None
    assert (found.may_write, found.stepped_up) == (not read_only, is_sensitive)
    assert token_caller(world, secret, HOUR) is None
    assert token_caller(world, secret + "x") is None
    assert token_caller(world, "x" + secret) is None


def test_the_use_of_an_access_token_is_noted(world: World) -> None:
    user = person(world)
    with world.database.write() as tx:
        token, secret = sessions.create_access_token(
            tx, world.act, world.secrets.pepper, user, name="ci"
        )
    found = token_caller(world, secret)
    assert found is not None
    assert sessions.is_due(found, world.act.at_ms)
    with world.database.write() as tx:
        sessions.note_seen(tx, found, world.act.at_ms)

    with world.database.read() as connection:
        (listed,) = sessions.access_tokens(connection, user)
    assert (listed.id, listed.last_used_at_ms) == (token.id, world.act.at_ms)


def test_access_tokens_have_names_of_their_own_and_an_end_that_is_to_come(lone: World) -> None:
    user = person(lone)
    with lone.database.write() as tx:
        sessions.create_access_token(tx, lone.act, lone.secrets.pepper, user, name="ci")
    with pytest.raises(Conflict), lone.database.write() as tx:
        sessions.create_access_token(tx, lone.act, lone.secrets.pepper, user, name="ci")
    with pytest.raises(Invalid), lone.database.write() as tx:
        sessions.create_access_token(
            tx, lone.act, lone.secrets.pepper, user, name="b", expires_at_ms=lone.act.at_ms
        )


def test_people_delete_their_own_access_tokens_and_nobody_elses(world: World) -> None:
    mine, theirs = person(world), person(world, phone="+8613800138003")
    with world.database.write() as tx:
        token, secret = sessions.create_access_token(
            tx, world.act, world.secrets.pepper, mine, name="ci"
        )
    with pytest.raises(NotFound), world.database.write() as tx:
        sessions.delete_access_token(tx, world.act, theirs, token.id)
    assert token_caller(world, secret) is not None
    with world.database.write() as tx:
        sessions.delete_access_token(tx, world.act, mine, token.id)
    assert token_caller(world, secret) is None


def two_tokens(world: World, user: User) -> tuple[str, str]:
    """The secrets of one that is sensitive and of one that is not."""
    with world.database.write() as tx:
        made = [
            sessions.create_access_token(
                tx, world.act, world.secrets.pepper, user, name=f"s{flag}", is_sensitive=flag
            )
            for flag in (True, False)
        ]
    return made[0][1], made[1][1]


def trail(world: World, user: User, action: str) -> dict[str, object]:
    """What the newest row of this action says was there before."""
    with world.database.read() as connection:
        rows = audit.entries(connection, f"user:{user.id}")
    return next(dict(row.before or {}) for row in rows if row.action == action)


def test_a_password_that_its_owner_changes_ends_the_sensitive_access_tokens(world: World) -> None:
    user = person(world)
    mine, _ = opened(world, user)
    sensitive, plain = two_tokens(world, user)
    with world.database.write() as tx:
        service.set_password(tx, world.act, user, password_hash="y", but_session=mine.id)

    assert token_caller(world, sensitive) is None
    assert token_caller(world, plain) is not None
    assert trail(world, user, "user.set_password") == {"access_tokens": 1}


def test_a_password_that_is_reset_ends_every_access_token(world: World) -> None:
    user, other = person(world), person(world, phone="+8613800138003")
    theirs = two_tokens(world, user)
    strangers = two_tokens(world, other)
    with world.database.write() as tx:
        service.set_password(tx, world.act, user, password_hash="y")

    assert [token_caller(world, secret) for secret in theirs] == [None, None]
    assert None not in [token_caller(world, secret) for secret in strangers]
    assert trail(world, user, "user.set_password") == {"access_tokens": 2}


def test_logging_out_everywhere_ends_every_access_token(world: World) -> None:
    user = person(world)
    _, mine = opened(world, user)
    _, other = opened(world, user)
    theirs = two_tokens(world, user)
    asking = caller(world, mine)
    assert asking is not None
    with world.database.write() as tx:
        sessions.end_others(tx, world.act, asking)

    assert caller(world, mine) is not None
    assert caller(world, other) is None
    assert [token_caller(world, secret) for secret in theirs] == [None, None]
    assert trail(world, user, "session.end_others") == {"sessions": 1, "access_tokens": 2}


def test_s_10_a_program_of_an_operator_waits_for_the_second_factor_as_its_owner_does(
    lone: World,
) -> None:
    for role, must in ((Role.USER, ""), (Role.ADMIN, "totp_set_up_needed")):
        secret, _ = two_tokens(lone, person(lone, role, f"+861380013801{len(role)}"))
        with lone.database.read() as connection:
            found = sessions.caller_of_access_token(
                connection, lone.secrets.pepper, secret, lone.act.at_ms, totp_required=True
            )
        assert found is not None
        assert found.must == must
        assert token_caller(lone, secret).must == ""  # type: ignore[union-attr]
