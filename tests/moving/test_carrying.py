"""What a dump of new-api holds is moved in, once."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa

from aipool.accounts import service as accounts
from aipool.accounts.types import Role, Status
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import ApiToken
from aipool.audit import service as audit
from aipool.audit.types import Wanted
from aipool.catalog import service as catalog
from aipool.catalog.quoting import Exchange, amounts_of
from aipool.groups import service as groups
from aipool.kit import digests
from aipool.kit.db import Transaction, metadata
from aipool.kit.errors import Conflict
from aipool.kit.expiry import NEVER
from aipool.ledger.service import wallet_balance
from aipool.ledger.tables import transfers
from aipool.moving import carrying
from aipool.moving.carrying import Moved, Outcome, carry_out
from aipool.moving.dump import read_dump
from aipool.moving.tables import moved_in
from aipool.pool import service as pool
from tests.moving.dumps import KEYS, WRITERS, Dump, channel, small, token, user
from tests.world import World, open_world

SEVEN = Exchange("USD", Decimal(7), "2026-11-22")


@pytest.fixture
def world(tmp_path: Path, kind: str) -> Iterator[World]:
    with open_world(tmp_path / "world", kind) as opened:
        yield opened


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[World]:
    """With a database of the usual kind, where that is all the same."""
    with open_world(tmp_path / "world") as opened:
        yield opened


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody knows the password that is hashed."""
    monkeypatch.setattr(carrying, "hash_password", lambda _: "x")


def moved(world: World, dump: Dump, *, dry_run: bool = False) -> Moved:
    return carry_out(
        world.database, dump, SEVEN, world.act, world.secrets, world.vet, dry_run=dry_run
    )


def outcomes(done: Moved, kind: str) -> dict[str, str]:
    return {step.number: step.outcome.value for step in done.steps if step.kind == kind}


def says(done: Moved, kind: str, number: str) -> str:
    return next(step.says for step in done.steps if (step.kind, step.number) == (kind, number))


def everything(world: World) -> dict[str, Any]:
    """Every row of every table."""
    with world.database.read() as connection:
        return {
            table.name: sorted(map(repr, connection.execute(sa.select(table)).all()))
            for table in metadata.sorted_tables
        }


def token_with(world: World, number: int) -> ApiToken | None:
    """Who has the old key, as a call looks it up."""
    secret = f"sk-{KEYS[number]}".encode()
    with world.database.read() as connection:
        found = api_tokens.look_up(connection, digests.digest(world.secrets.pepper, secret))
    return found.token if found else None


def test_users_come_with_their_balance_rounded_up_their_group_and_their_name(
    world: World,
) -> None:
    done = moved(world, small())

    assert outcomes(done, "user") == {
        "1": "created",
        "2": "created",
        "3": "created",
        "4": "skipped",
    }
    with world.database.read() as connection:
        root, rich, frozen = accounts.list_users(connection)
        balance = wallet_balance(connection, rich.id)
        granted = [group.name for group in groups.granted_groups(connection, rich.id)]
        opening = connection.execute(sa.select(transfers.c.idem_key, transfers.c.kind)).all()
    assert (root.role, root.email, root.phone, root.name) == (
        Role.USER,
        "root@example.com",
        "",
        "Root",
    )
    assert (rich.phone, rich.status) == ("+8613800138055", Status.ACTIVE)
    assert (frozen.status, frozen.note) == (Status.DISABLED, "new-api user 3: o'brien; DROP")
    # 1,250,001 / 500,000 dollars at 7.
    assert balance is not None
    assert balance.balance_nano == 17_500_014_000
    assert "vip" in granted
    assert [tuple(row) for row in opening] == [("import:new-api:2", "opening")]
    assert "administrator" in says(done, "user", "1")
    assert "owed" in says(done, "user", "3")


