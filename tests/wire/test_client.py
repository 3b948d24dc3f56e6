"""The client: answers of every shape, every way to fail, the pool and the replay."""

import asyncio
import socket
import ssl
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any

import pytest
import trustme

from aipool.wire.client import FailureKind, HttpClient, Origin
from aipool.wire.limits import Limits
from aipool.wire.resolver import SockAddress, SystemResolver, Unresolved
from tests.wire.rig import Answer, App, Call, Peer, Upstream, fetch, head, run, serving, until

QUICK = Limits(sweep_seconds=0.02)
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


async def with_upstream(
    script: Callable[[Peer], Coroutine[Any, Any, None]],
    test: Callable[[HttpClient, Origin, Upstream], Coroutine[Any, Any, None]],
    limits: Limits = QUICK,
) -> None:
    client = HttpClient(limits)
    async with Upstream(script) as upstream:
        await test(client, Origin("127.0.0.1", upstream.port), upstream)
        await client.close()
        assert client.open_count == 0


def answering(*answers: bytes) -> Callable[[Peer], Coroutine[Any, Any, None]]:
    """A script that gives these answers, one a request, then closes."""

    async def script(peer: Peer) -> None:
        for answer in answers:
            await peer.request()
            await peer.write(answer)

    return script


async def forever(peer: Peer) -> None:
    while True:
        await peer.request()
        await peer.write(OK)


CHUNKED_OK = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"

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


def test_connections_are_kept_and_the_newest_is_taken_first() -> None:
    async def test(client: HttpClient, origin: Origin, upstream: Upstream) -> None:
        await asyncio.gather(*(fetch(client, origin) for _ in range(5)))
        assert upstream.connections == 5
        assert client.idle_count(origin) == 5
        for _ in range(20):
            assert (await fetch(client, origin)).body == b"ok"
        assert upstream.connections == 5

    run(with_upstream(forever, test))


def test_idle_connections_are_bounded_in_number_and_age() -> None:
    limits = Limits(sweep_seconds=0.02, idle_per_origin=2, idle_connection_seconds=0.2)

    async def test(client: HttpClient, origin: Origin, upstream: Upstream) -> None:
        await asyncio.gather(*(fetch(client, origin) for _ in range(5)))
        assert client.idle_count(origin) == 2
        await until(lambda: client.open_count == 0)

    run(with_upstream(forever, test, limits))


def test_a_listener_may_ask_again_from_within_complete() -> None:
    class Again(Answer):
        left = 50

        def complete(self, body: bytes) -> None:
            if self.left:
                self.left -= 1
                self.client.request(self.origin, head(), b"", self)
            else:
                super().complete(body)

    async def test(client: HttpClient, origin: Origin, upstream: Upstream) -> None:
        answer = Again()
        answer.client, answer.origin = client, origin  # type: ignore[attr-defined]
        client.request(origin, head(), b"", answer)
        await answer.end()
        assert upstream.connections == 1

    run(with_upstream(forever, test))


def test_a_stale_connection_is_replaced_once_and_a_fresh_one_never() -> None:
    async def one_answer_then_reset(peer: Peer) -> None:
        await peer.request()
        await peer.write(OK)
        await peer.request()
        peer.reset()

    async def test(client: HttpClient, origin: Origin, upstream: Upstream) -> None:
        await fetch(client, origin)
        assert (await fetch(client, origin)).body == b"ok"
        assert upstream.connections == 2

    async def never(peer: Peer) -> None:
        await peer.request()
        peer.reset()

    async def fresh(client: HttpClient, origin: Origin, upstream: Upstream) -> None:
        answer = await fetch(client, origin)
        assert answer.failure is not None and answer.failure.kind is FailureKind.RESET
        assert answer.failure.sent and not answer.failure.answered
        assert upstream.connections == 1

    async def first_only(peer: Peer) -> None:
        await peer.request()
        if peer.number == 1:
            await peer.write(OK)
            await peer.request()
        peer.reset()

    async def twice(client: HttpClient, origin: Origin, upstream: Upstream) -> None:
        await fetch(client, origin)
        answer = await fetch(client, origin)
        assert answer.failure is not None and answer.failure.kind is FailureKind.RESET
        assert upstream.connections == 2

    run(with_upstream(one_answer_then_reset, test))
    run(with_upstream(never, fresh))
    run(with_upstream(first_only, twice))


