"""The body as a vendor gets it: what a key's configuration and a vendor's refusal change."""

from __future__ import annotations

import json
from typing import Any

import msgspec

from aipool.doors.snapshot import KeyView
from aipool.gateway.body import ChatBody, parse
from aipool.gateway.candidates import Candidate
from aipool.gateway.catalogue import Catalogue
from aipool.gateway.outgoing import REASONING, outgoing
from aipool.vendors.types import KeySettings
from tests.gateway.offers import DEFAULT, Boards, model, route, snapshot

ODD = (
    b'{ "model" : "m",\t"messages":[{"role":"user","content":"\\u4f60\\/"}],\n'
    b'"temperature":1.0e+0, "top_k": 5 ,"store":true}'
)


def candidate(upstream: str = "m", **settings: Any) -> Candidate:
    base = snapshot(model("m", route(1, upstream)))
    keys = (KeyView(11, "a", "s", settings=KeySettings(**settings)),)
    vendor = msgspec.structs.replace(base.vendors[0], keys=keys)
    world = msgspec.structs.replace(base, vendors=(vendor,))
    offer = Catalogue(world, Boards().board, str).offer(DEFAULT, "m")
    assert offer is not None
    return offer.candidates[0]


def read(raw: bytes) -> ChatBody:
    body = parse(raw)
    assert isinstance(body, ChatBody)
    return body


def test_without_configuration_the_body_is_the_clients() -> None:
    assert outgoing(read(ODD), candidate(), None) == ODD


def test_fields_are_set_replaced_and_taken_out_and_the_rest_keeps_its_bytes() -> None:
    key = candidate(body_set={"top_k": 9, "safe": {"a": [1]}}, body_strip=("store",))

    sent = outgoing(read(ODD), key, None)

    assert json.loads(sent) == {
        "model": "m",
        "messages": [{"role": "user", "content": "你/"}],
        "temperature": 1.0,
        "top_k": 9,
        "safe": {"a": [1]},
    }
    assert b'"temperature":1.0e+0' in sent
    assert b'"messages":[{"role":"user","content":"\\u4f60\\/"}]' in sent


def test_a_key_is_called_by_its_own_name_for_the_model() -> None:
    key = candidate("gpt", model_map={"gpt": "my-deployment"})

    assert json.loads(outgoing(read(ODD), key, None))["model"] == "my-deployment"
    assert key.upstream_model == "gpt"


def test_what_was_refused_once_is_left_out() -> None:
    raw = b'{"model":"m","messages":[],"stream":true,"stream_options":{"include_usage":true}}'

    sent = outgoing(read(raw), candidate(), None, frozenset({"stream_options"}))
    assert json.loads(sent) == {"model": "m", "messages": [], "stream": True}

    asked = read(b'{"model":"m","messages":[],"stream":true}')
    assert b"stream_options" in outgoing(asked, candidate(), None)
    assert b"stream_options" not in outgoing(
        asked, candidate(), None, frozenset({"stream_options"})
    )
    no_options = candidate(capabilities={"stream_options": False})
    assert b"stream_options" not in outgoing(asked, no_options, None)


def test_reasoning_of_another_vendor_is_taken_out_of_the_conversation() -> None:
    conversation = [
        {"role": "user", "content": "a"},
        {
            "role": "assistant",
            "content": [
                {"type": "thinking", "thinking": "…", "signature": "x"},
                {"type": "text", "text": "b", "n": 1.50},
            ],
            "reasoning_content": "…",
            "reasoning_details": [{"data": "x"}],
        },
        {"role": "user", "content": None},
    ]
    raw = json.dumps({"model": "m", "messages": conversation, "seed": 1}).encode()

    sent = outgoing(read(raw), candidate(), None, frozenset({REASONING}))

    assert json.loads(sent)["messages"] == [
        {"role": "user", "content": "a"},
        {"role": "assistant", "content": [{"type": "text", "text": "b", "n": 1.50}]},
        {"role": "user", "content": None},
    ]
    assert json.loads(sent)["seed"] == 1


def test_a_conversation_that_cannot_be_read_goes_as_it_is() -> None:
    raw = b'{"model":"m","messages":[1,"x",{"a":"\\ud800"}]}'

    sent = outgoing(read(raw), candidate(), None, frozenset({REASONING}))

    assert sent == raw


def test_a_cap_goes_under_the_vendors_own_name_for_it() -> None:
    sent = json.loads(outgoing(read(ODD), candidate(), 64))

    assert sent["max_completion_tokens"] == 64