def test_old_keys_are_kept_as_digests_with_what_they_may(world: World) -> None:
    done = moved(world, small())

    first, second, third = (token_with(world, number) for number in (1, 2, 3))
    assert first is not None
    assert second is not None
    assert third is not None
    assert (first.limit_nano, first.ips) == (7_000_000_000, ("203.0.113.7/32", "::1/128"))
    assert (first.name, second.name) == ("prod", "prod (2)")
    assert (second.models, second.limit_nano) == (("gpt-4o",), None)
    assert (third.enabled, third.expires_at) == (False, 1_900_000_000)
    assert outcomes(done, "token") == {
        "1": "created",
        "2": "created",
        "3": "created",
        "4": "refused",
        "5": "refused",
        "6": "skipped",
    }
    assert "secret" in says(done, "token", "5")
    with world.database.read() as connection:
        vip = groups.get_group(connection, "vip")
    assert first.group_id == second.group_id == vip.id
    kept = repr(everything(world)) + repr(done.steps)
    assert not [key for key in KEYS.values() if key in kept]


def test_channels_become_vendors_with_keys_and_routes_in_the_order_of_priority(
    world: World,
) -> None:
    done = moved(world, small())

    assert outcomes(done, "channel") == {
        "1": "created",
        "2": "created",
        "3": "created",
        "4": "refused",
        "5": "created",
    }
    with world.database.read() as connection:
        vendors = {vendor.name: vendor for vendor in pool.list_vendors(connection)}
        keys = {name: pool.list_keys(connection, vendor) for name, vendor in vendors.items()}
        model = catalog.get_model(connection, "gpt-4o")
        default, vip = (groups.get_group(connection, name) for name in ("default", "vip"))
        drawn = catalog.get_model(connection, "dall-e-3")
    assert {name: vendor.type for name, vendor in vendors.items()} == {
        "ch1": "openai",
        "ch2": "deepseek",
        "ch3": "openai_compatible",
        "ch5": "openai",
    }
    assert (len(keys["ch1"]), [key.enabled for key in keys["ch3"]]) == (2, [False])
    assert vendors["ch3"].base_url == "https://kling.example/v1"
    assert [(route.vendor_id, route.upstream_model, route.groups) for route in model.routes] == [
        (vendors["ch2"].id, "deepseek-chat", (vip.id,)),
        (vendors["ch1"].id, "gpt-4o", (default.id,)),
    ]
    assert drawn.routes[0].groups == ()
    assert (vip.multiplier_ppm, default.multiplier_ppm) == (800_000, 1_000_000)


def test_ratios_become_prices_and_what_has_none_is_not_sold(world: World) -> None:
    done = moved(world, small())

    with world.database.read() as connection:
        models = {model.name: model for model in catalog.list_models(connection)}
        quote = catalog.list_quotes(connection, models.values())[models["gpt-4o"].price.id]
    assert amounts_of(models["gpt-4o"].price) == {
        "input": "17.5",
        "cached_input": "8.75",
        "output": "70",
    }
    assert (quote.source, quote.currency, quote.rate) == ("new-api", "USD", "7")
    assert amounts_of(models["dall-e-3"].price)["call"] == "0.28"
    assert (models["dall-e-3"].free, models["dall-e-3"].enabled) == (True, True)
    assert models["text-embedding-3-small"].kind == "embedding"
    assert models["text-embedding-3-small"].enabled
    assert {name for name, model in models.items() if not model.enabled} == {
        "gpt-4o-mini",
        "deepseek-chat",
        "kling-v2-6",
    }
    assert "CompletionRatio" in says(done, "model", "gpt-4o-mini")


def test_a_dry_run_tells_the_same_and_writes_nothing(world: World) -> None:
    before = everything(world)

    dry = moved(world, small(), dry_run=True)

    assert everything(world) == before
    assert dry.revision == 0
    real = moved(world, small())
    assert dry.steps == real.steps
    assert real.revision > 0


def test_a_second_run_changes_nothing_and_later_rows_are_added(world: World) -> None:
    moved(world, small())
    before = everything(world)

    again = moved(world, small())

    assert everything(world) == before
    assert again.revision == 0
    assert {step.outcome for step in again.steps} == {
        Outcome.UNCHANGED,
        Outcome.SKIPPED,
        Outcome.REFUSED,
    }
    more = small()
    more["users"].append(user(9, "late", quota=1))
    more["tokens"].append(token(7, 9))
    more["channels"].append(channel(9, 1, name="ch1"))
    later = moved(world, more)
    assert [step[:2] for step in later.steps if step.outcome is Outcome.CREATED] == [
        ("channel", "9"),
        ("model", "gpt-4o"),
        ("model", "gpt-4o-mini"),
        ("user", "9"),
        ("token", "7"),
    ]


