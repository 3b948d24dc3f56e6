"""What is held back does not hold the client up, and a flood of nothing holds nobody up."""

from __future__ import annotations

import asyncio

import pytest
import uvloop

from tests.chats import wish
from tests.gateway.rig import Rig, rig

SHORT = {"AIPOOL_LIMIT_FIRST_EVENT_SECONDS": "0.5", "AIPOOL_LIMIT_IDLE_SECONDS": "30"}


def test_a_stream_that_begins_and_then_says_nothing_fails_over() -> None:
    async def scene() -> None:
        async with rig(SHORT) as it:
            silent = {"role_first": True, "stall_after": 1}
            reply = await it.ask(wish("silent", [silent, {"events": 3}], stream=True))

            assert reply.text == " word" * 3
            await it.until(lambda: it.ledger.outcomes)
            assert [one.reason for one in it.ledger.outcomes[0].attempts] == ["timeout_idle", ""]

    uvloop.run(scene())


def test_a_stream_that_has_said_something_may_pause_for_longer() -> None:
    async def scene() -> None:
        async with rig(SHORT) as it:
            thinking = {"events": 3, "pause_after": 2, "pause": 0.9}
            reply = await it.ask(wish("thinking", thinking, stream=True))

            assert reply.text == " word" * 3
            assert reply.events[-1] == b"[DONE]"

    uvloop.run(scene())


@pytest.mark.slow
@pytest.mark.parametrize("nothing", ["\n", ":\n\n"], ids=["blank lines", "comments"])
def test_a_flood_of_nothing_leaves_the_turns_to_others(nothing: str) -> None:
    async def flooded(it: Rig) -> None:
        flood = {"body": nothing * 3_000_000, "content_type": "text/event-stream"}
        await it.ask(wish("flood", [flood, {}], stream=True))

    async def scene() -> None:
        async with rig() as it:
            floods = [asyncio.create_task(flooded(it)) for _ in range(3)]
            loop, longest = asyncio.get_running_loop(), 0.0
            while not all(flood.done() for flood in floods):
                began = loop.time()
                await asyncio.sleep(0.001)
                longest = max(longest, loop.time() - began)
            await asyncio.gather(*floods)
            assert longest < 2.0, "a worker whose loop stands for long is taken for dead"

    uvloop.run(scene())
