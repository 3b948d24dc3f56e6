"""The server: answers, connections counted and drained, TLS, Unix sockets, upgrades."""

import asyncio
import ssl
import tempfile
from pathlib import Path
from typing import cast

import trustme

from aipool.wire.exchange import Peer as Sender
from aipool.wire.limits import Limits
from aipool.wire.server import HttpServer
from tests.wire.rig import (
    GET,
    HOST,
    App,
    Call,
    ask,
    connected,
    echo,
    post,
    refusal,
    run,
    serving,
    statuses,
    until,
)


def test_an_answer_has_a_length_a_date_and_keeps_the_connection() -> None:
    async def scenario() -> None:
        async with serving(App()) as (_, port), connected(port) as raw:
            for _ in range(3):
                await raw.send(GET)
                answer = await raw.receive_until(b"GET /a []")
                assert answer.startswith(b"HTTP/1.1 200 OK\r\nDate: ")
                assert b"\r\nContent-Length: 9\r\n" in answer
                assert b"Connection" not in answer

    run(scenario())


def test_a_date_the_application_brings_is_the_only_one() -> None:
    def respond(call: Call) -> None:
        call.exchange.answer(200, b"X: y\r\ndate: then\r\n", b"")

    async def scenario() -> None:
        async with serving(App(respond)) as (_, port):
            assert (await ask(port, GET)).lower().count(b"\r\ndate: ") == 1

    run(scenario())


