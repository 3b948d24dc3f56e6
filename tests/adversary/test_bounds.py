"""What docs/ledger.md says of bounds, measured."""

from __future__ import annotations

from aipool.dialects.estimate import TokenCounter
from aipool.doors.frames import pack
from aipool.gateway.metering import (
    PROGRESS_SECONDS,
    PROGRESS_SECONDS_LEAST,
    PROGRESS_TOKENS,
    StreamMeter,
)
from aipool.kit.money import AMOUNT_NANO_MAX
from tests.gateway.purse import Rig

WALLET = [("wallet:1", 0, 0)]


def test_between_two_records_of_progress_lie_64_tokens_or_a_quarter_of_a_second() -> None:
    meter = StreamMeter(lambda: 1, 0.0, TokenCounter())
    now, recorded, most = 0.0, 0, 0
    while now < 2 * PROGRESS_SECONDS:
        now += 0.01
        meter.counter.add("word " * 20)  # 2,000 tokens a second, as the fastest vendors do
        found = meter.progress(now)
        recorded = found[1] if found else recorded
        most = max(most, meter.counter.tokens - recorded)

    quarter = int(PROGRESS_SECONDS_LEAST * 2_000 * 1.2)
    assert most <= quarter + PROGRESS_TOKENS, f"a kill leaves {most} tokens uncharged"


def test_what_is_asked_for_can_be_said_however_many_wait() -> None:
    rig = Rig()
    for number in range(20_000):
        rig.call(f"c{number}", AMOUNT_NANO_MAX)
    rig.grant(AMOUNT_NANO_MAX, AMOUNT_NANO_MAX)

    assert pack(rig.acquires[-1])
