"""What a client is told when it asks for what it cannot have: status, code, headers, and no more.

Whatever is refused here is charged nothing, and says nothing about vendors or their keys.
"""

from __future__ import annotations

import itertools
import json
import random
import re
import time
from collections.abc import Iterator
from typing import Any

import pytest

from tests.platform import (
    CHAT,
    Customer,
    Platform,
    Reply,
    VendorThread,
    head,
    messages,
    parse_reply,
    wish,
)

_numbers = itertools.count(1)
OK = {"model": "m", **messages()}


def marker() -> str:
    return f"bad-{next(_numbers)}-"


@pytest.fixture(scope="module")
def customer(shop: Platform) -> Customer:
    return shop.customer("1000")


@pytest.fixture(scope="module", autouse=True)
def _nothing_leaks(shop: Platform) -> Iterator[None]:
    """The canaries of the fake vendor are in no log, and no wallet moved but by its calls."""
    yield
    assert not re.search("canary|org-of-the-fake|fake vendor says", shop.log)
    assert "sk-" not in shop.log


def refused(reply: Reply, status: int, code: str, *, again: bool = False) -> dict[str, Any]:
    """The reply is this refusal, in the whole shape of the contract."""
    assert (reply.status, reply.error["code"]) == (status, code), reply.body
    assert reply.headers["content-type"] == "application/json"
    assert re.fullmatch(r"req_[0-9a-z]{20,}", reply.headers["x-request-id"])
    assert reply.headers["x-request-id"] in reply.error["message"]
    if again:
        assert 1 <= int(reply.headers["retry-after"]) <= 120
        assert "x-should-retry" not in reply.headers
    else:
        assert reply.headers["x-should-retry"] == "false"
    assert not re.search(rb"canary|org-of-the-fake|Traceback|vendor says", reply.body)
    return reply.error


# --- the body ---------------------------------------------------------------------------------

NOT_UNDERSTOOD = [
    b"",
    b"x",
    b"{",
    b"[]",
    b"null",
    b'"text"',
    b'{"model":"m"}',
    b'{"model":"m","messages":{}}',
    b'{"model":"m","messages":null}',
    b'{"model":"m","messages":"hi"}',
    b'{"messages":[]}',
    b'{"model":1,"messages":[]}',
    b'{"model":"","messages":[]}',
    b'{"model":null,"messages":[]}',
    b'{"model":["m"],"messages":[]}',
    b'{"model":"m","messages":[],}',
    b'{"model":"m","messages":[]}{"model":"m"}',
    b'{"model":"m","messages":[],"x":NaN}',
    b'{"model":"m","messages":[],"x":Infinity}',
    b'{"model":"m","messages":[],"x":-Infinity}',
    b'{"model":"m","messages":[],"max_tokens":NaN}',
    b"{'model':'m','messages':[]}",
    b'{"model":"m","messages":[],"x":01}',
    b'{"model":"m","messages":[],"x":"\t"}',
    b'{"model":"m","messages":' + b"[" * 100_000 + b"]" * 100_000 + b"}",
    b'{"model":"m","messages":[],"x":' + b'{"a":' * 50_000 + b"1" + b"}" * 50_000 + b"}",
    b"[" * 500_000,
    '{"model":"m","messages":[]}'.encode("utf-16"),
    '{"model":"m","messages":[]}'.encode("utf-16-le"),
    '{"model":"m","messages":[]}'.encode("utf-32"),
    b"\xef\xbb\xbf" + b'{"model":"m","messages":[]}',
    b'{"model":"m","messages":[],"stream":"true"}',
    b'{"model":"m","messages":[],"stream":1}',
    b'{"model":"m","messages":[],"stream_options":[]}',
    b'{"model":"m","messages":[],"stream":true,"stream_options":"x"}',
    b'{"model":"m","model":"free","messages":[]}',
    b'{"model":"m","mod\\u0065l":"free","messages":[]}',
    b'{"model":"m","Model":"free","messages":[]}',
    b'{"model":"m","messages":[],"MAX_TOKENS":1}',
    b'{"model":"m","messages":[],"max_tokens":1,"max_tokens":100000}',
    b'{"model":"m","messages":[],"n":1,"N":9}',
    b'{"model":"m","messages":[],"\\u017ftream":true}',
    b'{"model":"m","messages":[],"stream_options":{},"stream_options":{"include_usage":false}}',
    b'{"model":"\\ud800","messages":[]}',
    b'{"model":"a\\u0000b","messages":[]}',
    b'{"model":"' + b"m" * 500 + b'","messages":[]}',
    b'{"model":"m","messages":[],"model\\ud800":"\\ud800","max_tokens":"\\ud800"}',
]