def test_http_1_0_closes_unless_asked_to_keep_and_streams_until_close() -> None:
    def stream(call: Call) -> None:
        call.exchange.start(200, b"")
        call.exchange.send(b"one")
        call.exchange.end(b"two")

    async def scenario() -> None:
        app = App()
        async with serving(app) as (_, port):
            answer = await ask(port, b"GET /a HTTP/1.0\r\n\r\n", shut=False)
            assert b"\r\nConnection: close\r\n" in answer
            async with connected(port) as raw:
                for _ in range(2):
                    await raw.send(b"GET /a HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
                    assert b"\r\nConnection: keep-alive\r\n" in await raw.receive_until(b"[]")
            app.respond = stream
            answer = await ask(port, b"GET /a HTTP/1.0\r\n\r\n", shut=False)
            assert answer.endswith(b"\r\n\r\nonetwo")
            assert b"chunked" not in answer

    run(scenario())


def test_a_streamed_answer_is_chunked_and_ends_cleanly() -> None:
    def stream(call: Call) -> None:
        call.exchange.start(200, b"Content-Type: text/event-stream\r\n")
        call.exchange.send(b"a" * 16)
        call.exchange.send(b"")
        call.exchange.end()

    async def scenario() -> None:
        async with serving(App(stream)) as (_, port), connected(port) as raw:
            for _ in range(2):
                await raw.send(GET)
                answer = await raw.receive_until(b"0\r\n\r\n")
                assert answer.endswith(b"\r\n\r\n10\r\n" + b"a" * 16 + b"\r\n0\r\n\r\n")

    run(scenario())


def test_a_streamed_answer_of_known_length_is_not_chunked_and_must_keep_its_word() -> None:
    def respond(call: Call) -> None:
        call.exchange.start(200, b"", length=6)
        call.exchange.send(b"abc")
        call.exchange.end(b"" if call.exchange.path == b"/short" else b"def")

    async def scenario() -> None:
        app = App(respond)
        async with serving(app) as (_, port):
            answer = await ask(port, GET)
            assert answer.endswith(b"Content-Length: 6\r\n\r\nabcdef")
            short = await ask(port, b"GET /short HTTP/1.1\r\n" + HOST + b"\r\n" + GET)
            assert len(app.calls) == 2
            assert statuses(answer) == [200]
            assert not short.endswith(b"def")

    run(scenario())


def test_answers_to_head_and_without_content_carry_no_body() -> None:
    def respond(call: Call) -> None:
        match call.exchange.path:
            case b"/204":
                call.exchange.answer(204, b"", b"")
            case b"/304":
                call.exchange.answer(304, b"", b"")
            case b"/stream":
                call.exchange.start(200, b"")
                call.exchange.send(b"never sent")
                call.exchange.end(b"nor this")
            case b"/length":
                call.exchange.answer(200, b"", b"", length=77)
            case _:
                echo(call)

    async def scenario() -> None:
        async with serving(App(respond)) as (_, port):
            answer = await ask(port, b"HEAD /a HTTP/1.1\r\n" + HOST + b"\r\n")
            assert answer.endswith(b"Content-Length: 10\r\n\r\n")
            answer = await ask(port, b"HEAD /length HTTP/1.1\r\n" + HOST + b"\r\n")
            assert answer.endswith(b"Content-Length: 77\r\n\r\n")
            answer = await ask(port, b"HEAD /stream HTTP/1.1\r\n" + HOST + b"\r\n")
            assert answer.endswith(b"\r\n\r\n") and b"sent" not in answer
            for path in (b"/204", b"/304"):
                answer = await ask(port, b"GET %b HTTP/1.1\r\n" % path + HOST + b"\r\n" + GET)
                assert statuses(answer) == [int(path[1:]), 200]
                assert answer.lower().count(b"content-length") == 1

    run(scenario())


def test_connections_of_one_address_are_bounded_but_not_those_of_loopback() -> None:
    async def scenario() -> None:
        limits = Limits(connections_per_address=2)
        async with serving(App(), limits) as (server, port):
            async with connected(port) as a, connected(port) as b, connected(port) as c:
                for raw in (a, b, c):
                    await raw.send(GET)
                    await raw.receive_until(b"[]")
            # Loopback as if it were another host.
            setattr(server, "_capped_as", lambda peer: "an address")  # noqa: B010
            async with connected(port) as a, connected(port) as b, connected(port) as c:
                await a.send(GET)
                await a.receive_until(b"[]")
                await b.send(GET)
                await b.receive_until(b"[]")
                assert statuses(await c.receive_all()) == [503]

    run(scenario())


def test_addresses_are_counted_by_64_in_ipv6_and_trusted_ones_not_at_all() -> None:
    async def scenario() -> None:
        server = HttpServer(App(), refusal, uncapped=lambda address: address == "10.0.0.1")

        def key(address: str) -> str:
            return server._capped_as(Sender(address, tls=False, unix=False))

        assert key("127.0.0.1") == key("::1") == key("::ffff:127.0.0.1") == key("10.0.0.1") == ""
        assert key("2001:db8::1") == key("2001:db8::2:3:4:5") != key("2001:db8:0:1::1")
        assert key("1.2.3.4") == key("::ffff:1.2.3.4") == "1.2.3.4"
        assert key("fe80::1%eth0") == key("fe80::2%eth0")
        await server.close()

    run(scenario())


def test_a_drain_lets_requests_end_and_says_goodbye_to_the_rest() -> None:
    limits = Limits(drain_idle_seconds=0.5, sweep_seconds=0.02)

    async def scenario() -> None:
        app = App(lambda call: None)
        async with (
            serving(app, limits) as (server, port),
            connected(port) as busy,
            connected(port) as idle,
            connected(port) as late,
        ):
            await busy.send(GET)
            await until(lambda: len(app.calls) == 1)
            app.respond = echo
            for raw in (idle, late):
                await raw.send(GET)
                await raw.receive_until(b"[]")
            draining = asyncio.create_task(server.drain())
            await until(lambda: server.draining)
            await late.send(GET)
            assert b"Connection: close" in await late.receive_all()
            assert await idle.receive_all() == b""
            assert not draining.done()
            echo(app.calls[0])
            assert b"Connection: close" in await busy.receive_all()
            assert await draining
            try:
                async with connected(port):
                    raise AssertionError("still accepting")
            except ConnectionRefusedError:
                pass

    run(scenario())


def test_a_drain_that_takes_too_long_says_so_and_close_cuts_what_is_left() -> None:
    async def scenario() -> None:
        app = App(lambda call: None)
        async with serving(app) as (server, port), connected(port) as raw:
            await raw.send(GET)
            await until(lambda: len(app.calls) == 1)
            assert not await server.drain(0.05)
            await server.close()
            assert app.calls[0].gone == 1

    run(scenario())


def test_unix_sockets_and_tls_carry_the_same_exchanges() -> None:
    authority = trustme.CA()
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    authority.issue_cert("localhost").configure_cert(context)
    trusting = ssl.create_default_context()
    authority.configure_trust(trusting)

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for size in (3, 300_000):
            writer.write(post(b"z" * size))
            answer = await reader.readuntil(b"]")
            assert answer.count(b"z") == size
        writer.close()

    async def scenario() -> None:
        app = App()
        async with serving(app, tls=context) as (server, port):
            await talk(
                *await asyncio.open_connection(
                    "127.0.0.1", port, ssl=trusting, server_hostname="localhost", limit=1 << 20
                )
            )
            peer = app.calls[0].exchange.connection
            assert peer.tls and not peer.unix and peer.address == "127.0.0.1"
            with tempfile.TemporaryDirectory() as folder:
                path = str(Path(folder) / "s")
                await server.listen_unix(path)
                await talk(*await asyncio.open_unix_connection(path, limit=1 << 20))
                peer = app.calls[2].exchange.connection
                assert peer.unix and not peer.tls and peer.address == ""

    run(scenario())


def test_an_upgrade_hands_over_the_connection_and_what_was_sent_ahead() -> None:
    class Shout(asyncio.Protocol):
        def connection_made(self, transport: asyncio.BaseTransport) -> None:
            self.transport = cast(asyncio.Transport, transport)

        def data_received(self, data: bytes) -> None:
            self.transport.write(data.upper())

    def respond(call: Call) -> None:
        call.exchange.upgrade(b"Connection: Upgrade\r\nUpgrade: shout\r\n", Shout)

    async def scenario() -> None:
        async with serving(App(respond)) as (server, port), connected(port) as raw:
            await raw.send(
                b"GET / HTTP/1.1\r\n" + HOST + b"Connection: Upgrade\r\nUpgrade: shout\r\n\r\nahead"
            )
            answer = await raw.receive_until(b"AHEAD")
            assert answer.startswith(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n")
            await raw.send(b"more")
            assert await raw.receive() == b"MORE"
            raw.close()
            await until(lambda: not server.connections)

    run(scenario())


def test_an_application_that_raises_loses_its_connection_and_no_other() -> None:
    def respond(call: Call) -> None:
        if call.exchange.path == b"/bad":
            raise RuntimeError("the application's mistake")
        echo(call)

    async def scenario() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: None)
        app = App(respond)
        async with serving(app) as (_server, port):
            assert await ask(port, b"GET /bad HTTP/1.1\r\n" + HOST + b"\r\n") == b""
            assert app.calls[0].gone == 1
            assert statuses(await ask(port, GET)) == [200]

    run(scenario())
