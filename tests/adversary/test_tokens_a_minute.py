"""Tokens a minute: what a long stream has used so far is used, and not only when it ends."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import msgspec

from aipool.books.rates import Authority
from aipool.doors.frames import AskPermits, PermitsBack
from aipool.doors.snapshot import CallLimits
from tests.gateway.rig import Rig, rig
from tests.platform import wish

TPM = 4_000


def limited(it: Rig) -> None:
    """The rig's token has a limit of tokens a minute, and its ledger counts as the real one."""
    tokens = it.ledger.tokens
    for digest, view in tokens.items():
        tokens[digest] = msgspec.structs.replace(view, limits=CallLimits(tpm=TPM))
    loop = asyncio.get_running_loop()
    authority = Authority(
        answer=lambda epoch, permits: it.ledger.say(permits),
        recall=lambda epoch, recall: it.ledger.say(recall),
        wake=lambda seconds: loop.call_later(seconds, lambda: authority.poll(time.monotonic())),
        workers=lambda: 1,
        keep=lambda changes, now: None,
    )
    hear = it.ledger.hear

    def heard(message: Any) -> None:
        match message:
            case AskPermits():
                authority.ask(1, message, time.monotonic())
            case PermitsBack():
                authority.given_back(1, message.number, message.entries, time.monotonic())
            case _:
                hear(message)

    it.ledger.hear = heard  # type: ignore[method-assign]


def test_what_a_running_stream_has_used_leaves_no_room_for_others() -> None:
    async def scenario() -> None:
        async with rig() as it:
            limited(it)
            behaviour = {"events": 6_000, "pause_after": 5_900, "pause": 1.0}
            body = wish("long", behaviour, stream=True, max_tokens=50_000)
            stream = asyncio.create_task(it.ask(body))
            await it.until(
                lambda: any(one.events_sent >= 5_900 for one in it.vendor.books.marked("long"))
            )
            await asyncio.sleep(0.2)

            reply = await it.ask(wish("next", {}, max_tokens=100))

            assert reply.status == 429, f"5,900 tokens were used of {TPM} a minute, and no end"
            await stream

    asyncio.run(scenario())
