"""What a user is promised of the groups of tokens, their resets and their lists."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from aipool.accounts.types import Role
from aipool.api_tokens import service as api_tokens
from aipool.audit.types import Act
from aipool.books.publish import build_snapshot
from aipool.groups import service as groups
from aipool.kit.clock import now_ms
from aipool.kit.digests import is_token
from aipool.ledger.rules import DAY_MS
from tests.api_tokens.asking import (
    ask_self,
    change,
    granted,
    group_named,
    listed,
    make,
    seen_by_workers,
    user_of,
)
from tests.api_tokens.spending import DAY, call
from tests.control.api_rig import Api

DAY_SECONDS = 86_400


# --- S2: groups and keys ------------------------------------------------------------------------


def test_s2_1_tokens_are_everybodys_own(opened: Api, person: Api) -> None:
    other = opened.signed_in()
    token = make(person)
    target = f"/api/tokens/{token['id']}"

    assert listed(other) == []
    missing = "/api/tokens/999999"
    for method, path, body in (
        ("GET", "", None),
        ("PATCH", "", {"name": "x"}),
        ("DELETE", "", None),
        ("POST", "/enable", None),
        ("POST", "/disable", None),
        ("POST", "/rotate", {}),
        ("POST", "/playground-key", None),
        ("GET", "/preview", None),
    ):
        foreign = other.refused(404, method, target + path, body)
        none = other.refused(404, method, missing + path, body)
        for said in (foreign, none):
            said.pop("request_id", None)
        assert foreign["detail"].replace(str(token["id"]), "999999") == none["detail"]
        assert {**foreign, "detail": ""} == {**none, "detail": ""}
    assert ask_self(opened, token["secret"])[0] == 200


def test_s2_2_the_list_shows_name_status_used_remaining_and_expiry(
    opened: Api, person: Api
) -> None:
    call(opened, person, make(person, "k", limit="1", expires_at="2099-01-31"), "0.25")

    (token,) = listed(person)

    names = ("name", "status", "used", "remaining", "expires_at")
    assert [token[name] for name in names] == [
        "k",
        "active",
        "0.25",
        "0.75",
        "2099-02-01T00:00:00.000Z",
    ]


def test_s2_3_a_key_is_created_by_its_name_alone(person: Api) -> None:
    key = make(person, "my-project")

    assert [(one["id"], one["name"]) for one in listed(person)] == [(key["id"], "my-project")]


def test_s2_4_and_s2_5_a_token_is_in_a_group_that_was_granted(opened: Api, person: Api) -> None:
    vip = group_named(opened, "vip")
    problem = person.refused(422, "POST", "/api/tokens", {"name": "x", "group_id": vip.id})
    nobodys = person.refused(422, "POST", "/api/tokens", {"name": "x", "group_id": 999_999})
    assert (problem["code"], problem["field"]) == ("group_unknown", "group_id")
    assert problem["detail"].replace(str(vip.id), "999999") == nobodys["detail"]

    granted(opened, person, "vip")
    token = make(person, "my-project", group_id=vip.id)

    assert token["group"] == {
        "id": vip.id,
        "name": "vip",
        "multiplier": "0.8",
        "granted": True,
        "deleted": False,
    }
    assert token["models_count"] == 2


def test_s2_6_the_default_expiry_is_permanent(person: Api) -> None:
    assert make(person)["expires_at"] is None


def test_s2_7_a_key_has_a_limit_of_its_own(opened: Api, person: Api) -> None:
    call(opened, person, make(person, "spent", limit="100"), "40")
    make(person, "whole", limit="100")

    assert {one["name"]: one["remaining"] for one in listed(person)} == {
        "spent": "60",
        "whole": "100",
    }


def test_s2_8_and_s2_12_a_key_has_no_model_that_its_group_has_not(opened: Api, person: Api) -> None:
    vip = granted(opened, person, "vip")
    body = {"name": "x", "group_id": vip.id, "models": ["m3"]}
    problem = person.refused(422, "POST", "/api/tokens", body)
    assert (problem["code"], problem["field"]) == ("models_unknown", "models")

    token = make(person, group_id=vip.id, models=["m1"])
    problem = person.refused(422, "PATCH", f"/api/tokens/{token['id']}", {"models": ["m3"]})
    assert problem["field"] == "models"

    # Nor after a change of the group.
    free = make(person, "free", models=["m3"])
    problem = person.refused(422, "PATCH", f"/api/tokens/{free['id']}", {"group_id": vip.id})
    assert problem["field"] == "models"


def test_s2_9_a_key_is_for_listed_addresses(opened: Api, person: Api) -> None:
    token = make(person, ips=["203.0.113.0/24", "2001:db8::1", "198.51.100.7"])
    assert token["ips"] == ["198.51.100.7/32", "2001:db8::1/128", "203.0.113.0/24"]

    answers = {
        address: ask_self(opened, token["secret"], address)[0]
        for address in ("203.0.113.9", "2001:db8::1", "2001:db8::2", "198.51.100.8", "unknown", "")
    }

    assert answers == {
        "203.0.113.9": 200,
        "2001:db8::1": 200,
        "2001:db8::2": 403,
        "198.51.100.8": 403,
        "unknown": 403,
        "": 403,
    }
    for wrong in (["10.0.0.1:80"], ["010.0.0.1"], ["fe80::1%eth0"], ["10.0.0.1/8"], ["x"], [1]):
        problem = person.refused(422, "POST", "/api/tokens", {"name": "x", "ips": wrong})
        assert problem["field"].startswith("ips"), wrong
    many = [f"10.0.{n}.1" for n in range(101)]
    assert person.refused(422, "POST", "/api/tokens", {"name": "x", "ips": many})["field"] == "ips"


def test_s2_10_a_key_starts_with_sk(person: Api) -> None:
    secret = make(person)["secret"]

    assert secret.startswith("sk-")
    assert is_token(secret.encode())


def test_s2_11_a_key_without_restrictions_has_none(opened: Api, person: Api) -> None:
    view = seen_by_workers(opened, make(person)["secret"])

    assert view is not None
    assert (view.models, view.ips, view.expires_at, view.blocked) == (None, (), 0, "")
    assert view.budgets == (f"wallet:{user_of(person).id}",)


def test_s2_13_and_s2_14_workers_know_the_groups_rate_and_limits(opened: Api, person: Api) -> None:
    vip = granted(opened, person, "vip")
    view = seen_by_workers(opened, make(person, group_id=vip.id)["secret"])

    with opened.world.database.read() as connection:
        snapshot = build_snapshot(connection, opened.world.secrets.keyring)
    (group,) = (group for group in snapshot.groups if view and group.id == view.group_id)
    assert (group.multiplier_ppm, group.models) == (800_000, ("m1", "m2"))
    assert (group.each_user.rpm, group.each_user.tpm) == (60, 100_000)


def test_s2_15_a_group_that_is_taken_away_moves_no_token(opened: Api, person: Api) -> None:
    vip = granted(opened, person, "vip")
    token = make(person, group_id=vip.id, models=["m1"])

    with opened.world.database.write() as tx:
        groups.revoke(tx, opened.world.act, user_of(person).id, vip)

    (shown,) = listed(person)
    assert (shown["status"], shown["group"]["id"]) == ("group_not_granted", vip.id)
    assert not shown["group"]["granted"]
    view = seen_by_workers(opened, token["secret"])
    assert view is not None
    assert (view.blocked, view.group_id) == ("group_not_granted", vip.id)
    # What else is changed needs no other group, and the default one is still there to choose.
    assert change(person, token, description="x")["status"] == "group_not_granted"
    assert change(person, token, group_id=None)["status"] == "active"
    problem = person.refused(422, "PATCH", f"/api/tokens/{token['id']}", {"group_id": vip.id})
    assert problem["code"] == "group_unknown"


def test_s2_17_many_keys_are_disabled_enabled_and_deleted_at_once(opened: Api, person: Api) -> None:
    mine = [make(person, f"t{number}") for number in range(3)]
    foreign = make(opened.signed_in())
    ids = [token["id"] for token in (mine[0], mine[1], foreign)]

    def bulk(action: str) -> list[bool]:
        said = person.good("POST", "/api/tokens/bulk", {"action": action, "ids": ids})
        assert [result["id"] for result in said["results"]] == ids
        assert said["results"][2]["code"] == "token_unknown"
        return [result["ok"] for result in said["results"]]

    for action, left in (("disable", [True]), ("enable", [True] * 3), ("delete", [True])):
        assert bulk(action) == [True, True, False]
        assert [token["enabled"] for token in listed(person) if token["enabled"]] == left
    assert ask_self(opened, foreign["secret"])[0] == 200
    bad: list[dict[str, Any]] = [
        {"ids": []},
        {"ids": [1] * 101},
        {"ids": ["1"]},
        {"action": "rotate"},
    ]
    for wrong in bad:
        body = {"action": "enable", "ids": [1], **wrong}
        assert person.refused(422, "POST", "/api/tokens/bulk", body)["field"]


def test_s2_18_a_project_has_a_key_and_figures_of_its_own(opened: Api, person: Api) -> None:
    shop, blog = (make(person, name) for name in ("shop", "blog"))
    call(opened, person, shop, "0.25")

    assert shop["secret"] != blog["secret"]
    assert {one["name"]: one["used_total"] for one in listed(person)} == {
        "shop": "0.25",
        "blog": "0",
    }


# --- S3: resets and presets ---------------------------------------------------------------------


def test_s3_1_and_s3_2_a_key_is_created_by_name(person: Api) -> None:
    assert make(person, "a key")["name"] == "a key"
    assert [one["name"] for one in listed(person)] == ["a key"]


def test_s3_3_a_key_stops_at_its_limit_and_without_one_it_does_not(
    opened: Api, person: Api
) -> None:
    for name, limit in (("capped", "0.5"), ("unlimited", None)):
        call(opened, person, make(person, name, limit=limit), "0.5")

    assert {one["name"]: (one["status"], one["remaining"]) for one in listed(person)} == {
        "capped": ("exhausted", "0"),
        "unlimited": ("active", None),
    }


#: The last day of the window that 2023-11-14 is in; None = it never ends.
_LAST_DAYS = {"none": None, "daily": DAY, "weekly": DAY + 5, "monthly": DAY + 16}


@pytest.mark.parametrize(("reset", "last_day"), _LAST_DAYS.items())
def test_s3_4_a_limit_begins_anew_with_its_window_and_not_a_day_before(
    opened: Api, person: Api, on: Callable[[int], None], reset: str, last_day: int | None
) -> None:
    on(DAY)
    call(opened, person, make(person, limit="1", reset=reset), "1")

    def stands() -> tuple[str, str, str]:
        (shown,) = listed(person)
        return shown["status"], shown["used"], shown["remaining"]

    for day in (DAY, last_day or DAY + 400):
        on(day)
        assert stands() == ("exhausted", "1", "0"), day
    if last_day is not None:
        on(last_day + 1)
        assert stands() == ("active", "0", "1")
    problem = person.refused(422, "POST", "/api/tokens", {"name": "x", "reset": "hourly"})
    assert problem["field"] == "reset"


@pytest.mark.parametrize(
    ("today", "tomorrow", "monday", "first"),
    [
        ("2023-11-14", "2023-11-15", "2023-11-20", "2023-12-01"),
        ("2023-11-19", "2023-11-20", "2023-11-20", "2023-12-01"),  # a Sunday
        ("2023-11-20", "2023-11-21", "2023-11-27", "2023-12-01"),  # a Monday
        ("2023-11-30", "2023-12-01", "2023-12-04", "2023-12-01"),
        ("2023-12-31", "2024-01-01", "2024-01-01", "2024-01-01"),
        ("2024-02-29", "2024-03-01", "2024-03-04", "2024-03-01"),
    ],
)
def test_s3_5_windows_begin_at_midnight_utc_on_monday_and_on_the_first(
    person: Api, on: Callable[[int], None], today: str, tomorrow: str, monday: str, first: str
) -> None:
    on((date.fromisoformat(today) - date(1970, 1, 1)).days)

    assert {
        reset: make(person, reset, limit="1", reset=reset)["resets_at"]
        for reset in ("none", "daily", "weekly", "monthly")
    } == {
        "none": None,
        "daily": f"{tomorrow}T00:00:00.000Z",
        "weekly": f"{monday}T00:00:00.000Z",
        "monthly": f"{first}T00:00:00.000Z",
    }


def test_s3_5_the_day_is_that_of_utc_wherever_the_server_stands(
    opened: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    monday_ms = (DAY + 6) * DAY_MS
    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        with opened.world.database.read() as connection:
            days = [
                api_tokens.current_day(connection, at_ms) for at_ms in (monday_ms - 1, monday_ms)
            ]
    finally:
        monkeypatch.undo()
        time.tzset()

    assert days == [DAY + 5, DAY + 6]


@pytest.mark.parametrize(("preset", "days"), [("never", None), ("7d", 7), ("30d", 30)])
def test_s3_6_expiry_has_presets(opened: Api, person: Api, preset: str, days: int | None) -> None:
    token = make(person, expires_at=preset)

    view = seen_by_workers(opened, token["secret"])
    assert view is not None
    if days is None:
        assert view.expires_at == 0
    else:
        assert abs(view.expires_at - now_ms() // 1000 - days * DAY_SECONDS) < 60


def test_s3_7_a_key_is_shown_only_when_it_is_made(person: Api) -> None:
    secret = make(person)["secret"]

    assert all(secret not in str(token) for token in listed(person))


# --- what is asked for and what is not ----------------------------------------------------------


def test_counts_of_calls_are_bounded(person: Api) -> None:
    for field in ("rpm", "tpm", "requests_per_day", "concurrency"):
        assert make(person, field, **{field: 1})[field] == 1
        for wrong in (0, -1, 1_000_000_001, 1.5, "5", True):
            problem = person.refused(422, "POST", "/api/tokens", {"name": "x", field: wrong})
            assert problem["field"] == field


def test_what_is_not_known_is_refused(person: Api) -> None:
    bodies: list[Any] = [{"name": "x", "user_id": 1}, {"name": "x", "enabled": False}, [], None]
    for body in bodies:
        assert person.refused(422, "POST", "/api/tokens", body)["code"] == "malformed_request"


def test_a_form_may_send_back_what_it_was_shown(opened: Api, person: Api) -> None:
    token = make(person, expires_at="7d")
    with opened.world.database.write() as tx:
        past = now_ms() // 1000 - 5
        found = api_tokens.get_token(tx.connection, token["id"])
        terms = replace(found.terms, expires_at=past)
        api_tokens.change_token(
            tx, Act("test", now_ms()), opened.world.secrets.pepper, found, terms
        )
    (shown,) = listed(person)
    assert shown["status"] == "expired"

    changed = change(person, token, name="other", expires_at=shown["expires_at"])

    assert (changed["name"], changed["status"]) == ("other", "expired")
    assert ask_self(opened, token["secret"])[1]["error"]["code"] == "token_expired"


def test_a_preview_tells_what_a_token_can_do_and_why_not(opened: Api, person: Api) -> None:
    vip = granted(opened, person, "vip")
    terms = {"group_id": vip.id, "models": ["m1"], "limit": "5", "reset": "daily", "rpm": 3}

    before = person.good("POST", "/api/tokens/preview", terms)

    assert (before["callable"], [one["code"] for one in before["reasons"]]) == (
        False,
        ["balance_empty"],
    )
    assert before["models"] == [{"name": "m1", "kind": "chat"}]
    assert (before["group"]["multiplier"], before["remaining"]) == ("0.8", "5")
    assert [(one["shared_by"], one["rpm"]) for one in before["call_limits"]] == [
        ("token", 3),
        ("user_in_group", 60),
        ("group", None),
    ]
    token = make(person, "t", **terms)
    person.good("POST", f"/api/tokens/{token['id']}/disable")
    with opened.world.database.write() as tx:
        groups.revoke(tx, opened.world.act, user_of(person).id, vip)
    after = person.good("GET", f"/api/tokens/{token['id']}/preview")
    assert [one["code"] for one in after["reasons"]] == ["token_disabled", "balance_empty"]
    person.good("POST", f"/api/tokens/{token['id']}/enable")
    after = person.good("GET", f"/api/tokens/{token['id']}/preview")
    assert [one["code"] for one in after["reasons"]] == ["group_not_granted", "balance_empty"]


def test_a_playground_key_is_of_a_session(opened: Api, person: Api) -> None:
    token = make(person, ips=["203.0.113.9"])
    target = f"/api/tokens/{token['id']}/playground-key"

    key = person.good("POST", target)

    assert ask_self(opened, key["secret"], "198.51.100.1")[0] == 200
    view = seen_by_workers(opened, key["secret"])
    assert view is not None
    assert (view.id, view.origin, view.ips) == (token["id"], "playground", ())
    assert [one["id"] for one in listed(person)] == [token["id"]]
    program = opened.program(user_of(person))
    assert program.refused(403, "POST", target)["code"] == "session_needed"
    change(person, token, playground_allowed=False)
    assert person.refused(403, "POST", target)["code"] == "playground_forbidden"
    assert ask_self(opened, key["secret"])[0] == 401


def test_lists_are_searched_sorted_and_paged(person: Api) -> None:
    for name in ("b", "a", "c"):
        make(person, name, description=f"about {name}")

    assert [one["name"] for one in listed(person)] == ["c", "a", "b"]
    assert [one["name"] for one in listed(person, "?sort=name")] == ["a", "b", "c"]
    assert [one["name"] for one in listed(person, "?sort=name&order=desc&limit=2")] == ["c", "b"]
    page = person.good("GET", "/api/tokens?sort=name&limit=2")
    assert page["total"] == 3
    rest = person.good("GET", f"/api/tokens?sort=name&limit=2&cursor={page['next_cursor']}")
    assert ([one["name"] for one in rest["items"]], rest["next_cursor"]) == (["c"], None)
    assert [one["name"] for one in listed(person, "?q=about%20b")] == ["b"]
    for query, field in (
        ("q=x", "q"),
        ("q=a%00b", "q"),
        ("limit=101", "limit"),
        ("limit=0", "limit"),
        ("sort=secret", "sort"),
        ("status=x", "status"),
        ("cursor=x", "cursor"),
        ("group=0", "group"),
    ):
        assert person.refused(422, "GET", f"/api/tokens?{query}")["field"] == field


# --- operators ----------------------------------------------------------------------------------


def test_an_operator_sees_and_stops_tokens_of_users_but_not_of_operators(opened: Api) -> None:
    user, admin, other = (opened.signed_in(role) for role in (Role.USER, Role.ADMIN, Role.ADMIN))
    token, theirs = make(user), make(other)

    shown = admin.good("GET", f"/api/admin/tokens?user_id={user_of(user).id}")
    assert [one["id"] for one in shown["items"]] == [token["id"]]
    assert "secret" not in shown["items"][0]
    admin.good("POST", f"/api/admin/tokens/{token['id']}/disable")
    assert ask_self(opened, token["secret"])[0] == 401
    admin.good("POST", f"/api/admin/tokens/{token['id']}/enable")
    assert ask_self(opened, token["secret"])[0] == 200

    of_other = f"/api/admin/tokens?user_id={user_of(other).id}"
    assert admin.refused(404, "GET", of_other)["code"] == "user_unknown"
    assert admin.refused(404, "GET", "/api/admin/tokens?user_id=99999")["code"] == "user_unknown"
    for method, path in (("POST", "/disable"), ("POST", "/enable"), ("DELETE", "")):
        target = f"/api/admin/tokens/{theirs['id']}{path}"
        assert admin.refused(404, method, target)["code"] == "token_unknown"
        assert user.refused(403, method, target)["code"] == "not_allowed"
    assert opened.good("GET", of_other)["total"] == 1
    assert admin.ask("DELETE", f"/api/admin/tokens/{token['id']}").status == 204
    assert listed(user) == []
