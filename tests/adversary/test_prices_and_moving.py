"""Prices and dumps from somebody else: what a customer of theirs could have written into them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from msgspec import structs

from aipool.accounts import service as accounts
from aipool.catalog.comparing import large_changes
from aipool.catalog.price_sources import PriceFile, read_file
from aipool.catalog.quoting import Exchange
from aipool.kit.errors import BusinessError, Invalid
from aipool.ledger.service import wallet_balance
from aipool.moving import carrying, new_api
from aipool.moving.carrying import Moved, carry_out
from aipool.moving.dump import read_dump
from aipool.moving.sql import read_sql
from aipool.rating.types import NO_EXTRAS, Price, Tier
from tests.moving.dumps import Dump, as_json, small, token, user
from tests.world import World, open_world

SEVEN = Exchange("USD", Decimal(7), "2026-11-22")
PLAIN = Price(0, 100, 100, 100)


@pytest.fixture
def world(tmp_path: Path, kind: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[World]:
    monkeypatch.setattr(carrying, "hash_password", lambda _: "x")
    with open_world(tmp_path / "world", kind) as opened:
        yield opened


def moved(world: World, dump: Dump) -> Moved:
    return carry_out(
        world.database, dump, SEVEN, world.act, world.secrets, world.vet, dry_run=False
    )


# --- dumps ----------------------------------------------------------------------------------------

EVIL = "); INSERT INTO users (id, username, email, quota) VALUES (7, `m`, `e`, 9999); --"


@pytest.mark.parametrize(
    "head",
    [
        "--\n-- PostgreSQL database dump\n--\n",
        "PRAGMA foreign_keys=OFF;\nBEGIN TRANSACTION;\n"
        "CREATE TABLE `users` (`id` integer, `username` text, `email` text, `quota` integer);\n",
    ],
)
def test_a_customers_name_does_not_make_a_dump_one_of_mysql(head: str) -> None:
    text = (
        f"{head}INSERT INTO users (id, username, email, quota) VALUES (1, 'a`\\', '{EVIL}', 5);\n"
        "INSERT INTO users (id, username, email, quota) VALUES (2, 'INSERT INTO `users`\n"
        "INSERT INTO `users`', 'b', 6);\n"
    )
    rows = read_sql(text, ["users"])["users"]
    assert [(row["id"], row["username"][:3], row["quota"]) for row in rows] == [
        (1, "a`\\", 5),
        (2, "INS", 6),
    ]
    assert rows[0]["email"] == EVIL


def test_a_dump_of_mysql_without_its_quotes_is_still_read_as_one() -> None:
    text = (
        "-- MySQL dump 10.13  Distrib 8.0.36\n"
        'CREATE TABLE "users" (\n"id" int,\n"username" text\n);\n'
        "INSERT INTO \"users\" VALUES (1,'\\'),(2,\\'evil');\n"
    )
    assert read_sql(text, ["users"])["users"] == [{"id": 1, "username": "'),(2,'evil"}]


def test_rows_behind_copy_are_refused_and_not_read_as_statements() -> None:
    text = (
        "COPY public.users (id, username) FROM stdin;\n"
        "1\tx'; INSERT INTO users (id, quota) VALUES (9, 99999); --\n\\.\n"
    )
    with pytest.raises(Invalid):
        read_sql(text, ["users"])


@pytest.mark.parametrize("number", ["9" * 5000, "-" + "9" * 5000, "1e999999999", "0." + "9" * 5000])
def test_a_huge_number_in_a_dump_is_refused_in_words(number: str) -> None:
    with pytest.raises(BusinessError):
        for row in read_sql(f"INSERT INTO users (id) VALUES ({number});", ["users"])["users"]:
            new_api.user_of({**user(1, "a"), "quota": row["id"]})


@pytest.mark.parametrize("number", ["1e999999999", "1e9999999999999999999", "NaN", "Infinity"])
def test_a_huge_number_of_json_is_refused_in_words(tmp_path: Path, number: str) -> None:
    path = tmp_path / "dump.json"
    path.write_text(f'{{"users": [{{"id": {number}, "username": "a"}}]}}')
    with pytest.raises(BusinessError):
        for row in read_dump(path)["users"]:
            new_api.user_of(row)


@pytest.mark.parametrize("per", ["0", "0.5", "-1", "1e-99999999", "NaN", "1e400"])
def test_no_option_makes_a_unit_of_quota_a_dollar(per: str) -> None:
    with pytest.raises(BusinessError):
        new_api.ratios_of([{"key": "QuotaPerUnit", "value": per}])


def test_a_number_that_stands_twice_is_refused_once_and_pays_once(world: World) -> None:
    dump = {**small(), "users": [user(1, "a", quota=500_000), user(1, "b", quota=500_000)]}
    dump["users"].append(user("1 ", "c", quota=500_000))  # type: ignore[arg-type]
    dump["tokens"] = [token(1, 1), token(1, 1), token(2, 1)]

    done = moved(world, dump)
    assert [step.outcome.value for step in done.steps if step.kind == "user"] == [
        "created",
        "refused",
        "refused",
    ]
    assert [step.outcome.value for step in done.steps if step.kind == "token"] == [
        "created",
        "refused",
        "created",
    ]
    moved(world, dump)
    with world.database.read() as connection:
        people = accounts.users_by_ids(connection, range(1, 50)).values()
        balances = [wallet_balance(connection, one.id) for one in people]
    assert sum(one.balance_nano for one in balances if one) == 7_000_000_000


def test_no_letter_of_a_dump_stops_the_move(world: World, tmp_path: Path) -> None:
    dump = small()
    dump["users"] = [
        user(1, "a\0b", display_name="\0", email="\ud800@x.y", group="g\0"),
        user(2, "\ud800" * 300, display_name="\u202e\ud800"),
        user(3, "c", quota=-5),
    ]
    dump["tokens"] = [token(1, 1, name="\0\ud800", model_limits="m\0", allow_ips="\0")]
    dump["channels"][0] |= {"name": "\0\ud800", "models": "\0,\ud800"}
    path = as_json(tmp_path / "dump.json", dump)

    done = moved(world, read_dump(path))
    for step in done.steps:
        step.name.encode()
        step.number.encode()
        step.says.encode()
    assert {step.number for step in done.steps if step.kind == "user"} == {"1", "2", "3"}


# --- price lists ----------------------------------------------------------------------------------


def reasons(before: Price, after: Price) -> list[str]:
    return list(large_changes(before, after))


def test_a_unit_that_cost_as_text_is_not_free_without_a_tick() -> None:
    free = replace_extras(cache_write_nano=0)
    assert reasons(PLAIN, free) == ["cache_write: to zero"]
    assert reasons(PLAIN, replace_extras(audio_input_nano=100)) == []
    assert reasons(PLAIN, replace_extras(audio_input_nano=131)) == ["audio_input: by +31 %"]


def test_a_new_tier_is_compared_with_what_its_length_costs_now() -> None:
    dear = replace_extras(tiers=(Tier(1, 1000, 100, 100),))
    assert reasons(PLAIN, dear) == ["input above 1: by +900 %"]
    assert reasons(dear, PLAIN) == ["input above 1: by -90 %"]
    assert reasons(dear, dear) == []
    moved_up = replace_extras(tiers=(Tier(5, 1000, 100, 100),))
    assert reasons(dear, moved_up) == ["input above 1: by -90 %"]


def replace_extras(**extras: Any) -> Price:
    return Price(0, 100, 100, 100, structs.replace(NO_EXTRAS, **extras))


@pytest.mark.parametrize(
    "number", ["1e999999", "1e99999999999", "1e9999999999999999999", "1e-99999999999", "9" * 5000]
)
def test_a_number_far_from_any_price_is_refused_in_words(number: str) -> None:
    with pytest.raises(Invalid):
        read_file("f", f'{{"m1": {{"input_cost_per_token": {number}}}}}')


def test_odd_entries_of_a_price_file_are_passed_over() -> None:
    entry = {
        "input_cost_per_token": 1e-6,
        f"input_cost_per_token_above_{'9' * 5000}k_tokens": 1e-6,
        "output_cost_per_token": None,
        "cost": "x",
        "litellm_cost": True,
    }
    listed = read_file("f", json.dumps({"m1": entry, "m2": 5}))
    assert isinstance(listed, PriceFile)
    found = listed.find("m1", None)
    assert found is not None
    assert found.amounts == {"input": Decimal(1)}


@pytest.mark.parametrize(
    "name",
    [
        "cache_read_input_token_cost",
        "input_cost_per_token_above_200k_tokens",
        "output_cost_per_image",
    ],
)
@pytest.mark.parametrize("written", ["-1e-6", '"9e-6"', "NaN", "-Infinity", "true", '""', "[1]"])
def test_a_price_that_is_no_number_is_refused_and_not_taken_for_none(
    name: str, written: str
) -> None:
    text = '{"m1": {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6, "%s": %s}}'

    with pytest.raises(Invalid, match=name):
        read_file("f", text % (name, written)).find("m1", None)


def test_a_price_of_null_is_not_said() -> None:
    text = '{"m1": {"input_cost_per_token": 1e-6, "output_cost_per_image": null}}'

    found = read_file("f", text).find("m1", None)

    assert found is not None
    assert found.amounts == {"input": Decimal(1)}
