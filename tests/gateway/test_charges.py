"""What a call is charged, ending by ending, beside the books of the vendor that served it."""

from __future__ import annotations

import itertools
import json
from typing import Any

import pytest

from aipool.calls.types import CallRow
from aipool.dialects.estimate import estimate_request, estimate_text
from aipool.doors.outcome import UsageSource
from tests.fakes.books import CLIENT_GONE, COMPLETED
from tests.platform import PRICE, Platform, VendorThread, charge, cny, eventually, wish

_numbers = itertools.count(1)
WHOLE, STREAM = pytest.param(False, id="whole"), pytest.param(True, id="stream")
both = pytest.mark.parametrize("stream", [WHOLE, STREAM])


def marker() -> str:
    return f"charge-{next(_numbers)}-"


def assert_charged(shop: Platform, row: CallRow, usage: tuple[int, ...] | None) -> None:
    """The row, its transfers and the rating of this usage are the same."""
    wanted = charge(usage)
    assert row.charged_nano == wanted
    assert row.written_off_nano == 0
    assert shop.moved(row.rid) == ({"usage": wanted} if wanted else {})


def estimated_input(body: dict[str, Any]) -> int:
    return estimate_request(body)


@both
def test_reported_usage_is_charged_to_the_nano(
    shop: Platform, vendor: VendorThread, stream: bool
) -> None:
    customer, mark = shop.customer(), marker()

    reply = shop.chat(customer, wish(mark, {"events": 20}, stream=stream))

    entry, row = vendor.one(mark), shop.row(reply.rid)
    assert reply.status == 200
    assert (row.input_tokens, row.output_tokens) == (entry.billed_input, entry.billed_output)
    assert row.usage_source == UsageSource.VENDOR
    assert_charged(shop, row, (entry.billed_input, entry.billed_output))
    assert shop.wallet(customer).balance_nano == 10 * 10**9 - row.charged_nano
    if not stream:
        assert reply.headers["x-aipool-charge"] == cny(row.charged_nano)


@both
def test_cached_input_is_charged_at_its_own_price(
    shop: Platform, vendor: VendorThread, stream: bool
) -> None:
    usage = {
        "prompt_tokens": 1000,
        "completion_tokens": 10,
        "prompt_tokens_details": {"cached_tokens": 400},
    }

    reply = shop.chat(shop.customer(), wish(marker(), {"usage": usage}, stream=stream))

    row = shop.row(reply.rid)
    assert row.charged_nano == 600 * 2_000 + 400 * 500 + 10 * 8_000
    assert_charged(shop, row, (1000, 400, 10))


@both
def test_the_multiplier_of_the_group_is_applied(shop: Platform, stream: bool) -> None:
    usage = {"prompt_tokens": 1, "completion_tokens": 1}

    reply = shop.chat(shop.customer(group="vip"), wish(marker(), {"usage": usage}, stream=stream))

    assert shop.row(reply.rid).charged_nano == charge((1, 1), PRICE, 800_000) == 8_000


@both
def test_an_explicit_zero_is_no_gap_to_be_filled(shop: Platform, stream: bool) -> None:
    reply = shop.chat(shop.customer(), wish(marker(), {"usage": "zero"}, stream=stream))

    row = shop.row(reply.rid)
    assert reply.status == 200
    assert reply.text
    assert row.usage_source == UsageSource.VENDOR
    assert_charged(shop, row, None)


@both
def test_without_a_report_what_was_relayed_is_counted(
    shop: Platform, vendor: VendorThread, stream: bool
) -> None:
    mark = marker()
    body = wish(mark, {"usage": "none", "content": "你好, this is counted"}, stream=stream)

    reply = shop.chat(shop.customer(), body)

    entry, row = vendor.one(mark), shop.row(reply.rid)
    assert row.usage_source == UsageSource.COUNTED
    counted = (estimated_input(body), estimate_text("你好, this is counted"))
    assert counted == (entry.billed_input, entry.billed_output)
    assert_charged(shop, row, counted)