@pytest.mark.parametrize(
    ("table", "row", "reason"),
    [
        ("users", user(9, "x", quota="many"), "quota"),
        ("users", user(9, "x", quota=10**15), "balance"),
        ("tokens", token(7, 2, allow_ips="not-an-address"), "ips"),
        ("tokens", token(7, 77), "user 77"),
        ("tokens", token(7, 2, model_limits_enabled=1, model_limits="gone"), "models"),
        ("channels", channel(9, 1, models="a b"), "name"),
        ("channels", channel(9, 8, base_url="http://127.0.0.1:1/v1"), "base_url"),
        ("channels", channel(9, 1, model_mapping="{"), "model_mapping"),
    ],
)
def test_a_row_that_cannot_be_is_refused_by_itself_and_leaves_nothing(
    alone: World, table: str, row: dict[str, Any], reason: str
) -> None:
    world = alone
    dump = small()
    dump[table].append(row)
    clean = moved(world, small(), dry_run=True)

    done = moved(world, dump, dry_run=True)

    refused = [step for step in done.steps if step not in clean.steps]
    assert [(step.number, step.outcome) for step in refused] == [(str(row["id"]), Outcome.REFUSED)]
    assert reason in refused[0].says


def test_an_address_or_a_number_that_is_anothers_is_left_out_and_the_balance_comes(
    world: World,
) -> None:
    dump = small()
    dump["users"].append(user(8, "second", quota=500_000, email="root@example.COM"))
    dump["users"].append(user(9, "138-0013-8055", quota=500_000))
    dump["tokens"].append(token(7, 8))
    done = moved(world, dump)

    assert {outcomes(done, "user")[number] for number in "189"} == {"created"}
    assert "root@example.com is another user's: without it" in says(done, "user", "8")
    assert "+8613800138055 is another user's: without it" in says(done, "user", "9")
    with world.database.read() as connection:
        *_, second, third = accounts.list_users(connection)
        balances = [wallet_balance(connection, one.id) for one in (second, third)]
    assert (second.email, third.phone) == ("", "")
    assert [one and one.balance_nano for one in balances] == [7_000_000_000] * 2
    assert outcomes(done, "token")["7"] == "created"


@pytest.mark.parametrize("form", ["sqlite", "mysql"])
def test_a_file_of_any_form_is_moved_the_same(alone: World, tmp_path: Path, form: str) -> None:
    world = alone
    read = read_dump(WRITERS[form](tmp_path / "dump", small()))

    assert moved(world, read, dry_run=True).steps == moved(world, small(), dry_run=True).steps


def test_what_is_refused_stands_in_no_trail(world: World) -> None:
    dump = small()
    dump["users"].insert(1, user(8, "rich", quota=2**62))

    done = moved(world, dump)

    assert outcomes(done, "user")["8"] == "refused"
    with world.database.read() as connection:
        ids = [f"user:{one.id}" for one in accounts.list_users(connection)]
        made = audit.search(connection, Wanted(action="user.create"))
        assert sorted(entry.target for entry in made) == sorted(ids)
        assert not audit.verify(connection).problem


def test_a_dump_of_another_platform_gives_nobody_a_token_on_somebody_elses_money(
    world: World,
) -> None:
    moved(world, small())
    before = everything(world)
    there = small()
    there["users"] = [
        user(1, "boss", role=100),
        user(2, "stranger", quota=9_000_000),
        user(3, "other"),
    ]
    there["tokens"] = [token(7, 2)]

    with pytest.raises(Conflict, match="another platform"):
        moved(world, there)

    assert everything(world) == before
    assert token_with(world, 7) is None


