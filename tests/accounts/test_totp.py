"""The second factor: a code of a device once, a code on paper once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from functools import partial

import pyotp
import pytest
import sqlalchemy as sa

from aipool.accounts import sessions, totp
from aipool.accounts.callers import Caller
from aipool.accounts.tables import recovery_codes, users
from aipool.accounts.throttle import FREE_TRIES
from aipool.accounts.types import Role, User
from aipool.kit.errors import BusinessError, Conflict, Forbidden, Invalid, Unauthenticated
from tests.accounts.people import PASSWORD, PHONE, People


def code_of(people: People, secret: str, later_seconds: int = 0) -> str:
    return pyotp.TOTP(secret).at(people.act().at_ms // 1000 + later_seconds)


def caller(people: People, user: User) -> Caller:
    return people.known(people.log_in(user.phone).secret)


def switched_on(people: People, user: User) -> tuple[str, list[str]]:
    """The device's secret and the recovery codes."""
    mine = caller(people, user)
    secret, _ = people.oneself.begin_totp(people.act(), mine)
    _, codes = people.oneself.confirm_totp(people.act(), mine, code_of(people, secret))
    return secret, codes


def test_s_10_the_secret_counts_once_the_device_has_it(people: People) -> None:
    user = people.user(role=Role.ADMIN)
    mine = caller(people, user)
    secret, uri = people.oneself.begin_totp(people.act(), mine)
    assert uri.startswith("otpauth://totp/AI-POOL:")
    assert secret in uri

    people.log_in()
    with pytest.raises(Invalid):
        people.oneself.confirm_totp(people.act(), mine, "000000")
    people.oneself.confirm_totp(people.act(), mine, code_of(people, secret))

    with pytest.raises(Unauthenticated) as needed:
        people.log_in()
    assert needed.value.code == "totp_needed"
    people.later(60)
    assert people.log_in(code=code_of(people, secret)).user.has_totp


def test_s_10_a_code_is_good_once_and_so_is_none_before_it(people: People) -> None:
    user = people.user()
    secret, _ = switched_on(people, user)
    people.later(90)
    code, earlier = code_of(people, secret), code_of(people, secret, -30)

    people.log_in(code=code)
    for replayed in (code, earlier):
        with pytest.raises(Invalid):
            people.log_in(code=replayed)
    people.later(30)
    people.log_in(code=code_of(people, secret))


def later_in(people: People, secret: str) -> Caller:
    """A session whose step-up is over, of somebody with a device."""
    people.later(90)
    mine = people.known(people.log_in(code=code_of(people, secret)).secret)
    return replace(mine, stepped_up=False)


def test_s_10_a_password_is_no_way_around_the_second_factor(people: People) -> None:
    secret, _ = switched_on(people, people.user())
    mine = later_in(people, secret)
    new = {"current": PASSWORD, "password": "orange kettle 51"}

    with pytest.raises(Forbidden) as refusal:
        people.oneself.change_password(people.act(), mine, **new)
    assert refusal.value.code == "step_up_needed"

    people.later(90)
    until_ms, cookie = people.oneself.step_up(people.act(), mine, code=code_of(people, secret))
    people.later(600)
    _, cookie = people.oneself.change_password(people.act(), people.known(cookie), **new)
    # It is shown as long as the code was good for, and no longer.
    people.later(until_ms / 1000 - people.act().at_ms / 1000 + 1)
    assert not people.known(cookie).stepped_up


def test_s_10_who_knows_the_password_guesses_no_faster_at_the_second_factor(lone: People) -> None:
    secret, _ = switched_on(lone, lone.user())
    mine = later_in(lone, secret)
    said = []

    def told(call: Callable[[], object]) -> None:
        with pytest.raises(BusinessError) as refusal:
            call()
        said.append(refusal.value.code)

    change = lone.oneself.change_password
    for _ in range(3):
        for _ in range(3):
            told(lambda: lone.oneself.step_up(lone.act(), mine, code="000000"))
        for caller in (mine, replace(mine, stepped_up=True)):
            # A right password, and then nothing changed.
            told(partial(change, lone.act(), caller, current=PASSWORD, password="x"))

    assert said.count("code_wrong") == FREE_TRIES
    assert said.count("too_many_tries") == 9 - FREE_TRIES