@both
def test_tool_calls_and_reasoning_are_counted_too(
    shop: Platform, vendor: VendorThread, stream: bool
) -> None:
    mark = marker()
    wishes = {
        "usage": "none",
        "reasoning": "let me think about it",
        "tool_calls": [{"name": "weather", "arguments": '{"city":"Berlin"}'}],
    }

    reply = shop.chat(shop.customer(), wish(mark, wishes, stream=stream))

    entry, row = vendor.one(mark), shop.row(reply.rid)
    assert entry.billed_output > 5
    assert_charged(shop, row, (entry.billed_input, entry.billed_output))


@both
def test_an_answer_that_says_nothing_and_reports_nothing_is_free(
    shop: Platform, stream: bool
) -> None:
    body = wish(marker(), {"usage": "none", "content": ""}, stream=stream)

    reply = shop.chat(shop.customer(), body)

    row = shop.row(reply.rid)
    assert reply.status == 200
    assert row.usage_source == UsageSource.NONE
    assert_charged(shop, row, None)


@both
@pytest.mark.parametrize("usage", ["absurd", "negative", "text"])
def test_nonsense_for_usage_never_raises_a_wallet(shop: Platform, usage: str, stream: bool) -> None:
    customer = shop.customer()

    reply = shop.chat(customer, wish(marker(), {"usage": usage}, stream=stream))

    row = shop.row(reply.rid)
    assert reply.status == 200
    assert row.charged_nano >= 0
    assert shop.wallet(customer).balance_nano == 10 * 10**9 - row.charged_nano


@pytest.mark.parametrize("place", ["finish", "every", "choice"])
def test_usage_is_found_wherever_vendors_put_it(
    shop: Platform, vendor: VendorThread, place: str
) -> None:
    mark = marker()

    reply = shop.chat(shop.customer(), wish(mark, {"usage_at": place}, stream=True))

    entry, row = vendor.one(mark), shop.row(reply.rid)
    assert row.usage_source == UsageSource.VENDOR
    assert_charged(shop, row, (entry.billed_input, entry.billed_output))


ways_to_leave = pytest.mark.parametrize("abruptly", [True, False], ids=["reset", "end"])


@ways_to_leave
def test_who_leaves_a_stream_pays_what_the_vendor_reports_in_the_end(
    shop: Platform, vendor: VendorThread, abruptly: bool
) -> None:
    customer, mark = shop.customer(), marker()
    body = wish(mark, {"events": 30, "interval": 0.01}, stream=True)

    shop.leave(customer, body, lambda got: got.count(b" word") >= 5, abruptly=abruptly)

    entry, row = vendor.one(mark), shop.newest(customer)
    assert entry.phase == COMPLETED
    assert row.status == 499
    assert row.usage_source == UsageSource.VENDOR
    assert_charged(shop, row, (entry.billed_input, entry.billed_output))


@ways_to_leave
def test_who_leaves_an_endless_stream_pays_what_was_relayed(
    shop: Platform, vendor: VendorThread, abruptly: bool
) -> None:
    customer, mark = shop.customer(), marker()
    word = " long" * 50
    body = wish(mark, {"events": 900, "interval": 0.005, "word": word}, stream=True)
    body["max_tokens"] = 100_000

    got = shop.leave(customer, body, lambda got: got.count(word.encode()) >= 10, abruptly=abruptly)

    entry, row = vendor.one(mark), shop.newest(customer)
    assert entry.phase == CLIENT_GONE
    assert row.usage_source == UsageSource.COUNTED
    least = estimate_text(word * got.count(word.encode()))
    assert least <= row.output_tokens <= entry.tokens_sent - 2_000
    assert_charged(shop, row, (entry.billed_input, row.output_tokens))


@pytest.mark.parametrize("usage", ["none", "counted"])
def test_who_leaves_before_anything_was_relayed_pays_only_what_is_reported(
    shop: Platform, vendor: VendorThread, usage: str
) -> None:
    customer, mark = shop.customer(), marker()
    body = wish(mark, {"delay": 0.3, "usage": usage, "events": 40}, stream=True)

    shop.leave(customer, body, lambda _: vendor.books.marked(mark))

    entry, row = vendor.one(mark), shop.newest(customer)
    assert row.status == 499
    if usage == "none":
        assert_charged(shop, row, None)
    else:
        assert_charged(shop, row, (entry.billed_input, entry.billed_output))


