"""Calls for tests of tokens: what they are charged, in the ledger and in the log, on any day."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import ApiToken
from aipool.doors.frames import Need
from aipool.kit.money import parse_cny
from aipool.ledger import service as ledger
from aipool.ledger.rules import period_of, window_of
from aipool.ledger.tables import calendar
from aipool.ledger.types import Lend, LendRule, Settle, TransferKind, token_budget, wallet_account
from tests.api_tokens.asking import user_of
from tests.calls.rows import record, row
from tests.control.api_rig import Api
from tests.world import World

#: 2023-11-14, a Tuesday; the world's act is of this day.
DAY = 19_675
MIDNIGHT = 86_400


@dataclass(frozen=True)
class Spent:
    """A call that ended, as the ledger wants to know it."""

    rid: str
    user_id: int
    token_id: int
    charge_nano: int
    budgets: tuple[tuple[str, int], ...]
    at_ms: int = 1
    hold_nano: int = 0


_numbers = itertools.count(1)


def spend(world: World, token: ApiToken, amount: int, day: int = DAY) -> int:
    """A call of the token on a day; what it was charged."""
    names = [wallet_account(token.user_id)]
    if token.total_nano is not None:
        names.append(token_budget(token.id))
    if token.limit_nano is not None and token.limit_budget not in names:
        names.append(token.limit_budget)
    chain = tuple((name, window_of(period_of(name), day)) for name in names)
    number = next(_numbers)
    with world.database.write() as tx:
        ledger.open_epoch(tx, number, worker=0, pid=1, at_ms=1)
        needs = tuple(Need(name, window, amount, amount) for name, window in chain)
        ledger.apply(tx, [Lend(number, [needs], LendRule(1, amount, day))])
        call: Any = Spent(f"req_{number}", token.user_id, token.id, amount, chain, hold_nano=amount)
        (settled,) = ledger.apply(tx, [Settle(number, call)])
        ledger.close_epoch(tx, number, 2)
    return int(settled.charged_nano)  # type: ignore[union-attr]


def credit(world: World, user_id: int, amount: str) -> None:
    """Money for calls."""
    with world.database.write() as tx:
        ledger.credit_wallet(
            tx,
            user_id=user_id,
            amount_nano=parse_cny(amount),
            source="expense:promo",
            kind=TransferKind.CREDIT,
            idem_key=f"for-calls:{next(_numbers)}",
            ref="",
            actor="test",
            at_ms=1,
        )


def call(
    opened: Api, person: Api, token: dict[str, Any], amount: str, day: int = DAY, at_ms: int = 0
) -> None:
    """A call that a person's money and the token's limits cover, in the ledger; with at_ms, when
    it arrived, in the log of calls too."""
    world, user_id, nano = opened.world, user_of(person).id, parse_cny(amount)
    credit(world, user_id, amount)
    with world.database.read() as connection:
        made = api_tokens.get_token(connection, token["id"])
    assert spend(world, made, nano, day) == nano
    if at_ms:
        record(world.database, row(at_ms, user=user_id, token=made.id, charged_nano=nano))


@contextmanager
def kept_day(world: World) -> Iterator[Callable[[int], None]]:
    """Says which day it is for the windows of limits; at the end it is the clock's again."""

    def on(day: int) -> None:
        _forget(world)
        with world.database.write() as tx:
            ledger.set_day(tx, day, frozen=True)

    try:
        yield on
    finally:
        _forget(world)


def _forget(world: World) -> None:
    with world.database.write() as tx:
        tx.connection.execute(calendar.delete())