def test_clocks_may_differ_by_half_a_minute(lone: People) -> None:
    user = lone.user()
    secret, _ = switched_on(lone, user)
    lone.later(300)

    for later_seconds in (-60, 60):
        with pytest.raises(Invalid):
            lone.log_in(code=code_of(lone, secret, later_seconds))
    lone.log_in(code=code_of(lone, secret, 30))


def test_s_10_a_recovery_code_works_once_and_is_stored_as_digest(people: People) -> None:
    user = people.user()
    _, codes = switched_on(people, user)
    assert len(set(codes)) == totp.RECOVERY_CODES
    with people.world.database.read() as connection:
        stored = repr(connection.execute(sa.select(recovery_codes)).all())
    assert not any(code in stored or code.replace("-", "") in stored for code in codes)

    people.log_in(code=codes[0].upper())
    with pytest.raises(Invalid):
        people.log_in(code=codes[0])
    people.log_in(code=codes[1].replace("-", " "))


def test_the_secret_lies_sealed_in_the_row_it_belongs_to(lone: People) -> None:
    user = lone.user()
    secret, _ = switched_on(lone, user)

    with lone.world.database.read() as connection:
        row = connection.execute(sa.select(users).where(users.c.id == user.id)).one()
    assert secret not in repr(row)
    keyring = lone.world.secrets.keyring
    assert keyring.open(row.totp_secret, f"user:{user.id}", "totp") == secret


def test_s_10_a_step_up_asks_for_the_second_factor_where_there_is_one(lone: People) -> None:
    user = lone.user()
    secret, _ = switched_on(lone, user)
    lone.later(60)
    mine = lone.known(lone.log_in(code=code_of(lone, secret)).secret)
    lone.later(60)

    with pytest.raises(Invalid) as refused:
        lone.oneself.step_up(lone.act(), mine, password=PASSWORD)
    assert refused.value.code == "code_needed"
    lone.oneself.step_up(lone.act(), mine, code=code_of(lone, secret))


def test_switching_it_on_or_off_ends_the_other_sessions(people: People) -> None:
    user = people.user()
    other = people.log_in().secret
    switched_on(people, user)
    assert people.caller(other) is None

    with people.world.database.write() as tx:
        assert totp.switch_off(tx, people.act(), people.again(user))
    people.log_in()
    with people.world.database.write() as tx:
        assert not totp.switch_off(tx, people.act(), people.again(user))


def test_an_administrator_who_switches_it_off_ends_every_access_token(lone: People) -> None:
    user = lone.user()
    switched_on(lone, user)
    for ends, but_session in ((False, 7), (True, 0)):
        with lone.world.database.write() as tx:
            if not ends:
                sessions.create_access_token(
                    tx, lone.act(), lone.world.secrets.pepper, user, name="ci"
                )
            totp.switch_off(tx, lone.act(), lone.again(user), but_session=but_session)
            assert (sessions.access_tokens(tx.connection, user) == []) is ends
        if not ends:
            lone.later(60)
            switched_on(lone, user)


def test_new_recovery_codes_make_those_before_worthless(people: People) -> None:
    user = people.user()
    _, before = switched_on(people, user)
    mine = people.known(people.log_in(code=before[0]).secret)
    after = people.oneself.renew_recovery_codes(people.act(), mine)

    with pytest.raises(Invalid):
        people.log_in(code=before[1])
    people.log_in(code=after[0])
    assert people.oneself.me(mine, people.act().at_ms).recovery_codes_left == 9


def test_it_is_begun_once_and_not_confirmed_before(lone: People) -> None:
    user = lone.user()
    mine = caller(lone, user)
    with pytest.raises(Conflict):
        lone.oneself.confirm_totp(lone.act(), mine, "000000")
    with pytest.raises(Conflict):
        lone.oneself.renew_recovery_codes(lone.act(), mine)

    switched_on(lone, user)
    with pytest.raises(Conflict):
        lone.oneself.begin_totp(lone.act(), mine)


def test_s_10_guesses_at_the_code_are_slowed_down(lone: People) -> None:
    user = lone.user(PHONE)
    switched_on(lone, user)
    refusals = []
    for number in range(20):
        try:
            lone.log_in(code=f"{number:06}")
        except (Forbidden, BusinessError) as refusal:
            refusals.append(refusal.code)

    assert refusals.count("code_wrong") <= 5
    assert refusals[-1] in ("too_many_tries", "challenge_needed")