@ways_to_leave
def test_who_leaves_a_whole_answer_pays_what_it_used(
    shop: Platform, vendor: VendorThread, abruptly: bool
) -> None:
    customer, mark = shop.customer(), marker()
    body = wish(mark, {"delay": 0.3, "events": 40})

    shop.leave(customer, body, lambda _: vendor.books.marked(mark), abruptly=abruptly)

    entry, row = vendor.one(mark), shop.newest(customer)
    assert entry.phase == COMPLETED
    # After a mere end the client might still have been reading: it was sent its answer.
    assert row.status == (499 if abruptly else 200)
    assert_charged(shop, row, (entry.billed_input, entry.billed_output))


def test_nobody_waits_for_a_second_key_once_the_client_has_left(
    shop: Platform, vendor: VendorThread
) -> None:
    customer, mark = shop.customer(), marker()

    shop.leave(
        customer, wish(mark, {"delay": 0.3, "status": 500}), lambda _: vendor.books.marked(mark)
    )

    vendor.one(mark)
    row = shop.newest(customer)
    assert row.status == 499
    assert_charged(shop, row, None)
    vendor.one(mark)


@pytest.mark.parametrize("events", [0, 1])
def test_an_error_event_before_anything_was_said_is_tried_elsewhere(
    shop: Platform, vendor: VendorThread, events: int
) -> None:
    mark = marker()
    body = wish(mark, [{"error_after": events}, {"events": 5}], stream=True)

    reply = shop.chat(shop.customer(), body)

    failed, served = vendor.all(mark, 2)
    assert failed.key != served.key
    assert reply.text == " word" * 5
    assert reply.headers["x-aipool-attempts"] == "2"
    assert_charged(shop, shop.row(reply.rid), (served.billed_input, served.billed_output))


@pytest.mark.parametrize(
    ("stream", "wishes"),
    [
        (True, {"error_after": 0}),
        (True, {"error_after": 1}),
        (False, {"error": {"message": "no", "type": "server_error"}}),
        (False, {"body": "this is no JSON"}),
        (False, {"body": {"base_resp": {"status_code": 1008}}}),
        (True, {"usage": "none", "content": "", "sse": "no_done", "role_first": False}),
        (True, {"usage": "none", "content": "", "cut_after": 1, "framing": "close"}),
    ],
)
def test_when_no_key_gives_an_answer_nothing_is_charged(
    shop: Platform, vendor: VendorThread, stream: bool, wishes: dict[str, Any]
) -> None:
    customer, mark = shop.customer(), marker()

    reply = shop.chat(customer, wish(mark, wishes, stream=stream))

    if reply.status != 200:
        assert reply.status == 502
        assert reply.error["code"] == "upstream_error"
        vendor.all(mark, 2)
    assert_charged(shop, shop.row(reply.rid), None)
    assert shop.wallet(customer).balance_nano == 10 * 10**9


def test_the_text_of_an_error_event_is_never_counted(shop: Platform, vendor: VendorThread) -> None:
    mark = marker()
    error = {"message": "secret words of the vendor " * 100, "type": "server_error"}
    body = wish(mark, {"error_after": 6, "error": error, "usage": "none"}, stream=True)

    reply = shop.chat(shop.customer(), body)

    entry, row = vendor.one(mark), shop.row(reply.rid)
    assert reply.text == " word" * 5
    assert b"secret words" not in reply.body
    assert reply.chunks[-1]["error"]["code"] == "upstream_error"
    assert b"[DONE]" not in reply.body
    assert (row.status, row.error) == (200, "upstream_error")
    assert_charged(shop, row, (entry.billed_input, estimate_text(" word" * 5)))


