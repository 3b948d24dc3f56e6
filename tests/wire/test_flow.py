"""A client that takes less than it is sent: who is told, who is cut, and what memory it costs."""

import asyncio

import pytest

from aipool.wire.client import HttpClient, Origin
from aipool.wire.limits import Limits
from tests.wire.rig import (
    GET,
    QUICK,
    Answer,
    App,
    Call,
    Flood,
    Upstream,
    connected,
    head,
    quiet,
    run,
    serving,
    until,
)


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


@pytest.mark.slow
def test_a_reader_that_takes_nothing_is_cut_and_one_that_takes_little_is_not() -> None:
    limits = Limits(stalled_reader_seconds=0.6, sweep_seconds=0.02)

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
                for _ in range(60):  # Twice as long as a reader may take nothing.
                    await raw.receive(262144)
                    await asyncio.sleep(0.02)
                assert server.connections
            async with connected(port, receive_buffer_bytes=4096) as raw:
                await raw.send(GET)  # The answer is finished for the application, not for us.
                await until(lambda: len(app.calls) == 3)
                await until(lambda: not server.connections)

    run(scenario())


def test_back_pressure_reaches_from_a_slow_client_to_the_upstream() -> None:
    """Server and client together, as a relay uses them."""
    flood = Flood()

    async def scenario() -> None:
        client = HttpClient(QUICK)
        async with Upstream(flood) as upstream:
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
                assert 0 < await quiet(lambda: flood.sent_bytes) < Flood.BYTES
                received = 0
                while data := await reader.read(262144):
                    received += len(data)
                    tail = data
                assert tail.endswith(b"0\r\n\r\n")
                assert received > Flood.BYTES
                writer.close()
        await client.close()

    run(scenario())
