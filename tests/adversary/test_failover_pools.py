"""Pools of many keys: what choosing costs when most are out, and whom the orders starve."""

from __future__ import annotations

import random
from typing import Any

import pytest

from aipool.doors.snapshot import GroupView, KeyView, Snapshot, VendorView
from aipool.gateway.attempts import Attempts, nobody_ready
from aipool.gateway.board import FOREVER, Standing
from aipool.gateway.candidates import Candidates, KeyParts
from aipool.gateway.catalogue import Catalogue
from aipool.gateway.errors import passed_on
from aipool.pool.health import Health, Lane
from aipool.vendors.types import KeySettings, Ordering
from tests.gateway.offers import DEFAULT, Boards, model, route

KEYS = 200


def pool(boards: Boards, keys: int, **vendor: Any) -> Candidates:
    """One vendor with so many keys."""
    views = tuple(KeyView(number, f"k{number}", "s") for number in range(1, keys + 1))
    news = Snapshot(
        1,
        (GroupView(DEFAULT, "default", 1_000_000, None),),
        (VendorView(1, "one", "openai", "https://api.one.test/v1", views, **vendor),),
        (model("m", route(1)),),
    )
    offer = Catalogue(news, boards.board, lambda name: name).offer(DEFAULT, "m")
    assert offer is not None
    return offer.candidates


def lane(key_id: int, health: Health, step: int = 1, until: float = 0.0, model: str = "") -> Lane:
    return Lane(key_id, model, 1, step, health, until, "x")


class Looks:
    """Counts how many keys are looked at."""

    def __init__(self, boards: Boards, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        look = boards.board.look

        def counted(key: KeyParts, model: str, now: float) -> tuple[Standing, float]:
            self.count += 1
            return look(key, model, now)

        monkeypatch.setattr(boards.board, "look", counted)


@pytest.mark.parametrize(
    "vendor", [{}, {"ordering": Ordering.WEIGHTED}, {"concurrency": 3}], ids=str
)
def test_a_call_that_nobody_can_answer_is_refused_before_anything_is_held_and_for_nothing(
    vendor: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    boards = Boards()
    found, now = pool(boards, KEYS, **vendor), boards.clock.now
    boards.board.adopt([lane(n, Health.COOLING, until=now + 30) for n in range(1, KEYS + 1)])
    looks = Looks(boards, monkeypatch)

    for _ in range(100):
        refusal = nobody_ready(found, now)
        assert refusal is not None and refusal.retry_after_seconds == 30

    assert looks.count == KEYS


def test_a_call_that_all_keys_pass_on_looks_at_each_a_few_times(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    boards = Boards()
    found, now = pool(boards, KEYS), boards.clock.now
    boards.board.adopt([lane(n, Health.INVALID) for n in range(1, KEYS // 2)])
    looks = Looks(boards, monkeypatch)

    attempts, tried = Attempts(found), []
    while (candidate := attempts.next(now, 0.5)) is not None:
        attempts.begun(candidate)
        tried.append(candidate.key_id)

    assert tried == list(range(KEYS // 2, KEYS + 1))
    assert looks.count <= 3 * KEYS


def test_a_key_that_comes_back_while_a_call_goes_on_is_tried_after_all_others() -> None:
    boards = Boards()
    found, now = pool(boards, 3), boards.clock.now
    boards.board.adopt([lane(1, Health.COOLING, until=now + 5)])

    attempts, tried = Attempts(found), []
    while (candidate := attempts.next(now, 0.5)) is not None:
        attempts.begun(candidate)
        tried.append(candidate.key_id)
        now += 4

    assert tried == [2, 3, 1]


@pytest.mark.parametrize("ordering", Ordering)
def test_what_is_at_hand_agrees_with_the_rules_whatever_happens(ordering: Ordering) -> None:
    chance = random.Random(f"at hand {ordering}")
    boards = Boards(place=1)
    found = pool(boards, 4, ordering=ordering)
    clock = boards.clock
    steps = dict.fromkeys(range(1, 5), 0)

    for _ in range(3000):
        clock.now += chance.choice((0.0, 0.01, 0.02, 0.5, 3.0))
        if chance.random() < 0.4:
            key_id = chance.randint(1, 4)
            steps[key_id] += 1
            health = chance.choice(list(Health))
            until = clock.now + chance.choice((0.0, 0.015, 1.0, 5.0))
            name = chance.choice(("", "m"))
            boards.board.adopt([lane(key_id, health, steps[key_id], until, name)])
        looked = [boards.board.look(one.key, "m", clock.now) for one in found]
        standings = [standing for standing, _ in looked]

        refusal = nobody_ready(found, clock.now)
        ready = found.ready(clock.now)

        assert (refusal is not None) == (set(standings) == {Standing.OUT})
        if ready is not None:
            before = standings[: ready.place]
            assert standings[ready.place] is Standing.WELL
            assert set(before) <= {Standing.OUT}
        elif ordering is Ordering.PRIORITY and refusal is None:
            first = next(one for one in standings if one is not Standing.OUT)
            assert first is Standing.DUE
        if refusal is not None:
            soonest = min(until for _, until in looked) - clock.now
            assert refusal.retry_after_seconds == (
                2 if soonest == FOREVER else max(1, -int(-soonest // 1))
            )


def test_by_latency_one_long_answer_does_not_starve_a_key_for_good() -> None:
    chance = random.Random("starved")
    boards = Boards()
    found = pool(boards, 3, ordering=Ordering.LEAST_LATENCY)
    slow_once = found[0].key.tally
    slow_once.went_well(10.0)

    chosen = []
    for _ in range(5000):
        candidate = Attempts(found).next(boards.clock.now, chance.random())
        assert candidate is not None
        chosen.append(candidate.key_id)
        candidate.key.tally.went_well({1: 0.1}.get(candidate.key_id, 0.5))

    assert chosen[-1000:].count(1) > 900, "it is the soonest again"


def test_a_zero_of_weight_is_no_crash() -> None:
    boards = Boards()
    keys = tuple(KeyView(n, f"k{n}", "s", settings=KeySettings(weight=0)) for n in (1, 2))
    news = Snapshot(
        1,
        (GroupView(DEFAULT, "default", 1_000_000, None),),
        (VendorView(1, "one", "openai", "https://x.test", keys, Ordering.WEIGHTED),),
        (model("m", route(1)),),
    )
    offer = Catalogue(news, boards.board, lambda name: name).offer(DEFAULT, "m")
    assert offer is not None

    assert Attempts(offer.candidates).next(boards.clock.now, 0.5) is not None


@pytest.mark.parametrize(
    "ours",
    ["org-abcDEF123456", "projects/1234567890", "project_number:1234567890", "10.0.3.7:8000"],
)
def test_what_a_vendor_says_about_our_account_is_not_passed_on(ours: str) -> None:
    body = b'{"error":{"message":"Bad request of %b here"}}' % ours.encode()

    refusal = passed_on(400, body, ("secret",), ("theirs", "ours"))

    assert ours not in refusal.message
