"""S0.40: who has a low balance is told once, in their language, and again when it falls again."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest

from aipool.accounts.store import people
from aipool.control.low_balances import LowBalances
from aipool.kit.clock import now_ms
from aipool.kit.money import NANO_PER_CNY
from aipool.ledger import service as ledger
from aipool.notices.codes import Letter
from aipool.site.types import DEFAULT_LOCALE, LOW_BALANCE, NAME
from tests.calls.rows import record, row
from tests.world import World, open_world


class Site:
    """What the site says, and what was mailed."""

    def __init__(self) -> None:
        self.values: dict[Any, Any] = {
            LOW_BALANCE: 5 * NANO_PER_CNY,
            NAME: "Harbour",
            DEFAULT_LOCALE: "en",
        }
        self.letters: list[tuple[str, Letter]] = []

    def value(self, _connection: object, setting: Any) -> Any:
        return self.values[setting]

    async def send_letter(self, to: str, letter: Letter) -> bool:
        self.letters.append((to, letter))
        return True


@pytest.fixture
def world(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path / "data", kind) as opened:
        yield opened


def move(world: World, user_id: int, cny: int, key: str) -> None:
    with world.database.write() as tx:
        ledger.adjust_wallet(
            tx,
            user_id=user_id,
            amount_nano=cny * NANO_PER_CNY,
            idem_key=key,
            ref="test",
            actor="test",
            at_ms=1,
        )


def look(world: World, site: Site) -> None:
    job = LowBalances(world.database, cast(Any, site), cast(Any, site))
    asyncio.run(job.look(now_ms()))


def test_s0_40_a_low_balance_is_told_once_until_it_was_above_again(world: World) -> None:
    site = Site()
    with world.database.write() as tx:
        user = world.user(tx)
        people.update_user(
            tx.connection, user.id, email="a@example.com", email_verified_at_ms=1, locale="zh-CN"
        )
        silent = world.user(tx, "+8613800138009")
    move(world, user.id, 20, "first")
    record(world.database, row(now_ms(), user=user.id), row(now_ms(), user=silent.id))

    look(world, site)
    assert site.letters == []

    move(world, user.id, -16, "spent")
    for _ in range(3):
        look(world, site)
    ((to, letter),) = site.letters
    assert to == "a@example.com"
    assert "Harbour" in letter.subject
    assert "4" in letter.text

    move(world, user.id, 16, "recharged")
    look(world, site)
    move(world, user.id, -16, "spent again")
    look(world, site)
    assert len(site.letters) == 2


def test_everybody_may_say_what_is_low_and_zero_is_never(world: World) -> None:
    site = Site()
    with world.database.write() as tx:
        user = world.user(tx)
        people.update_user(
            tx.connection,
            user.id,
            email="a@example.com",
            email_verified_at_ms=1,
            low_balance_nano=0,
        )
    record(world.database, row(now_ms(), user=user.id))
    look(world, site)
    assert site.letters == []

    with world.database.write() as tx:
        people.update_user(tx.connection, user.id, low_balance_nano=1)
    look(world, site)
    assert len(site.letters) == 1
