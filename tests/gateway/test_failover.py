"""Which key answers: each failure and what is tried next, and what the vendor is sent."""

from __future__ import annotations

import hashlib
import itertools
import json
import re
from typing import Any

import pytest

from tests.fakes.books import Entry
from tests.fakes.sse import KINDS
from tests.platform import Platform, VendorThread, messages, wish

_numbers = itertools.count(1)
A, B = "sk-canary-first-a-0123456789", "sk-canary-first-b-0123456789"


def marker() -> str:
    return f"failover-{next(_numbers)}-"


def keys(entries: list[Entry]) -> list[str]:
    return [entry.key.removeprefix("sk-canary-").removesuffix("-0123456789") for entry in entries]


NEXT = [
    {"status": 401},
    {"status": 402},
    {"status": 403},
    {"status": 408},
    {"status": 429},
    {"status": 500},
    {"status": 502},
    {"status": 503},
    {"status": 529},
    {"status": 301, "headers": {"location": "http://169.254.169.254/"}},
    {"status": 204},
    {"cut_at": 20},
    {"cut_at": 20, "cut": "rst"},
    {"body": "garbage"},
    {"body": "null"},
    {"body": {"choices": []}},
    {"body": {"error": {"message": "overloaded", "type": "server_error"}}},
]


@pytest.mark.usefixtures("heals")
@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("failure", NEXT, ids=lambda failure: json.dumps(failure)[:30])
def test_a_failure_about_the_key_or_the_vendor_goes_to_the_next_key(
    shop: Platform, vendor: VendorThread, failure: dict[str, Any], stream: bool
) -> None:
    mark = marker()

    reply = shop.chat(shop.customer(), wish(mark, [failure, {}], stream=stream))

    assert reply.status == 200, reply.body
    assert reply.text == " word" * 8
    assert reply.headers["x-aipool-attempts"] == "2"
    assert keys(vendor.all(mark, 2)) == ["first-a", "first-b"]


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
@pytest.mark.parametrize("status", [400, 404, 413, 415, 422])
def test_a_refusal_of_the_request_itself_is_passed_on(
    shop: Platform, vendor: VendorThread, status: int, stream: bool
) -> None:
    mark = marker()
    error = {
        "message": f"No good, says {A} of org-abcdefgh; see https://vendor.example/help",
        "type": "invalid_request_error",
        "param": "messages",
        "code": "too_odd",
    }

    reply = shop.chat(
        shop.customer(), wish(mark, {"status": status, "error": error}, stream=stream)
    )

    vendor.one(mark)
    assert reply.status == status
    assert reply.error["code"] == "too_odd"
    assert reply.error["param"] == "messages"
    assert reply.error["message"].startswith("No good, says [removed] of [removed]; see [removed]")
    assert reply.headers["x-should-retry"] == "false"


def test_no_key_is_tried_twice_in_one_request(shop: Platform) -> None:
    # The third route names the first vendor again.
    mark = marker()

    reply = shop.chat(shop.customer(), wish(mark, {"status": 500}) | {"model": "three-keys"})

    first, second = shop.vendors
    assert keys(first.all(mark, 2)) == ["first-a", "first-b"]
    assert keys(second.all(mark, 1)) == ["second-c"]
    assert reply.status == 503
    assert reply.error["code"] == "no_available_key"
    assert int(reply.headers["retry-after"]) >= 1
    assert "x-should-retry" not in reply.headers
    assert reply.headers["x-aipool-attempts"] == "3"


def test_each_route_has_its_own_name_for_the_model(shop: Platform) -> None:
    mark = marker()
    wishes = {"keys": {"sk-canary-second-c-0123456789": {}, "*": {"status": 500}}}

    reply = shop.chat(shop.customer(), wish(mark, wishes) | {"model": "three-keys"})

    assert [entry.model for entry in shop.vendors[0].all(mark, 2)] == ["three-keys"] * 2
    assert shop.vendors[1].one(mark).model == "elsewhere"
    assert reply.json["model"] == "three-keys"