@pytest.mark.parametrize("raw", NOT_UNDERSTOOD, ids=lambda raw: repr(raw[:50]))
def test_a_body_that_cannot_be_understood_is_a_400(
    shop: Platform, customer: Customer, vendor: VendorThread, raw: bytes
) -> None:
    asked = len(vendor.books)

    reply = shop.chat(customer, raw)

    refused(reply, 400, "invalid_request")
    assert reply.error["type"] == "invalid_request_error"
    assert len(vendor.books) == asked
    assert "x-aipool-charge" not in reply.headers


NUMBERS: list[Any] = [-1, 0, 2**31, 2**63, 2**64 - 1, 1e308, "NaN", 18446744073686646784]
NUMBERS += [-(2**63), 10**400, 1.5, "1", "1e3", "１００", True, [], {}, -0.0, 1e-320]


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens", "n"])
@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: str(number)[:22])
def test_absurd_numbers_where_money_is_decided_are_a_400(
    shop: Platform, customer: Customer, field: str, number: Any
) -> None:
    before = shop.wallet(customer).balance_nano

    for stream in (False, True):
        reply = shop.chat(customer, {**OK, field: number, "stream": stream})
        error = refused(reply, 400, "invalid_request")
        assert error["param"] == field

    assert shop.wallet(customer).balance_nano <= before


@pytest.mark.parametrize("number", NUMBERS, ids=lambda number: str(number)[:22])
def test_absurd_numbers_elsewhere_cost_what_the_vendor_served_and_never_raise_a_wallet(
    shop: Platform, vendor: VendorThread, number: Any
) -> None:
    customer, mark = shop.customer(), marker()
    fields = ["temperature", "top_p", "seed", "logprobs", "top_logprobs", "presence_penalty"]
    # What asks some vendors for more work: charged by what they report.
    fields += ["best_of", "top_k", "min_tokens", "thinking_budget", "duration", "size"]

    reply = shop.chat(customer, wish(mark, {}) | dict.fromkeys(fields, number))

    assert reply.status == 200, reply.body
    row = shop.row(reply.rid)
    assert row.charged_nano > 0
    assert shop.wallet(customer).balance_nano == 10 * 10**9 - row.charged_nano


def test_null_is_as_good_as_absent(shop: Platform, customer: Customer) -> None:
    names = ("stream", "stream_options", "max_tokens", "max_completion_tokens", "n")

    reply = shop.chat(customer, OK | dict.fromkeys(names) | {"service_tier": None})

    assert reply.status == 200


def test_a_call_that_needs_more_than_anyone_has_is_a_402_and_not_an_overflow(
    shop: Platform, customer: Customer
) -> None:
    reply = shop.chat(customer, OK | {"max_tokens": 10**8, "n": 10})

    refused(reply, 402, "insufficient_quota")


def test_random_bodies_are_answered_in_the_shape_of_the_contract(
    shop: Platform, customer: Customer
) -> None:
    chance = random.Random(7)
    whole = json.dumps(wish("random", {}, stream=False, n=1, max_tokens=5)).encode()

    for _ in range(150):
        raw = bytearray(whole)
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(raw))
            change = chance.choice(("cut", "flip", "double"))
            if change == "cut":
                del raw[at : at + chance.randint(1, 9)]
            elif change == "flip":
                raw[at] = chance.randrange(256)
            else:
                raw[at:at] = raw[at : at + chance.randint(1, 30)]
        reply = shop.chat(customer, bytes(raw))
        assert reply.status in (200, 400, 402, 403, 404), (reply.status, bytes(raw))
        if reply.status != 200:
            assert reply.error["message"]


