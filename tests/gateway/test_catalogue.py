"""The snapshot as a call sees it: what its group is sold, over which keys, with which head."""

from __future__ import annotations

import pytest

from aipool.doors.snapshot import GroupView, KeyView, Snapshot, VendorView
from aipool.gateway.catalogue import Catalogue, Offer
from aipool.rating.types import Price
from aipool.vendors import VENDORS_BY_TYPE
from tests.gateway.offers import DEFAULT, PRICE, VIP, Boards, catalogue, model, route


def offered(catalog: Catalogue, name: str = "m", group_id: int = DEFAULT) -> Offer:
    offer = catalog.offer(group_id, name)
    assert offer is not None
    return offer


def test_an_offer_is_the_model_at_the_price_of_the_group() -> None:
    offer = offered(catalogue(), group_id=VIP)

    assert (offer.model, offer.model_json) == ("m", b'"m"')
    assert (offer.price, offer.multiplier_ppm) == (PRICE, 800_000)
    assert (offer.context_tokens, offer.max_output_tokens) == (100_000, 1_000)


@pytest.mark.parametrize(("plain", "cached"), [(5, 3), (3, 5)])
def test_input_is_held_for_at_the_dearer_of_its_prices(plain: int, cached: int) -> None:
    price = Price(1, plain, cached, 1)

    (most,) = offered(catalogue(model("m", route(1), price=price))).dearest
    assert most.input_nano == 5


@pytest.mark.parametrize(
    ("group_id", "name", "is_sold"),
    [(DEFAULT, "m", True), (DEFAULT, "other", True), (DEFAULT, "nothing", False),
     (VIP, "m", True), (VIP, "other", False), (99, "m", False)],
)  # fmt: skip
def test_a_group_is_sold_what_it_may_call(group_id: int, name: str, is_sold: bool) -> None:
    catalog = catalogue()

    for _ in range(2):
        assert (catalog.offer(group_id, name) is not None) is is_sold


def test_a_token_is_shown_what_both_it_and_its_group_may_call() -> None:
    catalog = catalogue(model("z", route(1)), model("m", route(1)), model("a", route(1)))

    def names(group_id: int, chosen: frozenset[str] | None) -> list[str]:
        return [sold.name for sold in catalog.sold_to(group_id, chosen)]

    assert names(DEFAULT, None) == ["z", "m", "a"]
    assert names(DEFAULT, frozenset({"a", "m", "gone"})) == ["m", "a"]
    assert names(VIP, None) == ["m"]
    assert names(VIP, frozenset({"a"})) == []
    assert names(99, None) == []


def test_a_group_that_no_route_is_for_is_not_sold_the_model() -> None:
    routed = (
        model("m", route(1, "m", VIP), route(2, "m", VIP, 99)),
        model("open", route(1, "m", VIP), route(2)),
        model("nobody's"),
    )
    catalog = catalogue(*routed)

    assert [sold.name for sold in catalog.sold_to(DEFAULT, None)] == ["open"]
    assert [sold.name for sold in catalog.sold_to(VIP, None)] == ["m"]
    assert catalog.offer(DEFAULT, "m") is None
    assert catalog.offer(DEFAULT, "nobody's") is None
    assert offered(catalog, "m", VIP).model == "m"
    assert offered(catalog, "open").model == "open"


def test_candidates_stand_in_the_order_of_routes_and_then_of_keys() -> None:
    routes = (route(2, "x"), route(1), route(77), route(2, "y", VIP), route(1, "z", DEFAULT))
    catalog = catalogue(model("m", *routes))

    def tried(group_id: int) -> list[tuple[int, str]]:
        return [(c.key_id, c.upstream_model) for c in offered(catalog, "m", group_id).candidates]

    assert tried(DEFAULT) == [(21, "x"), (11, "m"), (12, "m"), (11, "z"), (12, "z")]
    assert tried(VIP) == [(21, "x"), (11, "m"), (12, "m"), (21, "y")]


def test_a_candidate_is_all_that_a_request_needs() -> None:
    first, second, third = offered(catalogue()).candidates

    assert (first.key.origin.host, first.key.origin.port, first.key.origin.tls) == (
        "api.one.test",
        443,
        True,
    )
    assert (first.key.origin.proxy, second.key.origin.proxy) == (None, "http://proxy:1")
    assert first.head.startswith(b"POST /v1/chat/completions HTTP/1.1\r\nHost: api.one.test\r\n")
    assert b"\r\nAuthorization: Bearer sk-one-a\r\n" in first.head
    assert b"\r\nAuthorization: Bearer sk-one-b\r\n" in second.head
    assert first.model_json is None, "their name is ours"
    assert first.cap_field == VENDORS_BY_TYPE["openai"].max_tokens_field

    assert (third.key.origin.host, third.key.origin.port, third.key.origin.tls) == (
        "::1",
        8080,
        False,
    )
    assert b"\r\nHost: [::1]:8080\r\n" in third.head
    assert b"uthorization" not in third.head
    assert (third.upstream_model, third.model_json) == ("theirs", b'"theirs"')
    for candidate in (first, second, third):
        assert candidate.head.endswith(b"\r\n")
        assert b"\r\n\r\n" not in candidate.head


def test_no_password_of_an_address_becomes_a_host() -> None:
    vendor = VendorView(
        1, "v", "openai_compatible", "http://who:secret@v.test/v1", (KeyView(1, "k", ""),)
    )
    group = GroupView(DEFAULT, "default", 1_000_000, None)
    catalog = Catalogue(
        Snapshot(1, (group,), (vendor,), (model("m", route(1)),)), Boards().board, str
    )

    (candidate,) = offered(catalog).candidates

    assert candidate.key.origin.host == "v.test"
    assert b"secret" not in candidate.head


def test_a_vendor_with_a_socket_is_reached_by_it() -> None:
    sandbox = next(vendor for vendor in VENDORS_BY_TYPE.values() if vendor.socket)
    vendor = VendorView(1, "s", sandbox.type, "http://sandbox/v1", (KeyView(1, "k", ""),))
    group = GroupView(DEFAULT, "default", 1_000_000, None)
    snapshot = Snapshot(1, (group,), (vendor,), (model("m", route(1)),))

    found = Catalogue(snapshot, Boards().board, lambda name: f"/run/{name}")
    (candidate,) = offered(found).candidates

    assert candidate.key.origin.unix_path == f"/run/{sandbox.socket}"


def test_names_that_nobody_sells_are_not_remembered() -> None:
    catalog = catalogue()

    for number in range(1_000):
        assert catalog.offer(DEFAULT, f"guess-{number}") is None

    assert len(catalog._offers) == 0
