"""Balances at vendors are watched."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import uvloop

from aipool.control import asking
from aipool.control.asking import Subject
from aipool.control.balances import Balances
from aipool.kit.outbound import Vet
from aipool.notices import service as notices
from aipool.pool import service as pool
from tests.control.asked import (
    LOOPBACK,
    SECRET,
    SmallVendor,
    asked,
    settings_of,
    small_vendor,
    subject,
)
from tests.world import World, open_world


@pytest.fixture
def vendor() -> Iterator[SmallVendor]:
    with small_vendor() as made:
        yield made


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path / "data") as opened:
        opened.vet = Vet(LOOPBACK)
        yield opened


def balance(amount: str) -> dict[str, Any]:
    return {
        "is_available": True,
        "balance_infos": [
            {
                "currency": "CNY",
                "total_balance": amount,
                "granted_balance": "0",
                "topped_up_balance": amount,
            }
        ],
    }


def deepseek(world: World, vendor: SmallVendor, low_balance: str = "20") -> Subject:
    return subject(
        world,
        f"http://127.0.0.1:{vendor.port}",
        vendor_type="deepseek",
        low_balance=low_balance,
    )


def told(world: World) -> list[str]:
    with world.database.read() as connection:
        return [notice.subject for notice, _ in notices.recent(connection, 10)]


def test_a_balance_is_asked_for_with_the_key(world: World, vendor: SmallVendor) -> None:
    vendor.says("/user/balance", 200, balance("19.99"))
    of = deepseek(world, vendor)

    left = asked(world, lambda clients: asking.ask_balance(clients, of))

    assert left.money == ("19.99", "CNY")
    assert vendor.books[0].headers["authorization"] == f"Bearer {SECRET}"


@pytest.mark.parametrize("body", [b"{}", b"[]", b"<html>", b'{"balance_infos": [{"total": 1}]}'])
def test_a_balance_that_is_none_is_told_as_none(
    world: World, vendor: SmallVendor, body: bytes
) -> None:
    vendor.says("/user/balance", 200, body)
    of = deepseek(world, vendor)

    left = asked(world, lambda clients: asking.ask_balance(clients, of))

    assert left.money is None
    assert left.said


def test_a_low_balance_is_told_once_until_it_was_good_again(
    world: World, vendor: SmallVendor
) -> None:
    deepseek(world, vendor)
    clock = [1_700_000_000_000]
    job = Balances(
        world.database,
        world.secrets.keyring,
        settings_of(world),
        clock_ms=lambda: clock[0],
    )

    def look(amount: str, later_minutes: int) -> int:
        vendor.says("/user/balance", 200, balance(amount))
        clock[0] += later_minutes * 60_000
        return uvloop.run(job.look())

    assert [
        look("20", 0),  # not below
        look("9.99", 15),
        look("15", 15),  # still low
        look("30", 15),
        look("-1", 15),
        look("-2", 24 * 60),  # a day later
    ] == [0, 1, 0, 0, 1, 1]
    assert told(world)[-1] == "Balance of small/k is 9.99 CNY"
    assert len(told(world)) == 3


def test_only_balances_that_somebody_wants_watched_are_asked_for(
    world: World, vendor: SmallVendor
) -> None:
    vendor.says("/user/balance", 200, balance("0"))
    of = deepseek(world, vendor, low_balance="")
    job = Balances(world.database, world.secrets.keyring, settings_of(world))

    assert uvloop.run(job.look()) == 0
    with world.database.write() as tx:
        pool.change_vendor(
            tx, world.act, world.vet, pool.get_vendor(tx.connection, "small"), low_balance="5"
        )
        pool.disable_key(tx, world.act, of.key)
    assert uvloop.run(job.look()) == 0
    assert vendor.books == []


def test_a_vendor_that_tells_no_balance_raises_no_alert(world: World, vendor: SmallVendor) -> None:
    vendor.says("/user/balance", 500)
    deepseek(world, vendor)
    job = Balances(world.database, world.secrets.keyring, settings_of(world))

    assert uvloop.run(job.look()) == 0
    assert told(world) == []
