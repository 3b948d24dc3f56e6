"""Odd answers through a worker: a few dozen in this process, and a tenth of those of the proof."""

from __future__ import annotations

import asyncio
import json

import msgspec
import pytest
import uvloop

from aipool.doors.frames import Applied, Publish
from benchmarks.caller import Answer
from benchmarks.odd_answers import (
    GIANT_MEMORY_MIB,
    HANG_SECONDS_MAX,
    MIB,
    UNREAD_BYTES_MAX,
    Told,
    judged,
    question,
    relay_giants,
    relay_odd_answers,
)
from benchmarks.witness import Row
from tests.fakes.chance import by_chance
from tests.fakes.odd import After, Odd, by_hand, events_of, head
from tests.fakes.odd_vendor import OddVendor
from tests.gateway.rig import Rig, rig

REQUEST = question("", stream=True)
#: Those that end by themselves, and soon.
HAND_MADE = [
    odd
    for odd in by_hand(REQUEST)
    if odd.after is not After.KEEP and not odd.endless and sum(map(len, odd.writes)) < 100_000
]


def row(charged_nano: int, **more: int) -> Row:
    wanted = {"input_tokens": 10, "output_tokens": 5, "hold_nano": 10**9, **more}
    return Row("r", "127.0.0.1", 1, 200, charged_nano=charged_nano, written_off_nano=0,
               recovered=0, **wanted)  # fmt: skip


def told(odd: Odd, body: bytes, *, whole: bool = True, late_seconds: float = 0.0) -> Told:
    headers = {"content-type": "text/event-stream" if odd.stream else "application/json"}
    return Told(odd, "m", Answer(200, headers, bytearray(body), whole), late_seconds)


async def relay(it: Rig, vendor: OddVendor, count: int) -> list[Told]:
    """The first so many of them, each by one call."""
    shown = it.ledger.snapshot
    first = msgspec.structs.replace(shown.vendors[0], base_url=vendor.base_url)
    model = msgspec.structs.replace(shown.models[0], name=REQUEST["model"])
    snapshot = msgspec.structs.replace(shown, vendors=(first,), models=(model,))
    it.ledger.say(Publish(1, snapshot, (), everything=True))
    await it.until(lambda: sum(isinstance(m, Applied) for m in it.ledger.heard) == 2)
    loop = asyncio.get_running_loop()

    async def one(number: int) -> Told:
        odd = HAND_MADE[number]
        reply = await it.ask(question(f"{number}", stream=odd.stream))
        ended = vendor.ended_at.get(f"{number}", loop.time())
        answer = Answer(reply.status, reply.headers, bytearray(reply.body), whole=True)
        return Told(odd, f"{number}", answer, loop.time() - ended)

    return [await one(number) for number in range(0, len(HAND_MADE), len(HAND_MADE) // count)]


def test_an_odd_answer_comes_whole_or_is_seen_to_be_broken() -> None:
    async def scene() -> list[Told]:
        rules = {"AIPOOL_KEY_FAILURES": "10000", "AIPOOL_KEY_FAILURE_SECONDS": "0.1"}
        vendor = OddVendor(lambda marker: HAND_MADE[int(marker)])
        async with vendor, rig(rules) as it:
            return await relay(it, vendor, 60)

    found = uvloop.run(scene())

    wrong = {t.odd.name: problems for t in found if (problems := judged(t, row(0))[1])}
    assert {name: p for name, p in wrong.items() if "is due" not in p[0]} == {}
    assert {judged(t, None)[0] for t in found} >= {"whole", "broken", "refused"}


@pytest.mark.slow
def test_no_odd_answer_crashes_hangs_looks_whole_or_is_charged_wrongly() -> None:
    found = uvloop.run(relay_odd_answers(7, range(1_000)))

    assert found.problems == []
    assert found.late_seconds <= HANG_SECONDS_MAX
    assert found.charged_nano > 0
    for outcome in ("whole", "broken", "refused"):
        assert found.outcomes[outcome] > 20


@pytest.mark.slow
def test_answers_of_a_gigabyte_are_given_up_within_bounds() -> None:
    found = uvloop.run(relay_giants())

    assert found.problems == []
    assert found.grown_bytes <= GIANT_MEMORY_MIB * MIB
    assert found.read_bytes <= UNREAD_BYTES_MAX


# --- who judges -------------------------------------------------------------------------------


def test_the_same_seed_and_number_make_the_same_answer() -> None:
    assert by_chance(3, 5, REQUEST) == by_chance(3, 5, REQUEST)
    assert len({by_chance(3, n, REQUEST).writes for n in range(50)}) > 40


def test_there_are_three_hundred_by_hand_and_no_two_are_called_alike() -> None:
    odd = by_hand(REQUEST)
    assert len(odd) >= 300
    assert len({(one.name, one.stream) for one in odd}) == len(odd)


def test_the_judge_sees_what_is_wrong() -> None:
    events = events_of({"events": 5}, REQUEST)
    payload = b"".join(events)
    good = Odd("good", True, (head(), payload), After.FIN, payload)
    usage = json.loads(events[-2][6:])["usage"]
    due = usage["prompt_tokens"] * 2_100 + usage["completion_tokens"] * 8_400
    assert judged(told(good, payload), row(due)) == ("whole", [])

    cut = b"".join(events[:-3])
    error = b'data: {"error":{"code":"upstream_error"}}\n\n'
    assert judged(told(good, cut + error), row(0)) == ("broken", [])
    for wrong, charged in (
        (told(good, payload, late_seconds=2.5), due),
        (told(good, payload), due + 1),
        (told(good, payload.replace(b"word", b"w0rd", 1)), due),
        (told(good, b"".join(events[:3])), 0),
        (told(good, cut, whole=False), 0),
        (told(good, cut + error), 10**9 + 1),
        (told(good, error), 1),
        (told(good._replace(fails=True), payload), due),
    ):
        assert judged(wrong, row(charged))[1] != []
