"""Who may call what, and a hold that no usage within it can exceed."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from aipool.gateway.admission import (
    OUTPUT_TOKENS_LEAST,
    Admitted,
    admit,
    may_use,
    reduced_cap,
    worst_case,
)
from aipool.gateway.body import CHOICES_MAX, ChatBody, parse
from aipool.gateway.errors import Refusal
from aipool.kit.money import MULTIPLIER_PPM_MAX, PRICE_NANO_MAX
from aipool.rating.rate import rate
from aipool.rating.types import TOKENS_MAX, Price, Usage
from tests.gateway.offers import DEFAULT, VIP, catalogue, model, route, token

NOW = 1_000.0


def body(text: str = "hello", **fields: Any) -> ChatBody:
    messages = [{"role": "user", "content": text}]
    parsed = parse(json.dumps({"model": "m", "messages": messages, **fields}).encode())
    assert isinstance(parsed, ChatBody)
    return parsed


def admitted(parsed: ChatBody, **terms: Any) -> Admitted:
    found = admit(parsed, token(**terms), catalogue())
    assert isinstance(found, Admitted), found
    return found


# --- may this token be used? ----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("terms", "address", "code"),
    [
        ({}, "1.2.3.4", None),
        ({"expires_at": 1_001}, "1.2.3.4", None),
        ({"expires_at": 1_000}, "1.2.3.4", "token_expired"),
        ({"expires_at": 1}, "1.2.3.4", "token_expired"),
        ({"blocked": "disabled"}, "1.2.3.4", "token_disabled"),
        ({"blocked": "user_frozen"}, "1.2.3.4", "account_frozen"),
        ({"blocked": "group_not_granted"}, "1.2.3.4", "group_not_granted"),
        ({"blocked": "something_new"}, "1.2.3.4", "token_disabled"),
        ({"ips": ("1.2.3.0/24",)}, "1.2.3.4", None),
        ({"ips": ("1.2.3.0/24",)}, "::ffff:1.2.3.4", None),
        ({"ips": ("1.2.3.0/24",)}, "1.2.4.4", "ip_not_allowed"),
        ({"ips": ("::1/128",)}, "127.0.0.1", "ip_not_allowed"),
        ({"ips": ("0.0.0.0/0", "::/0")}, "", "ip_not_allowed"),
    ],
)
def test_whether_a_token_may_be_used(terms: dict[str, Any], address: str, code: str | None) -> None:
    refusal = may_use(token(**terms), address, NOW)

    assert (refusal.code if refusal else None) == code
    if refusal is not None:
        assert refusal.status in (401, 403)


# --- may it call this model? ----------------------------------------------------------------------


def test_a_model_that_no_route_serves_for_the_group_is_refused_for_good() -> None:
    found = admit(body(), token(), catalogue(model("m", route(1, "m", VIP))))

    assert isinstance(found, Refusal)
    assert (found.status, found.code) == (403, "model_not_allowed")
    assert isinstance(
        admit(body(), token(group_id=VIP), catalogue(model("m", route(1, "m", VIP)))), Admitted
    )


@pytest.mark.parametrize(
    ("terms", "name", "code"),
    [
        ({}, "m", None),
        ({}, "other", None),
        ({}, "nothing", "model_not_found"),
        ({"group_id": VIP}, "other", "model_not_allowed"),
        ({"group_id": 99}, "m", "model_not_allowed"),
        ({"models": ("other",)}, "m", "model_not_allowed"),
        ({"models": ("m",)}, "m", None),
        ({"models": ("nothing",)}, "nothing", "model_not_found"),
        ({"models": ()}, "m", "model_not_allowed"),
    ],
)
def test_whether_a_token_may_call_a_model(
    terms: dict[str, Any], name: str, code: str | None
) -> None:
    found = admit(body(model=name), token(**terms), catalogue())

    if code is None:
        assert isinstance(found, Admitted)
    else:
        assert isinstance(found, Refusal)
        assert (found.code, found.param) == (code, "model")


# --- what must be held for it? --------------------------------------------------------------------


def test_the_hold_covers_the_input_and_the_cap_for_each_choice() -> None:
    parsed = body(max_tokens=100, n=3)

    found = admitted(parsed)

    assert found.input_tokens == len(parsed.raw)
    assert found.hold_nano == len(parsed.raw) * 2_000 + 3 * 100 * 8_000


def test_without_a_cap_the_models_own_is_held() -> None:
    parsed = body(n=2)

    assert admitted(parsed).hold_nano == len(parsed.raw) * 2_000 + 2 * 1_000 * 8_000


def test_no_input_is_larger_than_the_context() -> None:
    assert admitted(body("x" * 200_000, max_tokens=1)).input_tokens == 100_000


@st.composite
def _calls(draw: st.DrawFn) -> tuple[Price, int, int, int | None, int]:
    amounts = st.integers(0, PRICE_NANO_MAX) | st.integers(0, 5) | st.integers(0, 10**11)
    return (
        Price(1, draw(amounts), draw(amounts), draw(amounts)),
        draw(st.integers(0, MULTIPLIER_PPM_MAX)),
        draw(st.integers(0, 2_000)),
        draw(st.none() | st.integers(1, 10**6)),
        draw(st.integers(1, CHOICES_MAX)),
    )


def _priced(call: tuple[Price, int, int, int | None, int]) -> tuple[ChatBody, Admitted]:
    price, multiplier_ppm, letters, cap, choices = call
    catalog = catalogue(model("m", route(1), price=price, context_tokens=1_500))
    group = catalog.groups[DEFAULT]
    catalog.groups[DEFAULT] = type(group)(group.id, group.name, multiplier_ppm, None)
    parsed = body("x" * letters, max_tokens=cap, n=choices)
    found = admit(parsed, token(), catalog)
    assume(isinstance(found, Admitted))  # otherwise it could cost more than any one call may
    assert isinstance(found, Admitted)
    return parsed, found


@given(_calls(), st.data())
def test_no_usage_within_a_hold_costs_more_than_it(
    call: tuple[Price, int, int, int | None, int], data: st.DataObject
) -> None:
    parsed, found = _priced(call)
    cap = parsed.output_cap or found.offer.max_output_tokens
    incoming = data.draw(st.integers(0, found.input_tokens))
    outgoing = data.draw(st.integers(0, cap * parsed.choices))
    usage = Usage(incoming, data.draw(st.integers(0, incoming)), outgoing, 0)

    assert 0 <= rate(usage, found.offer.price, found.offer.multiplier_ppm) <= found.hold_nano


def test_a_reduced_cap_is_shared_by_all_choices() -> None:
    parsed = body(n=4)
    found = admitted(parsed)
    money = len(parsed.raw) * 2_000 + 4 * 100 * 8_000 + 7

    reduced = reduced_cap(parsed, found, money, 10)

    assert reduced is not None
    assert (reduced[0], reduced[1].hold_nano) == (100, money - 7)


@given(_calls(), st.integers(0, 10**14), st.integers(0, 2_000))
def test_a_reduced_cap_is_the_largest_that_the_money_covers(
    call: tuple[Price, int, int, int | None, int], available_nano: int, input_estimate: int
) -> None:
    parsed, found = _priced(call)

    reduced = reduced_cap(parsed, found, available_nano, input_estimate)

    def hold(cap: int) -> int:
        return worst_case(found.offer, found.input_tokens, cap * parsed.choices)

    room = max(found.offer.context_tokens - input_estimate, OUTPUT_TOKENS_LEAST)
    if parsed.output_cap is not None:
        assert reduced is None, "what the client asked for is not cut"
    elif reduced is None:
        assert hold(OUTPUT_TOKENS_LEAST) > available_nano
    else:
        cap, smaller = reduced
        most = min(found.offer.max_output_tokens, room, TOKENS_MAX)
        assert OUTPUT_TOKENS_LEAST <= cap <= most
        assert smaller.hold_nano == hold(cap) <= available_nano
        assert cap == most or hold(cap + 1) > available_nano
        assert smaller.hold_nano <= found.hold_nano
