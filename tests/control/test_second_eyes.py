"""S-10: above what one administrator may move alone, a second one agrees."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from aipool.accounts import service as accounts
from aipool.accounts.types import Role, Status, User
from aipool.adjustments.types import WAIT_MS
from aipool.audit import service as audit
from aipool.kit.db import Database
from aipool.ledger.service import system_balances, wallet_balance
from tests.control.api_rig import Api, Said, api

_numbers = count(1)
ALONE = "100"


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    folder = tmp_path_factory.mktemp("eyes") / "data"
    with api(folder, environ={"AIPOOL_SITE_ADJUST_ALONE_MAX": ALONE}) as served:
        yield served


@pytest.fixture
def asker(opened: Api) -> Api:
    return opened.signed_in(Role.ADMIN)


@pytest.fixture
def other(opened: Api) -> Api:
    return opened.signed_in(Role.ADMIN)


def new_user(opened: Api, role: Role = Role.USER) -> User:
    with opened.world.database.write() as tx:
        return opened.world.user(tx, f"+86136{next(_numbers):08}", role)


def adjusted(who: Api, user: User, amount: str, key: str = "", reason: str = "why") -> Said:
    headers = {**who.credentials(), "Idempotency-Key": key or f"k{next(_numbers)}"}
    target = f"/api/admin/users/{user.id}/adjust"
    return who.ask("POST", target, {"amount": amount, "reason": reason}, headers)


def decided(who: Api, asked_id: int, what: str = "agree") -> Said:
    return who.ask("POST", f"/api/admin/adjustments/{asked_id}/{what}", {})


def balance(database: Database, user: User) -> int:
    with database.read() as connection:
        wallet = wallet_balance(connection, user.id)
    return wallet.balance_nano if wallet else 0


def actions(opened: Api, user: User) -> list[str]:
    with opened.world.database.read() as connection:
        return [one.action for one in reversed(audit.entries(connection, f"user:{user.id}"))]


def test_s10_beyond_the_limit_nothing_moves_before_another_agrees(
    opened: Api, asker: Api, other: Api
) -> None:
    user, database = new_user(opened), opened.world.database
    said = adjusted(asker, user, "5000", "order-1", "a large gift")

    assert said.status == 202
    assert (said.json["state"], said.json["amount"], said.json["is_mine"]) == (
        "waiting",
        "5000",
        True,
    )
    assert balance(database, user) == 0
    assert adjusted(asker, user, "5000", "order-1", "a large gift").json == said.json
    assert adjusted(asker, user, "4000", "order-1").json["code"] == "idempotency_key_reused"
    listed = other.good("GET", "/api/admin/adjustments")["items"]
    assert [one for one in listed if one["id"] == said.json["id"]] == [
        {**said.json, "is_mine": False, "asked_by": {**said.json["asked_by"], "label": None}}
    ]

    own = decided(asker, said.json["id"])
    assert (own.status, own.json["code"]) == (403, "second_administrator_needed")
    done = decided(other, said.json["id"])

    assert (done.status, done.json["balance"]) == (200, "5000")
    assert done.json["transfer"]["reason"] == "a large gift"
    assert decided(other, said.json["id"]).json["code"] == "adjustment_decided"
    again = adjusted(asker, user, "5000", "order-1", "a large gift")
    assert (again.status, again.json["state"]) == (202, "agreed")
    assert balance(database, user) == 5_000 * 10**9
    assert actions(opened, user)[-2:] == ["user.ask_adjust", "user.adjust"]
    assert asker.user is not None
    assert other.user is not None
    with database.read() as connection:
        both = f"adjust:user:{asker.user.id}+user:{other.user.id}"
        assert system_balances(connection)[both] == -5_000 * 10**9


def test_s10_many_small_ones_of_a_day_are_one_large_one(opened: Api, asker: Api) -> None:
    first, second = new_user(opened), new_user(opened)
    assert adjusted(asker, first, "60").status == 200
    assert adjusted(asker, first, "-40").status == 200
    assert adjusted(asker, second, "0.000000001").status == 202
    assert balance(opened.world.database, second) == 0


def test_s10_two_at_once_are_not_both_within_the_limit(opened: Api, asker: Api) -> None:
    users = [new_user(opened) for _ in range(6)]
    with ThreadPoolExecutor(6) as pool:
        found = list(pool.map(lambda user: adjusted(asker, user, "60").status, users))
    assert sorted(found) == [200] + [202] * 5


def test_s10_what_was_agreed_to_leaves_the_limit_as_it_was(
    opened: Api, asker: Api, other: Api
) -> None:
    user = new_user(opened)
    large = adjusted(asker, user, "1000").json["id"]
    assert decided(other, large).status == 200
    assert adjusted(asker, user, "100").status == 200
    assert adjusted(other, user, "-100").status == 200
    assert adjusted(other, user, "-0.01").status == 202


def test_s10_who_asked_takes_it_back_and_another_declines(
    opened: Api, asker: Api, other: Api
) -> None:
    user = new_user(opened)
    for who in (asker, other):
        asked = adjusted(asker, user, "101").json["id"]
        assert decided(who, asked, "decline").json["state"] == "declined"
        late = decided(other, asked)
        assert (late.status, late.json["code"]) == (409, "adjustment_decided")
        assert asked not in [
            one["id"] for one in other.good("GET", "/api/admin/adjustments")["items"]
        ]
    everything = other.good("GET", "/api/admin/adjustments?waiting=false&limit=2")
    assert [one["state"] for one in everything["items"]] == ["declined", "declined"]
    assert balance(opened.world.database, user) == 0
    assert actions(opened, user)[-1] == "user.decline_adjust"


def test_s10_what_cannot_be_moved_goes_on_waiting(opened: Api, asker: Api, other: Api) -> None:
    user = new_user(opened)
    assert adjusted(asker, user, "100").status == 200
    large = adjusted(asker, user, "900").json["id"]
    assert decided(other, large).status == 200
    down = adjusted(asker, user, "-1000").json["id"]
    assert adjusted(other, user, "-1").status == 200

    refused = decided(other, down)
    assert (refused.status, refused.json["code"]) == (409, "adjustment_refused")
    assert adjusted(other, user, "1").status == 200
    assert decided(other, down).json["balance"] == "0"


def test_s10_an_asker_who_is_no_administrator_any_more_is_not_agreed_with(
    opened: Api, asker: Api, other: Api
) -> None:
    user = new_user(opened)
    large = adjusted(asker, user, "1000").json["id"]
    assert asker.user is not None
    with opened.world.database.write() as tx:
        who = accounts.user_by_id(tx.connection, asker.user.id)
        accounts.set_status(tx, opened.world.act, who, Status.DISABLED, lambda *_: None)
    assert decided(other, large).json["code"] == "second_administrator_needed"


def test_s10_what_nobody_agreed_to_in_a_week_is_over(
    opened: Api, asker: Api, other: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    large = adjusted(asker, new_user(opened), "1000").json["id"]
    with opened.world.database.write() as tx:
        tx.connection.exec_driver_sql(
            f"UPDATE asked_adjustments SET asked_at_ms = asked_at_ms - {WAIT_MS} WHERE id = {large}"
        )
    assert decided(other, large).json["code"] == "adjustment_decided"
    (first, *_) = other.good("GET", "/api/admin/adjustments?waiting=false")["items"]
    assert (first["id"], first["state"]) == (large, "expired")


def test_s10_of_accounts_that_one_does_not_administer_nothing_is_there(
    opened: Api, other: Api
) -> None:
    root, boss = opened.signed_in(Role.ROOT), new_user(opened, Role.ADMIN)
    large = adjusted(root, boss, "1000").json["id"]
    missing = decided(other, 999_999)
    for what in ("agree", "decline"):
        hidden = decided(other, large, what)
        assert (hidden.status, hidden.json["code"]) == (404, "adjustment_unknown")
        assert hidden.json["detail"] == missing.json["detail"].replace("999999", str(large))
    assert large not in [one["id"] for one in other.good("GET", "/api/admin/adjustments")["items"]]
    second = opened.signed_in(Role.ROOT)
    assert decided(second, large).status == 200
