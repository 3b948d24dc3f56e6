"""Request bodies that do not come with their head: wanted or not, bounded, in a budget."""

import asyncio

from aipool.wire.limits import Limits
from tests.wire.rig import (
    GET,
    POST,
    App,
    ask,
    connected,
    echo,
    post,
    run,
    serving,
    statuses,
    until,
)


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
                await until(lambda: len(app.calls) == 2)
                await asyncio.sleep(0.05)
                assert app.calls[1].body is None
                assert server.bodies.used_bytes < 1_600_000
                app.calls[0].exchange.release_body()
                await sender
                await until(lambda: app.calls[1].body == b"y" * 900_000)
                echo(app.calls[0])
                echo(app.calls[1])
            assert server.bodies.used_bytes == 0

    run(scenario())