def test_nothing_is_replayed_after_a_byte_of_an_answer_or_after_a_while() -> None:
    async def a_byte(peer: Peer) -> None:
        await peer.request()
        await peer.write(OK)
        await peer.request()
        await peer.write(b"H")
        await asyncio.sleep(0.05)
        peer.reset()

    async def late(peer: Peer) -> None:
        await peer.request()
        await peer.write(OK)
        await peer.request()
        await asyncio.sleep(0.3)
        peer.reset()

    async def test(client: HttpClient, origin: Origin, upstream: Upstream) -> None:
        await fetch(client, origin)
        answer = await fetch(client, origin)
        assert answer.failure is not None
        assert answer.failure.kind in (FailureKind.RESET, FailureKind.TRUNCATED)
        assert upstream.connections == 1

    run(with_upstream(a_byte, test))
    run(with_upstream(late, test, Limits(sweep_seconds=0.02, stale_seconds=0.1)))


def test_unsolicited_bytes_cost_the_connection_and_are_nobodys_answer() -> None:
    async def chatty(peer: Peer) -> None:
        await peer.request()
        await peer.write(OK if peer.number > 1 else OK + OK)
        await peer.reader.read()

    async def belated(peer: Peer) -> None:
        await peer.request()
        await peer.write(OK)
        await asyncio.sleep(0.02)
        await peer.write(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
        await peer.reader.read()

    async def test(client: HttpClient, origin: Origin, upstream: Upstream) -> None:
        assert (await fetch(client, origin)).body == b"ok"
        await until(lambda: client.open_count == 0)
        assert client.idle_count(origin) == 0

    run(with_upstream(chatty, test))
    run(with_upstream(belated, test))


def test_each_deadline_has_its_own_failure() -> None:
    async def silent(peer: Peer) -> None:
        await peer.request()
        await peer.reader.read()

    async def head_only(peer: Peer) -> None:
        await peer.request()
        await peer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
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
        kind: FailureKind, **seconds: float
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
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(400):
            await peer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            sent += 65536
        await peer.write(b"0\r\n\r\n")
        await peer.reader.read()

    async def test(client: HttpClient, origin: Origin, _: Upstream) -> None:
        answer = Answer(stream=True)
        request = client.request(origin, head(), b"", answer, idle_seconds=0.2)
        await until(lambda: bool(answer.chunks))
        request.pause()
        await asyncio.sleep(0.5)
        had = sum(map(len, answer.chunks))
        assert sent < 400 * 65536, "the upstream could send without a bound"
        assert answer.failure is None
        await asyncio.sleep(0.05)
        assert sum(map(len, answer.chunks)) == had
        request.resume()
        await answer.end()
        assert sum(map(len, answer.chunks)) == 400 * 65536

    run(with_upstream(script, test))


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
    async def script(peer: Peer) -> None:
        await peer.reader.readuntil(b"\r\n\r\n")
        await peer.write(OK.replace(b"200", b"413"))
        await asyncio.sleep(0.3)

    async def test(client: HttpClient, origin: Origin, upstream: Upstream) -> None:
        answer = await fetch(client, origin, b"x" * 30_000_000)
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


def test_refused_unresolved_and_blocked_are_told_apart() -> None:
    class NoNames:
        async def resolve(self, host: str, port: int) -> list[SockAddress]:
            if host == "inside.test":
                return [("192.0.2.1", port), ("127.0.0.1", port)]
            raise Unresolved(host)

    async def scenario() -> None:
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            port = unused.getsockname()[1]
            client = HttpClient(QUICK, resolver=NoNames(), vet=lambda ip: not ip.startswith("127"))
            open_client = HttpClient(QUICK, resolver=NoNames())
            for origin, kind in (
                (Origin("127.0.0.1", port), FailureKind.BLOCKED_ADDRESS),
                (Origin("inside.test", port), FailureKind.BLOCKED_ADDRESS),
                (Origin("nowhere.test", port), FailureKind.CONNECT),
                (Origin("", 0, unix_path="/nowhere/socket"), FailureKind.CONNECT),
            ):
                answer = await fetch(client, origin)
                assert answer.failure is not None and answer.failure.kind is kind, origin
                assert not answer.failure.sent
            answer = await fetch(open_client, Origin("127.0.0.1", port))
            assert answer.failure is not None and answer.failure.kind is FailureKind.CONNECT
            await client.close()
            await open_client.close()

    run(scenario())


def test_a_connect_that_hangs_ends_in_time_and_a_slow_address_loses_the_race() -> None:
    class Two:
        def __init__(self, addresses: list[str]) -> None:
            self.addresses = addresses

        async def resolve(self, host: str, port: int) -> list[SockAddress]:
            return [(address, port) for address in self.addresses]

    async def scenario() -> None:
        # A listener whose queue is full does not answer: connecting to it hangs.
        with socket.socket() as full, socket.socket() as first, socket.socket() as second:
            full.bind(("127.0.0.2", 0))
            full.listen(0)
            port = full.getsockname()[1]
            for filler in (first, second):
                filler.setblocking(False)
                filler.connect_ex(("127.0.0.2", port))
            limits = Limits(sweep_seconds=0.02, connect_seconds=0.3, race_stagger_seconds=0.05)
            client = HttpClient(limits, resolver=Two(["127.0.0.2"]))
            answer = await fetch(client, Origin("slow.test", port))
            assert answer.failure is not None
            assert answer.failure.kind is FailureKind.TIMEOUT_CONNECT
            await client.close()

            server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.3", port)
            client = HttpClient(limits, resolver=Two(["127.0.0.2", "127.0.0.3"]))
            answer = await fetch(client, Origin("slow.test", port))
            assert answer.failure is not None
            assert answer.failure.kind is FailureKind.RESET  # Connected: the second won.
            server.close()
            await client.close()

    run(scenario())


def test_unix_sockets_are_origins_too() -> None:
    async def scenario() -> None:
        app = App()
        async with serving(app) as (server, _):
            with tempfile.TemporaryDirectory() as folder:
                path = str(Path(folder) / "s")
                await server.listen_unix(path)
                client = HttpClient(QUICK, vet=lambda ip: False)
                origin = Origin("control", 0, unix_path=path)
                for _ in range(3):
                    answer = Answer()
                    client.request(origin, head(length=2).replace(b"up", b"c"), b"hi", answer)
                    assert (await answer.end()).body == b"POST /v1/x [hi]"
                assert client.open_count == 1
                await client.close()

    run(scenario())


class Authority:
    """A certificate authority, a server's context and a client that trusts it."""

    def __init__(self, *names: str) -> None:
        self.ca = trustme.CA()
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(*names).configure_cert(self.server)
        self.trusting = ssl.create_default_context()
        self.ca.configure_trust(self.trusting)


def test_tls_is_verified_by_authority_and_by_name() -> None:
    authority = Authority("vendor.test")
    stranger = Authority("vendor.test")

    async def scenario() -> None:
        app = App(lambda call: call.exchange.answer(200, b"", b"z" * 500_000))
        async with serving(app, tls=authority.server) as (_, port):
            trusting = HttpClient(QUICK, tls=authority.trusting)
            good = Origin("127.0.0.1", port, tls=True, server_hostname="vendor.test")
            for _ in range(3):
                answer = await fetch(trusting, good, b"x" * 200_000)
                assert answer.body == b"z" * 500_000
            assert trusting.open_count == 1
            wrong_name = Origin("127.0.0.1", port, tls=True, server_hostname="other.test")
            unnamed = Origin("127.0.0.1", port, tls=True)
            distrusting = HttpClient(QUICK, tls=stranger.trusting)
            for client, origin in (
                (trusting, wrong_name),
                (trusting, unnamed),
                (distrusting, good),
                (HttpClient(QUICK), good),
            ):
                answer = await fetch(client, origin)
                assert answer.failure is not None
                assert answer.failure.kind is FailureKind.TLS
                assert not answer.failure.sent
                await client.close() if client is not trusting else None
            await trusting.close()

    run(scenario())


def test_a_client_that_would_not_verify_cannot_be_made() -> None:
    async def scenario() -> None:
        context = ssl.create_default_context()
        context.check_hostname = False
        with pytest.raises(ValueError, match="verify"):
            HttpClient(tls=context)

    run(scenario())


def test_a_peer_that_speaks_no_tls_is_a_tls_failure() -> None:
    async def script(peer: Peer) -> None:
        await peer.reader.read(100)
        await peer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")

    async def scenario() -> None:
        async with Upstream(script) as upstream:
            client = HttpClient(QUICK)
            answer = await fetch(client, Origin("127.0.0.1", upstream.port, tls=True))
            assert answer.failure is not None
            assert answer.failure.kind is FailureKind.TLS
            await client.close()

    run(scenario())


async def tunnel(peer: Peer) -> None:
    """A proxy that knows CONNECT and one password."""
    request = await peer.request()
    line, _, rest = request.partition(b"\r\n")
    if b"Proxy-Authorization: Basic dTpw\r\n" not in rest:
        await peer.write(b"HTTP/1.1 407 Proxy Authentication Required\r\n\r\n")
        return
    host, _, port = line.split(b" ")[1].rpartition(b":")
    reader, writer = await asyncio.open_connection(host.decode(), int(port))
    await peer.write(b"HTTP/1.1 200 Connection established\r\nVia: test\r\n\r\n")

    async def pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter) -> None:
        while data := await source.read(65536):
            sink.write(data)
        sink.close()

    await asyncio.gather(pump(peer.reader, writer), pump(reader, peer.writer))


