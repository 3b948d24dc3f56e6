"""Keys that fail under load, a tenth of `scripts/prove failover`."""

from __future__ import annotations

import asyncio

import pytest

from benchmarks.failing_vendors import CONDITIONS, KEYS
from benchmarks.failover import (
    BACK_SECONDS,
    BACKLOG_ADDED_SECONDS_MAX,
    COOLDOWN_SECONDS,
    PROBES_SHARE,
    Turn,
    backlog,
    cost,
    herd_of_the_dead,
    turning,
)

pytestmark = pytest.mark.slow

CLIENTS = 40
BACK_SECONDS_MAX = COOLDOWN_SECONDS + BACK_SECONDS
CHOSEN = {"connection refused", "401", "500", "a head, and silence"}


def test_while_one_key_is_well_no_client_sees_another_fail() -> None:
    conditions = [condition for condition in CONDITIONS if condition.name in CHOSEN]
    assert len(conditions) == len(CHOSEN)
    turns: list[Turn] = []

    problems = asyncio.run(turning(4, conditions, turns.append, clients=CLIENTS))

    assert problems == []
    for turn in turns:
        name = turn.condition.name
        assert turn.failures == [], name
        assert turn.problems == [], name
        assert turn.back_seconds <= BACK_SECONDS_MAX, name
        # It was a load, and keys did fail under it.
        assert turn.calls > 100, name
        assert turn.condition.refuses or turn.tries > turn.calls, name


def test_when_all_keys_are_dead_they_are_left_alone_and_come_back_in_order() -> None:
    found = asyncio.run(herd_of_the_dead(2, 6.0, clients=CLIENTS))

    assert found.problems == []
    assert found.others == []
    assert found.untold == 0
    assert len(found.refused_ms) > 100
    for tries, in_flight in found.burst:
        assert 0 < tries <= in_flight
    assert 0 < found.probes <= KEYS * found.seconds / COOLDOWN_SECONDS * PROBES_SHARE
    assert found.first_seconds <= BACK_SECONDS_MAX
    assert found.back_seconds <= BACK_SECONDS_MAX


def test_a_call_whose_first_key_fails_is_tried_once_more_and_no_more() -> None:
    # It raises when a call took another number of tries. What it costs, the proof measures.
    found = asyncio.run(cost(100))

    assert len(found.over) == len(found.straight) == 100
    assert len(found.failed) >= 100


def test_a_vendor_that_leaves_connections_waiting_is_given_up_in_time() -> None:
    seconds, failed = asyncio.run(backlog(20))

    assert failed == 0
    assert len(seconds) == 20
    assert max(seconds) <= BACKLOG_ADDED_SECONDS_MAX + 1.0