def test_too_large_a_body_is_a_413_before_it_is_read(shop: Platform, customer: Customer) -> None:
    # The limit of this platform is 1 MiB.
    raw = shop.raw(head(customer.token, (1 << 20) + 1))

    reply = parse_reply(raw)
    refused(reply, 413, "request_too_large")
    assert reply.headers["connection"] == "close"


def test_too_large_a_body_without_a_length_is_a_413_when_it_has_grown(
    shop: Platform, customer: Customer
) -> None:
    lines = head(customer.token, 0).replace(b"content-length: 0", b"transfer-encoding: chunked")
    chunk = b"10000\r\n" + b" " * 65536 + b"\r\n"

    reply = parse_reply(shop.raw(lines + chunk * 18))

    refused(reply, 413, "request_too_large")


# --- who is calling -----------------------------------------------------------------------------

NO_TOKENS = [
    "sk-" + "A" * 43,
    "sk-",
    "",
    "not-a-token",
    "sk-' OR 1=1 --",
    "sk-" + "A" * 20_000,
    "sk-\u00e9\u00e9",
    "%00%00",
]


@pytest.mark.parametrize("token", NO_TOKENS, ids=lambda token: token[:20])
def test_an_unknown_token_is_a_401(shop: Platform, token: str) -> None:
    reply = shop.ask("POST", CHAT, OK, {"authorization": f"Bearer {token}"})

    error = refused(reply, 401, "invalid_api_key")
    assert error["type"] == "invalid_request_error"
    if len(token) > 3:
        assert token not in error["message"]


def test_a_missing_token_is_a_401(shop: Platform) -> None:
    for path in (CHAT, "/v1/models", "/v1/models/m"):
        method = "POST" if path == CHAT else "GET"
        refused(shop.ask(method, path, OK if method == "POST" else None), 401, "missing_api_key")


def test_a_token_says_why_it_is_not_good(shop: Platform) -> None:
    expired = shop.customer(expires_at=int(time.time()) - 1)
    disabled = shop.customer()
    with shop.session().change() as tx:
        from aipool.api_tokens import service as api_tokens

        held = api_tokens.get_token(tx.connection, disabled.token_id)
        api_tokens.set_enabled(tx, shop.session().act, held, enabled=False)
    gone = shop.customer()
    with shop.session().change() as tx:
        held = api_tokens.get_token(tx.connection, gone.token_id)
        api_tokens.delete_token(tx, shop.session().act, held)

    refused(shop.chat(expired, OK), 401, "token_expired")
    refused(shop.chat(disabled, OK), 401, "token_disabled")
    refused(shop.chat(gone, OK), 401, "invalid_api_key")


def test_the_token_is_found_wherever_clients_put_it_in_order(
    shop: Platform, customer: Customer
) -> None:
    good, bad = customer.token, "sk-" + "B" * 43
    ways: list[tuple[str, dict[str, str]]] = [
        (CHAT, {"authorization": f"Bearer {good}"}),
        (CHAT, {"authorization": f"bearer   {good}"}),
        (CHAT, {"x-api-key": good}),
        (CHAT, {"x-goog-api-key": good}),
        (CHAT, {"api-key": good}),
        (f"{CHAT}?key={good}", {}),
        (f"{CHAT}?a=b&key={good}&c", {}),
        (CHAT, {"sec-websocket-protocol": f"realtime, openai-insecure-api-key.{good}"}),
        (CHAT, {"mj-api-secret": good}),
    ]
    for path, headers in ways:
        assert shop.ask("POST", path, OK, headers).status == 200, (path, headers)

    order = ["authorization", "x-api-key", "x-goog-api-key", "api-key"]
    for first, second in itertools.combinations(order, 2):
        values = {"authorization": "Bearer {}"}
        headers = {
            first: values.get(first, "{}").format(bad),
            second: values.get(second, "{}").format(good),
        }
        refused(shop.ask("POST", CHAT, OK, headers), 401, "invalid_api_key")
    refused(shop.ask("POST", f"{CHAT}?key={good}", OK, {"api-key": bad}), 401, "invalid_api_key")
    basic = {"authorization": "Basic dXNlcjpwYXNz", "x-api-key": good}
    assert shop.ask("POST", CHAT, OK, basic).status == 200


