"""Messages of link.sock survive the way, however the stream is cut."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aipool.doors import frames
from aipool.doors.frames import (
    FRAME_BYTES_MAX,
    Acknowledged,
    Acquire,
    Applied,
    Changed,
    Collect,
    Collected,
    Counters,
    Fenced,
    FetchToken,
    FromLedger,
    FromWorker,
    GivenBack,
    Grant,
    Granted,
    Hello,
    Need,
    Ping,
    Pong,
    Publish,
    Recall,
    Recorded,
    Ship,
    Splitter,
    Today,
    TokenAnswer,
    Welcome,
    pack,
)
from aipool.doors.snapshot import (
    CallLimits,
    GroupView,
    KeyView,
    ModelView,
    RouteView,
    Snapshot,
    TokenView,
    VendorView,
    token_budget,
    wallet_budget,
)
from aipool.rating.types import Price

PRICE = Price(1, 2, 3, 4)
SNAPSHOT = Snapshot(
    7,
    (GroupView(1, "default", 1_000_000, None), GroupView(2, "vip", 800_000, ("m",))),
    (VendorView(1, "v", "openai", "https://v.test/v1", (KeyView(1, "k", "s"),)),),
    (ModelView(1, "m", "chat", 5, 100, 10, PRICE, (RouteView(1, "up", PRICE, (2,)),)),),
)
TOKEN = TokenView(
    1,
    2,
    3,
    "t",
    0,
    ("m",),
    ("10.0.0.0/8",),
    (wallet_budget(2), token_budget(1)),
    "",
    CallLimits(5, 6, 7, 8),
)
FROM_WORKER: list[FromWorker] = [
    Hello(2**62, 1, 2, 3),
    Acquire(1, ((Need("wallet:1", 0, 5, 2**60), Need("requests:token-1/day", 7, 1, 2, 9)), ())),
    Collect(3, (("wallet:1", 0), ("token:2/day", 20_000))),
    GivenBack(4, 2**50),
    Ship(0, 9, (b"a", b"")),
    FetchToken(1, b"d" * 32),
    Applied(5),
    Counters((("name", ("a", "b"), 3),)),
    Pong(),
    Changed(5, True, (b"d",), False),
]
FROM_LEDGER: list[FromLedger] = [
    Recall(4, (("wallet:1", 0),)),
    Collected(3, complete=True),
    Today(20_773),
    Welcome(7),
    Fenced("over"),
    Granted(1, ((Grant(5, 6, True),),)),
    Recorded(2**50),
    TokenAnswer(1, 2, TOKEN),
    TokenAnswer(1, 2, None),
    Publish(7, SNAPSHOT, (b"d",), False),
    Publish(7, None, (), True),
    Ping(),
    Acknowledged(7, ("worker 1",)),
]


def test_every_message_is_read_back_as_it_was_said() -> None:
    for said in FROM_WORKER:
        (payload,) = Splitter().feed(pack(said))
        assert frames.from_worker.decode(payload) == said
    for answer in FROM_LEDGER:
        (payload,) = Splitter().feed(pack(answer))
        assert frames.from_ledger.decode(payload) == answer


@given(st.lists(st.integers(1, 200)))
def test_a_stream_cut_anywhere_gives_the_same_payloads(cuts: list[int]) -> None:
    messages = [pack(message) for message in (*FROM_WORKER, *FROM_LEDGER)]
    stream, splitter = b"".join(messages), Splitter()
    got: list[bytes] = []

    for cut in cuts:
        got += splitter.feed(stream[:cut])
        stream = stream[cut:]
    got += splitter.feed(stream)

    assert got == [message[4:] for message in messages]


def test_a_payload_may_be_empty() -> None:
    assert Splitter().feed(b"\0\0\0\0\1\0\0\0x") == [b"", b"x"]


def test_a_frame_that_is_too_long_is_refused_before_it_is_here() -> None:
    Splitter().feed(struct.pack("<I", FRAME_BYTES_MAX))
    with pytest.raises(ValueError, match=r"bytes on link\.sock"):
        Splitter().feed(struct.pack("<I", FRAME_BYTES_MAX + 1))