def test_a_vendor_that_refuses_connections_is_passed_by(shop: Platform) -> None:
    mark = marker()

    reply = shop.chat(shop.customer(), wish(mark, {}) | {"model": "refused-first"})

    assert reply.status == 200
    shop.vendors[1].one(mark)
    attempts = json.loads(shop.row(reply.rid).attempts)
    assert [(attempt[2], attempt[3]) for attempt in attempts] == [(0, "connect"), (200, "")]


def test_when_every_vendor_refuses_connections_the_client_may_come_again(shop: Platform) -> None:
    reply = shop.chat(shop.customer(), wish(marker(), {}) | {"model": "refused"})

    assert reply.status == 503
    assert reply.error["code"] == "no_available_key"
    assert reply.headers["retry-after"] == "2"


@pytest.mark.parametrize(
    "begin",
    [
        {"role_first": True, "error_after": 1},
        {"empty_first": True, "role_first": True, "error_after": 2},
        {"role_first": True, "cut_after": 1},
        {"role_first": True, "cut_after": 1, "cut": "rst"},
        {"role_first": True, "stall_after": 1},
        {"sse": "comments", "role_first": True, "cut_after": 1},
    ],
    ids=["error", "empty choices", "fin", "rst", "stall", "comments"],
)
def test_a_stream_fails_over_until_something_was_said(
    shop: Platform, vendor: VendorThread, begin: dict[str, Any]
) -> None:
    mark = marker()

    reply = shop.chat(shop.customer(), wish(mark, [begin, {"events": 3}], stream=True))

    vendor.all(mark, 2)
    assert reply.text == " word" * 3
    assert reply.events[-1] == b"[DONE]"
    # Nothing of the first try is seen: one role, one id.
    assert len({chunk["id"] for chunk in reply.chunks}) == 1
    assert sum("role" in chunk["choices"][0]["delta"] for chunk in reply.chunks) == 1


def test_a_stream_that_only_ever_says_that_it_is_there_fails_over(
    shop: Platform, vendor: VendorThread
) -> None:
    mark = marker()
    slowly = {"bytes": 16, "seconds": 0.05}
    pings = {"body": ": ping\n\n" * 200, "content_type": "text/event-stream", "dribble": slowly}

    reply = shop.chat(shop.customer(), wish(mark, [pings, {"events": 3}], stream=True))

    vendor.all(mark, 2)
    assert reply.text == " word" * 3
    reasons = [attempt[3] for attempt in json.loads(shop.row(reply.rid).attempts)]
    assert reasons == ["timeout_first_event", ""]


def test_a_stream_does_not_fail_over_once_something_was_said(
    shop: Platform, vendor: VendorThread
) -> None:
    mark = marker()

    reply = shop.chat(shop.customer(), wish(mark, [{"cut_after": 3}, {}], stream=True))

    vendor.one(mark)
    assert reply.text == " word" * 2
    assert reply.chunks[-1]["error"]["code"] == "upstream_error"


def test_what_is_held_back_is_bounded(shop: Platform, vendor: VendorThread) -> None:
    # 64 KiB that mean nothing, then an error: too late for another key.
    mark = marker()
    filler = ": " + "x" * 8_000
    body = "\n\n".join([filler] * 20) + '\n\ndata: {"error":{"message":"no"}}\n\n'
    slowly = {"bytes": 9_000, "seconds": 0.002}
    wishes = [{"body": body, "content_type": "text/event-stream", "dribble": slowly}, {}]

    reply = shop.chat(shop.customer(), wish(mark, wishes, stream=True))

    vendor.one(mark)
    assert reply.status == 200
    assert reply.body.count(b"x" * 8_000) == 20
    assert reply.chunks[-1]["error"]["code"] == "upstream_error"


