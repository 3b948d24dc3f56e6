"""The client: answers of every shape, and every way to fail."""

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

import pytest

from aipool.wire import client as client_module
from aipool.wire.client import FailureKind, HttpClient, Origin
from aipool.wire.limits import Limits
from aipool.wire.upstream import UpstreamConnection
from tests.wire.rig import (
    CHUNKED_OK,
    OK,
    QUICK,
    Answer,
    App,
    Flood,
    Peer,
    Upstream,
    answering,
    fetch,
    forever,
    head,
    run,
    serving,
    until,
    with_upstream,
)

WHOLE: dict[str, bytes] = {
    "length": OK,
    "chunked": CHUNKED_OK,
    "trailers": CHUNKED_OK.replace(b"0\r\n\r\n", b"0\r\nX-Sum: 9\r\n\r\n"),
    "until close": b"HTTP/1.1 200 OK\r\n\r\nok",
    "until close on 1.0": b"HTTP/1.0 200 OK\r\n\r\nok",
    "length on 1.0": b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
    "after 100": b"HTTP/1.1 100 Continue\r\n\r\n" + OK,
    "after 103 with headers": b"HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" + CHUNKED_OK,
    "repeated headers": OK.replace(b"\r\n\r\n", b"\r\nSet-Cookie: a\r\nSet-Cookie: b\r\n\r\n"),
    "no reason": OK.replace(b" OK", b""),
    "connection close": OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"),
}