def test_a_token_that_does_not_suit_is_refused_before_the_body_is_read(shop: Platform) -> None:
    raw = shop.raw(head("sk-" + "C" * 43, 1000, "expect: 100-continue"))

    assert b"100 Continue" not in raw
    refused(parse_reply(raw), 401, "invalid_api_key")


def test_guessing_tokens_does_not_lock_out_those_who_have_one(
    shop: Platform, customer: Customer
) -> None:
    shop.chat(customer, OK)
    statuses = set()
    for number in range(300):
        guess = "sk-" + f"{number:043d}".replace("0", "z")
        statuses.add(shop.ask("GET", "/v1/models", token=guess).status)

    assert statuses <= {401, 503}
    assert shop.chat(customer, OK).status == 200
    time.sleep(1.1)  # until a new second allows look-ups again


# --- what it may ----------------------------------------------------------------------------------


def test_an_unknown_model_is_a_404(shop: Platform, customer: Customer) -> None:
    error = refused(shop.chat(customer, OK | {"model": "gpt-99"}), 404, "model_not_found")

    assert error["param"] == "model"
    assert "gpt-99" in error["message"]


def test_a_model_that_is_not_for_this_token_or_group_is_a_403(shop: Platform) -> None:
    by_token = shop.customer(models=("free",))
    by_group = shop.customer(group="vip")

    for somebody in (by_token, by_group):
        error = refused(shop.chat(somebody, OK | {"model": "ours"}), 403, "model_not_allowed")
        assert error["type"] == "permission_error"
        listed = [
            model["id"]
            for model in shop.ask("GET", "/v1/models", token=somebody.token).json["data"]
        ]
        assert "ours" not in listed
        refused(shop.ask("GET", "/v1/models/ours", token=somebody.token), 404, "model_not_found")
    assert shop.chat(by_token, OK | {"model": "free"}).status == 200


def test_an_address_that_is_not_listed_is_a_403_whatever_it_claims(shop: Platform) -> None:
    elsewhere = shop.customer(ips=("203.0.113.0/24",))
    claims = {
        "x-forwarded-for": "203.0.113.5",
        "x-real-ip": "203.0.113.5",
        "forwarded": "for=203.0.113.5",
        "cf-connecting-ip": "203.0.113.5",
        "true-client-ip": "203.0.113.5",
    }

    for headers in ({}, claims):
        refused(shop.chat(elsewhere, OK, headers), 403, "ip_not_allowed")
    assert shop.chat(shop.customer(ips=("127.0.0.0/8",)), OK).status == 200


def test_an_empty_wallet_is_a_402(shop: Platform) -> None:
    error = refused(shop.chat(shop.customer(0), OK), 402, "insufficient_quota")

    assert error["type"] == "insufficient_quota"
    assert "balance" in error["message"]


def test_a_token_limit_that_is_used_up_is_a_402(shop: Platform) -> None:
    error = refused(shop.chat(shop.customer("10", limit_nano=1), OK), 402, "insufficient_quota")

    assert "limit" in error["message"]


def test_a_refusal_of_a_known_token_is_in_its_log_and_costs_nothing(shop: Platform) -> None:
    somebody = shop.customer("5")

    reply = shop.chat(somebody, OK | {"model": "gpt-99"})

    row = shop.row(reply.rid)
    assert (row.status, row.error, row.charged_nano) == (404, "model_not_found", 0)
    assert shop.wallet(somebody) == (5 * 10**9, 0)


