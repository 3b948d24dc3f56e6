"""Codes to phones and mailboxes: few are sent, and a code is worth little to who did not get it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from aipool.accounts import codes
from aipool.accounts.codes import Wanted
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
    sms_per_day: int = 500,
) -> str:
    with world.database.write() as tx:
        wanted = Wanted(Channel.PHONE, phone, purpose, network)
        act = Act("visitor", at_ms)
        return codes.ask(
            tx, act, world.secrets.pepper, wanted, sms_per_day=sms_per_day, is_sent=True
        )


def use(
    world: World,
    code: str,
    at_ms: int = NOW,
    *,
    phone: str = PHONE,
    purpose: Purpose = Purpose.REGISTER,
) -> bool:
    with world.database.write() as tx:
        act = Act("visitor", at_ms)
        return codes.use(tx, act, world.secrets.pepper, purpose, phone, code)


def test_s_09_a_code_has_six_digits_and_is_good_once(world: World) -> None:
    code = ask(world)

    assert len(code) == 6
    assert code.isdecimal()
    assert use(world, code)
    assert not use(world, code)


def test_s_09_a_code_is_good_for_its_purpose_and_its_number_alone(world: World) -> None:
    code = ask(world)

    assert not use(world, code, purpose=Purpose.RESET)
    assert not use(world, code, phone="+8613800138002")
    assert use(world, code)


def test_s_09_after_five_wrong_tries_the_right_code_is_wrong(world: World) -> None:
    code = ask(world)
    wrong = f"{(int(code) + 1) % 10**6:06}"

    assert not any(use(world, wrong) for _ in range(codes.TRIES_MAX))
    assert not use(world, code)


def test_s_09_a_code_is_good_for_five_minutes(lone: World) -> None:
    code = ask(lone)

    assert not use(lone, code, NOW + 5 * MINUTE)
    assert not use(lone, code, NOW - 1)
    assert use(lone, code, NOW + 5 * MINUTE - 1)


def test_s_09_another_code_makes_the_one_before_worthless(lone: World) -> None:
    first = ask(lone)
    second = ask(lone, NOW + MINUTE)

    assert not use(lone, first, NOW + MINUTE) or first == second
    assert use(lone, second, NOW + MINUTE)


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
    code = ask(world)
    with world.database.read() as connection:
        row = connection.execute(sa.select(verification_codes)).one()
    assert code not in {str(value) for value in row}
    assert len(row.digest) == 32

    ask(world, NOW + 2 * DAY)
    with world.database.read() as connection:
        assert len(connection.execute(sa.select(verification_codes)).all()) == 1
