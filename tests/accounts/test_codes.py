"""Codes to phones and mailboxes: few are sent, and a code is worth little to who did not get it."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import sqlalchemy as sa

from aipool.accounts import codes
from aipool.accounts.codes import Claim, Made, Wanted
from aipool.accounts.tables import verification_codes
from aipool.accounts.types import Channel
from aipool.audit.types import Act
from aipool.kit.errors import TooMany
from aipool.notices.codes import Purpose
from tests.world import World, open_world

PHONE = "+8613800138001"
NOW = 1_800_000_000_000
MINUTE, HOUR, DAY = 60_000, 3_600_000, 86_400_000


@pytest.fixture
def world(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path, kind) as opened:
        yield opened


@pytest.fixture
def lone(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as opened:
        yield opened


def ask(
    world: World,
    at_ms: int = NOW,
    *,
    phone: str = PHONE,
    network: str = "net",
    purpose: Purpose = Purpose.REGISTER,
    session_id: int = 0,
    sms_per_day: int = 500,
) -> Made:
    with world.database.write() as tx:
        wanted = Wanted(Channel.PHONE, Claim(purpose, phone, session_id), network)
        act = Act("visitor", at_ms)
        return codes.ask(
            tx, act, world.secrets.pepper, wanted, sms_per_day=sms_per_day, is_sent=True
        )


def use(
    world: World,
    made: Made,
    at_ms: int = NOW,
    *,
    phone: str = PHONE,
    purpose: Purpose = Purpose.REGISTER,
    session_id: int = 0,
) -> bool:
    with world.database.write() as tx:
        act, claim = Act("visitor", at_ms), Claim(purpose, phone, session_id)
        return codes.use(tx, act, world.secrets.pepper, claim, made.handle, made.code)


def other(made: Made, step: int = 1) -> Made:
    """Another code under the same handle."""
    return replace(made, code=f"{(int(made.code) + step) % 10**6:06}")


def test_s_09_a_code_has_six_digits_and_is_good_once(world: World) -> None:
    made = ask(world)

    assert len(made.code) == 6
    assert made.code.isdecimal()
    assert use(world, made)
    assert not use(world, made)


def test_s_09_a_handle_is_256_random_bits_that_need_no_escaping(lone: World) -> None:
    handles = {ask(lone, phone=f"+86138001381{number:02}").handle for number in range(10)}

    assert len(handles) == 10
    assert all(re.fullmatch(r"[A-Za-z0-9_-]{43}", handle) for handle in handles)


def test_s_09_a_code_is_good_for_its_purpose_its_number_and_its_session_alone(
    world: World,
) -> None:
    made = ask(world, session_id=7)

    # More often than there are tries: none of these is one at this code.
    for _ in range(codes.TRIES_MAX + 1):
        assert not use(world, made, session_id=7, purpose=Purpose.RESET)
        assert not use(world, made, session_id=7, phone="+8613800138002")
        assert not use(world, made, session_id=8)
        assert not use(world, made)
    assert use(world, made, session_id=7)


def test_s_09_a_code_is_nothing_without_the_handle_of_whoever_asked(world: World) -> None:
    mine, foreign = ask(world), ask(world, NOW + MINUTE, network="elsewhere")

    for handle in ("", "x", mine.handle[:-1], mine.handle + "=", mine.code, foreign.handle):
        assert not use(world, replace(mine, handle=handle), NOW + MINUTE)
    assert use(world, mine, NOW + MINUTE)


def test_s_09_who_asks_for_the_same_number_takes_nothing_from_who_asked_before(
    world: World,
) -> None:
    mine, at_ms = ask(world), NOW + MINUTE
    theirs = ask(world, at_ms, network="elsewhere")
    for step in range(20):
        guess = other(mine, step)
        use(world, replace(guess, handle=theirs.handle), at_ms)
        use(world, replace(guess, handle=""), at_ms)

    assert use(world, mine, at_ms)


def test_s_09_after_five_wrong_tries_the_right_code_is_wrong(world: World) -> None:
    made = ask(world)

    assert not any(use(world, other(made)) for _ in range(codes.TRIES_MAX))
    assert not use(world, made)


def test_s_09_at_most_five_of_all_codes_are_tried_with_a_handle_and_none_without(
    lone: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codes, "_DIGITS", 1)
    made = ask(lone)
    every = [replace(made, code=str(code)) for code in range(10)]

    assert not any(use(lone, replace(guess, handle="x")) for guess in every * 2)
    # The right one may be the first of five, or the fifth, and not the sixth.
    wrong = [guess for guess in every if guess != made]
    assert not any(use(lone, guess) for guess in wrong[: codes.TRIES_MAX - 1])
    assert use(lone, made)
    again = ask(lone, NOW + MINUTE)
    wrong = [replace(guess, handle=again.handle) for guess in every if guess.code != again.code]
    assert not any(use(lone, guess, NOW + MINUTE) for guess in wrong[: codes.TRIES_MAX])
    assert not use(lone, again, NOW + MINUTE)


def test_s_09_a_code_is_good_for_five_minutes(lone: World) -> None:
    made = ask(lone)

    assert not use(lone, made, NOW + 5 * MINUTE)
    assert not use(lone, made, NOW - 1)
    assert use(lone, made, NOW + 5 * MINUTE - 1)


def test_s_09_a_code_that_was_used_ends_the_others_to_the_same_place(lone: World) -> None:
    first, at_ms = ask(lone), NOW + 2 * MINUTE
    second = ask(lone, NOW + MINUTE)
    for_another = ask(lone, at_ms, purpose=Purpose.RESET)

    assert use(lone, second, at_ms)
    assert not use(lone, first, at_ms)
    assert use(lone, for_another, at_ms, purpose=Purpose.RESET)


def test_s_09_of_a_thousand_codes_a_number_gets_one_a_minute_five_an_hour_and_ten_a_day(
    lone: World,
) -> None:
    sent = []
    for step in range(1000):
        at_ms = NOW + step * MINUTE * 3 // 4
        try:
            # From everywhere: the networks' limit is another matter.
            ask(lone, at_ms, network=f"net {step}")
        except TooMany:
            continue
        sent.append(at_ms)

    assert all(later - earlier >= MINUTE for earlier, later in itertools.pairwise(sent))
    for first in sent:
        assert sum(first <= at_ms < first + HOUR for at_ms in sent) <= 5
        assert sum(first <= at_ms < first + DAY for at_ms in sent) <= 10
    assert len(sent) == 10


def test_s_09_a_network_gets_ten_an_hour(lone: World) -> None:
    for number in range(10):
        ask(lone, phone=f"+86138001381{number:02}")

    with pytest.raises(TooMany) as refused:
        ask(lone, phone="+8613800138199")
    assert refused.value.wait_seconds == HOUR // 1000
    ask(lone, NOW + HOUR, phone="+8613800138199")


def test_s_09_all_together_get_so_many_a_day(lone: World) -> None:
    midnight = NOW - NOW % DAY + DAY
    for number in range(3):
        ask(lone, phone=f"+86138001381{number:02}", network=f"n{number}", sms_per_day=3)

    with pytest.raises(TooMany):
        ask(lone, phone="+8613800138199", network="n", sms_per_day=3)
    ask(lone, midnight, phone="+8613800138199", network="n", sms_per_day=3)


def test_codes_lie_in_the_database_as_digests_and_go_after_a_day(world: World) -> None:
    made = ask(world)
    with world.database.read() as connection:
        row = connection.execute(sa.select(verification_codes)).one()
    assert not {made.code, made.handle} & {str(value) for value in row}
    assert made.handle.encode() not in (row.digest, row.handle_digest)
    assert len(row.digest) == len(row.handle_digest) == 32
    assert made.code not in repr(made)
    assert made.handle not in repr(made)

    ask(world, NOW + 2 * DAY)
    with world.database.read() as connection:
        assert len(connection.execute(sa.select(verification_codes)).all()) == 1