@pytest.mark.parametrize(
    "cut",
    [
        {"cut_after": 7},
        {"cut_after": 7, "cut": "rst"},
        {"cut_after": 7, "cut_inside": True},
        {"stall_after": 7},
        {"cut_after": 7, "framing": "close"},
    ],
    ids=["fin", "rst", "inside", "stall", "close-delimited"],
)
def test_a_stream_that_breaks_off_says_so_and_costs_what_was_relayed(
    shop: Platform, vendor: VendorThread, cut: dict[str, Any]
) -> None:
    mark = marker()

    reply = shop.chat(shop.customer(), wish(mark, {"events": 50, **cut}, stream=True))

    entry, row = vendor.one(mark), shop.row(reply.rid)
    assert reply.text == " word" * 6
    assert reply.chunks[-1]["error"]["code"] == "upstream_error"
    assert b"[DONE]" not in reply.body
    assert (row.status, row.error) == (200, "upstream_error")
    assert row.usage_source == UsageSource.COUNTED
    assert_charged(shop, row, (entry.billed_input, estimate_text(" word" * 6)))


def test_a_stream_that_reports_usage_all_along_and_breaks_off_does_not_look_whole(
    shop: Platform, vendor: VendorThread
) -> None:
    mark = marker()
    wishes = {"events": 50, "usage_at": "every", "cut_after": 7, "framing": "close"}

    reply = shop.chat(shop.customer(), wish(mark, wishes, stream=True))

    entry, row = vendor.one(mark), shop.row(reply.rid)
    assert reply.chunks[-1].get("error"), reply.body
    assert_charged(shop, row, (entry.billed_input, entry.billed_output))


def test_a_stream_without_its_done_is_whole_when_it_said_why_it_finished(
    shop: Platform, vendor: VendorThread
) -> None:
    mark = marker()

    reply = shop.chat(shop.customer(), wish(mark, {"sse": "no_done"}, stream=True))

    entry, row = vendor.one(mark), shop.row(reply.rid)
    assert reply.text == " word" * 8
    assert row.error == ""
    assert_charged(shop, row, (entry.billed_input, entry.billed_output))


def test_only_the_attempt_that_answered_is_charged(shop: Platform, vendor: VendorThread) -> None:
    mark = marker()

    reply = shop.chat(shop.customer(), wish(mark, [{"status": 500}, {"events": 5}]))

    _, served = vendor.all(mark, 2)
    row = shop.row(reply.rid)
    assert [attempt[2] for attempt in json.loads(row.attempts)] == [500, 200]
    assert_charged(shop, row, (served.billed_input, served.billed_output))


@both
@pytest.mark.parametrize("status", [504, 524])
def test_work_that_may_have_been_done_is_neither_repeated_nor_charged(
    shop: Platform, vendor: VendorThread, status: int, stream: bool
) -> None:
    customer, mark = shop.customer(), marker()

    reply = shop.chat(customer, wish(mark, {"status": status}, stream=stream))

    vendor.one(mark)
    assert reply.status == 504
    assert reply.error["code"] == "upstream_timeout"
    assert_charged(shop, shop.row(reply.rid), None)
    assert shop.wallet(customer).balance_nano == 10 * 10**9


def test_a_whole_answer_that_never_comes_is_not_asked_for_again(
    shop: Platform, vendor: VendorThread
) -> None:
    mark = marker()

    reply = shop.chat(shop.customer(), wish(mark, {"never": True}))

    vendor.one(mark)
    assert reply.status == 504
    assert_charged(shop, shop.row(reply.rid), None)


def test_a_stream_that_never_begins_is_tried_elsewhere(
    shop: Platform, vendor: VendorThread
) -> None:
    mark = marker()

    reply = shop.chat(shop.customer(), wish(mark, [{"never": True}, {"events": 5}], stream=True))

    _, served = vendor.all(mark, 2)
    assert reply.text == " word" * 5
    assert_charged(shop, shop.row(reply.rid), (served.billed_input, served.billed_output))


MUCH = {"prompt_tokens": 5_000, "completion_tokens": 5_000}


@both
def test_usage_above_the_hold_is_paid_from_the_balance(shop: Platform, stream: bool) -> None:
    customer = shop.customer("10")

    reply = shop.chat(customer, wish(marker(), {"usage": MUCH}, stream=stream, max_tokens=10))

    row = shop.row(reply.rid)
    assert row.hold_nano < charge((5_000, 5_000))
    assert_charged(shop, row, (5_000, 5_000))
    if not stream:
        assert reply.headers["x-aipool-charge"] == cny(row.charged_nano)
    assert shop.wallet(customer).balance_nano == 10 * 10**9 - row.charged_nano


