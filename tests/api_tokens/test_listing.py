"""The list of a user's tokens: what is found, in which order, and how far limits are used."""

from __future__ import annotations

from dataclasses import replace
from itertools import count
from typing import Any

import pytest

from aipool.accounts.types import User
from aipool.api_tokens import listing, rules
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.cursors import cursor_of, place_of
from aipool.api_tokens.types import ApiToken, Asked, Place, Reset, Sort, Status, TokenListed
from aipool.groups import service as groups
from aipool.kit.errors import Invalid
from aipool.ledger import service as ledger
from aipool.ledger.rules import day_of
from aipool.ledger.types import TransferKind
from tests.api_tokens.spending import spend
from tests.api_tokens.test_limits import changed
from tests.world import World

#: Of the world's act.
NOW_MS = 1_700_000_000_000
NOW = NOW_MS // 1000
DAY = day_of(NOW_MS)
ALL = Asked()
_phones = count(1)


def owner(world: World) -> User:
    phone = f"+86137{next(_phones):08}"
    with world.database.write() as tx:
        user = world.user(tx, phone)
        ledger.credit_wallet(
            tx,
            user_id=user.id,
            amount_nano=1_000,
            source="expense:promo",
            kind=TransferKind.OPENING,
            idem_key=phone,
            ref="",
            actor="test",
            at_ms=1,
        )
    return user


def make(world: World, user: User, name: str, **terms: object) -> ApiToken:
    with world.database.write() as tx:
        return world.token(tx, user, name, **terms)[0]


def listed(world: World, user: User, asked: Asked = ALL) -> list[TokenListed]:
    with world.database.read() as connection:
        found, end = api_tokens.own_tokens(connection, user.id, asked, now_ms=NOW_MS, limit=100)
        total = api_tokens.count_own(connection, user.id, asked, now_ms=NOW_MS)
    assert (len(found), end) == (total, None)
    return found


def names(world: World, user: User, asked: Asked = ALL) -> list[str]:
    return [one.token.name for one in listed(world, user, asked)]


# --- how far limits are used ------------------------------------------------------------------


def test_the_list_counts_as_the_ledger_does(world: World) -> None:
    user = owner(world)
    for reset, total in ((reset, total) for reset in Reset for total in (None, 100)):
        name = f"{reset} {total}"
        token = make(world, user, name, limit_nano=10, reset=reset, total_nano=total)
        for number in range(2):
            spend(world, token, 3 + number)
            (shown,) = (one for one in listed(world, user) if one.token.id == token.id)
            with world.database.read() as connection:
                assert shown.standing == api_tokens.standing(connection, token, DAY), name
            assert shown.standing.used_nano == 3 + number, name
            # Another reset type and this one again: a limit that is counted anew, by number.
            other = next(one for one in Reset if one is not reset)
            token, _ = changed(world, token, reset=other)
            token, _ = changed(world, token, reset=reset)
        assert token.limit_no == 4


def test_only_the_window_of_the_day_is_counted(world: World) -> None:
    user = owner(world)
    token = make(world, user, "t", limit_nano=10, reset=Reset.DAILY)
    spend(world, token, 4, DAY - 1)

    (shown,) = listed(world, user)

    assert (shown.standing.used_nano, shown.standing.remaining_nano) == (0, 10)
    assert shown.standing.used_total_nano == 4


# --- what is found ----------------------------------------------------------------------------


def test_each_status_is_found_by_its_name_and_no_token_has_two(world: World) -> None:
    user = owner(world)
    with world.database.write() as tx:
        group, _ = groups.put_group(tx, world.act, name="vip", multiplier_ppm=1, models=None)
        groups.grant(tx, world.act, world.user(tx, f"+86137{next(_phones):08}").id, group)
    make(world, user, "active", limit_nano=10, expires_at=NOW + 1)
    make(world, user, "unlimited")
    make(world, user, "expired", expires_at=NOW)
    make(world, user, "exhausted", limit_nano=10, reset=Reset.WEEKLY)
    make(world, user, "nothing", total_nano=0)
    make(world, user, "off", expires_at=NOW)
    make(world, user, "not mine")
    spend(world, listed(world, user, Asked("exhausted"))[0].token, 10)
    with world.database.write() as tx:
        tokens = {token.name: token for token in api_tokens.list_tokens(tx.connection, user=user)}
        api_tokens.set_enabled(tx, world.act, tokens["off"], enabled=False)
        terms = replace(tokens["not mine"].terms, group_id=group.id)
        pepper = world.secrets.pepper
        api_tokens.change_token(tx, world.act, pepper, tokens["not mine"], terms)

    by_name = Asked(sort=Sort.NAME, descending=False)
    assert {status: names(world, user, replace(by_name, status=status)) for status in Status} == {
        Status.ACTIVE: ["active", "unlimited"],
        Status.EXPIRED: ["expired"],
        Status.EXHAUSTED: ["exhausted", "nothing"],
        Status.DISABLED: ["off"],
        Status.GROUP_NOT_GRANTED: ["not mine"],
    }
    for one in listed(world, user):
        status = rules.status(
            one.token, one.standing, group_granted=one.group_granted, now_seconds=NOW
        )
        assert one.token.name in names(world, user, Asked(status=status))
    assert names(world, user, Asked(enabled=False)) == ["off"]
    assert names(world, user, Asked(group_id=group.id)) == ["not mine"]