BROKEN: dict[str, bytes] = {
    "length and chunked": CHUNKED_OK.replace(b"Transfer", b"Content-Length: 2\r\nTransfer"),
    "chunked and length": CHUNKED_OK.replace(b"\r\n\r\n2", b"\r\nContent-Length: 2\r\n\r\n2"),
    "two lengths": OK.replace(b"\r\n\r\n", b"\r\nContent-Length: 3\r\n\r\n"),
    "length list": OK.replace(b": 2", b": 2, 2"),
    "negative length": OK.replace(b": 2", b": -2"),
    "gzip coding": CHUNKED_OK.replace(b"chunked", b"gzip"),
    "gzip, chunked": CHUNKED_OK.replace(b"chunked", b"gzip, chunked"),
    "bad chunk": CHUNKED_OK.replace(b"2\r\nok", b"x\r\nok"),
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "HTTP/2": OK.replace(b"HTTP/1.1", b"HTTP/2 "),
    "switching protocols": b"HTTP/1.1 101 Go\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\n",
    "bare LF": OK.replace(b"\r\n", b"\n"),
    "obs-fold": OK.replace(b"\r\n\r\n", b"\r\nX: a\r\n b\r\n\r\n"),
    "NUL in value": OK.replace(b"\r\n\r\n", b"\r\nX: a\x00b\r\n\r\n"),
    "endless head": b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 20_000,
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_answer_is_complete_however_it_is_framed_and_cut(name: str, stream: bool) -> None:
    async def byte_by_byte(peer: Peer) -> None:
        await peer.request()
        for byte in WHOLE[name]:
            await peer.write(bytes([byte]))
            await asyncio.sleep(0)

    async def test(client: HttpClient, origin: Origin, _: Upstream) -> None:
        answer = await fetch(client, origin, b"body", stream=stream)
        assert answer.failure is None
        assert answer.status == 200
        assert (b"".join(answer.chunks), answer.body) == (b"ok" * stream, b"ok" * (not stream))
        assert answer.ends == 1

    run(with_upstream(answering(WHOLE[name]), test))
    run(with_upstream(byte_by_byte, test))


@pytest.mark.parametrize("name", BROKEN)
def test_an_answer_that_cannot_be_trusted_is_a_failure_and_ends_the_connection(name: str) -> None:
    async def test(client: HttpClient, origin: Origin, _: Upstream) -> None:
        answer = await fetch(client, origin)
        assert answer.failure is not None
        assert answer.failure.kind is FailureKind.PROTOCOL
        assert answer.failure.sent and answer.failure.answered
        assert client.idle_count(origin) == 0
        assert answer.ends == 1

    run(with_upstream(answering(BROKEN[name]), test))


def test_answers_without_content_end_at_their_head_and_keep_the_connection() -> None:
    bare = b"HTTP/1.1 %d Fine\r\nContent-Length: 5\r\n\r\n"

    async def script(peer: Peer) -> None:
        for status in (200, 304, 204):
            await peer.request()
            await peer.write(bare % status if status != 204 else b"HTTP/1.1 204 No\r\n\r\n")
        await forever(peer)

    async def test(client: HttpClient, origin: Origin, upstream: Upstream) -> None:
        for method in (b"HEAD", b"GET", b"GET", b"GET"):
            answer = Answer()
            client.request(origin, head(method), b"", answer)
            await answer.end()
            assert answer.failure is None
        assert answer.body == b"ok"
        assert upstream.connections == 1

    run(with_upstream(script, test))


def test_each_deadline_has_its_own_failure() -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.reader.read()

    async def stalls(peer: Peer) -> None:
        await peer.request()
        await peer.write(CHUNKED_OK[:-5])
        await peer.reader.read()

    async def dribbles(peer: Peer) -> None:
        await peer.request()
        await peer.write(CHUNKED_OK[:-5])
        while True:
            await peer.write(b"1\r\nx\r\n")
            await asyncio.sleep(0.02)

    def expecting(
        kind: FailureKind, **seconds: Any
    ) -> Callable[[HttpClient, Origin, Upstream], Coroutine[Any, Any, None]]:
        async def test(client: HttpClient, origin: Origin, _: Upstream) -> None:
            for stream in (False, True):
                answer = await fetch(client, origin, stream=stream, **seconds)
                assert answer.failure is not None
                assert answer.failure.kind is kind
            await until(lambda: client.open_count == 0)

        return test

    first = expecting(FailureKind.TIMEOUT_FIRST_BYTE, first_byte_seconds=0.1)
    run(with_upstream(silent, first))
    run(with_upstream(stalls, expecting(FailureKind.TIMEOUT_IDLE, idle_seconds=0.1)))
    run(with_upstream(dribbles, expecting(FailureKind.TIMEOUT_TOTAL, total_seconds=0.3)))
    run(with_upstream(silent, expecting(FailureKind.TIMEOUT_TOTAL, total_seconds=0.1)))


def test_a_head_alone_does_not_count_as_a_first_byte() -> None:
    async def head_only(peer: Peer) -> None:
        await peer.request()
        await peer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        await peer.reader.read()

    async def test(client: HttpClient, origin: Origin, _: Upstream) -> None:
        for stream in (False, True):
            answer = await fetch(client, origin, stream=stream, first_byte_seconds=0.1)
            assert answer.failure is not None
            assert answer.failure.kind is FailureKind.TIMEOUT_FIRST_BYTE

    run(with_upstream(head_only, test))


@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("whole", [OK, CHUNKED_OK])
def test_an_answer_cut_anywhere_is_never_complete(whole: bytes, reset: bool) -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.write(whole[: peer.number - 1])
        if reset:
            await asyncio.sleep(0.001)
            peer.reset()

    async def test(client: HttpClient, origin: Origin, _: Upstream) -> None:
        for cut in range(len(whole)):
            answer = await fetch(client, origin, stream=True)
            assert answer.body is None and answer.failure is not None, cut
            assert answer.failure.kind in (FailureKind.RESET, FailureKind.TRUNCATED), cut

    run(with_upstream(script, test))


def test_answers_to_be_collected_have_a_size_and_streamed_ones_do_not() -> None:
    limits = Limits(sweep_seconds=0.02, answer_bytes=1000)
    announced = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\n\r\n" + b"x" * 5000
    chunk = b"3e8\r\n" + b"x" * 1000 + b"\r\n"
    chunked = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + chunk * 5 + b"0\r\n\r\n"

    async def unread(peer: Peer) -> None:
        await peer.request()
        await peer.write(announced[:100])
        await peer.reader.read()

    async def too_large(client: HttpClient, origin: Origin, _: Upstream) -> None:
        answer = await fetch(client, origin)
        assert answer.failure is not None
        assert answer.failure.kind is FailureKind.TOO_LARGE

    async def streamed(client: HttpClient, origin: Origin, _: Upstream) -> None:
        answer = await fetch(client, origin, stream=True)
        assert sum(map(len, answer.chunks)) == 5000

    run(with_upstream(unread, too_large, limits))
    run(with_upstream(answering(chunked), too_large, limits))
    run(with_upstream(answering(chunked), streamed, limits))
    run(with_upstream(answering(announced), streamed, limits))


def test_collected_answers_share_a_budget_and_wait_for_room() -> None:
    limits = Limits(sweep_seconds=0.02, answers_in_flight_bytes=1_000_000, body_free_bytes=10_000)
    size = 700_000
    answer_ = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size + b"x" * size

    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.write(answer_)
        await peer.reader.read()

    async def test(client: HttpClient, origin: Origin, _: Upstream) -> None:
        answers = await asyncio.gather(*(fetch(client, origin) for _ in range(6)))
        assert [len(answer.body or b"") for answer in answers] == [size] * 6
        assert client.answers.used_bytes == 0

    run(with_upstream(script, test, limits))


def test_a_paused_stream_stops_reading_and_its_idle_limit_rests() -> None:
    flood = Flood()

    async def test(client: HttpClient, origin: Origin, _: Upstream) -> None:
        answer = Answer(stream=True)
        request = client.request(origin, head(), b"", answer, idle_seconds=0.5)
        await until(lambda: bool(answer.chunks))
        request.pause()
        await asyncio.sleep(0.8)
        had = sum(map(len, answer.chunks))
        assert flood.sent_bytes < Flood.BYTES, "the upstream could send without a bound"
        assert answer.failure is None
        await asyncio.sleep(0.05)
        assert sum(map(len, answer.chunks)) == had
        request.resume()
        await answer.end()
        assert sum(map(len, answer.chunks)) == Flood.BYTES

    run(with_upstream(flood, test))


def test_a_cancelled_request_is_silent_and_its_connection_closed() -> None:
    async def script(peer: Peer) -> None:
        await peer.request()
        await peer.write(CHUNKED_OK[:-5])
        assert await peer.reader.read() == b""

    async def test(client: HttpClient, origin: Origin, upstream: Upstream) -> None:
        early, late = Answer(stream=True), Answer(stream=True)
        client.request(origin, head(), b"", early).cancel()
        request = client.request(origin, head(), b"", late)
        await until(lambda: bool(late.chunks))
        request.cancel()
        request.cancel()
        request.pause()
        request.resume()
        await until(lambda: client.open_count == 0)
        await asyncio.sleep(0.05)
        assert early.ends == late.ends == 0

    run(with_upstream(script, test))


def test_an_answer_before_the_request_was_taken_closes_the_connection() -> None:
    told = asyncio.Event()

    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.write(OK.replace(b"200", b"413"))
        await told.wait()

    async def test(client: HttpClient, origin: Origin, upstream: Upstream) -> None:
        answer = await fetch(client, origin, b"x" * 30_000_000)
        told.set()
        assert answer.status == 413 and answer.body == b"ok"
        assert client.idle_count(origin) == 0

    run(with_upstream(script, test))


def test_large_requests_arrive_whole() -> None:
    async def scenario() -> None:
        app = App(lambda call: call.exchange.answer(200, b"", call.body or b""))
        async with serving(app) as (_, port):
            client = HttpClient()
            for size in (0, 1, 65536, 65537, 5_000_000):
                body = bytes(size % 256 for _ in range(1)) * size
                answer = await fetch(client, Origin("127.0.0.1", port), body)
                assert answer.body == body
            await client.close()

    run(scenario())


def test_requests_in_flight_fail_when_the_client_closes() -> None:
    async def silent(peer: Peer) -> None:
        await peer.reader.read()

    async def scenario() -> None:
        async with Upstream(silent) as upstream:
            client = HttpClient(QUICK)
            answers = [Answer(), Answer()]
            origin = Origin("127.0.0.1", upstream.port)
            client.request(origin, head(), b"", answers[0])
            await until(lambda: client.open_count == 1)
            client.request(origin, head(), b"", answers[1])
            await client.close()
            assert [answer.ends for answer in answers] == [1, 1]

    run(scenario())


def test_a_connection_that_is_gone_before_it_is_used_is_a_failure_and_no_silence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # A peer that hangs up right after the handshake: both are told in one turn of the loop,
    # before the request that waited for the connection gets its own.
    async def attach(loop: Any, factory: Any, sock: Any, **_: Any) -> None:
        connection = factory()
        transport, _ = await loop.create_connection(lambda: connection, sock=sock)
        connection.eof_received()
        connection.connection_lost(ConnectionResetError())
        connection.connection_lost = lambda _: None
        transport.abort()

    async def silent(peer: Peer) -> None:
        await peer.reader.read()

    class Connection(UpstreamConnection):
        """One that takes another method, unlike those with slots."""

        connection_lost: Any = UpstreamConnection.connection_lost

    monkeypatch.setattr(client_module, "attach", attach)
    monkeypatch.setattr(client_module, "UpstreamConnection", Connection)

    async def scenario() -> None:
        async with Upstream(silent) as upstream:
            client = HttpClient(QUICK)
            answer = Answer()
            client.request(Origin("127.0.0.1", upstream.port), head(), b"", answer)
            await until(lambda: answer.ends == 1)
            assert answer.failure is not None and answer.failure.kind is FailureKind.CONNECT
            assert not answer.failure.sent
            await client.close()

    run(scenario())
