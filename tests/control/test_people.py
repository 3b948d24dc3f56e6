"""People, groups and the trail over HTTP: who sees whom, what is changed, and what it leaves."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from aipool.accounts import service as accounts
from aipool.accounts.types import Role, Status, User
from aipool.audit import service as audit
from aipool.catalog import service as catalog
from aipool.control.policies import POLICIES
from aipool.groups import service as groups
from tests.control.api_rig import Api, Said, api

_numbers = count(1)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with api(tmp_path_factory.mktemp("people") / "data") as served:
        with served.world.database.write() as tx:
            groups.default_group(tx, served.world.act)
        yield served


@pytest.fixture(scope="module")
def admin(opened: Api) -> Api:
    return opened.signed_in(Role.ADMIN)


def new_user(opened: Api, role: Role = Role.USER) -> User:
    with opened.world.database.write() as tx:
        return opened.world.user(tx, f"+86137{next(_numbers):08}", role)


def new_group(asker: Api, **fields: Any) -> dict[str, Any]:
    given = {"name": f"g{next(_numbers)}", "multiplier": "0.8", **fields}
    made: dict[str, Any] = asker.good("POST", "/api/admin/groups", given)
    return made


def rows_left(opened: Api, target: str) -> list[str]:
    """The actions of the trail on this, the oldest first."""
    with opened.world.database.read() as connection:
        return [entry.action for entry in reversed(audit.entries(connection, target))]


def adjusted(asker: Api, user: User, amount: str, key: str, reason: str = "why") -> Said:
    headers = {**asker.credentials(), "Idempotency-Key": key}
    target = f"/api/admin/users/{user.id}/adjust"
    return asker.ask("POST", target, {"amount": amount, "reason": reason}, headers)


# --- groups ---------------------------------------------------------------------------------------


def test_s2_5_an_administrator_makes_a_group_with_a_multiplier_and_models(
    opened: Api, admin: Api
) -> None:
    with opened.world.database.write() as tx:
        opened.world.model(tx, opened.world.vendor(tx, f"v{next(_numbers)}"), "only-this")
    made = new_group(admin, description="For few.", models=["only-this"])

    assert made["multiplier"] == "0.8"
    assert (made["models"], made["description"]) == (["only-this"], "For few.")
    assert (made["members_count"], made["tokens_count"], made["is_default"]) == (0, 0, False)
    assert admin.good("GET", f"/api/admin/groups/{made['id']}") == made
    assert made in admin.good("GET", "/api/admin/groups")["items"]
    problem = admin.refused(
        422, "POST", "/api/admin/groups", {"name": "x", "models": ["nothing-like-it"]}
    )
    assert problem["code"] == "models_unknown"
    problem = admin.refused(409, "POST", "/api/admin/groups", {"name": made["name"]})
    assert (problem["code"], problem["field"]) == ("group_exists", "name")


@pytest.mark.parametrize("multiplier", ["", "-1", "101", "0.0000001", "1e3", "x", "０.5"])
def test_a_multiplier_that_cannot_be_is_refused_by_name(admin: Api, multiplier: str) -> None:
    sent = {"name": "wrong", "multiplier": multiplier}
    problem = admin.refused(422, "POST", "/api/admin/groups", sent)
    assert (problem["code"], problem["field"]) == ("invalid_multiplier", "multiplier")


def test_s2_14_limits_are_set_for_each_user_and_for_the_whole(opened: Api, admin: Api) -> None:
    made = new_group(admin, limits={"rpm": 60, "tpm": 100_000}, group_limits={"concurrency": 50})
    nothing = {"rpm": None, "tpm": None, "requests_per_day": None, "concurrency": None}
    assert made["limits"] == nothing | {"rpm": 60, "tpm": 100_000}
    assert made["group_limits"] == nothing | {"concurrency": 50}

    target = f"/api/admin/groups/{made['id']}"
    changed = admin.good("PATCH", target, {"limits": {"rpm": 30}})
    assert changed["limits"] == nothing | {"rpm": 30}
    assert changed["group_limits"] == made["group_limits"]
    assert changed["multiplier"] == "0.8"
    assert admin.refused(422, "PATCH", target, {"limits": {"rpm": 0}})["field"] == "limits.rpm"
    assert rows_left(opened, f"group:{made['id']}") == ["group.create", "group.change"]


def test_s2_4_a_user_picks_one_of_the_groups_that_were_granted(opened: Api, admin: Api) -> None:
    made = new_group(admin)
    person = opened.signed_in()
    assert person.user is not None
    sent = {"name": "mine", "group_id": made["id"]}
    assert person.refused(422, "POST", "/api/tokens", sent)["field"] == "group_id"

    target = f"/api/admin/users/{person.user.id}"
    shown = admin.good("PATCH", target, {"group_ids": [made["id"]]})
    assert {"id": made["id"], "name": made["name"], "by_name": True} in shown["groups"]
    token = person.good("POST", "/api/tokens", sent)
    assert token["group"] == {
        "id": made["id"],
        "name": made["name"],
        "multiplier": "0.8",
        "granted": True,
        "deleted": False,
    }

    admin.good("PATCH", target, {"group_ids": []})
    token = person.good("GET", f"/api/tokens/{token['id']}")
    assert (token["status"], token["group"]["id"]) == ("group_not_granted", made["id"])
    assert token["group"]["granted"] is False


def test_s2_15_groups_are_assigned_by_administrators_only(opened: Api, admin: Api) -> None:
    made = new_group(admin)
    person = opened.signed_in()
    assert person.user is not None
    for method, path, body in (
        ("PATCH", f"/api/admin/users/{person.user.id}", {"group_ids": [made["id"]]}),
        ("POST", "/api/admin/groups", {"name": "mine"}),
        ("GET", "/api/admin/groups", None),
    ):
        assert person.refused(403, method, path, body)["code"] == "not_allowed"

    admin.good("PATCH", f"/api/admin/users/{person.user.id}", {"group_ids": [made["id"]]})
    (member,) = admin.good("GET", f"/api/admin/groups/{made['id']}/members")["items"]
    assert (member["user_id"], member["label"]) == (person.user.id, person.user.phone)
    assert member["granted_by"] == f"user:{admin.user.id}"  # type: ignore[union-attr]
    found = admin.good("GET", f"/api/admin/users?group={made['id']}")
    assert [one["id"] for one in found["items"]] == [person.user.id]
    problem = admin.refused(
        404, "PATCH", f"/api/admin/users/{person.user.id}", {"group_ids": [999_999]}
    )
    assert problem["code"] == "group_unknown"


def test_s2_12_s2_16_a_user_reads_what_each_of_their_groups_sells_and_what_a_call_costs(
    opened: Api, admin: Api
) -> None:
    with opened.world.database.write() as tx:
        vendor = opened.world.vendor(tx, f"v{next(_numbers)}")
        opened.world.model(tx, vendor, "aaa-first")
        opened.world.model(tx, vendor, "bbb-second")
    made = new_group(admin, multiplier="0.5", models=["aaa-first"], description="Half.")
    hidden = new_group(admin)
    person = opened.signed_in()
    assert person.user is not None
    admin.good("PATCH", f"/api/admin/users/{person.user.id}", {"group_ids": [made["id"]]})

    shown = person.good("GET", "/api/groups")
    assert shown["next_cursor"] is None
    by_id = {one["id"]: one for one in shown["items"]}
    assert hidden["id"] not in by_id
    assert shown["items"][0]["is_default"]
    assert shown["items"][0]["models_count"] > 1
    mine = by_id[made["id"]]
    assert (mine["multiplier"], mine["models"], mine["models_count"]) == ("0.5", ["aaa-first"], 1)
    # 1,000 tokens in at ¥2 and 500 out at ¥8 a million.
    assert mine["example"] == {
        "model": "aaa-first",
        "input_tokens": 1000,
        "output_tokens": 500,
        "list_charge": "0.006",
        "charge": "0.003",
        "calculation": "¥0.006 × 0.5 = ¥0.003",
    }


def test_a_group_in_use_goes_only_with_a_target_and_everything_goes_there(
    opened: Api, admin: Api
) -> None:
    world = opened.world
    old, heir = new_group(admin), new_group(admin, multiplier="2")
    person = opened.signed_in()
    assert person.user is not None
    admin.good("PATCH", f"/api/admin/users/{person.user.id}", {"group_ids": [old["id"]]})
    token = person.good("POST", "/api/tokens", {"name": "t", "group_id": old["id"]})
    with world.database.write() as tx:
        vendor = world.vendor(tx, f"v{next(_numbers)}")
        name = f"limited{next(_numbers)}"
        world.model(tx, vendor, name)
        model = catalog.get_model(tx.connection, name)
        limited = [route._replace(groups=(old["id"],)) for route in model.routes]
        catalog.put_routes(tx, world.act, model, limited)

    target = f"/api/admin/groups/{old['id']}"
    problem = admin.refused(409, "DELETE", target)
    assert problem["code"] == "group_in_use"
    assert (problem["tokens"], problem["users"], problem["models"]) == (1, 1, [name])
    same = admin.refused(422, "DELETE", f"{target}?target={old['id']}")
    assert same["code"] == "target_is_itself"

    moved = admin.good("DELETE", f"{target}?target={heir['id']}")
    assert moved == {
        "tokens_moved": 1,
        "tokens_left": 0,
        "users_moved": 1,
        "routes_moved": 1,
    }
    shown = person.good("GET", f"/api/tokens/{token['id']}")
    assert (shown["group"]["id"], shown["group"]["multiplier"]) == (heir["id"], "2")
    assert shown["status"] == "active"
    with world.database.read() as connection:
        routes = catalog.get_model(connection, name).routes
    assert [route.groups for route in routes] == [(heir["id"],)]
    assert admin.refused(404, "GET", target)["code"] == "group_unknown"


def test_a_token_of_whom_the_group_was_taken_from_never_goes_to_another_price(
    opened: Api, admin: Api
) -> None:
    """Deleting the group revives nothing: the token is refused until its owner chooses."""
    gone, heir = new_group(admin), new_group(admin, multiplier="1")
    kept_by, lost_by = opened.signed_in(), opened.signed_in()
    ids = []
    for person in (kept_by, lost_by):
        assert person.user is not None
        theirs = f"/api/admin/users/{person.user.id}"
        admin.good("PATCH", theirs, {"group_ids": [gone["id"]]})
        wanted = {"name": "t", "group_id": gone["id"]}
        ids.append(person.good("POST", "/api/tokens", wanted)["id"])
    admin.good("PATCH", theirs, {"group_ids": [heir["id"]]})

    moved = admin.good("DELETE", f"/api/admin/groups/{gone['id']}?target={heir['id']}")

    assert (moved["tokens_moved"], moved["tokens_left"], moved["users_moved"]) == (1, 1, 1)
    shown = kept_by.good("GET", f"/api/tokens/{ids[0]}")
    assert (shown["group"]["id"], shown["status"]) == (heir["id"], "active")
    target = f"/api/tokens/{ids[1]}"
    lost = lost_by.good("GET", target)
    assert lost["status"] == "group_not_granted"
    assert lost["group"] == {
        "id": gone["id"],
        "name": gone["name"],
        "multiplier": None,
        "granted": False,
        "deleted": True,
    }
    (listed,) = lost_by.good("GET", "/api/tokens?status=group_not_granted")["items"]
    assert listed == lost
    reasons = lost_by.good("GET", f"{target}/preview")["reasons"]
    assert reasons[0]["code"] == "group_not_granted"
    # Its owner may change what they like of it, and it stays refused until they choose a group.
    changed = lost_by.good("PATCH", target, {"name": "u", "group_id": gone["id"]})
    assert (changed["name"], changed["status"]) == ("u", "group_not_granted")
    assert lost_by.good("POST", f"{target}/disable")["enabled"] is False
    assert lost_by.good("POST", f"{target}/enable")["status"] == "group_not_granted"
    problem = lost_by.refused(422, "PATCH", target, {"models": ["x"]})
    assert (problem["code"], problem["field"]) == ("group_unknown", "group_id")
    repaired = lost_by.good("PATCH", target, {"group_id": heir["id"]})
    assert (repaired["status"], repaired["group"]["deleted"]) == ("active", False)


def test_another_group_becomes_the_default_and_the_default_stays_one(opened: Api) -> None:
    person = opened.signed_in()
    (before,) = person.good("GET", "/api/groups")["items"]
    made = new_group(opened)
    target = f"/api/admin/groups/{made['id']}"
    assert opened.good("PATCH", target, {"is_default": True})["is_default"]
    assert [one["id"] for one in person.good("GET", "/api/groups")["items"]] == [
        made["id"],
        before["id"],
    ]
    problem = opened.refused(422, "PATCH", target, {"is_default": False})
    assert problem["code"] == "default_needed"
    problem = opened.refused(409, "DELETE", f"{target}?target={before['id']}")
    assert problem["code"] == "group_is_default"
    opened.good("PATCH", f"/api/admin/groups/{before['id']}", {"is_default": True})


# --- people ---------------------------------------------------------------------------------------


def test_s_04_an_administrator_sees_and_changes_users_only(opened: Api, admin: Api) -> None:
    user, peer = new_user(opened), new_user(opened, Role.ADMIN)
    missing = admin.refused(404, "GET", "/api/admin/users/999999")
    for other in (peer, admin.user):
        assert other is not None
        target = f"/api/admin/users/{other.id}"
        problem = admin.refused(404, "GET", target)
        del problem["detail"], problem["request_id"]
        assert problem == {
            name: value for name, value in missing.items() if name not in ("detail", "request_id")
        }
        for method, path, body in (
            ("PATCH", target, {"status": "disabled"}),
            ("POST", f"{target}/reset-totp", None),
            ("POST", f"{target}/reset-link", None),
            ("POST", f"{target}/approve", None),
            ("DELETE", f"{target}/sessions", None),
        ):
            assert admin.refused(404, method, path, body)["code"] == "user_unknown"
        assert adjusted(admin, other, "1", "k").status == 404
    seen = {one["role"] for one in admin.good("GET", "/api/admin/users?limit=100")["items"]}
    assert seen == {"user"}
    assert admin.good("GET", "/api/admin/users?role=root")["total"] == 0
    assert opened.good("GET", f"/api/admin/users/{peer.id}")["role"] == "admin"
    assert admin.good("GET", f"/api/admin/users/{user.id}")["phone"] == user.phone


def test_s_04_only_root_says_what_somebody_may_do(opened: Api, admin: Api) -> None:
    user = new_user(opened)
    target = f"/api/admin/users/{user.id}"
    problem = admin.refused(403, "PATCH", target, {"role": "admin", "name": "x"})
    assert (problem["code"], problem["field"]) == ("not_allowed", "role")
    assert admin.good("GET", target)["name"] == ""
    sent = {"phone": "13911112222", "role": "admin"}
    assert admin.refused(403, "POST", "/api/admin/users", sent)["field"] == "role"

    assert opened.good("PATCH", target, {"role": "admin"})["role"] == "admin"
    assert rows_left(opened, f"user:{user.id}") == ["user.create", "user.set_role"]
    assert admin.refused(404, "GET", target)["code"] == "user_unknown"


def test_a_frozen_user_is_logged_out_and_comes_back_when_enabled(opened: Api, admin: Api) -> None:
    person = opened.signed_in()
    assert person.user is not None
    target = f"/api/admin/users/{person.user.id}"

    assert admin.good("PATCH", target, {"status": "disabled"})["status"] == "disabled"
    assert person.ask("GET", "/api/groups").status == 401
    assert admin.good("PATCH", target, {"status": "active", "note": "paid"})["note"] == "paid"
    again = opened.signed_in(user=person.user)
    assert again.ask("GET", "/api/groups").status == 200
    program = opened.program(person.user)
    ended = {"ended": 1, "access_tokens_ended": 1}
    assert admin.good("DELETE", f"{target}/sessions") == ended
    assert program.ask("GET", "/api/groups").status == 401
    assert again.ask("GET", "/api/groups").status == 401


def test_an_administrator_gives_a_user_another_number_and_another_address(
    opened: Api, admin: Api
) -> None:
    user, other = new_user(opened), new_user(opened)
    target = f"/api/admin/users/{user.id}"
    with opened.world.database.write() as tx:
        accounts.set_phone(tx, opened.world.act, user, user.phone, is_verified=True)
    sent = {"phone": "138 9999 0001", "email": "Li@example.com"}
    shown = admin.good("PATCH", target, sent)

    assert (shown["phone"], shown["email"]) == ("+8613899990001", "li@example.com")
    assert (shown["phone_verified_at"], shown["email_verified_at"]) == (None, None)
    # What is there already is left as it is.
    admin.good("PATCH", target, sent)
    assert rows_left(opened, f"user:{user.id}")[2:] == ["user.set_phone", "user.set_email"]
    for change, code in (
        ({"phone": other.phone}, "user_exists"),
        ({"phone": "12"}, "invalid_phone"),
        ({"phone": ""}, "invalid_phone"),
        ({"email": "nobody"}, "invalid_email"),
        ({"email": "x" * 300}, "malformed_request"),
    ):
        said = admin.ask("PATCH", target, change)
        assert (said.status in (409, 422), said.json["code"]) == (True, code)
    stale = opened.signed_in(Role.ADMIN, stepped_up=False)
    assert stale.refused(403, "PATCH", target, sent)["code"] == "step_up_needed"
    assert admin.good("PATCH", target, {"email": ""})["email"] is None


def test_somebody_who_waits_for_approval_is_let_in(opened: Api, admin: Api) -> None:
    user = new_user(opened)
    with opened.world.database.write() as tx:
        accounts.set_status(tx, opened.world.act, user, Status.PENDING)
    assert user.id in [
        one["id"] for one in admin.good("GET", "/api/admin/users?status=pending")["items"]
    ]
    assert admin.good("POST", f"/api/admin/users/{user.id}/approve")["status"] == "active"
    assert rows_left(opened, f"user:{user.id}")[-1] == "user.approve"


def test_an_administrator_makes_a_user_who_chooses_a_password_by_a_link(
    opened: Api, admin: Api
) -> None:
    group = new_group(admin)
    made = admin.good(
        "POST",
        "/api/admin/users",
        {"phone": "139 2222 3333", "name": "Li", "note": "a friend", "group_ids": [group["id"]]},
    )
    assert (made["phone"], made["name"], made["note"]) == ("+8613922223333", "Li", "a friend")
    assert (made["balance"], made["tokens_count"], made["status"]) == ("0", 0, "active")
    assert group["id"] in [one["id"] for one in made["groups"]]
    link = made["reset_link"]
    assert link["link"].endswith(f"/reset#{link['secret']}")
    sent = {"link": link["secret"], "password": "a fine long passphrase"}
    assert opened.ask("POST", "/api/auth/reset", sent, {}).status in (200, 204)
    assert opened.ask("POST", "/api/auth/reset", sent, {}).status == 403
    again = admin.good("POST", f"/api/admin/users/{made['id']}/reset-link")
    assert again["secret"] != link["secret"]
    with opened.world.database.read() as connection:
        trail = str(audit.entries(connection, f"user:{made['id']}"))
    assert link["secret"] not in trail

    problem = admin.refused(
        422, "POST", "/api/admin/users", {"phone": "13922224444", "password": "short"}
    )
    assert problem["field"] == "password"
    problem = admin.refused(409, "POST", "/api/admin/users", {"phone": "13922223333"})
    assert problem["code"] == "user_exists"


def test_the_list_is_searched_and_paged(opened: Api, admin: Api) -> None:
    users = [new_user(opened) for _ in range(3)]
    for user in users:
        admin.good("PATCH", f"/api/admin/users/{user.id}", {"name": "page me"})
    first = admin.good("GET", "/api/admin/users?q=page%20me&limit=2")
    assert (len(first["items"]), first["total"]) == (2, 3)
    target = f"/api/admin/users?q=page%20me&limit=2&cursor={first['next_cursor']}"
    second = admin.good("GET", target)
    found = [one["id"] for one in first["items"] + second["items"]]
    assert found == [user.id for user in reversed(users)]
    assert second["next_cursor"] is None
    assert admin.refused(422, "GET", "/api/admin/users?q=1")["code"] == "search_too_short"
    assert admin.refused(422, "GET", "/api/admin/users?cursor=x")["code"] == "invalid_cursor"


# --- money ----------------------------------------------------------------------------------------


def test_a_balance_is_adjusted_once_per_key_with_a_reason(opened: Api, admin: Api) -> None:
    user = new_user(opened)
    first = adjusted(admin, user, "12.5", "order-1", "a gift")
    assert (first.status, first.json["balance"]) == (200, "12.5")
    transfer = first.json["transfer"]
    assert (transfer["amount"], transfer["balance_after"], transfer["reason"]) == (
        "12.5",
        "12.5",
        "a gift",
    )
    assert adjusted(admin, user, "12.5", "order-1", "a gift").json == first.json
    assert adjusted(admin, user, "-2.5", "order-2").json["balance"] == "10"
    assert adjusted(admin, user, "1", "order-1").json["code"] == "idempotency_key_reused"
    over = adjusted(admin, user, "-10.000000001", "order-3")
    assert (over.status, over.json["code"]) == (409, "adjustment_refused")
    assert admin.good("GET", f"/api/admin/users/{user.id}")["balance"] == "10"
    assert rows_left(opened, f"user:{user.id}").count("user.adjust") == 2


@pytest.mark.parametrize("amount", ["0", "", "x", "1e9", "1000000.01", "-1000001", "1.0000000001"])
def test_an_amount_that_cannot_be_is_refused_by_name(opened: Api, admin: Api, amount: str) -> None:
    user = new_user(opened)
    said = adjusted(admin, user, amount, "k")
    assert (said.status, said.json["field"]) == (422, "amount")


def test_an_adjustment_needs_a_key_a_reason_and_a_fresh_proof_of_who_asks(opened: Api) -> None:
    user = new_user(opened)
    stale = opened.signed_in(Role.ADMIN, stepped_up=False)
    assert adjusted(stale, user, "1", "k").json["code"] == "step_up_needed"
    admin = opened.signed_in(Role.ADMIN)
    target = f"/api/admin/users/{user.id}/adjust"
    said = admin.ask("POST", target, {"amount": "1", "reason": "x"})
    assert said.status in (400, 422)
    assert "dempotency" in said.text
    for reason in ("", "  ", "two\nlines", "x" * 501):
        assert adjusted(admin, user, "1", "k", reason).json["field"] == "reason"
    assert admin.good("GET", f"/api/admin/users/{user.id}")["balance"] == "0"


# --- the trail ------------------------------------------------------------------------------------


def test_s_17_an_action_is_found_in_the_trail_with_who_did_it_and_from_where(
    opened: Api, admin: Api
) -> None:
    user = new_user(opened)
    headers = {
        **admin.credentials(),
        "X-Forwarded-For": "203.0.113.77",
        "User-Agent": "a browser " + "x" * 500,
    }
    target = f"/api/admin/users/{user.id}"
    said = admin.ask("PATCH", target, {"note": "seen"}, headers)
    assert said.status == 200

    assert admin.user is not None
    (row,) = admin.good("GET", f"/api/admin/trail?target=user:{user.id}&action=user.set_note")[
        "items"
    ]
    assert (row["actor"], row["actor_label"]) == (f"user:{admin.user.id}", admin.user.phone)
    assert (row["role"], row["ip"]) == ("admin", "203.0.113.77")
    assert row["user_agent"].startswith("a browser")
    assert len(row["user_agent"]) == 200
    assert row["request_id"] == said.headers["x-request-id"]
    assert (row["before"], row["after"]) == ({"note": ""}, {"note": "seen"})


def test_the_trail_is_paged_filtered_and_exported(opened: Api, admin: Api) -> None:
    user = new_user(opened)
    for note in "abc":
        admin.good("PATCH", f"/api/admin/users/{user.id}", {"note": note})
    target = f"/api/admin/trail?target=user:{user.id}&action=user&limit=2"
    first = admin.good("GET", target)
    second = admin.good("GET", f"{target}&cursor={first['next_cursor']}")
    found = [row["after"].get("note") for row in first["items"] + second["items"]]
    assert found == ["c", "b", "a", None]
    assert second["next_cursor"] is None
    assert admin.good("GET", f"{target}&since=2999-01-01")["items"] == []
    assert admin.good("GET", f"{target}&until=2001-01-01T00:00:00Z")["items"] == []
    assert admin.refused(422, "GET", f"{target}&since=soon")["field"] == "since"
    assert admin.refused(422, "GET", f"{target}&cursor=x")["code"] == "invalid_cursor"

    wanted = f"/api/admin/trail/export?target=user:{user.id}"
    said = opened.ask("GET", wanted)
    assert said.headers["content-type"] == "application/jsonl"
    lines = [json.loads(line) for line in said.text.splitlines()]
    assert [line["action"] for line in lines] == ["user.create"] + ["user.set_note"] * 3
    assert {len(line["digest"]) for line in lines} == {64}
    table = admin.ask("GET", f"{wanted}&format=csv").text.splitlines()
    assert table[0].startswith("id,at,actor,role")
    assert len(table) == 5


def test_ones_own_trail_tells_what_an_operator_did_and_not_who(opened: Api, admin: Api) -> None:
    person = opened.signed_in()
    assert person.user is not None
    admin.good("PATCH", f"/api/admin/users/{person.user.id}", {"note": "hush"})
    person.good("POST", "/api/tokens", {"name": "mine"})

    items = person.good("GET", "/api/me/trail")["items"]
    by = {row["action"]: row["by"] for row in items}
    assert by["token.create"] == "self"
    assert by["user.set_note"] == "operator"
    assert "hush" not in str(items)
    assert {row["ip"] for row in items if row["by"] == "operator"} == {""}
    assert all("actor" not in row for row in items)
    tokens = person.good("GET", "/api/me/trail?action=token")["items"]
    assert [row["action"] for row in tokens] == ["token.create"]
    other = opened.signed_in()
    assert "token.create" not in str(other.good("GET", "/api/me/trail"))


def test_every_change_of_people_and_groups_is_in_the_policies_as_sensitive() -> None:
    changes = [
        (method, path)
        for method, path in POLICIES
        if path.startswith(("/api/admin/users", "/api/admin/groups")) and method != "GET"
    ]
    assert {path for each in changes if not POLICIES[each].step_up for path in [each[1]]} == {
        "/api/admin/users/{user_id}/approve",
        "/api/admin/users/{user_id}/sessions",
    }


def test_after_all_of_this_the_trail_is_whole(opened: Api) -> None:
    with opened.world.database.read() as connection:
        verdict = audit.verify(connection)
    assert verdict.problem == ""
    assert verdict.count > 5


def test_what_goes_into_a_table_is_no_formula(opened: Api, admin: Api) -> None:
    user = new_user(opened)
    headers = {**admin.credentials(), "User-Agent": "=HYPERLINK(1)"}
    target = f"/api/admin/users/{user.id}"
    admin.ask("PATCH", target, {"note": "x"}, headers)
    wanted = f"/api/admin/trail/export?target=user:{user.id}&format=csv"
    assert "'=HYPERLINK(1)" in admin.ask("GET", wanted).text
