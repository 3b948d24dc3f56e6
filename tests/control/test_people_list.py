"""The list of users, and what an adjustment does, on both kinds of databases."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest
import sqlalchemy as sa

from aipool.accounts import service as accounts
from aipool.accounts.types import Role, Status, User
from aipool.api_tokens import service as api_tokens
from aipool.audit import service as audit
from aipool.audit.types import Act, Wanted
from aipool.control import people_list
from aipool.control.adjusting import adjust
from aipool.control.people_list import Asked, Sort
from aipool.groups import service as groups
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, Invalid
from aipool.kit.money import NANO_PER_CNY, PPM
from aipool.ledger.service import wallet_balance
from aipool.ledger.tables import transfers
from aipool.ledger.types import wallet_account
from tests.world import World, open_world

EVERY_ROLE = frozenset(Role)
ACT = Act("user:99", 1_700_000_000_000, "admin", "203.0.113.7")


@pytest.fixture
def world(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path / "data", kind) as opened:
        yield opened


def no_server(_budgets: Sequence[tuple[str, int]]) -> bool | None:
    return None


def person(tx: Transaction, world: World, number: int, name: str = "", **more: object) -> User:
    user = world.user(tx, f"+861390000{number:04}", **more)  # type: ignore[arg-type]
    if name:
        user = accounts.set_profile(tx, world.act, user, name=name)
    return user


def money(world: World, user: User, amount: int, key: str = "k", reason: str = "gift") -> int:
    """The balance after an adjustment by so many CNY."""
    adjusted = adjust(
        world.database,
        no_server,
        ACT,
        user,
        amount_nano=amount * NANO_PER_CNY,
        reason=reason,
        key=f"{key}-{user.id}",
    )
    return adjusted.balance_nano // NANO_PER_CNY


def listed(world: World, limit: int = 50, **asked: object) -> list[int]:
    """All pages, one after the other."""
    wanted = Asked(EVERY_ROLE, **asked)  # type: ignore[arg-type]
    found: list[int] = []
    cursor: str | None = ""
    with world.database.read() as connection:
        while cursor is not None:
            rows, cursor = people_list.page(connection, wanted, cursor=cursor, limit=limit)
            found += [row.user_id for row in rows]
        assert people_list.count(connection, wanted) == len(found)
    return found


@pytest.mark.parametrize("text", ["\0\0", "a\0b", "line\nfeed", "\u202eabc"])
def test_what_nobody_is_called_is_not_looked_for(world: World, text: str) -> None:
    with world.database.read() as connection, pytest.raises(Invalid) as refusal:
        people_list.page(connection, Asked(EVERY_ROLE, text), cursor="", limit=1)

    assert (refusal.value.code, refusal.value.field) == ("invalid_search", "q")


def test_users_are_found_by_a_part_of_number_address_or_name_and_by_id(world: World) -> None:
    with world.database.write() as tx:
        ann = person(tx, world, 1, "Ann 100%")
        bob = person(tx, world, 2, "bob_b")
        accounts.set_email(tx, world.act, bob, "bob@mail.example", is_verified=False)
        others = [person(tx, world, number).id for number in range(5000, 5010)]

    assert listed(world, text="139000000") == [bob.id, ann.id]
    assert listed(world, text="aNN") == [ann.id]
    assert listed(world, text="mail.EX") == [bob.id]
    assert listed(world, text="100%") == [ann.id]
    assert listed(world, text="%%") == []
    assert listed(world, text="b_b") == [bob.id]
    assert listed(world, text="b_@") == []
    assert others[7] == 10
    assert listed(world, text="10") == [10, ann.id]
    with pytest.raises(Invalid, match="at least 2"):
        listed(world, text="1")


def test_users_are_sorted_and_paged_by_each_key(world: World) -> None:
    with world.database.write() as tx:
        found = [person(tx, world, number, name) for number, name in enumerate("CAB")]
        found.append(accounts.user_by_id(tx.connection, world.user(tx).id))
    for user, amount in zip(found, (5, 1, 9), strict=False):
        money(world, user, amount)
    first, second, third, fourth = (user.id for user in found)

    for limit in (1, 2, 50):
        assert listed(world, limit, sort=Sort.CREATED) == [fourth, third, second, first]
        assert listed(world, limit, descending=False) == [first, second, third, fourth]
        assert listed(world, limit, sort=Sort.BALANCE) == [third, first, second, fourth]
        assert listed(world, limit, sort=Sort.NAME, descending=False) == [
            fourth,
            second,
            third,
            first,
        ]
        assert listed(world, limit, sort=Sort.LAST_LOGIN) == [fourth, third, second, first]


def test_users_are_filtered_by_role_status_and_group(world: World) -> None:
    with world.database.write() as tx:
        default = groups.default_group(tx, world.act)
        vip, _ = groups.put_group(tx, world.act, name="vip", multiplier_ppm=PPM, models=None)
        user = person(tx, world, 1)
        frozen = person(tx, world, 2)
        admin = person(tx, world, 3, role=Role.ADMIN)
        accounts.set_status(tx, world.act, frozen, Status.DISABLED)
        groups.grant(tx, world.act, user.id, vip)

    assert listed(world, status=Status.DISABLED) == [frozen.id]
    assert listed(world, group_id=vip.id) == [user.id]
    assert listed(world, group_id=default.id) == [admin.id, frozen.id, user.id]
    with world.database.read() as connection:
        rows, _ = people_list.page(connection, Asked(frozenset({Role.ADMIN})), cursor="", limit=9)
        assert [row.user_id for row in rows] == [admin.id]
        assert people_list.page(connection, Asked(frozenset()), cursor="", limit=9) == ([], None)


def test_a_row_has_balance_and_tokens(world: World) -> None:
    with world.database.write() as tx:
        user = person(tx, world, 1)
        world.token(tx, user, "a")
        token, _ = world.token(tx, user, "b")
        api_tokens.delete_token(tx, world.act, token)
    money(world, user, 3)

    with world.database.read() as connection:
        (row,), _ = people_list.page(connection, Asked(EVERY_ROLE), cursor="", limit=9)
    assert (row.balance_nano, row.tokens_count) == (3 * NANO_PER_CNY, 1)


@pytest.mark.parametrize(
    "cursor", ["x", "bm90IGpzb24", "WzEsMl0", "é", "WyJuYW1lIix0cnVlLCJhIiwxXQ"]
)
@pytest.mark.parametrize("kind", ["sqlite"], indirect=True)
def test_another_lists_cursor_is_refused(world: World, cursor: str) -> None:
    with world.database.read() as connection, pytest.raises(Invalid) as caught:
        people_list.page(connection, Asked(EVERY_ROLE), cursor=cursor, limit=9)
    assert caught.value.code == "invalid_cursor"


# --- adjustments ----------------------------------------------------------------------------------


def test_an_adjustment_is_one_transfer_and_one_line_however_often_it_is_asked_for(
    world: World,
) -> None:
    with world.database.write() as tx:
        user = person(tx, world, 1)

    assert [money(world, user, 5), money(world, user, 5)] == [5, 5]
    assert money(world, user, -2, "other", "a mistake") == 3
    assert money(world, user, 5) == 5  # as it was answered then

    with world.database.read() as connection:
        booked = connection.execute(sa.select(transfers).order_by(transfers.c.seq)).all()
        entries = audit.search(connection, Wanted(action="user.adjust"))
        wallet = wallet_balance(connection, user.id)
    assert [(row.ref, row.actor, row.kind) for row in booked] == [
        ("gift", "user:99", "adjust"),
        ("a mistake", "user:99", "adjust"),
    ]
    assert [row.wallet_balance_after for row in booked] == [5 * NANO_PER_CNY, 3 * NANO_PER_CNY]
    assert {row.credit for row in booked} == {wallet_account(user.id), "adjust:user:99"}
    assert [entry.after for entry in entries] == [
        {"amount": "-2", "reason": "a mistake"},
        {"amount": "5", "reason": "gift"},
    ]
    assert {(entry.actor, entry.role, entry.ip) for entry in entries} == {
        ("user:99", "admin", "203.0.113.7")
    }
    assert wallet is not None
    assert wallet.balance_nano == 3 * NANO_PER_CNY


def test_a_key_is_good_for_one_adjustment(world: World) -> None:
    with world.database.write() as tx:
        user = person(tx, world, 1)
    money(world, user, 5)

    for amount, reason in ((6, "gift"), (-5, "gift"), (5, "another")):
        with pytest.raises(Conflict) as caught:
            money(world, user, amount, reason=reason)
        assert caught.value.code == "idempotency_key_reused"


def test_no_more_is_taken_than_there_is(world: World) -> None:
    with world.database.write() as tx:
        user = person(tx, world, 1)
    money(world, user, 5)

    with pytest.raises(Conflict, match="the balance is 5 CNY") as caught:
        money(world, user, -6, "more")
    assert (caught.value.code, caught.value.field) == ("adjustment_refused", "amount")
    assert money(world, user, -5, "all") == 0
    with world.database.read() as connection:
        assert len(audit.search(connection, Wanted(action="user.adjust"))) == 2
