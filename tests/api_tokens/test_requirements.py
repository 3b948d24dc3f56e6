"""What a user is promised of API tokens, requirement by requirement, over the interface itself."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from aipool.api_tokens import service as api_tokens
from aipool.kit.clock import iso_ms, now_ms
from aipool.kit.digests import is_token
from aipool.kit.money import format_cny, parse_cny
from aipool.kit.names import NAME_CHARACTERS_MAX
from aipool.ledger.rules import DAY_MS
from tests.api_tokens.asking import (
    ask_self,
    change,
    listed,
    make,
    seen_by_workers,
    user_of,
)
from tests.api_tokens.spending import DAY, call, credit, spend
from tests.control.api_rig import Api

DAY_SECONDS = 86_400


# --- S0: made -----------------------------------------------------------------------------------


def test_s0_13_a_token_is_made_by_a_form(person: Api) -> None:
    assert listed(person) == []

    make(person, "first")

    assert [token["name"] for token in listed(person)] == ["first"]


@pytest.mark.parametrize("name", ["", " t", "a\nb", "n" * (NAME_CHARACTERS_MAX + 1), None, 7])
def test_s0_14_a_token_needs_a_name(person: Api, name: object) -> None:
    problem = person.refused(422, "POST", "/api/tokens", {"name": name})

    assert problem["field"] == "name"
    assert person.refused(422, "POST", "/api/tokens", {})["field"] == "name"


def test_s0_14_a_name_is_free_text_and_once_per_user(person: Api) -> None:
    assert make(person, "生产环境 Production #1")["name"] == "生产环境 Production #1"

    problem = person.refused(409, "POST", "/api/tokens", {"name": "生产环境 Production #1"})

    assert (problem["code"], problem["field"]) == ("token_exists", "name")


def test_s0_15_a_description_is_optional(person: Api) -> None:
    assert make(person, "a")["description"] == ""
    assert make(person, "b", description="for the shop\nand its tests")["description"] == (
        "for the shop\nand its tests"
    )
    for wrong in ("x" * 501, "a\x00b", None):
        problem = person.refused(422, "POST", "/api/tokens", {"name": "c", "description": wrong})
        assert problem["field"] == "description"


def test_s0_16_a_blank_quota_is_unlimited_else_it_is_an_amount(person: Api) -> None:
    assert [
        make(person, f"t{n}", limit=n)["limit"] for n in (None, "", "12.50", "0.000000001")
    ] == [
        None,
        None,
        "12.5",
        "0.000000001",
    ]
    for wrong in ("-1", "1e3", "1000000.01", "0.0000000001", "ten", "１", 5, 1.5, True):
        problem = person.refused(422, "POST", "/api/tokens", {"name": "x", "limit": wrong})
        assert problem["field"] == "limit", wrong


def test_s0_17_without_an_expiry_a_token_is_permanent_else_any_moment(person: Api) -> None:
    assert make(person, "a")["expires_at"] is None
    assert make(person, "b", expires_at="2099-12-31")["expires_at"] == "2100-01-01T00:00:00.000Z"
    moment = make(person, "c", expires_at="2099-01-31T18:00:00+08:00")["expires_at"]
    assert moment == "2099-01-31T10:00:00.000Z"
    for wrong in ("2020-01-01", "tomorrow", "-1d", 1, "0d"):
        problem = person.refused(422, "POST", "/api/tokens", {"name": "x", "expires_at": wrong})
        assert problem["field"] == "expires_at", wrong


def test_s0_18_one_or_several_models_are_chosen(opened: Api, person: Api) -> None:
    token = make(person, models=["m2", "m1", "m2"])

    assert (token["models"], token["models_count"]) == (["m2", "m1"], 2)
    view = seen_by_workers(opened, token["secret"])
    assert view is not None
    assert view.models == ("m2", "m1")
    assert make(person, "blank", models=[])["models"] is None
    for wrong in (["m1", "nothing"], [""], "m1", ["m" * 301]):
        problem = person.refused(422, "POST", "/api/tokens", {"name": "x", "models": wrong})
        assert problem["field"].startswith("models"), wrong


def test_s0_19_the_whole_key_is_shown_once_and_never_again(person: Api) -> None:
    token = make(person)
    secret = token.pop("secret")

    assert listed(person) == [token]
    assert person.good("GET", f"/api/tokens/{token['id']}") == token
    assert change(person, token, description="x")["masked"] == f"sk-…{secret[-4:]}"
    assert sum(secret in body for body in person.said) == 1


def test_s0_20_what_is_shown_later_cannot_be_taken_for_the_key(person: Api) -> None:
    token = make(person)

    assert not is_token(token["masked"].encode())
    assert len(token["masked"]) == len("sk-…") + 4


def test_s0_21_a_token_is_usable_at_once(opened: Api, person: Api) -> None:
    secret = make(person)["secret"]

    view = seen_by_workers(opened, secret)
    assert view is not None
    assert (view.blocked, view.user_id) == ("", user_of(person).id)
    assert ask_self(opened, secret)[0] == 200


# --- S0: listed ---------------------------------------------------------------------------------


def test_s0_23_the_list_shows_name_and_description(person: Api) -> None:
    make(person, "shop", description="for the shop")
    make(person, "blog")

    assert [(one["name"], one["description"]) for one in listed(person)] == [
        ("blog", ""),
        ("shop", "for the shop"),
    ]


def test_s0_24_the_list_shows_when_a_token_was_made(person: Api) -> None:
    before = iso_ms(now_ms())
    token = make(person)
    after = iso_ms(now_ms())

    change(person, token, description="later")

    (shown,) = listed(person)
    assert before <= shown["created_at"] <= after


def test_s0_25_the_list_shows_when_a_token_ends(person: Api) -> None:
    make(person, "lasting")
    make(person, "ending", expires_at="2099-01-31T18:00:00+08:00")

    assert {one["name"]: one["expires_at"] for one in listed(person)} == {
        "lasting": None,
        "ending": "2099-01-31T10:00:00.000Z",
    }


def test_s0_26_the_list_shows_the_quota_and_what_is_left_of_it(opened: Api, person: Api) -> None:
    make(person, "unlimited")
    call(opened, person, make(person, "limited", limit="5"), "1.25")

    assert {one["name"]: (one["limit"], one["remaining"]) for one in listed(person)} == {
        "limited": ("5", "3.75"),
        "unlimited": (None, None),
    }


def test_s0_27_the_list_shows_which_tokens_are_switched_on(person: Api) -> None:
    make(person, "on")
    off = make(person, "off")
    person.good("POST", f"/api/tokens/{off['id']}/disable")

    assert {one["name"]: (one["enabled"], one["status"]) for one in listed(person)} == {
        "on": (True, "active"),
        "off": (False, "disabled"),
    }


def test_s0_28_the_list_counts_the_models_of_a_token(person: Api) -> None:
    make(person, "all")
    make(person, "two", models=["m1", "m2"])

    assert {one["name"]: (one["models_count"], one["models"]) for one in listed(person)} == {
        "all": (3, None),
        "two": (2, ["m1", "m2"]),
    }


# --- S0: changed --------------------------------------------------------------------------------


def test_s0_29_everything_but_the_key_can_be_edited(person: Api) -> None:
    token = make(person)

    changed = change(
        person,
        token,
        name="other",
        description="new",
        limit="3",
        expires_at="30d",
        models=["m3"],
        ips=["::ffff:10.0.0.1"],
        rpm=7,
    )

    expected = {"name": "other", "description": "new", "limit": "3", "models": ["m3"], "rpm": 7}
    assert {name: changed[name] for name in expected} == expected
    assert changed["ips"] == ["10.0.0.1/32"]
    assert change(person, token, limit=None, models=None, ips=[], rpm=None, expires_at=None) == {
        **changed,
        "limit": None,
        "remaining": None,
        "models": None,
        "models_count": 3,
        "ips": [],
        "rpm": None,
        "expires_at": None,
    }


def test_s0_29_a_name_of_another_token_is_refused(person: Api) -> None:
    make(person, "taken")
    token = make(person, "mine")

    problem = person.refused(409, "PATCH", f"/api/tokens/{token['id']}", {"name": "taken"})

    assert (problem["code"], problem["field"]) == ("token_exists", "name")
    assert change(person, token, name="mine")["name"] == "mine"


def test_s0_30_editing_never_changes_the_key(opened: Api, person: Api) -> None:
    token = make(person)

    change(person, token, name="n", limit="1", reset="daily", models=["m1"], total_limit="2")

    view = seen_by_workers(opened, token["secret"])
    assert view is not None
    assert (view.id, view.name, view.models) == (token["id"], "n", ("m1",))
    problem = person.refused(422, "PATCH", f"/api/tokens/{token['id']}", {"secret": "sk-x"})
    assert problem["field"] == "secret"


def test_s0_31_a_disabled_token_is_refused_and_works_again(opened: Api, person: Api) -> None:
    token = make(person)

    off = person.good("POST", f"/api/tokens/{token['id']}/disable")
    status, body = ask_self(opened, token["secret"])
    assert (off["status"], status, body["error"]["code"]) == ("disabled", 401, "token_disabled")
    view = seen_by_workers(opened, token["secret"])
    assert view is not None
    assert view.blocked == "disabled"

    on = person.good("POST", f"/api/tokens/{token['id']}/enable")
    assert (on["status"], ask_self(opened, token["secret"])[0]) == ("active", 200)


def test_s0_32_a_deleted_token_is_gone_at_once_and_for_good(opened: Api, person: Api) -> None:
    token = make(person)
    target = f"/api/tokens/{token['id']}"

    assert person.ask("DELETE", target).status == 204

    assert seen_by_workers(opened, token["secret"]) is None
    assert ask_self(opened, token["secret"])[1]["error"]["code"] == "invalid_api_key"
    assert listed(person) == []
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/enable"), ("POST", "/rotate")):
        assert person.refused(404, method, target + path)["code"] == "token_unknown"
    assert make(person)["id"] > token["id"]


def test_s0_34_the_list_shows_what_each_token_used(
    opened: Api, person: Api, on: Callable[[int], None]
) -> None:
    terms = {"limit": "5", "reset": "monthly", "total_limit": "50"}
    on(DAY)
    call(opened, person, make(person, "busy", **terms), "1.25")
    make(person, "idle", **terms)

    def used() -> dict[str, tuple[str, ...]]:
        names = ("used", "used_total", "remaining", "resets_at")
        return {one["name"]: tuple(one[name] for name in names) for one in listed(person)}

    assert used() == {
        "busy": ("1.25", "1.25", "3.75", "2023-12-01T00:00:00.000Z"),
        "idle": ("0", "0", "5", "2023-12-01T00:00:00.000Z"),
    }
    on(DAY + 17)  # the first of December
    assert used()["busy"] == ("0", "1.25", "5", "2024-01-01T00:00:00.000Z")


def test_s0_38_a_key_is_rotated_with_or_without_a_grace(opened: Api, person: Api) -> None:
    token = make(person)
    target = f"/api/tokens/{token['id']}/rotate"

    second = person.good("POST", target, {"grace_seconds": 3600})
    assert (second["id"], second["masked"]) == (token["id"], f"sk-…{second['secret'][-4:]}")
    assert [ask_self(opened, key["secret"])[0] for key in (token, second)] == [200, 200]

    third = person.good("POST", target)
    keys = (token, second, third)
    assert [ask_self(opened, key["secret"])[0] for key in keys] == [401, 401, 200]
    for wrong in (-1, 30 * DAY_SECONDS + 1, "1h", None):
        problem = person.refused(422, "POST", target, {"grace_seconds": wrong})
        assert problem["field"] == "grace_seconds"


def test_s0_39_last_use_and_models_are_visible(opened: Api, person: Api) -> None:
    yesterday = now_ms() // DAY_MS * DAY_MS - DAY_MS
    used = make(person, "used", models=["m1"])
    make(person, "unused", models=["m2", "m3"])
    for at_ms in (yesterday + 5, yesterday):
        call(opened, person, used, "0.5", at_ms=at_ms)

    assert {one["name"]: (one["last_used_at"], one["models"]) for one in listed(person)} == {
        "used": (iso_ms(yesterday + 5), ["m1"]),
        "unused": (None, ["m2", "m3"]),
    }


def test_s0_41_a_quota_is_a_budget_that_every_call_must_fit(
    opened: Api, person: Api, on: Callable[[int], None]
) -> None:
    on(DAY)
    token = make(person, limit="5", total_limit="9", reset="weekly")

    view = seen_by_workers(opened, token["secret"])
    assert view is not None
    assert view.budgets == (
        f"wallet:{user_of(person).id}",
        f"token:{token['id']}",
        f"token:{token['id']}/week",
    )
    call(opened, person, token, "4")
    # The week has 1 left; in all there is more, and in the wallet too.
    credit(opened.world, user_of(person).id, "10")
    with opened.world.database.read() as connection:
        made = api_tokens.get_token(connection, token["id"])
    assert format_cny(spend(opened.world, made, parse_cny("3"))) == "1"
    assert spend(opened.world, made, 1) == 0
    (shown,) = listed(person)
    assert (shown["used"], shown["status"]) == ("5", "exhausted")


def test_s0_42_tokens_of_one_user_have_models_of_their_own(opened: Api, person: Api) -> None:
    for name in ("m1", "m2"):
        view = seen_by_workers(opened, make(person, name, models=[name])["secret"])
        assert view is not None
        assert view.models == (name,)