def test_x_08_search_finds_text_and_knows_no_wildcards(world: World) -> None:
    user = owner(world)
    for name in ("Production", "100%", "a_c", "abc", "x/y"):
        make(world, user, name)
    make(world, user, "b", description="for production")

    for text, expected in (
        ("prod", ["Production", "b"]),
        ("PROD", ["Production", "b"]),
        ("100%", ["100%"]),
        ("0%", ["100%"]),
        ("%%", []),
        ("__", []),
        ("a_c", ["a_c"]),
        ("\\", []),
        ("x/", ["x/y"]),
    ):
        assert sorted(names(world, user, Asked(text))) == expected, text


def test_the_end_of_a_key_finds_its_token(world: World) -> None:
    user = owner(world)
    tokens = [make(world, user, f"t{number}") for number in range(3)]

    assert tokens[1].name in names(world, user, Asked(tokens[1].last4))


def test_nobody_finds_the_tokens_of_others_nor_deleted_ones(world: World) -> None:
    user, other = owner(world), owner(world)
    gone = make(world, user, "gone")
    mine = make(world, user, "mine")
    theirs = make(world, other, "theirs")
    with world.database.write() as tx:
        api_tokens.delete_token(tx, world.act, gone)

    assert names(world, user) == ["mine"]
    with world.database.read() as connection:
        ids = [gone.id, mine.id, theirs.id]
        assert set(api_tokens.own_by_ids(connection, user.id, ids, now_ms=NOW_MS)) == {mine.id}


# --- in which order ---------------------------------------------------------------------------


def test_pages_are_the_list_in_pieces_in_every_order(world: World) -> None:
    user = owner(world)
    different: list[dict[str, Any]] = [
        {"limit_nano": 5, "expires_at": NOW + 9},
        {"limit_nano": 5, "reset": Reset.DAILY},
        {},
        {"total_nano": 7, "expires_at": NOW + 8},
        {"limit_nano": 3, "expires_at": NOW + 9},
    ]
    for number, terms in enumerate(different):
        make(world, user, f"n{number % 3}{number}", **terms)
    spend(world, listed(world, user, Asked("n00"))[0].token, 2)
    spend(world, listed(world, user, Asked("n11"))[0].token, 4)

    for asked in (Asked(sort=sort, descending=down) for sort in Sort for down in (True, False)):
        whole = names(world, user, asked)
        assert len(set(whole)) == 5
        assert whole == names(world, user, replace(asked, descending=not asked.descending))[::-1]
        assert in_pieces(world, user, asked) == whole, asked


def in_pieces(world: World, user: User, asked: Asked) -> list[str]:
    """The names in pages of two."""
    pieces: list[str] = []
    after: Place | None = None
    while True:
        with world.database.read() as connection:
            found, end = api_tokens.own_tokens(
                connection, user.id, asked, now_ms=NOW_MS, after=after, limit=2
            )
        pieces += [one.token.name for one in found]
        if end is None:
            return pieces
        after = place_of(cursor_of(end, asked), asked)


def test_the_most_and_the_newest_come_first(world: World) -> None:
    user = owner(world)
    make(world, user, "a", limit_nano=5, expires_at=NOW + 1)
    token = make(world, user, "b", limit_nano=9, expires_at=NOW + 2)
    make(world, user, "c")
    spend(world, token, 3)

    assert {sort: names(world, user, Asked(sort=sort))[0] for sort in Sort} == {
        Sort.CREATED: "c",
        Sort.NAME: "c",
        Sort.EXPIRES: "c",
        Sort.LIMIT: "c",
        Sort.USED: "b",
        Sort.USED_TOTAL: "b",
        Sort.REMAINING: "c",
    }


@pytest.mark.parametrize(
    "cursor", ["", "x", "é", "AAAA", "bnVsbA", "WzFd", "W10", "eyJhIjoxfQ", "W" * 999]
)
def test_what_is_no_cursor_is_refused(cursor: str) -> None:
    with pytest.raises(Invalid) as refused:
        place_of(cursor, Asked())

    assert (refused.value.code, refused.value.field) == ("invalid_cursor", "cursor")


@pytest.mark.parametrize(
    "asked", [Asked(sort=Sort.NAME), Asked(descending=False), Asked(sort=Sort.USED)]
)
def test_a_cursor_is_for_the_order_it_was_made_in(asked: Asked) -> None:
    cursor = cursor_of(Place(7, 7), Asked())

    assert place_of(cursor, Asked()) == Place(7, 7)
    with pytest.raises(Invalid):
        place_of(cursor, asked)


def test_a_cursor_with_a_key_of_another_kind_is_refused() -> None:
    by_name = Asked(sort=Sort.NAME)
    places = ((Place("x", 1), ALL), (Place(1, 1), by_name), (Place("a\x00", 1), by_name))
    for place, asked in places:
        with pytest.raises(Invalid):
            place_of(cursor_of(place, asked), asked)
    with pytest.raises(Invalid):
        place_of(cursor_of(Place(2**63, 1), Asked()), Asked())


def test_the_budget_in_sql_is_the_budget_of_the_ledger() -> None:
    assert {window.value for window in Reset} - {"none"} == set(listing._windows(DAY))