# --- destination and credentials ------------------------------------------------------------------


def test_no_field_or_header_changes_where_a_call_goes_or_with_which_key(
    shop: Platform, customer: Customer, vendor: VendorThread
) -> None:
    mark = marker()
    canary = VendorThread()
    try:
        names = ("api_base", "base_url", "endpoint", "api_url", "proxy")
        fields = dict.fromkeys(names, canary.base_url)
        fields |= {"api_key": "sk-mine", "organization": "org-mine", "custom_llm_provider": "x"}
        more = {"extra_headers": {"authorization": "x"}, "extra_body": {"api_base": "x"}}
        headers = {
            "x-api-base": canary.base_url,
            "x-upstream": canary.base_url,
            "openai-organization": "org-mine",
            "helicone-target-url": canary.base_url,
            "x-portkey-custom-host": canary.base_url,
        }

        reply = shop.ask(
            "POST",
            f"{CHAT}?api_base={canary.base_url}",
            wish(mark, {}) | fields | more,
            headers,
            token=customer.token,
        )

        entry = vendor.one(mark)
        assert reply.status == 200
        assert entry.key == "sk-canary-first-a-0123456789"
        assert entry.target == "/v1/chat/completions"
        assert len(canary.books) == 0
        assert canary.vendor.connections == 0
    finally:
        canary.stop()


@pytest.mark.usefixtures("heals")
@pytest.mark.parametrize("status", [400, 401, 402, 403, 404, 422, 429, 500, 503, 504])
@pytest.mark.parametrize("stream", [False, True])
def test_no_vendors_error_tells_about_our_keys(
    shop: Platform, customer: Customer, status: int, stream: bool
) -> None:
    # By default the fake vendor's errors quote the key and name the organisation.
    reply = shop.chat(customer, wish(marker(), {"status": status}, stream=stream))

    assert reply.status not in (200, 401, 402, 403, 429)
    assert not re.search(rb"canary|org-of-the-fake", reply.body)
    assert "set-cookie" not in reply.headers
    assert reply.error["message"]


@pytest.mark.usefixtures("heals")
def test_all_keys_down_is_a_503_that_may_be_repeated(
    shop: Platform, customer: Customer, vendor: VendorThread
) -> None:
    error = refused(
        shop.chat(customer, wish(marker(), {"status": 429})), 503, "no_available_key", again=True
    )

    assert error["type"] == "overloaded_error"


# --- paths, methods, HTTP -------------------------------------------------------------------------


def test_paths_are_understood_with_and_without_their_beginning(
    shop: Platform, customer: Customer
) -> None:
    for path in (CHAT, "/openai/v1/chat/completions", "/chat/completions"):
        assert shop.ask("POST", path, OK, token=customer.token).status == 200, path
    for path in ("/v1/models", "/openai/v1/models", "/models"):
        listed = shop.ask("GET", path, token=customer.token).json
        assert listed["object"] == "list"
        assert "m" in [model["id"] for model in listed["data"]]


def test_a_path_that_is_not_there_is_a_404_in_the_same_shape(
    shop: Platform, customer: Customer
) -> None:
    for path in ("/v1/nothing", "/v1/", "/v1/chat/completions/", "/v1//models", "/v1/models/a/b"):
        for method in ("GET", "POST", "DELETE"):
            reply = shop.ask(method, path, token=customer.token)
            refused(reply, 404, "unknown_url")


def test_another_method_is_a_405_that_names_the_right_one(
    shop: Platform, customer: Customer
) -> None:
    reply = shop.ask("GET", CHAT, token=customer.token)
    refused(reply, 405, "method_not_allowed")
    assert reply.headers["allow"] == "POST"
    assert shop.ask("PUT", "/v1/models", {}, token=customer.token).headers["allow"] == "GET"