def test_a_number_that_was_somebody_elses_is_refused_with_its_tokens(world: World) -> None:
    moved(world, small())
    dump = small()
    dump["users"][1]["username"] = "stranger"
    dump["tokens"].append(token(7, 2))

    done = moved(world, dump)

    assert outcomes(done, "user") == {
        "1": "unchanged",
        "2": "refused",
        "3": "unchanged",
        "4": "skipped",
    }
    assert outcomes(done, "token")["7"] == "refused"
    assert token_with(world, 7) is None


def test_a_token_that_ends_in_no_year_that_has_a_date_never_ends(alone: World) -> None:
    dump = small()
    # In milliseconds, as programs wrote it there.
    dump["tokens"][0]["expired_time"] = 9_999_999_999_999

    moved(alone, dump)

    found = token_with(alone, 1)
    assert found is not None
    assert found.expires_at == NEVER


def test_what_was_taken_off_here_does_not_come_back_with_a_second_run(world: World) -> None:
    moved(world, small())
    with world.database.write() as tx:
        model = catalog.get_model(tx.connection, "gpt-4o")
        kept = model.routes[:1]
        catalog.put_routes(tx, world.act, model, kept)
        gone = catalog.get_model(tx.connection, "dall-e-3")
        catalog.delete_model(tx, world.act, gone)
    before = everything(world)

    done = moved(world, small())

    assert everything(world) == before
    assert outcomes(done, "model")["dall-e-3"] == "unchanged"
    assert "deleted" in says(done, "model", "dall-e-3")


def test_a_channel_that_is_new_there_is_one_route_more(world: World) -> None:
    moved(world, small())
    dump = small()
    dump["channels"].append(channel(6, 1, models="gpt-4o,dall-e-3"))

    done = moved(world, dump)
    again = moved(world, dump)

    assert outcomes(done, "model")["gpt-4o"] == "created"
    assert set(outcomes(again, "model").values()) == {"unchanged"}
    with world.database.read() as connection:
        assert len(catalog.get_model(connection, "gpt-4o").routes) == 3
        assert len(catalog.get_model(connection, "dall-e-3").routes) == 2


def test_others_write_while_a_long_dump_is_moved_in(
    alone: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(carrying, "BITE", 3)
    monkeypatch.setattr(carrying, "PAUSE_SECONDS", 0.0)
    held: list[int] = []
    write = alone.database.write

    @contextmanager
    def counted() -> Iterator[Transaction]:
        with write() as tx:
            before = tx.connection.execute(sa.select(sa.func.count()).select_from(moved_in))
            first = before.scalar_one()
            yield tx
            after = tx.connection.execute(sa.select(sa.func.count()).select_from(moved_in))
            held.append(after.scalar_one() - first)

    monkeypatch.setattr(alone.database, "write", counted)
    dump: Dump = {"users": [user(n, f"u{n}") for n in range(1, 12)], "tokens": []}
    dump |= {"channels": [], "options": []}
    dump["tokens"] = [token(n, n) for n in range(1, 8)]

    done = moved(alone, dump)

    assert set(outcomes(done, "user").values()) == {"created"}
    assert set(outcomes(done, "token").values()) == {"created"}
    # A user is remembered by number and by name.
    assert max(held) == 6
    assert sum(held) == 1 + 2 * 11 + 7
    assert {step.outcome for step in moved(alone, dump).steps} == {Outcome.UNCHANGED}


def test_a_group_that_was_taken_from_a_user_there_is_not_given_here(alone: World) -> None:
    dump = small()
    usable = {"default": "for everybody"}
    dump["options"].append({"key": "UserUsableGroups", "value": json.dumps(usable)})
    dump["users"][1]["group"] = "default"
    dump["tokens"] = [token(1, 2, group="vip"), token(2, 2), token(3, 3, group="default")]

    done = moved(alone, dump)

    with alone.database.read() as connection:
        vip = groups.get_group(connection, "vip")
        rich = accounts.get_user(connection, "13800138055")
        assert not groups.is_granted(connection, rich.id, vip.id)
    found = token_with(alone, 1)
    assert found is not None
    assert found.group_id == vip.id
    assert "not granted" in says(done, "token", "1")
    assert "not granted" not in says(done, "token", "2") + says(done, "token", "3")
