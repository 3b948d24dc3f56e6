"""The server: exchanges, what clients may do to them, and every limit, with small limits."""

import asyncio
import ssl
import tempfile
from pathlib import Path

import trustme

from aipool.wire.limits import Limits
from aipool.wire.server import HttpServer
from tests.wire.rig import (
    HOST,
    App,
    Call,
    ask,
    connected,
    echo,
    refusal,
    run,
    serving,
    statuses,
    until,
)

GET = b"GET /a HTTP/1.1\r\n" + HOST + b"\r\n"
POST = b"POST /a HTTP/1.1\r\n" + HOST


def post(body: bytes) -> bytes:
    return POST + b"Content-Length: %d\r\n\r\n" % len(body) + body


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


def test_pipelined_requests_are_answered_in_order_however_many() -> None:
    async def scenario() -> None:
        async with serving(App()) as (_, port):
            stream = b"".join(
                b"GET /%d HTTP/1.1\r\n" % number + HOST + b"\r\n" for number in range(500)
            )
            answers = await ask(port, stream)
            assert statuses(answers) == [200] * 500
            assert [answers.index(b"GET /%d []" % n) for n in range(500)] == sorted(
                answers.index(b"GET /%d []" % n) for n in range(500)
            )

    run(scenario())


def test_one_request_is_in_hand_at_a_time_and_the_rest_waits_unread() -> None:
    async def scenario() -> None:
        app = App(respond=lambda call: None)
        limits = Limits(pipelined_bytes=4096)
        async with serving(app, limits) as (_server, port), connected(port) as raw:
            await raw.send(GET)
            await until(lambda: len(app.calls) == 1)
            sender = asyncio.create_task(raw.send(post(b"x" * 8_000_000)))
            await asyncio.sleep(0.1)
            assert len(app.calls) == 1
            assert not sender.done(), "the server read on without a bound"
            app.respond = lambda call: call.exchange.answer(200, b"", b"%d" % len(call.body or b""))
            echo(app.calls[0])
            await raw.receive_until(b"8000000")
            await sender

    run(scenario())


def test_a_client_that_shuts_its_side_still_gets_its_answer() -> None:
    async def scenario() -> None:
        app = App(respond=lambda call: None)
        async with serving(app) as (_, port), connected(port) as raw:
            await raw.send(GET)
            raw.shut_write()
            await until(lambda: len(app.calls) == 1)
            await asyncio.sleep(0.05)
            assert app.calls[0].gone == 0
            echo(app.calls[0])
            answer = await raw.receive_all()
            assert statuses(answer) == [200]
            assert b"Connection: close" in answer

    run(scenario())


def test_a_client_that_resets_is_gone_once_and_the_application_may_go_on_talking() -> None:
    def respond(call: Call) -> None:
        call.exchange.start(200, b"")

    async def scenario() -> None:
        app = App(respond)
        async with serving(app) as (server, port):
            async with connected(port) as raw:
                await raw.send(GET)
                await raw.receive_until(b"\r\n\r\n")
                raw.reset()
            call = app.calls[0]
            await until(lambda: call.gone == 1)
            call.exchange.send(b"into the void")
            call.exchange.end()
            call.exchange.abort()
            call.exchange.answer(200, b"", b"")
            assert call.gone == 1
            assert call.exchange.finished
            await until(lambda: not server.connections)

    run(scenario())


def test_a_client_that_leaves_after_the_answer_is_not_reported() -> None:
    async def scenario() -> None:
        app = App()
        async with serving(app) as (server, port):
            async with connected(port) as raw:
                await raw.send(GET)
                await raw.receive_until(b"[]")
                raw.reset()
            await until(lambda: not server.connections)
            assert app.calls[0].gone == 0

    run(scenario())