@both
def test_what_the_balance_cannot_pay_is_written_off(shop: Platform, stream: bool) -> None:
    customer = shop.customer(3_000_000)

    reply = shop.chat(customer, wish(marker(), {"usage": MUCH}, stream=stream, max_tokens=10))

    row = shop.row(reply.rid)
    assert (row.charged_nano, row.written_off_nano) == (3_000_000, 47_000_000)
    assert shop.moved(row.rid) == {"usage": 3_000_000, "writeoff": 47_000_000}
    assert shop.wallet(customer) == (0, 0)


def test_a_token_has_a_limit_of_its_own(shop: Platform, vendor: VendorThread) -> None:
    customer = shop.customer("10", limit_nano=1_000_000)
    mark = marker()

    first = shop.chat(customer, wish(mark, {"usage": MUCH}, max_tokens=10))
    row = shop.row(first.rid)
    second = shop.chat(customer, wish(mark, {}, max_tokens=10))

    assert (row.charged_nano, row.written_off_nano) == (1_000_000, 49_000_000)
    assert second.status == 402
    assert shop.wallet(customer).balance_nano == 10 * 10**9 - 1_000_000


def test_calls_one_after_the_other_spend_a_small_balance_whole(
    shop: Platform, vendor: VendorThread
) -> None:
    # Each call is worth 1,000,000; a hold is more, so the last one or two find too little.
    usage = {"prompt_tokens": 100, "completion_tokens": 100}
    customer = shop.customer(20_000_000)

    statuses = [
        shop.chat(customer, wish(marker(), {"usage": usage}, max_tokens=100)).status
        for _ in range(25)
    ]

    body_bytes = len(json.dumps(wish(marker(), {"usage": usage}, max_tokens=100)))
    hold = body_bytes * 2_000 + 100 * 8_000
    served = statuses.count(200)
    assert statuses == [200] * served + [402] * (25 - served)
    balance = 20_000_000 - served * 1_000_000
    eventually(lambda: shop.wallet(customer) == (balance, 0), "every charge booked")
    assert balance < hold + 10_000


def test_a_model_without_a_price_costs_nothing_and_needs_nothing(shop: Platform) -> None:
    customer = shop.customer(0)

    reply = shop.chat(customer, wish(marker(), {}) | {"model": "free"})

    assert reply.status == 200
    assert reply.headers["x-aipool-charge"] == "0"
    assert_charged(shop, shop.row(reply.rid), None)


def test_a_short_wallet_buys_a_shorter_answer(shop: Platform, vendor: VendorThread) -> None:
    # The cap of the model would need 8,000,000 and the input about 300,000.
    mark, customer = marker(), shop.customer(1_000_000)
    body = wish(mark, {"events": 200})

    reply = shop.chat(customer, body)

    entry, row = vendor.one(mark), shop.row(reply.rid)
    assert reply.status == 200
    assert reply.json["choices"][0]["finish_reason"] == "length"
    assert entry.max_tokens is not None
    assert 16 <= entry.max_tokens < 125
    assert row.hold_nano <= 1_000_000
    assert row.hold_nano + 8_000 > 1_000_000
    assert_charged(shop, row, (entry.billed_input, entry.billed_output))


def test_a_wallet_too_short_for_any_answer_gets_none(shop: Platform, vendor: VendorThread) -> None:
    mark, customer = marker(), shop.customer(300_000)

    reply = shop.chat(customer, wish(mark, {}))

    assert reply.status == 402
    assert not vendor.books.marked(mark)
    assert shop.wallet(customer).balance_nano == 300_000


def test_a_cap_the_client_set_is_never_lowered(shop: Platform, vendor: VendorThread) -> None:
    mark, customer = marker(), shop.customer(1_000_000)

    reply = shop.chat(customer, wish(mark, {}, max_tokens=900))

    assert reply.status == 402
    assert not vendor.books.marked(mark)