@pytest.mark.parametrize("gzip", [False, True])
@pytest.mark.parametrize("kind", KINDS)
def test_no_odd_stream_raises_hangs_or_looks_whole_without_being_paid(
    shop: Platform, vendor: VendorThread, kind: str, gzip: bool
) -> None:
    customer, mark = shop.customer(), marker()
    said = "你好 world, this is 流 text"
    body = wish(mark, {"sse": kind, "content": said, "gzip": gzip}, stream=True)

    reply = shop.chat(customer, body)

    row = shop.row(reply.rid)
    assert reply.status in (200, 502, 503), reply.body
    if gzip:
        assert reply.status == 502
    elif KINDS[kind].intact:
        assert reply.status == 200
        assert "".join(re.findall(r'"content":\s*"([^"]*)"', reply.body.decode())) == said
        entry = vendor.one(mark)
        assert (row.input_tokens, row.output_tokens) == (entry.billed_input, entry.billed_output)
    else:
        shop.odd.add(row.rid)


def test_an_ordinary_body_reaches_the_vendor_byte_for_byte(
    shop: Platform, vendor: VendorThread
) -> None:
    mark = marker()
    raw = (
        '{ "model" : "m",\t"messages":[{"role":"user","content":'
        '"\\u4f60\\/ 你好 \\ud83d\\ude00"}],\n'
        f'"user":"{mark}", "seed":1e400, "x":-0.0, "temperature":1.0e+0, "x":2, "max_tokens":7}} '
    ).encode()

    reply = shop.chat(shop.customer(), raw)

    assert reply.status == 200, reply.body
    assert vendor.one(mark).body_sha256 == hashlib.sha256(raw).hexdigest()


def test_lone_surrogates_reach_the_vendor_byte_for_byte(
    shop: Platform, vendor: VendorThread
) -> None:
    mark = marker()
    raw = b'{"messages":[{"role":"user","content":"\\ud800"}],"user":"%b","model":"m"}'
    raw %= mark.encode()

    reply = shop.chat(shop.customer(), raw)

    assert reply.status == 200, reply.body
    assert vendor.one(mark).body_sha256 == hashlib.sha256(raw).hexdigest()


def test_a_mapped_model_is_the_only_change_and_is_echoed_under_its_own_name(
    shop: Platform, vendor: VendorThread
) -> None:
    mark = marker()
    text = '{"messages":[{"role":"user","content":"ours ours"}], "user":"%s","model": "%s" ,"n":1}'

    reply = shop.chat(shop.customer(), (text % (mark, "ours")).encode())

    sent = (text % (mark, "theirs")).encode()
    assert vendor.one(mark).body_sha256 == hashlib.sha256(sent).hexdigest()
    assert reply.json["model"] == "ours"
    assert shop.row(reply.rid).upstream_model == "theirs"


def test_a_mapped_model_is_echoed_under_its_own_name_in_every_event(
    shop: Platform, vendor: VendorThread
) -> None:
    mark = marker()

    reply = shop.chat(shop.customer(), wish(mark, {}, stream=True) | {"model": "ours"})

    assert {chunk["model"] for chunk in reply.chunks} == {"ours"}
    assert vendor.one(mark).model == "theirs"


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_connection_lost_without_an_answer_goes_to_the_next_key(
    shop: Platform, vendor: VendorThread, how: str
) -> None:
    # A pooled connection that the vendor had closed is replaced once, by a new one.
    mark = marker()

    reply = shop.chat(
        shop.customer(), wish(mark, {"keys": {A: {"cut_at": 0, "cut": how}, "*": {}}})
    )

    assert reply.headers["x-aipool-attempts"] == "2"
    entries = vendor.books.marked(mark)
    assert len(entries) <= 3
    assert entries[-1].key == B


ASKED = {"stream_options": {"include_usage": True}}


@pytest.mark.parametrize(
    ("options", "seen"),
    [
        ({}, False),
        ({"stream_options": None}, False),
        ({"stream_options": {}}, False),
        ({"stream_options": {"include_usage": False}}, False),
        ({"stream_options": {"include_usage": "yes", "include_obfuscation": False}}, False),
        (ASKED, True),
    ],
    ids=str,
)
def test_usage_is_always_asked_for_and_shown_to_those_who_asked(
    shop: Platform, vendor: VendorThread, options: dict[str, Any], seen: bool
) -> None:
    mark = marker()

    reply = shop.chat(shop.customer(), wish(mark, {}, stream=True) | options)

    entry = vendor.one(mark)
    assert entry.usage_sent is not None
    assert any(not chunk["choices"] for chunk in reply.chunks) == seen
    assert (b'"usage"' in reply.body) == seen
    assert reply.events[-1] == b"[DONE]"
    assert reply.text == " word" * 8