def test_one_model_is_shown(shop: Platform, customer: Customer) -> None:
    found = shop.ask("GET", "/v1/models/three-keys", token=customer.token).json

    assert found == {
        "id": "three-keys",
        "object": "model",
        "created": found["created"],
        "owned_by": "aipool",
    }
    refused(shop.ask("GET", "/v1/models/none", token=customer.token), 404, "model_not_found")


def test_head_of_the_root_is_answered_for_agents_that_look_whether_somebody_is_there(
    shop: Platform,
) -> None:
    reply = shop.ask("HEAD", "/")

    assert (reply.status, reply.body) == (200, b"")


def test_a_page_of_any_origin_may_call_without_cookies(shop: Platform, customer: Customer) -> None:
    asked = {
        "origin": "https://app.example",
        "access-control-request-method": "POST",
        "access-control-request-headers": "authorization,content-type",
    }
    preflight = shop.ask("OPTIONS", CHAT, headers=asked)
    assert preflight.status == 204
    assert preflight.headers["access-control-allow-origin"] == "*"
    assert preflight.headers["access-control-allow-headers"] == "authorization,content-type"
    assert "POST" in preflight.headers["access-control-allow-methods"]
    assert "access-control-allow-credentials" not in preflight.headers

    origin = {"origin": "https://app.example"}
    for reply in (
        shop.chat(customer, OK, origin),
        shop.chat("sk-" + "D" * 43, OK, origin),
        shop.chat(customer, wish(marker(), {}, stream=True), origin),
        shop.ask("GET", "/v1/models", headers=origin, token=customer.token),
        shop.ask("GET", "/v1/nothing", headers=origin),
    ):
        assert reply.headers["access-control-allow-origin"] == "*", reply
        assert "x-request-id" in reply.headers["access-control-expose-headers"]


MALFORMED = [
    b"GET / HTTP/1.1\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nhost: b\r\n\r\n",
    b"GET http://a/ HTTP/1.1\r\nhost: a\r\n\r\n",
    b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nab",
    b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: 1\r\ntransfer-encoding: chunked\r\n\r\n0",
    b"POST %b HTTP/1.0\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    b"POST %b HTTP/1.1\r\nhost: a\r\ntransfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    b"POST %b HTTP/1.1\r\nhost: a\r\nconnection: content-length\r\ncontent-length: 5\r\n\r\nGET /",
    b"GET / HTTP/1.1\r\nhost: a\r\n folded: x\r\n\r\n",
    b"GET / HTTP/1.1\nhost: a\n\n",
    b"GET / HTTP/1.1\r\nhost: a\r\nx: a\x00b\r\n\r\n",
    b"GET / HTTP/1.1\r\nhost : a\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
]


@pytest.mark.parametrize("raw", MALFORMED, ids=lambda raw: repr(raw[:60]))
def test_malformed_http_is_a_400_and_the_end_of_the_connection(
    shop: Platform, vendor: VendorThread, raw: bytes
) -> None:
    asked = len(vendor.books)
    raw = raw.replace(b"%b", CHAT.encode())
    smuggled = b"POST %b HTTP/1.1\r\nhost: a\r\ncontent-length: 2\r\n\r\n{}" % CHAT.encode()

    got = shop.raw(raw + smuggled)

    assert got.count(b"HTTP/1.1 ") == 1, got
    reply = parse_reply(got)
    assert reply.status == 400
    assert reply.headers["connection"] == "close"
    assert reply.error["type"] == "invalid_request_error"
    assert len(vendor.books) == asked


def test_a_request_inside_a_body_is_a_body(
    shop: Platform, customer: Customer, vendor: VendorThread
) -> None:
    mark = marker()
    inner = head(customer.token, 2).decode() + "{}"
    asked = len(vendor.books)

    reply = shop.chat(customer, {"model": "m", "user": mark, **messages(inner)})

    assert reply.status == 200
    assert len(vendor.books) == asked + 1


def test_the_platform_is_as_it_was(shop: Platform, customer: Customer) -> None:
    """After all of the above: no process has died."""
    assert shop.chat(customer, OK).status == 200
    assert "starting it again" not in shop.log
