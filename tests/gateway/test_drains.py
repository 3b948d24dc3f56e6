"""A stream whose client has left is read on for the vendor's report: not for long, nor too many."""

from __future__ import annotations

import asyncio
import json
import socket
import struct
from functools import partial
from typing import Any

import pytest
import uvloop

from aipool.dialects.estimate import estimate_request, estimate_text
from aipool.doors.outcome import Outcome, UsageSource
from aipool.gateway import relay
from tests.chats import charge, head, wish
from tests.fakes.books import CLIENT_GONE, COMPLETED
from tests.gateway.rig import TOKEN, Rig, rig

REPORT = {"prompt_tokens": 700, "completion_tokens": 90}


async def _leave(on: Rig, body: dict[str, Any]) -> None:
    """Hang up when the first four words have come."""
    raw = json.dumps(body).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", on.port)
    writer.write(head(TOKEN, len(raw)) + raw)
    got = b""
    while got.count(b" word") < 4:
        piece = await asyncio.wait_for(reader.read(65536), 10)
        assert piece, got
        got += piece
    # With a reset: after a mere end the client might still be reading.
    linger = struct.pack("ii", 1, 0)
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    writer.transport.abort()


async def _left(*bodies: dict[str, Any]) -> tuple[list[Outcome], list[str], int]:
    """The outcomes, the phases in which the vendor's answers ended, and the reads left over."""
    async with rig() as on:
        await asyncio.gather(*(_leave(on, body) for body in bodies))
        await on.until(lambda: len(on.ledger.outcomes) == len(bodies))
        await on.until(lambda: all(entry.ended_time for entry in on.vendor.books))
        phases = [entry.phase for entry in on.vendor.books]
        return on.ledger.outcomes, phases, on.worker._context.drains


def _more_than(outcomes: list[Outcome], number: int) -> bool:
    return len(outcomes) > number


def assert_relayed(outcome: Outcome, body: dict[str, Any]) -> None:
    wanted = (estimate_request(body), estimate_text(" word" * 4))
    assert (outcome.input_tokens, outcome.output_tokens) == wanted
    assert outcome.charge_nano == charge(wanted)
    assert outcome.usage_source == UsageSource.COUNTED


def test_a_read_for_nobody_ends_after_its_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "DRAIN_SECONDS", 0.2)
    body = wish("m", {"stall_after": 5, "usage": REPORT}, stream=True)

    (outcome,), phases, drains = uvloop.run(_left(body))

    assert (phases, drains) == ([CLIENT_GONE], 0)
    assert_relayed(outcome, body)


def test_only_so_many_are_read_for_nobody_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "DRAINS_MAX", 2)
    body = wish("m", {"pause_after": 5, "pause": 0.5, "usage": REPORT}, stream=True)

    outcomes, phases, drains = uvloop.run(_left(*[body] * 5))

    assert drains == 0
    assert sorted(phases) == [CLIENT_GONE] * 3 + [COMPLETED] * 2
    reported = [one for one in outcomes if one.usage_source == UsageSource.VENDOR]
    assert [one.charge_nano for one in reported] == [charge((700, 90))] * 2
    for outcome in outcomes:
        if outcome not in reported:
            assert_relayed(outcome, body)


def test_a_place_is_free_again_when_its_read_has_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(relay, "DRAINS_MAX", 1)
    body = wish("m", {"pause_after": 5, "pause": 0.1, "usage": REPORT}, stream=True)

    async def one_after_the_other() -> list[Outcome]:
        async with rig() as on:
            while len(outcomes := on.ledger.outcomes) < 3:
                before = len(outcomes)
                await _leave(on, body)
                await on.until(partial(_more_than, outcomes, before))
            return outcomes

    outcomes = uvloop.run(one_after_the_other())

    assert [one.charge_nano for one in outcomes] == [charge((700, 90))] * 3