def test_a_stream_that_asked_for_usage_is_sent_as_it_is(
    shop: Platform, vendor: VendorThread
) -> None:
    mark = marker()
    raw = json.dumps(wish(mark, {}, stream=True) | ASKED).encode()

    shop.chat(shop.customer(), raw)

    assert vendor.one(mark).body_sha256 == hashlib.sha256(raw).hexdigest()


def test_usage_is_not_asked_for_where_nothing_is_streamed(
    shop: Platform, vendor: VendorThread
) -> None:
    mark = marker()
    raw = json.dumps(wish(mark, {}, stream=False)).encode()

    shop.chat(shop.customer(), raw)

    assert vendor.one(mark).body_sha256 == hashlib.sha256(raw).hexdigest()


def test_headers_reach_the_vendor_by_allow_list_only(shop: Platform, vendor: VendorThread) -> None:
    mark = marker()
    sent = {
        "OpenAI-Organization": "org-mine",
        "OpenAI-Project": "proj-mine",
        "Cookie": "a=b",
        "X-Forwarded-For": "1.2.3.4",
        "X-Api-Key": "mine",
        "Forwarded": "for=1.2.3.4",
        "Accept-Encoding": "gzip, br",
        "X-Whatever": "1",
        "User-Agent": "my-agent/1.0",
        "OpenAI-Beta": "assistants=v2",
        "X-Stainless-Lang": "python",
        "Idempotency-Key": "abc",
    }

    shop.chat(shop.customer(), wish(mark, {}), sent)

    got = vendor.one(mark).headers
    assert set(got) == {
        "host",
        "authorization",
        "content-type",
        "content-length",
        "accept-encoding",
        "user-agent",
        "openai-beta",
        "x-stainless-lang",
        "idempotency-key",
    }
    assert got["authorization"] == f"Bearer {A}"
    assert got["accept-encoding"] == "identity"


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "stream"])
def test_nothing_a_vendor_says_about_itself_reaches_the_client(
    shop: Platform, stream: bool
) -> None:
    reply = shop.chat(shop.customer(), wish(marker(), {}, stream=stream))

    assert not {"set-cookie", "server", "openai-organization", "openai-processing-ms"} & set(
        reply.headers
    )
    assert not any("ratelimit" in name for name in reply.headers)
    assert "req-fake" not in json.dumps(reply.headers)


def test_a_vendor_that_keeps_the_connection_after_its_done_costs_nobody_anything(
    shop: Platform, vendor: VendorThread
) -> None:
    # The stream says that it is whole, and then the connection breaks.
    mark = marker()
    events = 'data: {"choices":[{"index":0,"delta":{"content":"x"},"finish_reason":"stop"}]}'
    done = f"{events}\n\ndata: [DONE]\n\n"
    wishes = {
        "body": done,
        "content_type": "text/event-stream",
        "headers": {"content-length": str(len(done) + 5)},
        "framing": "length",
        "keep_alive": False,
    }

    reply = shop.chat(shop.customer(), wish(mark, wishes, stream=True))

    assert reply.events == [events[6:].encode(), b"[DONE]"]
    assert shop.row(reply.rid).error == ""
    shop.odd.add(reply.rid)


@pytest.mark.parametrize("size", [100_000, 900_000])
def test_large_bodies_and_answers_pass(shop: Platform, vendor: VendorThread, size: int) -> None:
    mark = marker()
    body = {"model": "m", "user": mark, "max_tokens": 10} | messages("x" * size)
    vendor.says({"content": "y" * size, "ignore_max_tokens": True})
    try:
        reply = shop.chat(shop.customer(), body)
        streamed = shop.chat(shop.customer(), body | {"stream": True, "user": marker()})
    finally:
        vendor.says(None)

    assert reply.text == streamed.text == "y" * size
    assert vendor.one(mark).body_bytes == len(json.dumps(body))
