"""A long stream holds as it goes: enough for what it may be charged, and no more than it needs."""

from __future__ import annotations

import asyncio
import json

import pytest

from aipool.doors.frames import Acquire
from aipool.doors.outcome import UsageSource
from aipool.gateway.rolling import FIRST_TOKENS, SLICE_TOKENS, extend_at, stop_at
from tests.gateway import rig as rigs
from tests.gateway.rig import Rig, rig
from tests.platform import PRICE, charge, head, wish

CAP = 50_000
#: One word of the fake vendor's default text is one token for it and for the estimator.
LONG = 2_000


@pytest.fixture(autouse=True)
def exactly(monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy ledger lends what is needed."""
    monkeypatch.setattr(rigs, "SLICE_NANO", 0)


def request(case: str, events: int = LONG, **more: object) -> dict[str, object]:
    behaviour = {"events": events, **more}
    return wish(case, behaviour, stream=True, max_tokens=CAP)


def input_bytes(it: Rig, body: dict[str, object]) -> int:
    return len(json.dumps(body))


def asked(it: Rig) -> list[int]:
    """What was asked for each time, in nano."""
    return [
        need.least for one in it.ledger.heard if isinstance(one, Acquire) for need in one.chains[0]
    ]


def test_a_stream_begins_with_little_and_grows_to_its_end() -> None:
    async def scenario() -> None:
        async with rig() as it:
            body = request("grows")
            reply = await it.ask(body)
            await it.until(lambda: it.ledger.outcomes)

            (outcome,) = it.ledger.outcomes
            size = input_bytes(it, body)
            assert asked(it)[0] == charge((size, FIRST_TOKENS), PRICE)
            assert reply.body.endswith(b"data: [DONE]\n\n")
            assert (outcome.error, outcome.usage_source) == ("", UsageSource.VENDOR)
            assert outcome.charge_nano <= outcome.hold_nano < charge((size, CAP), PRICE)
            assert outcome.hold_nano >= charge((size, FIRST_TOKENS + SLICE_TOKENS), PRICE)

    asyncio.run(scenario())


def test_no_money_for_more_ends_the_stream_with_an_error_and_charges_what_was_relayed() -> None:
    async def scenario() -> None:
        async with rig() as it:
            body = request("used-up")
            it.ledger.free_nano = charge((input_bytes(it, body), FIRST_TOKENS), PRICE)
            reply = await it.ask(body)
            await it.until(lambda: it.ledger.outcomes)

            (outcome,) = it.ledger.outcomes
            last = json.loads(reply.body.strip().rpartition(b"data: ")[2])
            assert last["error"]["code"] == "insufficient_quota"
            assert b"[DONE]" not in reply.body
            assert outcome.error == "insufficient_quota"
            assert outcome.usage_source == UsageSource.COUNTED
            assert 0 < outcome.output_tokens < FIRST_TOKENS
            assert outcome.charge_nano <= outcome.hold_nano

    asyncio.run(scenario())


@pytest.mark.slow
def test_a_silent_ledger_process_stops_the_reading_at_what_is_held() -> None:
    async def scenario() -> None:
        async with rig() as it:
            body = request("silent")
            await it.ask(wish("warm", {}, max_tokens=1))
            task = asyncio.create_task(it.ask(body))
            await it.until(lambda: len(asked(it)) == 2)
            it.ledger.silent.add(Acquire)
            reply = await task
            await it.until(lambda: len(it.ledger.outcomes) == 2)

            outcome = it.ledger.outcomes[-1]
            assert outcome.error == "ledger_unavailable"
            assert b"ledger_unavailable" in reply.body
            assert outcome.output_tokens <= FIRST_TOKENS

    asyncio.run(scenario())


def test_an_answer_that_is_not_streamed_holds_its_worst_case() -> None:
    async def scenario() -> None:
        async with rig() as it:
            body = wish("whole", {}, max_tokens=CAP)
            await it.ask(body)

            assert asked(it) == [charge((input_bytes(it, body), CAP), PRICE)]

    asyncio.run(scenario())


def test_a_client_that_leaves_while_money_is_asked_for_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        async with rig() as it:
            body = request("leaves", 600, interval=0.001)
            raw = json.dumps(body).encode()
            reader, writer = await asyncio.open_connection("127.0.0.1", it.port)
            writer.write(head(rigs.TOKEN, len(raw)) + raw)
            await reader.read(2_000)
            it.ledger.silent.add(Acquire)
            await it.until(lambda: len(asked(it)) == 2)
            writer.close()
            await it.until(lambda: it.ledger.outcomes)

            assert it.ledger.outcomes[0].error == "client_gone"
            assert not it.worker._context.open_calls

    asyncio.run(scenario())


def test_more_is_asked_for_before_a_third_of_what_is_held_is_counted() -> None:
    held = FIRST_TOKENS
    while held < CAP:
        due = extend_at(held, CAP)
        assert due is not None
        assert 0 < due < stop_at(held) <= held // 3
        held += SLICE_TOKENS
    assert extend_at(held, CAP) is None