def test_a_proxy_tunnels_plain_and_tls_origins_and_may_refuse() -> None:
    authority = Authority("localhost")

    async def scenario() -> None:
        app = App()
        async with (
            Upstream(tunnel) as proxy,
            serving(app) as (_, plain_port),
            serving(app, tls=authority.server) as (_, tls_port),
        ):
            client = HttpClient(QUICK, tls=authority.trusting)
            address = f"http://u:p@127.0.0.1:{proxy.port}"
            plain = Origin("127.0.0.1", plain_port, proxy=address)
            secure = Origin("localhost", tls_port, tls=True, proxy=address)
            for origin in (plain, plain, secure, secure):
                assert (await fetch(client, origin, b"hi")).body == b"POST /v1/x [hi]"
            assert proxy.connections == 2
            refused = Origin("127.0.0.1", plain_port, proxy=f"http://127.0.0.1:{proxy.port}")
            answer = await fetch(client, refused)
            assert answer.failure is not None
            assert answer.failure.kind is FailureKind.CONNECT
            assert "407" in answer.failure.detail
            assert not answer.failure.sent
            await client.close()
            blocked = HttpClient(QUICK, vet=lambda ip: False)
            answer = await fetch(blocked, plain)
            assert answer.failure is not None
            assert answer.failure.kind is FailureKind.BLOCKED_ADDRESS
            await blocked.close()

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


