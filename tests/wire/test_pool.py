"""Connections to upstreams are kept, bounded, replaced when stale, and never believed."""

import asyncio

from aipool.wire.client import FailureKind, HttpClient, Origin
from aipool.wire.limits import Limits
from tests.wire.rig import (
    OK,
    Answer,
    Peer,
    Upstream,
    fetch,
    forever,
    head,
    run,
    until,
    with_upstream,
)


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
    async def test(client: HttpClient, origin: Origin, upstream: Upstream) -> None:
        class Again(Answer):
            left = 50

            def complete(self, body: bytes) -> None:
                if self.left:
                    self.left -= 1
                    client.request(origin, head(), b"", self)
                else:
                    super().complete(body)

        answer = Again()
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
