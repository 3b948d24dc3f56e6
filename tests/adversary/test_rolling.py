"""A stream is relayed no further than money is held for, in whatever pieces it comes."""

from __future__ import annotations

import asyncio
import json
from typing import Any

import pytest

from aipool.gateway.rolling import FIRST_TOKENS
from tests.gateway import rig as rigs
from tests.gateway.rig import rig
from tests.platform import PRICE, charge, wish

CAP = 50_000
#: Words of an event: a vendor, or a proxy before it, may send a whole page at once.
PAGE = " word" * 3_000


@pytest.fixture(autouse=True)
def exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy ledger lends what is needed."""
    monkeypatch.setattr(rigs, "SLICE_NANO", 0)


def request(case: str, **behaviour: Any) -> dict[str, Any]:
    return wish(case, behaviour, stream=True, max_tokens=CAP)


def test_an_answer_in_large_pieces_is_not_served_above_what_is_held() -> None:
    async def scenario() -> None:
        async with rig() as it:
            body = request("pages", events=5, word=PAGE)
            it.ledger.free_nano = charge((len(json.dumps(body)), FIRST_TOKENS), PRICE)
            reply = await it.ask(body)
            await it.until(lambda: it.ledger.outcomes)

            (outcome,) = it.ledger.outcomes
            assert b"[DONE]" not in reply.body, "served whole, and nobody could pay for it"
            assert outcome.charge_nano <= outcome.hold_nano, (
                f"{outcome.charge_nano - outcome.hold_nano} nano above the hold of "
                f"{outcome.hold_nano}"
            )

    asyncio.run(scenario())


def test_a_rich_wallet_holds_for_large_pieces_as_they_come() -> None:
    """What is charged lies within the hold, so that nothing depends on what happens to be
    unleased when the call is recorded."""

    async def scenario() -> None:
        async with rig() as it:
            reply = await it.ask(request("rich", events=5, word=PAGE))
            await it.until(lambda: it.ledger.outcomes)

            (outcome,) = it.ledger.outcomes
            assert b"[DONE]" in reply.body
            assert outcome.charge_nano <= outcome.hold_nano

    asyncio.run(scenario())
