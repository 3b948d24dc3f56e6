"""A head seen before is recognised only when nothing but the announced length differs."""

import asyncio

import pytest

from aipool.wire.exchange import Asked, Peer
from aipool.wire.repeat import KnownHead
from tests.wire.rig import HOST, App, connected, run, serving, statuses

ASKED = Asked.of(Peer("", tls=False, unix=False), b"POST", b"/a")
BLOCK = b"POST /a HTTP/1.1\r\nHost: test\r\nContent-Length: 3\r\nX: y"


def test_the_same_head_with_another_length_is_known_and_its_headers_are_its_own() -> None:
    known = KnownHead(BLOCK, ASKED, {b"host": b"test", b"content-length": b"3", b"x": b"y"})
    headers = known.headers_of(BLOCK.replace(b": 3", b": 12"), b"z" * 12)
    assert headers == {b"host": b"test", b"content-length": b"12", b"x": b"y"}
    assert headers is not known.headers


@pytest.mark.parametrize(
    ("block", "body"),
    [
        (BLOCK, b"zz"),
        (BLOCK, b"zzzz"),
        (BLOCK.replace(b": 3", b": -3"), b"zzz"),
        (BLOCK.replace(b": 3", b": 3 "), b"zzz"),
        (BLOCK.replace(b": 3", b": "), b""),
        (BLOCK.replace(b": 3", b": 3\r\nContent-Length: 3"), b"zzz"),
        (BLOCK.replace(b": 3", b": 3\r\nTransfer-Encoding: chunked"), b"zzz"),
        (BLOCK.replace(b"X: y", b"X: z"), b"zzz"),
        (BLOCK.replace(b"/a", b"/b"), b"zzz"),
        (BLOCK[:-4], b"zzz"),
    ],
)
def test_any_other_difference_makes_it_unknown(block: bytes, body: bytes) -> None:
    known = KnownHead(BLOCK, ASKED, {b"host": b"test", b"content-length": b"3", b"x": b"y"})
    assert known.headers_of(block, body) is None


@pytest.mark.parametrize("spelling", [b"Content-Length:3", b"Content-Length:\t3", b"A: b"])
def test_a_body_that_has_not_come_is_waited_for_however_its_length_was_spelled(
    spelling: bytes,
) -> None:
    head = b"POST /a HTTP/1.1\r\n" + HOST + spelling + b"\r\n\r\n"
    body = b"abc" if b"3" in spelling else b""

    async def scenario() -> None:
        app = App()
        async with serving(app) as (_, port), connected(port) as raw:
            for _ in range(3):
                await raw.send(head + body)
                await raw.receive_until(b"]")
            await raw.send(head)
            await asyncio.sleep(0.02)
            await raw.send(body)
            assert statuses(await raw.receive_until(b"]")) == [200]
            assert [call.body for call in app.calls] == [body] * 4

    run(scenario())


def test_a_client_whose_lengths_and_heads_vary_is_understood_each_time() -> None:
    async def scenario() -> None:
        app = App()
        async with serving(app) as (_, port), connected(port) as raw:
            for number in range(60):
                body = b"b" * (number * 7 % 40)
                extra = b"X: %d\r\n" % number if number % 5 == 0 else b""
                await raw.send(
                    b"POST /%d HTTP/1.1\r\n" % (number % 3)
                    + HOST
                    + b"content-length: %d\r\n" % len(body)
                    + extra
                    + b"\r\n"
                    + body
                )
                answer = await raw.receive_until(b"]")
                assert answer.endswith(b"POST /%d [%b]" % (number % 3, body))
                headers = app.calls[-1].exchange.headers
                assert headers[b"content-length"] == b"%d" % len(body)
                assert headers.get(b"x") == (b"%d" % number if extra else None)

    run(scenario())
