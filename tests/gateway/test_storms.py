"""Many calls, badly treated: by vendors that cut and garble, by clients that leave and dawdle."""

from __future__ import annotations

import itertools
import json
import random
import select
import socket
import struct
import threading
import time
from typing import Any

import pytest

from aipool.dialects.estimate import estimate_text
from tests.platform import (
    Customer,
    Platform,
    VendorThread,
    charge,
    eventually,
    head,
    messages,
    parse_reply,
    wish,
)

pytestmark = pytest.mark.slow

_numbers = itertools.count(1)


def marker() -> str:
    return f"storm-{next(_numbers)}-"


@pytest.fixture(scope="module")
def rich(shop: Platform) -> Customer:
    return shop.customer("10000")


@pytest.mark.parametrize("how", ["fin", "rst"])
def test_a_stream_cut_at_any_byte_never_looks_whole_and_costs_what_was_relayed(
    shop: Platform, vendor: VendorThread, rich: Customer, how: str
) -> None:
    chance = random.Random(how)
    said = "One 二 three 四 five six"
    whole = len(shop.chat(rich, wish(marker(), {"content": said}, stream=True)).body)
    # The vendor's answer is longer than ours: its head, chunk sizes and usage are in it.
    for offset in [1, 5, *(chance.randrange(10, whole + 1_200) for _ in range(30))]:
        mark = marker()
        cut = {"content": said, "cut_at": offset, "cut": how}

        reply = shop.chat(rich, wish(mark, [cut, {"content": said}], stream=True))

        row = shop.row(reply.rid)
        # An event that was whole before the cut counts here; the vendor's books leave it out.
        shop.odd.add(row.rid)
        assert reply.status == 200
        if reply.events[-1] == b"[DONE]":
            assert reply.text == said
            assert row.error == ""
        else:
            assert reply.chunks[-1]["error"]["code"] == "upstream_error"
            assert row.error == "upstream_error"
            if row.usage_source == 2:
                assert row.output_tokens == estimate_text(reply.text)
        assert row.charged_nano == charge((row.input_tokens, row.output_tokens))


def test_garbled_streams_end_soon_and_break_nothing(
    shop: Platform, vendor: VendorThread, rich: Customer
) -> None:
    chance = random.Random(11)
    chunk = {"id": "x", "choices": [{"index": 0, "delta": {"content": "wort 字"}}], "model": "m"}
    event = f"data: {json.dumps(chunk, ensure_ascii=False)}\n\n"
    end = 'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    usage = 'data: {"choices":[],"usage":{"prompt_tokens":3,"completion_tokens":4}}\n\n'
    stream = event * 3 + end + usage + "data: [DONE]\n\n"
    for _ in range(120):
        garbled = list(stream)
        for _ in range(chance.randint(1, 5)):
            at = chance.randrange(len(garbled))
            change = chance.randrange(4)
            if change == 0:
                garbled[at] = chr(chance.choice([0, 10, 13, 34, 92, 123, 125, 0xFFFD, 0xD7FF]))
            elif change == 1:
                del garbled[at : at + chance.randint(1, 20)]
            elif change == 2:
                garbled[at:at] = garbled[at : at + chance.randint(1, 40)]
            else:
                odd = chance.choice(["\n\n", "\r", "\r\n", "data: ", ": x\n", "{}"])
                garbled[at:at] = list(odd)
        wishes: dict[str, Any] = {
            "body": "".join(garbled),
            "content_type": "text/event-stream",
            "dribble": {"bytes": chance.choice([7, 60, 100_000]), "seconds": 0.0},
        }
        vendor.says(wishes)
        try:
            reply = shop.chat(rich, {"model": "m", "stream": True, **messages("hi")})
        finally:
            vendor.says(None)
        assert reply.status in (200, 502, 503), reply
        if reply.status == 200:
            assert b"[DONE]" in reply.body or b'"error"' in reply.body or b"stop" in reply.body
        row = shop.row(reply.rid)
        shop.odd.add(row.rid)
        assert 0 <= row.charged_nano <= row.hold_nano


@pytest.mark.slow
def test_clients_that_leave_at_any_moment_leave_no_hold_and_no_connection_behind(
    shop: Platform, vendor: VendorThread
) -> None:
    chance = random.Random(5)
    customer = shop.customer("1000")
    shop.chat(customer, wish(marker(), {}))
    sockets: list[tuple[float, socket.socket]] = []
    for number in range(150):
        stream = number % 3 != 0
        wishes = {"events": 12, "interval": 0.004, "delay": chance.choice([0, 0.02])}
        raw = json.dumps(wish(f"leaver-{number}-", wishes, stream=stream)).encode()
        whole = head(customer.token, len(raw)) + raw
        sock = shop.connect()
        # Some leave within the head or the body.
        sock.sendall(whole[: chance.randrange(10, len(whole))] if number % 5 == 0 else whole)
        sockets.append((time.monotonic() + chance.random() * 0.1, sock))
        if number % 10 == 9:
            _leave(sockets, chance)

    _leave(sockets, chance)

    def over() -> bool:
        entries = [entry for entry in vendor.books if entry.message and entry.user]
        mine = [entry for entry in entries if str(entry.user).startswith("leaver-")]
        return len(mine) > 80 and all(entry.ended_time is not None for entry in mine)

    eventually(over, "every vendor's answer has ended")
    # All holds have ended: the whole rest of the balance can be held once more.
    eventually(
        lambda: (
            len(shop.rows(customer))
            >= len([e for e in vendor.books if str(e.user).startswith("leaver-")])
        ),
        "every call is in the books",
    )
    for row in shop.rows(customer):
        assert row.charged_nano == charge((row.input_tokens, row.output_tokens))
    assert shop.chat(customer, wish(marker(), {})).status == 200


