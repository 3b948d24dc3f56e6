"""A worker when what it stands on gives way: the ledger process, the disk, its own code."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import json
import os
import socket
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import msgspec
import pytest
import uvloop

from aipool.dialects.chat import decode_chunk
from aipool.dialects.estimate import estimate_text
from aipool.doors.frames import Acquire, Applied, FetchToken, Hello, Publish, Ship
from aipool.gateway import disk, funds, journal, tokens
from aipool.gateway import relay as relay_module
from aipool.gateway import stream as stream_module
from aipool.gateway import trying as trying_module
from aipool.gateway import worker as worker_module
from aipool.rating.types import Price
from tests.gateway.rig import TOKEN, UNKNOWN, Rig, rig
from tests.platform import PRICE, charge, head, wish

pytestmark = pytest.mark.slow


def play(scene: Callable[[Rig], Awaitable[None]], **environment: str) -> None:
    async def whole() -> None:
        async with rig(environment) as it:
            await scene(it)

    uvloop.run(whole())


def test_a_call_ends_in_one_settlement_that_is_shipped() -> None:
    async def scene(it: Rig) -> None:
        reply = await it.ask(wish("one", {}))

        assert reply.status == 200
        await it.until(lambda: it.ledger.outcomes)
        (outcome,) = it.ledger.outcomes
        entry = it.vendor.books.marked("one")[0]
        assert outcome.rid == reply.rid
        assert outcome.charge_nano == charge((entry.billed_input, entry.billed_output))
        assert outcome.budgets == (("wallet:1", 0),)

    play(scene)


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """The ledger process is waited for one second instead of three."""
    monkeypatch.setattr(funds, "WAIT_SECONDS", 1)
    monkeypatch.setattr(tokens, "FETCH_SECONDS", 1)


@pytest.mark.usefixtures("impatient")
def test_a_ledger_process_that_says_no_is_a_402_and_one_that_says_nothing_a_503() -> None:
    async def scene(it: Rig) -> None:
        it.ledger.free_nano = 0
        assert (await it.ask(wish("poor", {}, max_tokens=5))).status == 402

        it.ledger.silent = {Acquire}
        reply = await it.ask(wish("mute", {}, max_tokens=5))
        assert (reply.status, reply.error["code"]) == (503, "ledger_unavailable")
        assert reply.headers["retry-after"] == "1"
        assert not it.vendor.books.entries

    play(scene)


@pytest.mark.usefixtures("impatient")
def test_a_token_that_cannot_be_checked_is_a_503_and_never_a_401() -> None:
    async def scene(it: Rig) -> None:
        assert (await it.ask(wish("known", {}))).status == 200
        it.ledger.silent = {FetchToken}
        assert (await it.ask(wish("known", {}))).status == 200
        reply = await it.ask(wish("x", {}), UNKNOWN)
        assert (reply.status, reply.error["code"]) == (503, "ledger_unavailable")

    play(scene)


def test_while_the_link_is_down_calls_go_on_from_the_lease_and_ship_afterwards() -> None:
    async def scene(it: Rig) -> None:
        it.ledger.silent = {Ship}
        hold = (await it.ask(wish("first", {}))).status
        assert hold == 200
        # Enough money at hand for more; nothing of it was recorded.
        it.ledger.hang_up()
        it.ledger.silent = set()
        await it.until(lambda: it.ledger.connections == 2)
        for _ in range(3):
            assert (await it.ask(wish("more", {}))).status == 200

        await it.until(lambda: len(it.ledger.outcomes) == 4)
        assert len({outcome.rid for outcome in it.ledger.outcomes}) == 4

    play(scene)


def test_an_unanswered_question_is_repeated_under_its_number_when_the_link_is_back() -> None:
    async def scene(it: Rig) -> None:
        it.ledger.silent = {Acquire}
        call = asyncio.get_running_loop().create_task(it.ask(wish("waits", {})))
        await it.until(lambda: any(isinstance(heard, Acquire) for heard in it.ledger.heard))
        it.ledger.silent = set()
        it.ledger.hang_up()

        assert (await call).status == 200
        asked = [heard for heard in it.ledger.heard if isinstance(heard, Acquire)]
        assert asked[0] == asked[1]

    play(scene)


def test_a_changed_token_is_looked_up_again_by_the_next_call() -> None:
    async def scene(it: Rig) -> None:
        assert (await it.ask(wish("a", {}))).status == 200
        (known,) = it.ledger.tokens
        it.ledger.tokens.clear()
        assert (await it.ask(wish("a", {}))).status == 200
        it.ledger.say(Publish(2, None, (known,), everything=False))
        await it.until(lambda: Applied(2) in it.ledger.heard)
        assert (await it.ask(wish("a", {}))).status in (401, 503)

    play(scene)


class FailingDisk(disk.RealDisk):
    """Fails while it is told to."""

    error = 0

    def write(self, fd: int, data: Any) -> int:
        if FailingDisk.error:
            raise OSError(FailingDisk.error, os.strerror(FailingDisk.error))
        return os.write(fd, data)


def test_on_a_full_disk_nothing_is_admitted_and_what_was_begun_is_finished(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(journal, "RealDisk", FailingDisk)
    monkeypatch.setattr(FailingDisk, "error", 0)

    async def scene(it: Rig) -> None:
        begun = asyncio.get_running_loop().create_task(it.ask(wish("begun", {"delay": 0.3})))
        await it.until(lambda: it.vendor.books.marked("begun"))
        FailingDisk.error = errno.ENOSPC

        reply = await it.ask(wish("refused", {}))
        assert (reply.status, reply.error["code"]) == (503, "ledger_unavailable")
        assert not it.vendor.books.marked("refused")
        assert (await it.ready()).json["problems"] == ["journal_not_writable"]
        assert (await begun).status == 200

        FailingDisk.error = 0
        async with asyncio.timeout(5):
            while (await it.ready()).status != 200:
                await asyncio.sleep(0.05)
        assert (await it.ask(wish("again", {}))).status == 200
        # What was begun is in the books, though its record found no room.
        await it.until(lambda: len([o for o in it.ledger.outcomes if o.charge_nano]) == 2)
        assert not it.worker._context.open_calls

    play(scene)


MISTAKES: list[tuple[Any, str, bool, int]] = [
    (relay_module, "usage_of_answer", False, 500),
    (relay_module, "classify", False, 500),
    (stream_module, "chunk_usage", True, 500),
    (stream_module, "decode_chunk", True, 500),
]


@pytest.mark.parametrize(("module", "name", "stream", "status"), MISTAKES)
def test_a_mistake_of_ours_ends_the_call_and_its_hold(
    monkeypatch: pytest.MonkeyPatch, module: Any, name: str, stream: bool, status: int
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("a mistake")

    async def scene(it: Rig) -> None:
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, context: told.append(context))
        wishes = {"status": 500} if name == "classify" else {}
        with monkeypatch.context() as broken:
            broken.setattr(module, name, breaks)
            reply = await it.ask(wish("broken", wishes, stream=stream))
        assert reply.status == status, reply
        assert reply.error["code"] == "internal_error"
        await it.until(lambda: it.ledger.outcomes)
        assert it.ledger.outcomes[0].charge_nano == 0
        assert not it.worker._context.open_calls
        assert told
        assert (await it.ask(wish("after", {}, stream=stream))).status == 200

    play(scene)


def test_a_mistake_in_the_middle_of_a_stream_ends_it_with_an_error_and_its_count(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async def scene(it: Rig) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        whole, calls = decode_chunk, 0

        def breaks(data: bytes) -> Any:
            nonlocal calls
            calls += 1
            if calls > 6:
                raise RuntimeError("a mistake")
            return whole(data)

        with monkeypatch.context() as broken:
            broken.setattr(stream_module, "decode_chunk", breaks)
            reply = await it.ask(wish("middle", {"events": 20, "interval": 0.005}, stream=True))
        assert reply.status == 200
        assert reply.text == " word" * 5
        assert reply.chunks[-1]["error"]
        assert b"[DONE]" not in reply.body
        await it.until(lambda: it.ledger.outcomes)
        assert it.ledger.outcomes[0].charge_nano > 0
        assert not it.worker._context.open_calls

    play(scene)


def test_a_mistake_before_the_vendor_was_called_leaves_no_hold(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def breaks(*_: object) -> None:
        raise RuntimeError("a mistake")

    async def scene(it: Rig) -> None:
        asyncio.get_running_loop().set_exception_handler(lambda *_: None)
        with monkeypatch.context() as broken:
            broken.setattr(trying_module, "forwarded", breaks)
            reply = await it.ask(wish("unsent", {}))
        assert reply.status == 500
        await it.until(lambda: it.ledger.outcomes)
        assert it.ledger.outcomes[0].charge_nano == 0
        assert not it.worker._context.open_calls

    play(scene)


def test_a_leaving_worker_gives_its_money_back() -> None:
    async def scene(it: Rig) -> None:
        assert (await it.ask(wish("x", {}))).status == 200
        it.worker.stop()
        await it.until(lambda: it.ledger.outcomes)

    async def whole() -> None:
        async with rig() as it:
            await scene(it)
            ledger = it.ledger
        shipped = [heard for heard in ledger.heard if isinstance(heard, Ship)]
        assert shipped[-1].end == ledger.high_water

    uvloop.run(whole())


def test_a_call_keeps_the_price_it_was_admitted_at() -> None:
    async def scene(it: Rig) -> None:
        call = asyncio.get_running_loop().create_task(it.ask(wish("old", {"delay": 0.2})))
        await it.until(lambda: it.vendor.books.marked("old"))
        dear = Price(7, 9 * PRICE.input_nano, 9 * PRICE.input_nano, 9 * PRICE.output_nano)
        model = msgspec.structs.replace(it.ledger.snapshot.models[0], price=dear)
        changed = msgspec.structs.replace(it.ledger.snapshot, revision=2, models=(model,))
        it.ledger.say(Publish(2, changed, (), everything=False))
        await call
        await it.ask(wish("new", {}))
        await it.until(lambda: len(it.ledger.outcomes) == 2)
        first, second = it.ledger.outcomes
        usage = (first.input_tokens, first.output_tokens)
        assert (first.price_id, first.charge_nano) == (0, charge(usage))
        usage = (second.input_tokens, second.output_tokens)
        assert (second.price_id, second.charge_nano) == (7, charge(usage, dear))

    play(scene)


@pytest.mark.slow
def test_a_quiet_stream_is_kept_alive_once_it_has_begun_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_module, "PING_SECONDS", 0.5)

    async def scene(it: Rig) -> None:
        slow = {"events": 1, "delay": 1.2, "interval": 1.2, "role_first": False, "usage": "none"}
        reply = await it.ask(wish("quiet", slow, stream=True))
        assert reply.text == " word"
        assert reply.body.count(b": ping\n\n") >= 1
        assert reply.body.startswith(b"data: ")

    play(scene)


def test_at_the_drain_limit_a_stream_ends_with_an_error_and_costs_what_was_relayed() -> None:
    async def scene(it: Rig) -> None:
        loop = asyncio.get_running_loop()
        long = {"events": 1_000, "interval": 0.02}
        stream = loop.create_task(it.ask(wish("long", long, stream=True, max_tokens=9_000)))
        whole = loop.create_task(it.ask(wish("slow", {"delay": 30})))
        served = it.vendor.books
        await it.until(lambda: served.marked("long") and served.marked("slow"))
        await it.until(lambda: served.marked("long")[0].events_sent >= 10)
        it.worker.stop()
        reply, refused = await stream, await whole
        assert reply.chunks[-1]["error"]["code"] == "draining"
        assert b"[DONE]" not in reply.body
        assert (refused.status, refused.error["code"]) == (503, "draining")
        await it.until(lambda: len(it.ledger.outcomes) == 2)
        charged = {outcome.stream: outcome for outcome in it.ledger.outcomes}
        assert charged[False].charge_nano == 0
        assert charged[True].output_tokens == estimate_text(reply.text) > 0
        assert charged[True].error == "draining"

    play(scene, AIPOOL_LIMIT_DRAIN_SECONDS="1")


async def _exchange(it: Rig, *pieces: bytes) -> bytes:
    """Sends the pieces one by one, each after something came back for the one before."""
    reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
    got = b""
    for piece in pieces:
        writer.write(piece)
        got += await asyncio.wait_for(reader.read(65536), 10)
    writer.close()
    await writer.wait_closed()
    return got


def test_who_waits_to_be_asked_for_the_body_is_asked_once_the_token_is_known() -> None:
    async def scene(it: Rig) -> None:
        raw = json.dumps(wish("continue", {})).encode()
        for _ in range(2):  # looked up, then at hand
            top = head(TOKEN, len(raw), "expect: 100-continue")
            got = await _exchange(it, top, raw)
            assert got.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\n")

    play(scene)


def test_a_chunked_body_reaches_the_vendor_with_the_same_bytes() -> None:
    async def scene(it: Rig) -> None:
        raw = json.dumps(wish("chunked", {})).encode()
        top = head(TOKEN, 0).replace(b"content-length: 0", b"transfer-encoding: chunked")
        pieces = b"".join(
            b"%x\r\n%b\r\n" % (len(raw[at : at + 9]), raw[at : at + 9])
            for at in range(0, len(raw), 9)
        )
        got = await _exchange(it, top + pieces + b"0\r\n\r\n")
        assert got.startswith(b"HTTP/1.1 200 OK\r\n")
        entry = it.vendor.books.marked("chunked")[0]
        assert entry.body_sha256 == hashlib.sha256(raw).hexdigest()
        assert entry.headers["content-length"] == str(len(raw))

    play(scene)


@pytest.mark.parametrize(
    ("trusted", "claimed", "status"),
    [
        ("127.0.0.1/32", "203.0.113.5", 200),
        ("127.0.0.1/32", "203.0.113.5, 198.51.100.1", 403),
        ("127.0.0.1/32", "198.51.100.1, 203.0.113.5", 200),
        ("127.0.0.1/32", "", 403),
        ("10.0.0.0/8", "203.0.113.5", 403),
        ("", "203.0.113.5", 403),
    ],
)
def test_an_address_list_asks_for_the_client_behind_a_trusted_proxy(
    trusted: str, claimed: str, status: int
) -> None:
    async def scene(it: Rig) -> None:
        (known,) = it.ledger.tokens
        view = it.ledger.tokens[known]
        it.ledger.tokens[known] = msgspec.structs.replace(view, ips=("203.0.113.0/24",))
        raw = json.dumps(wish("listed", {})).encode()
        more = (f"x-forwarded-for: {claimed}",) if claimed else ()
        got = await _exchange(it, head(TOKEN, len(raw), *more) + raw)
        assert got.startswith(b"HTTP/1.1 %d " % status), got
        await it.until(lambda: it.ledger.outcomes)
        seen = "203.0.113.5" if status == 200 else it.ledger.outcomes[0].ip
        assert it.ledger.outcomes[0].ip == seen
        assert it.ledger.outcomes[0].ip in ("203.0.113.5", "198.51.100.1", "127.0.0.1")

    play(scene, AIPOOL_TRUSTED_PROXIES=trusted)


def test_a_ledger_process_that_is_down_is_told_and_is_no_reason_not_to_serve() -> None:
    async def scene(it: Rig) -> None:
        assert (await it.ask(wish("x", {}))).status == 200
        it.ledger.silent = {Hello}
        it.ledger.hang_up()
        await it.until(lambda: it.ledger.connections == 2)
        reply = await it.ready()
        assert (reply.status, reply.json["ledger"]) == (200, "down")
        assert (await it.ask(wish("x", {}))).status == 200
        it.ledger.silent = set()
        it.ledger.hang_up()
        await it.until(lambda: len(it.ledger.outcomes) == 2)

    play(scene)


def test_a_client_that_leaves_while_it_waits_for_money_holds_none() -> None:
    async def scene(it: Rig) -> None:
        it.ledger.silent = {Acquire}
        raw = json.dumps(wish("leaves", {})).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", it.port)
        writer.write(head(TOKEN, len(raw)) + raw)
        await it.until(lambda: any(isinstance(heard, Acquire) for heard in it.ledger.heard))
        ends = writer.get_extra_info("socket")
        ends.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await it.until(lambda: it.ledger.outcomes)
        assert (it.ledger.outcomes[0].status, it.ledger.outcomes[0].hold_nano) == (499, 0)
        asked = next(heard for heard in it.ledger.heard if isinstance(heard, Acquire))
        it.ledger.silent = set()
        it.ledger.hear(asked)
        await asyncio.sleep(0.05)
        assert not it.vendor.books.marked("leaves")
        assert not it.worker._context.open_calls

    play(scene)


def test_an_event_that_is_too_large_ends_the_stream_and_repeats_nothing() -> None:
    async def scene(it: Rig) -> None:
        small = 'data: {"choices":[{"index":0,"delta":{"content":" word"}}]}\n\n'
        large = f'data: {{"choices":[{{"index":0,"delta":{{"content":"{"x" * 30_000}"}}}}]}}\n\n'
        wishes = {
            "body": small * 5 + large + "data: [DONE]\n\n",
            "content_type": "text/event-stream",
            "dribble": {"bytes": len(small), "seconds": 0.002},
        }
        reply = await it.ask(wish("large", wishes, stream=True))
        assert reply.text == " word" * 5
        assert reply.chunks[-1]["error"]["code"] == "upstream_error"
        await it.until(lambda: it.ledger.outcomes)
        assert it.ledger.outcomes[0].output_tokens == estimate_text(" word" * 5)

    play(scene, AIPOOL_LIMIT_EVENT_BYTES="20000")


def test_what_is_not_recorded_is_bounded_and_admission_comes_back() -> None:
    async def scene(it: Rig) -> None:
        it.ledger.silent = {Ship}
        statuses = [200]
        while statuses[-1] == 200:
            statuses.append((await it.ask(wish("unrecorded", {}))).status)
            assert len(statuses) < 200
            await asyncio.sleep(0.05)  # the bound is looked at each second
        assert statuses[-1] == 503
        assert (await it.ready()).json["problems"] == ["journal_not_writable"]

        it.ledger.silent = set()
        it.ledger.hang_up()
        await it.until(lambda: len(it.ledger.outcomes) >= len(statuses) - 2)
        async with asyncio.timeout(5):
            while (await it.ready()).status != 200:
                await asyncio.sleep(0.02)
        assert (await it.ask(wish("again", {}))).status == 200

    play(scene, AIPOOL_JOURNAL_BYTES_MAX="4096")


def test_a_ledger_process_that_only_hangs_up_is_not_stormed() -> None:
    async def scene(it: Rig) -> None:
        assert (await it.ask(wish("x", {}))).status == 200
        hear = it.ledger.hear
        setattr(it.ledger, "hear", lambda _: it.ledger.hang_up())  # noqa: B010
        it.ledger.hang_up()
        await asyncio.sleep(1)
        assert it.ledger.connections < 25
        await it.until(lambda: it.ledger.connections > 2)
        setattr(it.ledger, "hear", hear)  # noqa: B010
        assert (await it.ask(wish("x", {}))).status == 200
        await it.until(lambda: len(it.ledger.outcomes) == 2)

    play(scene)


@pytest.mark.slow
def test_what_a_client_left_behind_is_read_to_its_end_however_long_the_last_batch_may_take(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(worker_module, "LAST_BATCH_SECONDS", 0.2)

    async def scene(it: Rig) -> None:
        raw = json.dumps(wish("left", {"delay": 1.0})).encode()
        _, writer = await asyncio.open_connection("127.0.0.1", it.port)
        writer.write(head(TOKEN, len(raw)) + raw)
        await it.until(lambda: it.vendor.books.marked("left"))
        ends = writer.get_extra_info("socket")
        ends.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
        await asyncio.sleep(0.05)

        it.worker.stop()

        await it.until(lambda: it.ledger.outcomes)
        entry = it.vendor.books.marked("left")[0]
        used = (entry.billed_input, entry.billed_output)
        assert it.ledger.outcomes[0].charge_nano == charge(used) > 0

    play(scene)


@pytest.mark.slow
def test_a_mistake_in_one_second_does_not_end_the_seconds() -> None:
    async def scene(it: Rig) -> None:
        told: list[object] = []
        asyncio.get_running_loop().set_exception_handler(lambda _, what: told.append(what))
        tick, seconds = it.worker._context.funds.tick, []

        def fails_first() -> None:
            seconds.append(1)
            if len(seconds) == 1:
                raise RuntimeError("a mistake")
            tick()

        it.worker._context.funds.tick = fails_first  # type: ignore[method-assign]
        await it.until(lambda: len(seconds) == 2)
        assert len(told) == 1

    play(scene)
