"""One request in hand at a time: what is sent ahead, who leaves when, and every deadline."""

import asyncio

import pytest

from aipool.wire.limits import Limits
from tests.wire.rig import (
    GET,
    HOST,
    POST,
    App,
    Call,
    ask,
    connected,
    echo,
    post,
    run,
    serving,
    statuses,
    until,
)

pytestmark = pytest.mark.slow


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