def _leave(sockets: list[tuple[float, socket.socket]], chance: random.Random) -> None:
    for at, sock in sockets:
        time.sleep(max(0, at - time.monotonic()))
        if chance.random() < 0.5:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        sock.close()
    sockets.clear()


def test_a_reader_that_dawdles_holds_its_vendor_back_and_gets_everything(
    shop: Platform, vendor: VendorThread
) -> None:
    customer, mark = shop.customer("1000"), marker()
    word = " word" * 4_000
    body = wish(mark, {"events": 1_500, "word": word}, stream=True)
    body["stream_options"] = {"include_usage": True}
    body["max_tokens"] = 10_000_000
    raw = json.dumps(body).encode()
    with shop.connect() as sock:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        sock.sendall(head(customer.token, len(raw), "connection: close") + raw)
        eventually(lambda: vendor.books.marked(mark), "the call has begun")
        sent = eventually(lambda: _stands_still(vendor, mark), "everybody waits for the reader")
        assert sent < 24 << 20
        # Others are not kept waiting.
        assert shop.chat(shop.customer(), wish(marker(), {})).status == 200
        got = 0
        tail = b""
        while piece := sock.recv(1 << 20):
            got += piece.count(word.encode())
            tail = (tail + piece)[-(len(word) + 400) :]
    assert b"data: [DONE]" in tail
    entry = vendor.one(mark)
    assert entry.phase == "completed"
    assert shop.newest(customer).output_tokens == entry.billed_output


def _stands_still(vendor: VendorThread, mark: str) -> int:
    """How much the vendor has sent, once that is something and grows no more; else 0."""
    before = vendor.books.marked(mark)[0].bytes_sent
    time.sleep(0.3)
    return before if vendor.books.marked(mark)[0].bytes_sent == before else 0


def test_requests_sent_ahead_are_answered_in_their_order(shop: Platform, rich: Customer) -> None:
    raw = b""
    for number in range(12):
        body = json.dumps(
            wish(marker(), {"content": f"answer {number}", "delay": 0.02 * (number % 3)})
        ).encode()
        raw += head(rich.token, len(body)) + body
    with shop.connect() as sock:
        sock.sendall(raw)
        got = b""
        while got.count(b"chatcmpl-") < 12 and select.select([sock], [], [], 10)[0]:
            got += sock.recv(65536)
    found = [int(part.split(b'"')[0]) for part in got.split(b"answer ")[1:]]
    assert found == list(range(12))


def test_a_client_that_closes_its_sending_side_still_gets_its_answer(
    shop: Platform, rich: Customer
) -> None:
    for stream in (False, True):
        raw = json.dumps(wish(marker(), {"delay": 0.1}, stream=stream)).encode()
        with shop.connect() as sock:
            sock.sendall(head(rich.token, len(raw)) + raw)
            sock.shutdown(socket.SHUT_WR)
            got = b""
            while piece := sock.recv(65536):
                got += piece
        assert parse_reply(got).status == 200
        assert b" word" in got


def test_a_body_that_trickles_in_is_waited_for_and_passed_on_whole(
    shop: Platform, vendor: VendorThread, rich: Customer
) -> None:
    mark = marker()
    raw = json.dumps(wish(mark, {})).encode()
    with shop.connect() as sock:
        sent = head(rich.token, len(raw), "connection: close") + raw
        for at in range(0, len(sent), 11):
            sock.sendall(sent[at : at + 11])
            time.sleep(0.001)
        got = b""
        while piece := sock.recv(65536):
            got += piece
    assert parse_reply(got).status == 200
    assert vendor.one(mark).body_bytes == len(raw)


@pytest.mark.parametrize("share", [1, 2], ids=["whole", "half"])
@pytest.mark.parametrize("number", range(6))
def test_a_wallet_worth_one_hold_admits_one_of_many(
    shop: Platform, vendor: VendorThread, number: int, share: int
) -> None:
    # share 2: the vendor reports half of what was held; that half is there for the next.
    mark = marker()
    usage = {"prompt_tokens": 0, "completion_tokens": 1_000 // share}
    body = wish(mark, {"usage": usage, "delay": 0.15}, max_tokens=1_000)
    hold = len(json.dumps(body)) * 2_000 + 1_000 * 8_000
    customer = shop.customer(hold)
    statuses: list[int] = []
    barrier = threading.Barrier(12)

    def call() -> None:
        barrier.wait()
        statuses.append(shop.chat(customer, body).status)

    threads = [threading.Thread(target=call) for _ in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert sorted(statuses) == [200] + [402] * 11
    left = hold - 8_000_000 // share
    eventually(lambda: shop.wallet(customer) == (left, 0), f"{left} is left, unleased")
    smaller = wish(marker(), {"usage": usage}, max_tokens=10)
    wanted = len(json.dumps(smaller)) * 2_000 + 80_000
    assert shop.chat(customer, smaller).status == (200 if wanted <= left else 402)
    vendor.one(mark)