def test_an_aborted_stream_never_looks_complete() -> None:
    def respond(call: Call) -> None:
        call.exchange.start(200, b"")
        call.exchange.send(b"half")
        asyncio.get_running_loop().call_later(0.02, call.exchange.abort)

    async def scenario() -> None:
        app = App(respond)
        async with serving(app) as (_, port):
            answer = await ask(port, GET, shut=False)
            assert b"half" in answer
            assert not answer.endswith(b"0\r\n\r\n")
            assert app.calls[0].gone == 0

    run(scenario())


def test_a_client_that_expects_is_told_to_go_on_only_when_its_body_is_wanted() -> None:
    head = POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n"

    async def scenario() -> None:
        app = App()
        async with serving(app) as (_, port):
            async with connected(port) as raw:
                await raw.send(head)
                assert await raw.receive() == b"HTTP/1.1 100 Continue\r\n\r\n"
                await raw.send(b"abc")
                assert b"POST /a [abc]" in await raw.receive()
            app.begin = lambda call: call.exchange.answer(401, b"", b"no")
            async with connected(port) as raw:
                await raw.send(head)
                answer = await raw.receive_all()
                assert statuses(answer) == [401]
                assert b"Connection: close" in answer

    run(scenario())


def test_a_body_may_be_held_back_until_the_application_knows() -> None:
    async def scenario() -> None:
        app = App(begin=lambda call: call.exchange.hold_body())
        async with serving(app) as (_, port):
            async with connected(port) as raw:
                await raw.send(POST + b"Content-Length: 3\r\nExpect: 100-continue\r\n\r\n")
                await until(lambda: len(app.calls) == 1)
                await asyncio.sleep(0.02)
                app.calls[0].exchange.take_body()
                assert await raw.receive() == b"HTTP/1.1 100 Continue\r\n\r\n"
                await raw.send(b"abc" + GET)
                await raw.receive_until(b"POST /a [abc]")
            async with connected(port) as raw:  # All of it was in hand already.
                await raw.send(POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
                await raw.receive_until(b"POST /a [abc]")
                await raw.send(GET)
                await raw.receive_until(b"GET /a []")

    run(scenario())


def test_a_small_unwanted_body_is_swallowed_and_a_large_one_costs_the_connection() -> None:
    async def scenario() -> None:
        app = App(begin=lambda call: call.exchange.answer(401, b"", b"no"))
        async with serving(app) as (_, port):
            async with connected(port) as raw:
                await raw.send(POST + b"Content-Length: 1000\r\n\r\n")
                assert statuses(await raw.receive()) == [401]
                await raw.send(b"x" * 1000 + GET)
                assert statuses(await raw.receive()) == [401]
            async with connected(port) as raw:
                await raw.send(POST + b"Content-Length: 5000000\r\n\r\n")
                await raw.send(b"x" * 3_000_000)
                answer = await raw.receive_until(b"no")
                assert statuses(answer) == [401]
                assert b"Connection: close" in answer
            assert [call.body for call in app.calls] == [None, None, None]

    run(scenario())


def test_chunked_bodies_are_bounded_by_what_has_come() -> None:
    async def scenario() -> None:
        app = App()
        async with serving(app, Limits(body_bytes=1000)) as (_, port):
            chunk = b"64\r\n" + b"x" * 100 + b"\r\n"
            chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n"
            assert statuses(await ask(port, chunked + chunk * 10 + b"0\r\n\r\n")) == [200]
            assert statuses(await ask(port, chunked + chunk * 11 + b"0\r\n\r\n")) == [413]
            assert app.calls[1].gone == 1

    run(scenario())


def test_writable_follows_the_clients_socket_and_memory_stays_bounded() -> None:
    piece = b"x" * 65536

    async def scenario() -> None:
        app = App(respond=lambda call: call.exchange.start(200, b""))
        async with (
            serving(app) as (_, port),
            connected(port, receive_buffer_bytes=4096) as raw,
        ):
            await raw.send(GET)
            await until(lambda: len(app.calls) == 1 and app.calls[0].exchange.answered)
            call = app.calls[0]
            sent = 0
            while not call.writable_calls and sent < 1000:
                call.exchange.send(piece)
                sent += 1
                await asyncio.sleep(0)
            assert call.writable_calls == [False]
            received = 0
            while call.writable_calls != [False, True]:
                received += len(await raw.receive())
            call.exchange.end()
            while not (tail := await raw.receive()).endswith(b"0\r\n\r\n"):
                received += len(tail)
            assert received + len(tail) > sent * len(piece)
            assert call.gone == 0

    run(scenario())


def test_a_reader_that_takes_nothing_is_cut_and_one_that_takes_little_is_not() -> None:
    limits = Limits(stalled_reader_seconds=0.3, sweep_seconds=0.02)

    def respond(call: Call) -> None:
        call.exchange.answer(200, b"", b"x" * 20_000_000)

    def stream(call: Call) -> None:
        call.exchange.start(200, b"")
        call.exchange.send(b"x" * 20_000_000)

    async def scenario() -> None:
        app = App(stream)
        async with serving(app, limits) as (server, port):
            async with connected(port, receive_buffer_bytes=4096) as raw:
                await raw.send(GET)
                await until(lambda: bool(app.calls) and app.calls[0].gone == 1)
            app.respond = respond
            async with connected(port, receive_buffer_bytes=4096) as raw:
                await raw.send(GET)
                for _ in range(40):
                    await raw.receive(262144)
                    await asyncio.sleep(0.02)
                assert server.connections
            async with connected(port, receive_buffer_bytes=4096) as raw:
                await raw.send(GET)  # The answer is finished for the application, not for us.
                await until(lambda: len(app.calls) == 3)
                await until(lambda: not server.connections)

    run(scenario())


def test_what_was_sent_ahead_waits_until_the_last_answer_was_taken() -> None:
    async def scenario() -> None:
        app = App(lambda call: call.exchange.answer(200, b"", b"x" * 10_000_000))
        async with (
            serving(app) as (_, port),
            connected(port, receive_buffer_bytes=4096) as raw,
        ):
            await raw.send(GET * 3)
            await asyncio.sleep(0.1)
            assert len(app.calls) == 1
            received = 0
            while received < 30_000_000:
                received += len(await raw.receive())
            assert len(app.calls) == 3

    run(scenario())


def test_heads_bodies_and_idle_connections_have_deadlines() -> None:
    limits = Limits(
        head_seconds=0.2,
        body_grace_seconds=0.2,
        keep_alive_seconds=0.3,
        sweep_seconds=0.02,
        linger_seconds=0.1,
    )

    async def scenario() -> None:
        async with serving(App(), limits) as (_, port):
            assert await ask(port, b"", shut=False) == b""
            assert statuses(await ask(port, b"GET / HTT", shut=False)) == [408]
            slow = POST + b"Content-Length: 100000\r\n\r\nabc"
            assert statuses(await ask(port, slow, shut=False)) == [408]
            chunked = POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n"
            assert statuses(await ask(port, chunked, shut=False)) == [408]
            assert statuses(await ask(port, GET, shut=False)) == [200]

    run(scenario())


def test_a_head_dribbled_within_its_bytes_but_not_its_time_is_refused() -> None:
    limits = Limits(head_seconds=0.2, sweep_seconds=0.02, keep_alive_seconds=5)

    async def scenario() -> None:
        async with serving(App(), limits) as (server, port), connected(port) as raw:
            await raw.send(GET)
            await raw.receive_until(b"[]")
            for byte in GET[:-1] * 3:
                try:
                    await raw.send(bytes([byte]))
                except OSError:
                    break
                await asyncio.sleep(0.01)
                if not server.connections:
                    break
            assert statuses(await raw.receive_all()) == [408]

    run(scenario())


def test_bodies_in_flight_share_a_budget_and_small_ones_never_wait() -> None:
    limits = Limits(
        bodies_in_flight_bytes=1_000_000,
        body_free_bytes=10_000,
        body_wait_seconds=0.3,
        sweep_seconds=0.02,
    )

    async def scenario() -> None:
        app = App(lambda call: None)
        async with serving(app, limits) as (server, port):
            async with connected(port) as first, connected(port) as second:
                await first.send(POST + b"Content-Length: 2000000\r\n\r\n" + b"x" * 1_100_000)
                await until(lambda: server.bodies.full)
                sender = asyncio.create_task(
                    second.send(POST + b"Content-Length: 3000000\r\n\r\n" + b"x" * 3_000_000)
                )
                app.respond = echo
                assert statuses(await ask(port, post(b"small"))) == [200]
                answer = await first.receive_all()
                assert statuses(answer) == [503]
                assert b"Retry-After: 1\r\n" in answer
                sender.cancel()
            await until(lambda: not server.connections)
            assert server.bodies.used_bytes == 0

    run(scenario())


def test_a_body_that_waited_for_room_goes_on_when_another_is_done() -> None:
    limits = Limits(bodies_in_flight_bytes=1_000_000, body_free_bytes=10_000)

    async def scenario() -> None:
        app = App(lambda call: None)
        async with serving(app, limits) as (server, port):
            async with connected(port) as first, connected(port) as second:
                await first.send(post(b"x" * 1_000_000))
                await until(lambda: bool(app.calls) and app.calls[0].body is not None)
                assert server.bodies.full
                sender = asyncio.create_task(second.send(post(b"y" * 900_000)))
                await asyncio.sleep(0.05)
                assert len(app.calls) == 2 and app.calls[1].body is None
                assert server.bodies.used_bytes < 1_600_000
                app.calls[0].exchange.release_body()
                await sender
                await until(lambda: app.calls[1].body == b"y" * 900_000)
                echo(app.calls[0])
                echo(app.calls[1])
            assert server.bodies.used_bytes == 0

    run(scenario())


def test_connections_of_one_address_are_bounded_but_not_those_of_loopback() -> None:
    async def scenario() -> None:
        limits = Limits(connections_per_address=2)
        async with serving(App(), limits) as (server, port):
            async with connected(port) as a, connected(port) as b, connected(port) as c:
                for raw in (a, b, c):
                    await raw.send(GET)
                    await raw.receive_until(b"[]")
            server._capped_as = lambda peer: "an address"  # Loopback as if it were another host.
            async with connected(port) as a, connected(port) as b, connected(port) as c:
                await a.send(GET)
                await a.receive_until(b"[]")
                await b.send(GET)
                await b.receive_until(b"[]")
                assert statuses(await c.receive_all()) == [503]

    run(scenario())


def test_addresses_are_counted_by_64_in_ipv6_and_trusted_ones_not_at_all() -> None:
    async def scenario() -> None:
        from aipool.wire.exchange import Peer

        server = HttpServer(App(), refusal, uncapped=lambda address: address == "10.0.0.1")

        def key(address: str) -> str:
            return server._capped_as(Peer(address, tls=False, unix=False))

        assert key("127.0.0.1") == key("::1") == key("::ffff:127.0.0.1") == key("10.0.0.1") == ""
        assert key("2001:db8::1") == key("2001:db8::2:3:4:5") != key("2001:db8:0:1::1")
        assert key("1.2.3.4") == key("::ffff:1.2.3.4") == "1.2.3.4"
        assert key("fe80::1%eth0") == key("fe80::2%eth0")
        await server.close()

    run(scenario())


def test_a_drain_lets_requests_end_and_says_goodbye_to_the_rest() -> None:
    limits = Limits(drain_idle_seconds=0.2, sweep_seconds=0.02)

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
            await asyncio.sleep(0.05)
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
            self.transport = transport

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
