"""Making it so: created, changed, unchanged, refused, or only shown."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from aipool.accounts import service as accounts
from aipool.api_tokens import service as api_tokens
from aipool.api_tokens.types import Reset
from aipool.apply import lowering
from aipool.apply.document import read_document
from aipool.apply.nodes import ApplyRefused
from aipool.apply.plan import Applied, carry_out
from aipool.audit.tables import audit_entries
from aipool.books.publish import build_snapshot
from aipool.books.verify import verify
from aipool.catalog import service as catalog
from aipool.doors.frames import Need
from aipool.doors.snapshot import TokenView
from aipool.gateway.chains import chain_of
from aipool.groups import service as groups
from aipool.groups.types import CallLimits
from aipool.kit.db import current_revision
from aipool.kit.digests import generate
from aipool.ledger import service as ledger
from aipool.ledger.service import wallet_balance
from aipool.ledger.types import Lend, LendRule
from aipool.pool import service as pool
from aipool.vendors.types import KeySettings
from tests.apply.test_document import CONFIGURED, GOOD
from tests.world import World, open_world

ENVIRON = {"KEY": "secret-key-0123456789"}


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    with open_world(tmp_path) as opened:
        yield opened


def apply(world: World, text: str = GOOD, *, dry_run: bool = False) -> Applied:
    document = read_document(text, ENVIRON)
    return carry_out(world.database, document, world.act, world.secrets, world.vet, dry_run=dry_run)


def verbs(applied: Applied) -> dict[str, str]:
    return {f"{step.kind} {step.name}": step.verb.value for step in applied.steps}


def details(applied: Applied) -> dict[str, str]:
    return {step.kind: ", ".join(step.details) for step in applied.steps if step.details}


def refusal(world: World, text: str) -> str:
    with pytest.raises(ApplyRefused) as caught:
        apply(world, text)
    return str(caught.value)


def everything(world: World) -> str:
    with world.database.read() as connection:
        return str(
            [
                connection.exec_driver_sql(f"SELECT * FROM {table}").all()
                for table in [
                    "users",
                    "vendors",
                    "upstream_keys",
                    "models",
                    "prices",
                    "routes",
                    "groups",
                    "api_tokens",
                    "accounts",
                    "transfers",
                    "budgets",
                    "audit_entries",
                    "revision",
                ]
            ]
        )


def test_everything_is_created_once_and_unchanged_after_that(world: World) -> None:
    first, second = apply(world), apply(world)

    assert set(verbs(first).values()) == {"created"}
    assert set(verbs(second).values()) == {"unchanged"}
    assert verbs(first).keys() == verbs(second).keys()
    assert first.revision == 1
    assert second.revision == 0
    assert not second.changes


def test_the_second_time_writes_nothing_at_all(world: World) -> None:
    apply(world)
    before = everything(world)

    apply(world)

    assert everything(world) == before


LIMITED = GOOD.replace(
    "models: [m1]}",
    "limits: {rpm: 60, tpm: 200000, requests_per_day: 5000, concurrency: 8},"
    " group_limits: {rpm: 600, concurrency: 50}}",
).replace("limit: 50", "limit: 50, reset: daily, total: 500, limits: {rpm: 1, concurrency: 2}")


def test_limits_applied_twice_change_nothing_and_are_kept_as_they_were_written(
    world: World,
) -> None:
    apply(world, LIMITED)
    before = everything(world)

    assert set(verbs(apply(world, LIMITED)).values()) == {"unchanged"}

    assert everything(world) == before
    with world.database.read() as connection:
        group = groups.get_group(connection, "vip")
        user = accounts.get_user(connection, "13800138001")
        token = api_tokens.find_token(connection, user, "prod")
    assert token is not None
    assert group.each_user == CallLimits(60, 200_000, 5_000, 8)
    assert group.whole == CallLimits(rpm=600, concurrency=50)
    assert (token.reset, token.total_nano) == (Reset.DAILY, 500 * 10**9)
    assert token.limits == CallLimits(rpm=1, concurrency=2)


@pytest.mark.parametrize(
    ("change", "lowered"),
    [
        (("limit: 50", "limit: 49"), [("token:1/day", 19_675)]),
        (("total: 500", "total: 40"), [("token:1", 0)]),
        (("limit: 50", "limit: 51"), []),
        (("limit: 50", "limit: "), []),
        (("reset: daily", "reset: weekly"), []),
    ],
)
def test_a_file_that_lowers_a_limit_names_the_budgets_first(
    world: World, change: tuple[str, str], lowered: list[tuple[str, int]]
) -> None:
    apply(world, LIMITED)
    document = read_document(LIMITED.replace(*change), ENVIRON)

    with world.database.read() as connection:
        assert (
            lowering.by_document(connection, document, world.act.at_ms).keys(connection) == lowered
        )


def lend(world: World, *budgets: tuple[str, int]) -> None:
    """A worker has some of each of these."""
    with world.database.write() as tx:
        ledger.open_epoch(tx, 7, worker=0, pid=1, at_ms=1)
        chain = tuple(Need(budget, window, 1, 1, 9) for budget, window in budgets)
        ledger.apply(tx, [Lend(7, [chain], LendRule(1, 10**9, 19_675))])


def test_calls_that_are_lent_are_asked_back_when_their_limit_is_lowered(world: World) -> None:
    apply(world, LIMITED)
    with world.database.read() as connection:
        group = groups.get_group(connection, "vip")
    ours = f"group-{group.id}"
    of_user, of_all = (f"requests:{ours}-user-1/day", 19_675), (f"concurrency:{ours}", 0)
    of_token, of_others = ("concurrency:token-1", 0), ("concurrency:token-12", 0)
    lend(world, of_user, of_all, of_token, of_others, (f"requests:{ours}9/day", 19_675))

    def lowered(old: str, new: str) -> list[tuple[str, int]]:
        document = read_document(LIMITED.replace(old, new), ENVIRON)
        with world.database.read() as connection:
            return lowering.by_document(connection, document, world.act.at_ms).keys(connection)

    assert lowered("requests_per_day: 5000", "requests_per_day: 4999") == [of_user]
    assert lowered("concurrency: 50", "concurrency: 5") == [of_all]
    assert lowered("concurrency: 2", "concurrency: 1") == [of_token]
    assert lowered("concurrency: 8", "concurrency: 9") == []


def test_the_budgets_of_calls_are_those_that_a_call_is_held_on(world: World) -> None:
    apply(world, LIMITED)
    with world.database.read() as connection:
        view = build_snapshot(connection, world.secrets.keyring)
        token = api_tokens.list_tokens(connection)[0]
    group = next(one for one in view.groups if one.id == token.group_id)
    caller = TokenView(token.id, 1, group.id, "", 0, None, (), (), "", group.each_user)
    budgets = [(budget, window) for budget, window, _ in chain_of(caller, group, 19_675)]
    lend(world, *budgets)
    none = LIMITED
    for limit in ("requests_per_day: 5000", "concurrency: 8", "concurrency: 50", "concurrency: 2"):
        none = none.replace(limit, f"{limit.partition(':')[0]}: 1")

    with world.database.read() as connection:
        document = read_document(none, ENVIRON)
        lowered = lowering.by_document(connection, document, world.act.at_ms)
        assert set(lowered.keys(connection)) == set(budgets)


def test_a_dry_run_shows_the_same_and_writes_nothing(world: World) -> None:
    before = everything(world)

    shown = apply(world, dry_run=True)

    assert everything(world) == before
    assert shown.revision == 0
    assert verbs(shown) == verbs(apply(world))


@pytest.mark.parametrize(
    ("change", "kind", "detail"),
    [
        (("output: 8.4", "output: 9"), "model", "price 2.1/0.21/8.4 -> 2.1/0.21/9"),
        (("context: 1000", "context: 2000"), "model", "context 1000 -> 2000"),
        (("model: up", "model: down"), "model", "routes"),
        (("multiplier: 0.8", "multiplier: 0.9"), "group", "multiplier 0.8 -> 0.9"),
        ((", models: [m1]", ""), "group", "models"),
        (("correct horse", "battery staple"), "user", "password"),
        (("limit: 50", "limit: 60"), "token", "limit 50 -> 60"),
        (("limit: 50", "limit: 50, total: 0"), "token", "total none -> 0"),
        (
            ("limit: 50", "limit: 50, reset: weekly"),
            "token",
            "reset none -> weekly, a new window begins: nothing of it is used",
        ),
        (("limit: 50", "limits: {tpm: 9}"), "token", "limit 50 -> none, tpm none -> 9"),
        (
            ("multiplier: 0.8", "multiplier: 0.8, limits: {rpm: 6}, group_limits: {rpm: 9}"),
            "group",
            "rpm none -> 6, group's rpm none -> 9",
        ),
        (("ips: [10.0.0.1]", "ips: []"), "token", "ips 10.0.0.1/32 -> all"),
        (("${KEY}", "another-key-0123456789"), "key", "api_key"),
    ],
)
def test_a_change_is_named_and_the_rest_is_left_alone(
    world: World, change: tuple[str, str], kind: str, detail: str
) -> None:
    apply(world)

    changed = apply(world, GOOD.replace(*change))

    assert details(changed) == {kind: detail}
    assert sorted(verbs(changed).values()).count("changed") == 1


def test_the_first_key_is_the_default_and_the_order_is_the_files(world: World) -> None:
    two = GOOD.replace(
        "      - {name: main", "      - {name: spare, api_key: b0123456789}\n      - {name: main"
    )
    apply(world)

    applied = apply(world, two)

    assert verbs(applied)["key mm/spare"] == "created"
    assert details(applied)["order of keys"] == "spare, main"
    with world.database.read() as connection:
        keys = pool.list_keys(connection, pool.get_vendor(connection, "mm"))
    assert [(key.name, key.default) for key in keys] == [("spare", True), ("main", False)]


def test_an_opening_credit_is_booked_once(world: World) -> None:
    for _ in range(3):
        apply(world)

    with world.database.read() as connection:
        user = accounts.get_user(connection, "13800138001")
        wallet = wallet_balance(connection, user.id)
    assert wallet is not None
    assert wallet.balance_nano == 100_000_000_000
    assert verify(world.database).count == 0


def test_another_opening_credit_is_refused_with_the_way_to_do_it(world: World) -> None:
    apply(world)
    before = everything(world)

    found = refusal(world, GOOD.replace("credit: 100", "credit: 200"))

    assert found.startswith("line 16, users[0].credit: ")
    assert "aipool user adjust +8613800138001" in found
    assert everything(world) == before


@pytest.mark.parametrize("registered", [False, True])
def test_a_customer_who_takes_another_number_is_not_credited_a_second_time(
    world: World, registered: bool
) -> None:
    apply(world)
    with world.database.write() as tx:
        user = accounts.get_user(tx.connection, "13800138001")
        accounts.set_phone(tx, world.act, user, "+8613800138002", is_verified=False)
        if registered:
            world.user(tx, "+8613800138001")
    before = everything(world)

    found = refusal(world, GOOD)

    assert found.startswith("line 16, users[0].credit: ")
    assert "+8613800138002" in found
    assert everything(world) == before
    moved = apply(world, GOOD.replace("13800138001", "13800138002"))
    assert verbs(moved)["opening credit +8613800138002"] == "unchanged"


def test_a_credit_left_out_later_is_left_alone(world: World) -> None:
    apply(world)

    apply(world, GOOD.replace(", credit: 100", ""))

    with world.database.read() as connection:
        wallet = wallet_balance(connection, accounts.get_user(connection, "13800138001").id)
    assert wallet is not None
    assert wallet.balance_nano == 100_000_000_000


def test_a_token_without_a_secret_gets_one_that_is_shown_once(world: World) -> None:
    first, second = apply(world), apply(world)

    (token,) = first.new_tokens
    assert (token.phone, token.name) == ("+8613800138001", "prod")
    assert token.secret.startswith("sk-")
    assert second.new_tokens == []


def test_a_given_secret_is_used_and_not_shown(world: World) -> None:
    secret = generate()
    text = GOOD.replace("ips: [10.0.0.1]", f"secret: {secret}")

    assert apply(world, text).new_tokens == []
    assert verbs(apply(world, text))["token +8613800138001/prod"] == "unchanged"

    with world.database.read() as connection:
        user = accounts.get_user(connection, "13800138001")
        token = api_tokens.find_token(connection, user, "prod")
        assert token is not None
        assert api_tokens.is_secret_of(connection, world.secrets.pepper, token, secret)


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (
            ("vendor: mm,", "vendor: nobody,"),
            "line 12, models[0].routes[0].vendor: there is no vendor 'nobody'",
        ),
        (("models: [m1]", "models: [m2]"), "line 14, groups[0].models: there is no model m2"),
        (("group: vip", "group: vop"), "line 18, tokens[0].group: there is no group 'vop'"),
        (("user: 13800138001", "user: 13800138002"), "line 18, tokens[0].user: there is no user"),
        (
            (", password: correct horse", ""),
            "line 16, users[0].password: a new user needs a password",
        ),
        (
            ('    keys:\n      - {name: main, api_key: "${KEY}"}\n', ""),
            "vendors[0].keys: a new vendor needs",
        ),
        (
            ("type: minimax", "type: openai\n    base_url: https://10.0.0.1"),
            "vendors[0].base_url: https://10.0.0.1",
        ),
    ],
)
def test_what_conflicts_is_refused_with_its_line_and_nothing_is_written(
    world: World, change: tuple[str, str], expected: str
) -> None:
    assert change[0] in GOOD
    before = everything(world)

    found = refusal(world, GOOD.replace(*change))

    assert expected in found
    assert everything(world) == before


def test_a_vendor_that_needs_no_secret_gets_a_key_without_one(world: World) -> None:
    text = "vendors:\n  - {name: box, type: sandbox}\n"

    assert verbs(apply(world, text)) == {"vendor box": "created", "key box/key1": "created"}
    assert verbs(apply(world, text)) == {"vendor box": "unchanged"}


def test_a_vendor_that_moves_needs_its_keys_again(world: World) -> None:
    apply(world)
    moved = GOOD.replace("type: minimax", "type: minimax\n    base_url: https://m.example/v1")
    without_keys = moved.replace('    keys:\n      - {name: main, api_key: "${KEY}"}\n', "")

    assert "give main again" in refusal(world, without_keys)
    assert verbs(apply(world, moved))["vendor mm"] == "changed"


def test_the_trail_names_the_act_and_holds_no_secret(world: World) -> None:
    apply(world)

    with world.database.read() as connection:
        rows = connection.execute(sa.select(audit_entries)).all()
    text = str(rows)
    assert {row.actor for row in rows} == {"test"}
    for secret in (ENVIRON["KEY"], "correct horse", "argon2"):
        assert secret not in text


def test_a_file_of_many_models_is_one_revision(world: World) -> None:
    models = "".join(
        f"  - {{name: n{number}, price: {{input: 1, output: 2}}, routes: [{{vendor: mm}}]}}\n"
        for number in range(300)
    )
    apply(world, GOOD.replace("groups:\n", models + "groups:\n", 1))

    with world.database.read() as connection:
        assert len(catalog.list_models(connection)) == 301
        assert current_revision(connection) == 1


GROUP = "groups:\n  - {name: vip, models: [m1]}\n"


def test_the_pool_is_configured_and_the_second_time_writes_nothing(world: World) -> None:
    def configure(text: str) -> Applied:
        document = read_document(text, {"KEY": "secret-key-0123456789"})
        return carry_out(
            world.database, document, world.act, world.secrets, world.vet, dry_run=False
        )

    first = configure(CONFIGURED + GROUP)
    again = configure(CONFIGURED + GROUP)

    assert {verb for verb, *_ in first.steps} == {"created"}
    assert set(verbs(again).values()) == {"unchanged"}
    assert again.revision == 0
    with world.database.read() as connection:
        vip = groups.get_group(connection, "vip")
        default = groups.get_group(connection, "default")
        (route,) = catalog.get_model(connection, "m1").routes
        snapshot = build_snapshot(connection, world.secrets.keyring)
    assert route.groups == (vip.id, default.id)
    (vendor,) = snapshot.vendors
    assert (vendor.ordering.value, vendor.concurrency) == ("weighted", 20)
    assert [key.expires_at for key in vendor.keys] == [0, 1_801_440_000]
    assert snapshot.models[0].timeouts.first_byte == 120
    assert [one.phrase for one in snapshot.keywords] == ["account frozen"]

    changed = configure(
        CONFIGURED.replace("weight: 3", "weight: 4")
        .replace("action: invalid", "action: cool")
        .replace("first_byte: 120", "first_byte: 90")
        .replace("concurrency: 20", "concurrency: 21")
    )
    assert details(changed) == {
        "vendor": "concurrency 20 -> 21",
        "key": "config.weight",
        "keyword": "action invalid -> cool",
        "model": "timeouts",
    }


def test_another_key_becomes_the_default_one_and_the_former_may_expire(world: World) -> None:
    keys = "vendors:\n  - name: mm\n    type: minimax\n    keys:\n"
    one, two = "      - {name: a, api_key: x%s}\n", "      - {name: b, api_key: y%s}\n"
    apply(world, keys + one % "" + two % ", expires: 2027-01-31")

    apply(world, keys + two % "" + one % ", expires: 2027-01-31")

    with world.database.read() as connection:
        listed = pool.list_keys(connection)
    assert [(key.name, key.default, bool(key.expires_at)) for key in listed] == [
        ("b", True, False),
        ("a", False, True),
    ]


def test_a_key_that_moves_with_its_file_keeps_its_secret(world: World) -> None:
    apply(world)

    moved = GOOD.replace('api_key: "${KEY}"', 'api_key: "${KEY}", config: {base_url: URL}')
    apply(world, moved.replace("URL", "https://elsewhere.example/v1"))

    with world.database.read() as connection:
        (key,) = pool.list_keys(connection)
    assert not key.secret_missing
    assert key.settings == KeySettings(base_url="https://elsewhere.example/v1")


def test_a_group_that_is_nowhere_is_named_with_its_place(world: World) -> None:
    assert "models[0].routes[0].group: there is no group" in refusal(
        world, GOOD.replace("model: up,", "model: up, groups: [nobody],")
    )
