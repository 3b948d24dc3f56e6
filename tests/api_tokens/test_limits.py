"""Limits of a token's money: which budgets they are, what a change keeps, how far they are used."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import ApiToken, Reset, Standing
from aipool.ledger import service as ledger
from aipool.ledger.rules import window_of
from aipool.ledger.types import TransferKind, token_budget
from tests.api_tokens.spending import DAY, MIDNIGHT, spend
from tests.world import World, open_world

MONDAY, FIRST = DAY + 6, DAY + 17


@pytest.fixture
def world(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path, kind) as opened:
        yield opened


def limited(world: World, **terms: Any) -> ApiToken:
    with world.database.write() as tx:
        user = world.user(tx)
        ledger.credit_wallet(
            tx,
            user_id=user.id,
            amount_nano=1_000,
            source="expense:promo",
            kind=TransferKind.OPENING,
            idem_key="opening",
            ref="",
            actor="test",
            at_ms=1,
        )
        return world.token(tx, user, **terms)[0]


def changed(world: World, token: ApiToken, **terms: Any) -> tuple[ApiToken, tuple[str, ...]]:
    with world.database.write() as tx:
        wanted = dataclasses.replace(token.terms, **terms)
        words = api_tokens.change_token(tx, world.act, world.secrets.pepper, token, wanted)
        return api_tokens.get_token(tx.connection, token.id), words


def standing(world: World, token: ApiToken, day: int = DAY) -> Standing:
    with world.database.read() as connection:
        return api_tokens.standing(connection, token, day)


@pytest.mark.parametrize(
    ("reset", "next_day"),
    [(Reset.DAILY, DAY + 1), (Reset.WEEKLY, MONDAY), (Reset.MONTHLY, FIRST)],
)
def test_a_limit_begins_anew_with_its_window_and_the_total_does_not(
    world: World, reset: Reset, next_day: int
) -> None:
    token = limited(world, limit_nano=10, reset=reset, total_nano=100)
    assert standing(world, token) == Standing(0, 10, next_day * MIDNIGHT, 0)

    assert spend(world, token, 7) == 7
    assert spend(world, token, 7) == 3  # no more than the window has
    assert standing(world, token) == Standing(10, 0, next_day * MIDNIGHT, 10)

    later = standing(world, token, next_day)
    assert (later.used_nano, later.remaining_nano, later.used_total_nano) == (0, 10, 10)
    assert spend(world, token, 4, next_day) == 4
    assert standing(world, token).used_total_nano == 14


def test_what_remains_is_the_lesser_of_the_window_and_the_total(world: World) -> None:
    token = limited(world, limit_nano=10, reset=Reset.DAILY, total_nano=12)
    spend(world, token, 10)

    tomorrow = standing(world, token, DAY + 1)

    assert (tomorrow.used_nano, tomorrow.remaining_nano) == (0, 2)
    assert spend(world, token, 10, DAY + 1) == 2


def test_a_limit_that_never_begins_anew_is_of_its_life(world: World) -> None:
    token = limited(world, limit_nano=10, total_nano=8)
    spend(world, token, 3)

    assert standing(world, token) == Standing(3, 5, None, 3)


def test_without_a_limit_use_is_counted(world: World) -> None:
    token = limited(world)
    spend(world, token, 3)

    assert standing(world, token) == Standing(None, None, None, 3)


def test_another_amount_keeps_what_the_window_has_used(world: World) -> None:
    token = limited(world, limit_nano=10, reset=Reset.WEEKLY)
    spend(world, token, 6)

    token, words = changed(world, token, limit_nano=4)

    assert words == ("limit 0.00000001 -> 0.000000004",)
    assert standing(world, token) == Standing(6, 0, MONDAY * MIDNIGHT, 6)
    token, _ = changed(world, token, limit_nano=9)
    assert standing(world, token).remaining_nano == 3
    assert spend(world, token, 5) == 3


def test_another_reset_type_begins_a_new_window_each_time_and_says_so(world: World) -> None:
    token = limited(world, limit_nano=10, reset=Reset.DAILY)
    spend(world, token, 6)

    for reset in (Reset.MONTHLY, Reset.DAILY, Reset.NONE):
        was = token.reset
        token, words = changed(world, token, reset=reset)
        assert words == (
            f"reset {was.value} -> {reset.value}",
            "a new window begins: nothing of it is used",
        )
        now = standing(world, token)
        assert (now.used_nano, now.remaining_nano) == (0, 10)
    assert now.used_total_nano == 6
    assert spend(world, token, 10) == 10


def test_only_what_is_lowered_is_to_be_asked_back(world: World) -> None:
    token = limited(world, limit_nano=10, reset=Reset.WEEKLY, total_nano=50)
    week = window_of(token.reset.period, DAY)

    def lowered(**terms: Any) -> list[tuple[str, int]]:
        wanted = dataclasses.replace(token.terms, **terms)
        return api_tokens.lowered_budgets(token, wanted, DAY)

    assert lowered() == lowered(limit_nano=11) == lowered(limit_nano=None) == []
    assert lowered(limit_nano=9) == [(token.limit_budget, week)]
    assert lowered(total_nano=9) == [(token_budget(token.id), 0)]
    assert lowered(reset=Reset.DAILY, limit_nano=1) == []  # another budget, nobody has any of it
    assert len(lowered(limit_nano=9, total_nano=9)) == 2


def test_the_day_is_the_clocks_unless_it_is_frozen_or_ahead(world: World) -> None:
    def day(now_ms: int) -> int:
        with world.database.read() as connection:
            return api_tokens.current_day(connection, now_ms)

    now_ms = DAY * 86_400_000 + 1
    assert day(now_ms) == DAY
    with world.database.write() as tx:
        ledger.set_day(tx, DAY - 2, frozen=False)
    assert day(now_ms) == DAY
    with world.database.write() as tx:
        ledger.set_day(tx, DAY - 2, frozen=True)
    assert day(now_ms) == DAY - 2
    with world.database.write() as tx:
        ledger.set_day(tx, DAY + 1, frozen=False)
    assert day(now_ms) == DAY + 1
