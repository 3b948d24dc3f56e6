"""The catalogue over HTTP: the market for everybody, the rest for operators."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import pytest

from aipool.accounts.types import Role
from aipool.groups import service as groups
from tests.control.api_rig import Api, api
from tests.world import World

MODELS = "/api/admin/models"
_numbers = count(1)


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with api(tmp_path_factory.mktemp("catalogue")) as ready:
        yield ready


def sold(opened: Api, name: str = "", **price: Any) -> str:
    """A model on sale, with one route."""
    name = name or f"org/m{next(_numbers)}"
    world: World = opened.world
    with world.database.write() as tx:
        vendor = world.vendor(tx, f"v{next(_numbers)}")
    opened.good("POST", MODELS, {"name": name, "maker": "Maker", "description": f"Is {name}."})
    opened.good("PUT", f"{MODELS}/{name}/price", {"input": "2", "output": "8", **price})
    routes = [{"vendor": vendor.id, "cost": {"input": "1", "output": "4"}}]
    opened.good("PUT", f"{MODELS}/{name}/routes", {"routes": routes})
    opened.good("POST", f"{MODELS}/{name}/enable")
    return name


def test_a_new_model_is_off_sale_until_it_has_a_price_and_a_route(opened: Api) -> None:
    name = f"new-{next(_numbers)}"

    made = opened.good("POST", MODELS, {"name": name, "kind": "image", "abilities": ["edits"]})

    assert (made["enabled"], made["kind"], made["abilities"]) == (False, "image", ["edits"])
    assert made["price_missing"] == "image or image_output or output or call"
    enable = f"{MODELS}/{name}/enable"
    assert opened.refused(422, "POST", enable)["code"] == "price_missing"
    priced = opened.good("PUT", f"{MODELS}/{name}/price", {"image": "0.2"})
    assert (priced["price"]["image"], priced["price_missing"]) == ("0.2", "")
    assert priced["price_locked"]
    assert opened.refused(409, "POST", enable)["code"] == "no_routes"
    assert opened.refused(409, "POST", MODELS, {"name": name})["code"] == "model_exists"


def test_a_price_of_nothing_needs_a_tick(opened: Api) -> None:
    name = sold(opened)
    path = f"{MODELS}/{name}/price"

    assert opened.refused(422, "PUT", path, {"input": "0", "output": "0"})["field"] == "price"
    assert opened.good("PUT", path, {"input": "0", "output": "0", "free": True})["free"]


def test_a_price_in_dollars_is_kept_with_its_rate_and_day_and_history_stays(opened: Api) -> None:
    name = sold(opened)
    sent = {"input": "0.5", "output": "1.5", "currency": "USD", "rate": "7.1"}

    put = opened.good("PUT", f"{MODELS}/{name}/price", {**sent, "rate_on": "2026-11-20"})

    assert (put["price"]["input"], put["price"]["output"]) == ("3.55", "10.65")
    assert put["quote"] == {
        "currency": "USD",
        "rate": "7.1",
        "rate_on": "2026-11-20",
        "amounts": {"input": "0.5", "output": "1.5"},
        "source": "typed",
    }
    history = opened.good("GET", f"{MODELS}/{name}/prices")["items"]
    assert [one["price"]["output"] for one in history] == ["10.65", "8", "0"]
    assert history[0]["actor"].startswith("user:")
    for wrong, field in (
        ({**sent, "rate": None}, "rate"),
        ({**sent, "currency": "dollars"}, "currency"),
        ({**sent, "rate_on": "yesterday"}, "rate_on"),
        ({"tiers": [{"above_tokens": 5, "input": "0", "output": "1"}], **sent}, "tiers.0.input"),
        ({"input": "2", "output": "1", "colour": "1"}, "colour"),
    ):
        assert opened.refused(422, "PUT", f"{MODELS}/{name}/price", wrong)["field"] == field


def test_a_model_is_changed_and_deleted_unless_a_group_names_it(opened: Api) -> None:
    name = sold(opened)
    parameters = [{"name": "top_p", "type": "number", "range": "0 to 1", "meaning": "share"}]

    changed = opened.good(
        "PATCH", f"{MODELS}/{name}", {"maker": "元", "parameters": parameters, "kind": "chat"}
    )

    assert (changed["maker"], changed["description"]) == ("元", f"Is {name}.")
    assert changed["parameters"] == parameters
    assert changed["price"]["input"] == "2"
    wrong = {"abilities": ["Not A Word"]}
    assert opened.refused(422, "PATCH", f"{MODELS}/{name}", wrong)["field"] == "abilities"
    world = opened.world
    with world.database.write() as tx:
        groups.put_group(tx, world.act, name="names-it", multiplier_ppm=1, models=[name])
    assert opened.refused(409, "DELETE", f"{MODELS}/{name}")["code"] == "model_in_use"
    with world.database.write() as tx:
        groups.put_group(tx, world.act, name="names-it", multiplier_ppm=1, models=[])
    opened.good("DELETE", f"{MODELS}/{name}")
    assert opened.refused(404, "GET", f"{MODELS}/{name}")["code"] == "model_unknown"


def test_operators_page_through_every_model_and_find_what_they_look_for(opened: Api) -> None:
    names = [sold(opened, f"paged-{number}") for number in range(3)]

    first = opened.good("GET", f"{MODELS}?q=PAGED-&limit=2")
    second = opened.good("GET", f"{MODELS}?q=PAGED-&limit=2&cursor={first['next_cursor']}")

    assert [one["name"] for one in first["items"] + second["items"]] == names
    assert (first["total"], second["next_cursor"]) == (3, None)
    assert opened.good("GET", f"{MODELS}?q=_aged-")["items"] == []
    assert opened.refused(422, "GET", f"{MODELS}?q=p")["field"] == "q"
    assert opened.refused(422, "GET", f"{MODELS}?cursor=%25")["field"] == "cursor"


def test_the_seed_is_planted_once(opened: Api) -> None:
    assert len(opened.good("POST", f"{MODELS}/seed")["created"]) >= 40
    assert opened.good("POST", f"{MODELS}/seed")["created"] == []


# --- the market -----------------------------------------------------------------------------------


def test_s3_8_the_market_shows_everybody_what_can_be_called_and_no_costs(opened: Api) -> None:
    name = sold(opened)
    hidden = sold(opened)
    opened.good("POST", f"{MODELS}/{hidden}/disable")

    said = opened.ask("GET", "/api/models?q=org/&limit=100", headers={})

    assert said.status == 200
    (item,) = [one for one in said.json["items"] if one["name"] == name]
    assert hidden not in said.text
    assert item["offer"]["group"]["name"] == "default"
    assert (item["list_price"], item["maker"]) == (item["offer"]["price"], "Maker")
    for word in ("cost", "route", "vendor", "quote"):
        assert f'"{word}' not in said.text


def test_s3_9_a_model_is_shown_whole_at_the_price_of_each_group_the_caller_has(
    opened: Api,
) -> None:
    tiers = [{"above_tokens": 1000, "input": "4", "output": "8"}]
    name = sold(opened, call="0.01", tiers=tiers)
    world = opened.world
    client = opened.signed_in()
    assert client.user is not None
    with world.database.write() as tx:
        vip, _ = groups.put_group(tx, world.act, name="vip", multiplier_ppm=333_333, models=[name])
        other, _ = groups.put_group(tx, world.act, name="other", multiplier_ppm=1, models=None)
        groups.grant(tx, world.act, client.user.id, vip)

    shown = client.good("GET", f"/api/models/{name}")

    assert [one["group"]["name"] for one in shown["offers"]] == ["vip", "default"]
    assert shown["offer"] == shown["offers"][0]
    assert shown["offer"]["group"]["multiplier"] == "0.333333"
    price = shown["offer"]["price"]
    assert (price["input"], price["call"]) == ("0.666666", "0.00333333")
    assert price["tiers"][0]["input"] == "1.333332"
    in_vip = client.good("GET", f"/api/models?group={vip.id}")["items"]
    assert [one["name"] for one in in_vip] == [name]
    missing = client.refused(404, "GET", "/api/models?group=999999")
    foreign = client.refused(404, "GET", f"/api/models?group={other.id}")
    assert missing["code"] == foreign["code"] == "group_unknown"


def test_what_no_group_of_the_caller_may_call_is_not_there(opened: Api) -> None:
    name = sold(opened)
    opened.good("POST", f"{MODELS}/{name}/disable")
    client = opened.signed_in()

    off_sale = client.refused(404, "GET", f"/api/models/{name}")
    unknown = client.refused(404, "GET", "/api/models/no-such")

    assert off_sale["code"] == unknown["code"] == "model_unknown"
    assert off_sale["detail"].replace(name, "x") == unknown["detail"].replace("no-such", "x")
    assert client.ask("GET", MODELS).status == 403
    assert opened.signed_in(Role.ADMIN).ask("GET", MODELS).status == 200


def test_s3_9_a_model_that_nobody_described_is_shown_with_the_way_to_call_it(opened: Api) -> None:
    name = sold(opened)
    own = sold(opened)
    opened.good("PATCH", f"{MODELS}/{own}", {"endpoints": ["/v1/own"]})
    client = opened.signed_in()

    assert client.good("GET", f"/api/models/{name}")["endpoints"] == ["/v1/chat/completions"]
    listed = {one["name"]: one for one in client.good("GET", "/api/models?limit=100")["items"]}
    assert listed[name]["endpoints"] == ["/v1/chat/completions"]
    assert listed[own]["endpoints"] == ["/v1/own"]


def test_a_model_whose_routes_are_for_other_groups_is_not_there(opened: Api) -> None:
    name = sold(opened)
    world = opened.world
    guest, client = opened.signed_in(), opened.signed_in()
    assert client.user is not None
    with world.database.write() as tx:
        few, _ = groups.put_group(tx, world.act, name="few", multiplier_ppm=1, models=None)
        groups.grant(tx, world.act, client.user.id, few)
    (route,) = opened.good("GET", f"{MODELS}/{name}")["routes"]
    routes = [{"vendor": route["vendor"], "groups": ["few"]}]
    opened.good("PUT", f"{MODELS}/{name}/routes", {"routes": routes})

    missing = guest.refused(404, "GET", f"/api/models/{name}")
    shown = client.good("GET", f"/api/models/{name}")

    assert missing["code"] == "model_unknown"
    assert name not in guest.ask("GET", "/api/models?limit=100").text
    assert name not in opened.ask("GET", "/api/models?limit=100", headers={}).text
    assert [one["group"]["name"] for one in shown["offers"]] == ["few"]


# --- prices from a list ---------------------------------------------------------------------------


def test_prices_are_imported_in_two_steps(opened: Api) -> None:
    name = f"listed-{next(_numbers)}"
    opened.good("POST", MODELS, {"name": name})
    file = json.dumps({name: {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}})
    asked = {"file": file, "file_name": "p.json", "cny_per_usd": "7", "models": [name]}
    path = "/api/admin/prices/import"

    plan = opened.good("POST", f"{path}/preview", asked)

    (line,) = plan["lines"]
    assert (line["state"], line["needs"], line["after"]["output"]) == ("change", [], "14")
    stale = {**asked, "markup": "2", "digest": plan["digest"]}
    assert opened.refused(409, "POST", f"{path}/apply", stale)["code"] == "plan_stale"
    done = opened.good("POST", f"{path}/apply", {**asked, "digest": plan["digest"]})
    assert done == {"changed": [name], "skipped": []}
    assert opened.good("GET", f"{MODELS}/{name}")["quote"]["source"].startswith("p.json 2")
    for wrong, field in (({"cny_per_usd": "0"}, "cny_per_usd"), ({"markup": "0"}, "markup")):
        assert opened.refused(422, "POST", f"{path}/preview", {**asked, **wrong})["field"] == field


def test_a_cost_that_was_left_out_comes_from_a_list_and_a_zero_that_was_sent_stays(
    opened: Api,
) -> None:
    name = sold(opened)
    (route,) = opened.good("GET", f"{MODELS}/{name}")["routes"]
    file = json.dumps({name: {"input_cost_per_token": 1e-6, "output_cost_per_token": 2e-6}})
    asked = {"file": file, "cny_per_usd": "7", "models": [name]}

    def costs(**route_sent: Any) -> list[Any]:
        sent = {"vendor": route["vendor"], **route_sent}
        put = opened.good("PUT", f"{MODELS}/{name}/routes", {"routes": [sent]})
        (said,) = put["routes"]
        sources.append(said["cost_quote"]["source"])
        (line,) = opened.good("POST", "/api/admin/prices/import/preview", asked)["lines"]
        found: list[Any] = line["costs"]
        return found

    sources: list[str] = []
    assert len(costs()) == 1
    assert not costs(cost={"input": "0", "output": "0"})
    assert not costs()
    assert sources == ["", "typed", "typed"]
