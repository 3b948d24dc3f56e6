"""What is promised of calls: money first, and the interface that clients of OpenAI know."""

from __future__ import annotations

import itertools
import json

from tests.platform import Platform, VendorThread, wish

_numbers = itertools.count(1)
#: Worth 0.05 CNY.
MUCH = {"usage": {"prompt_tokens": 5_000, "completion_tokens": 5_000}}


def marker() -> str:
    return f"requirement-{next(_numbers)}-"


def test_s0_5_an_account_is_recharged_before_models_can_be_called(
    shop: Platform, vendor: VendorThread
) -> None:
    empty, mark = shop.customer(0), marker()

    refused = shop.chat(empty, wish(mark, {}))

    assert (refused.status, refused.json["error"]["code"]) == (402, "insufficient_quota")
    assert vendor.books.marked(mark) == []
    assert shop.chat(shop.customer("1"), wish(marker(), {})).status == 200


def test_s0_22_a_chat_is_completed_as_clients_of_openai_expect(
    shop: Platform, vendor: VendorThread
) -> None:
    customer = shop.customer()
    path, sent = "/v1/chat/completions", json.dumps(wish(marker(), {"events": 2})).encode()

    reply = shop.ask("POST", path, sent, {"Authorization": f"Bearer {customer.token}"})

    assert (reply.status, reply.headers["content-type"]) == (200, "application/json")
    said = reply.json
    assert (said["object"], said["model"]) == ("chat.completion", "m")
    (choice,) = said["choices"]
    assert (choice["index"], choice["message"]["role"]) == (0, "assistant")
    assert choice["message"]["content"]
    assert choice["finish_reason"] == "stop"
    assert said["usage"]["total_tokens"] == (
        said["usage"]["prompt_tokens"] + said["usage"]["completion_tokens"]
    )
    for wrong in ({}, {"Authorization": customer.token}, {"Authorization": "Bearer sk-nobody"}):
        assert shop.ask("POST", path, sent, wrong).status == 401
    assert shop.ask("POST", path, b"no json", token=customer.token).status == 400


def test_s3_3_a_call_of_an_exhausted_key_is_refused_and_another_key_goes_on(
    shop: Platform,
) -> None:
    capped = shop.customer("10", limit_nano=1_000_000)
    shop.row(shop.chat(capped, wish(marker(), MUCH, max_tokens=10)).rid)

    refused = shop.chat(capped, wish(marker(), {}, max_tokens=10))

    assert (refused.status, refused.json["error"]["code"]) == (402, "insufficient_quota")
    assert shop.wallet(capped).balance_nano == 10 * 10**9 - 1_000_000
    unlimited = shop.customer("10")
    for _ in range(2):
        assert shop.chat(unlimited, wish(marker(), MUCH, max_tokens=10)).status == 200
