"""The way to an upstream: addresses, their race, TLS, a proxy; and who is refused."""

import asyncio
import socket
import ssl
import tempfile
from pathlib import Path

import pytest
import trustme

from aipool.wire.client import FailureKind, HttpClient, Origin
from aipool.wire.limits import Limits
from aipool.wire.resolver import SockAddress, Unresolved
from tests.wire.rig import (
    QUICK,
    Answer,
    App,
    Peer,
    Upstream,
    fetch,
    head,
    run,
    serving,
)


class Authority:
    """A certificate authority, a server's context and a client that trusts it."""

    def __init__(self, *names: str) -> None:
        self.ca = trustme.CA()
        self.server = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        self.ca.issue_cert(*names).configure_cert(self.server)
        self.trusting = ssl.create_default_context()
        self.ca.configure_trust(self.trusting)


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
            hasty = Limits(sweep_seconds=0.02, connect_seconds=0.3)
            client = HttpClient(hasty, resolver=Two(["127.0.0.2"]))
            answer = await fetch(client, Origin("slow.test", port))
            assert answer.failure is not None
            assert answer.failure.kind is FailureKind.TIMEOUT_CONNECT
            await client.close()

            server = await asyncio.start_server(lambda r, w: w.close(), "127.0.0.3", port)
            racing = Limits(sweep_seconds=0.02, race_stagger_seconds=0.05)
            client = HttpClient(racing, resolver=Two(["127.0.0.2", "127.0.0.3"]))
            answer = await fetch(client, Origin("slow.test", port))
            assert answer.failure is not None
            # Connected: the second won, and hung up at once.
            assert answer.failure.kind in (FailureKind.RESET, FailureKind.CONNECT)
            assert "closed" in answer.failure.detail
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
