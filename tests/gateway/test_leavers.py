"""Clients that leave at any moment, under each policy of vendors: nothing stays open, and nobody
pays more than the vendor's books say."""

from __future__ import annotations

import asyncio
import json
import random
import socket
import struct
from dataclasses import replace

import pytest
import uvloop

from aipool.vendors import VENDORS_BY_TYPE
from aipool.vendors.base import OnDisconnect
from tests.chats import charge, head, wish
from tests.gateway.accounts import PLENTY_NANO, missing_nano
from tests.gateway.rig import TOKEN, Rig, rig

LEAVERS = 700
AT_A_TIME = 50


async def _leave(on: Rig, number: int, chance: random.Random) -> None:
    """A call that is left after up to 60 ms, somewhere in its head, its body or its answer."""
    wishes = {
        "events": 10,
        "interval": 0.004,
        "delay": chance.choice([0, 0, 0.02]),
        # A report of zero might be in the books, and still on its way when we hang up.
        "usage": chance.choice(["counted", "none"]),
    }
    body = wish(f"leaver-{number}-", wishes, stream=chance.random() < 0.7)
    raw = json.dumps(body).encode()
    whole = head(TOKEN, len(raw)) + raw
    if chance.random() < 0.1:
        whole = whole[: chance.randrange(10, len(whole))]
    _, writer = await asyncio.open_connection("127.0.0.1", on.port)
    writer.write(whole)
    await asyncio.sleep(chance.random() * 0.06)
    if chance.random() < 0.5:
        sock = writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        writer.transport.abort()
    else:
        writer.close()


async def _leavers(chance: random.Random) -> None:
    async with rig() as on:
        on.ledger.free_nano = PLENTY_NANO
        for first in range(0, LEAVERS, AT_A_TIME):
            await asyncio.gather(
                *(_leave(on, number, chance) for number in range(first, first + AT_A_TIME))
            )

        context = on.worker._context
        await on.until(
            lambda: not context.open_calls and all(entry.ended_time for entry in on.vendor.books)
        )
        assert context.drains == 0
        asked = [entry for entry in on.vendor.books if entry.message]
        assert len(asked) > LEAVERS / 10
        await on.until(lambda: len(on.ledger.outcomes) >= len(asked))
    assert not on.vendor._open
    assert missing_nano(on.ledger, PLENTY_NANO) == 0

    served = {f"req-fake-{entry.number}": entry for entry in asked}
    for outcome in on.ledger.outcomes:
        used = (outcome.input_tokens, outcome.output_tokens)
        assert outcome.charge_nano == charge(used)
        entry = served.get(outcome.upstream_request_id)
        billed = (entry.billed_input, entry.billed_output) if entry else (0, 0)
        assert used[0] <= billed[0] and used[1] <= billed[1], (outcome, entry)


@pytest.mark.slow
@pytest.mark.parametrize("policy", OnDisconnect)
def test_clients_that_leave_at_any_moment_leave_nothing_behind(
    policy: OnDisconnect, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = "openai_compatible"
    traits = replace(VENDORS_BY_TYPE[kind], on_disconnect=policy)
    monkeypatch.setitem(VENDORS_BY_TYPE, kind, traits)

    uvloop.run(_leavers(random.Random(policy.value)))