def test_names_are_resolved_once_for_all_who_wait_and_remembered_when_the_server_fails(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked = 0
    broken = False

    def getaddrinfo(host: str, port: int, **_: object) -> list[Any]:
        nonlocal asked
        asked += 1
        if broken:
            raise socket.gaierror(-3, "try again")
        return [(2, 1, 6, "", ("192.0.2.7", port))] * 2

    async def scenario() -> None:
        nonlocal broken
        monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
        limits = Limits(resolve_fresh_seconds=0.0)
        resolver = SystemResolver(asyncio.get_running_loop(), limits)
        found = await asyncio.gather(*(resolver.resolve("a.test", 443) for _ in range(9)))
        assert found == [[("192.0.2.7", 443)]] * 9
        assert asked == 1
        broken = True
        assert await resolver.resolve("a.test", 443) == [("192.0.2.7", 443)]
        assert asked == 2
        with pytest.raises(Unresolved):
            await resolver.resolve("b.test", 443)
        resolver.close()

    run(scenario())


def test_back_pressure_reaches_from_a_slow_client_to_the_upstream() -> None:
    """Server and client together, as a relay uses them."""
    sent = 0

    async def script(peer: Peer) -> None:
        nonlocal sent
        await peer.request()
        await peer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(500):
            await peer.write(b"10000\r\n" + b"x" * 65536 + b"\r\n")
            sent += 65536
        await peer.write(b"0\r\n\r\n")
        await peer.reader.read()

    async def scenario() -> None:
        client = HttpClient(QUICK)
        async with Upstream(script) as upstream:
            origin = Origin("127.0.0.1", upstream.port)

            class Relay(Answer):
                def __init__(self, call: Call) -> None:
                    super().__init__(stream=True)
                    self.call = call
                    self.request = client.request(origin, head(), b"", self)
                    call.writable = self.writable  # type: ignore[method-assign]

                def writable(self, ok: bool) -> None:
                    self.request.resume() if ok else self.request.pause()

                def response(self, status: int, headers: dict[bytes, bytes]) -> bool:
                    self.call.exchange.start(status, b"")
                    return True

                def data(self, chunk: bytes) -> None:
                    self.call.exchange.send(chunk)

                def complete(self, body: bytes) -> None:
                    self.call.exchange.end()

            app = App(lambda call: setattr(call, "relay", Relay(call)))
            async with serving(app) as (_, port):
                reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=4096)
                writer.write(b"GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
                await asyncio.sleep(0.5)
                stuck = sent
                await asyncio.sleep(0.1)
                assert sent == stuck < 500 * 65536
                received = 0
                while data := await reader.read(262144):
                    received += len(data)
                    tail = data
                assert tail.endswith(b"0\r\n\r\n")
                assert received > 500 * 65536
                writer.close()
        await client.close()

    run(scenario())
