"""How upstream keys fare: the table, and the races between workers, people and the authority."""

from __future__ import annotations

import itertools
import random
from collections import deque
from collections.abc import Iterator

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aipool.pool.health import (
    COOL_SECONDS_LEAST,
    COOL_SECONDS_MAX,
    EXCEEDED_SECONDS_MAX,
    JITTER,
    PROBE_SECONDS,
    Health,
    HealthRules,
    Lane,
    Lanes,
    Report,
    Signal,
    Status,
    as_told,
    callable_at,
    is_due,
    may_call,
    status_of,
)

RULES = HealthRules(breaker_failures=5, breaker_seconds=30.0, cooldown_seconds=10.0)
KEY = 7

# Written apart from the code: what becomes of a lane by what a call shows of it.
# . = nothing becomes of it; FAILED of a normal lane is the breaker's business.
TABLE = """
             SERVED    FAILED    TRIPPED   COOL      EXCEEDED  INVALID   PROBING   UNTRIED
normal       .         .         cooling   cooling   exceeded  invalid   .         .
cooling      normal    cooling   cooling   cooling   exceeded  invalid   cooling   cooling
exceeded     normal    cooling   cooling   cooling   exceeded  invalid   exceeded  exceeded
invalid      normal    .         .         .         .         .         invalid   invalid
"""


def table() -> Iterator[tuple[Health, Signal, str]]:
    head, *lines = TABLE.strip().splitlines()
    for line in lines:
        health, *cells = line.split()
        for signal, cell in zip(head.split(), cells, strict=True):
            yield Health(health), Signal[signal], cell


def lane(health: Health, step: int = 3, *, until: float = 90.0, generation: int = 1) -> Lane:
    return Lane(KEY, "", generation, step, health, until, "why" if health != "normal" else "")


def report(
    signal: Signal, step: int = 3, *, generation: int = 1, seconds: float = -1.0, served: int = 0
) -> Report:
    return Report(KEY, "", generation, step, signal, "word", seconds, served)


def lanes_with(one: Lane) -> Lanes:
    lanes = Lanes(RULES)
    assert lanes.adopt(one)
    return lanes


@pytest.mark.parametrize(("health", "signal", "cell"), list(table()))
def test_every_health_and_signal_lead_where_the_table_says(
    health: Health, signal: Signal, cell: str
) -> None:
    lanes = lanes_with(lane(health))

    changed = lanes.apply(report(signal), 100.0, 0.0)

    if cell == ".":
        now = lanes.get(KEY, "", 1)
        assert now is not None
        assert (now.health, now.why, now.until) == (health, lane(health).why, 90.0)
        # Who reports it may have made something of it: it is counted past, but for what
        # counts nothing up on his side either.
        ahead = signal not in (Signal.FAILED, Signal.PROBING, Signal.UNTRIED)
        assert now.step == 3 + ahead
        assert (changed is not None) == ahead
        return
    assert changed is not None
    assert changed is lanes.get(KEY, "", 1)
    assert changed.health == Health(cell)
    if signal is Signal.PROBING:
        assert changed == msgspec.structs.replace(lane(health), probing=100.0 + PROBE_SECONDS)
    elif signal is Signal.UNTRIED:
        assert changed == lane(health)
    else:
        assert (changed.step, changed.probing) == (4, 0.0)
        assert changed.why == ("" if cell == "normal" else "word")


def test_the_table_is_whole() -> None:
    assert {(health, signal) for health, signal, _ in table()} == set(
        itertools.product(Health, Signal)
    )


@pytest.mark.parametrize(("health", "signal", "cell"), list(table()))
def test_what_is_older_changes_nothing(health: Health, signal: Signal, cell: str) -> None:
    for step, generation in ((2, 2), (9, 1)):
        lanes = lanes_with(lane(health, generation=2))

        assert lanes.apply(report(signal, step, generation=generation), 100.0, 0.0) is None
        assert list(lanes) == [lane(health, generation=2)]
        assert not lanes.adopt(lane(Health.NORMAL, step, generation=generation))


@pytest.mark.parametrize("health", Health)
def test_what_a_person_did_makes_void_what_was_known(health: Health) -> None:
    lanes = lanes_with(lane(health, until=0.0))

    assert lanes.get(KEY, "", 2) is None
    changed = lanes.apply(report(Signal.COOL, 0, generation=2), 100.0, 0.0)

    assert changed is not None
    assert (changed.generation, changed.step, changed.health) == (2, 1, Health.COOLING)
    assert lanes.apply(report(Signal.INVALID, 3, generation=1), 100.0, 0.0) is None


def test_a_key_and_a_key_with_one_model_are_lanes_of_their_own() -> None:
    lanes = Lanes(RULES)
    lanes.apply(Report(KEY, "gpt-4o", 1, 0, Signal.COOL, "rate_limited"), 100.0, 0.0)

    assert lanes.get(KEY, "", 1) is None
    assert lanes.get(KEY, "gpt-4o-mini", 1) is None
    assert lanes.get(KEY, "gpt-4o", 1) is not None


# --- until when -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("said", "rests"),
    [
        (-1.0, 10.0),
        (0.0, COOL_SECONDS_LEAST),
        (2.0, 2.0),
        (1e9, COOL_SECONDS_MAX),
        (float("inf"), COOL_SECONDS_MAX),
        (float("nan"), 10.0),
    ],
)
def test_a_cooling_lane_rests_as_long_as_its_vendor_says_within_bounds(
    said: float, rests: float
) -> None:
    for chance in (0.0, 0.5, 0.999):
        changed = Lanes(RULES).apply(report(Signal.COOL, 0, seconds=said), 100.0, chance)
        assert changed is not None
        assert changed.until == pytest.approx(100.0 + rests * (1 + JITTER * chance))


def test_an_exceeded_lane_returns_when_its_quota_does_or_when_a_person_says_so() -> None:
    for said, until in ((3600.0, 3700.0), (0.0, 100.5), (-1.0, 0.0)):
        changed = Lanes(RULES).apply(report(Signal.EXCEEDED, 0, seconds=said), 100.0, 0.9)
        assert changed is not None
        assert changed.until == until
        assert not may_call(changed, 100.4)
        assert may_call(changed, 4000.0) == bool(until)
        assert callable_at(changed) == (until or float("inf"))
    changed = Lanes(RULES).apply(report(Signal.EXCEEDED, 0, seconds=1e30), 100.0, 0.0)
    assert changed is not None
    assert changed.until == 100.0 + EXCEEDED_SECONDS_MAX


def test_a_lane_is_due_once_its_time_is_over_and_nobody_probes_it() -> None:
    one = lane(Health.COOLING, until=110.0)
    assert [is_due(one, now) for now in (109.9, 110.0)] == [False, True]

    lanes = lanes_with(one)
    probed = lanes.apply(report(Signal.PROBING), 111.0, 0.0)
    assert probed is not None
    assert not may_call(probed, 112.0)
    assert callable_at(probed) == 111.0 + PROBE_SECONDS
    # A second probe is none; one that never ended gives way.
    assert lanes.apply(report(Signal.PROBING), 112.0, 0.0) is None
    assert is_due(probed, 111.0 + PROBE_SECONDS)
    assert lanes.apply(report(Signal.PROBING), 142.0, 0.0) is not None
    untried = lanes.apply(report(Signal.UNTRIED), 143.0, 0.0)
    assert untried is not None
    assert is_due(untried, 143.0)


# --- the breaker ------------------------------------------------------------------------------


def failures(*times: float, served: int = 0, lanes: Lanes | None = None) -> list[bool]:
    """At which of these failures does the breaker trip?"""
    lanes = Lanes(RULES) if lanes is None else lanes
    found = []
    for time in times:
        changed = lanes.apply(report(Signal.FAILED, 0, served=served), time, 0.0)
        found.append(changed is not None and changed.health is Health.COOLING)
    return found


def test_five_failures_within_thirty_seconds_trip_a_key() -> None:
    assert failures(0, 7, 14, 21, 28) == [False] * 4 + [True]
    assert failures(0, 7.5, 15, 22.5, 30) == [False] * 5
    assert failures(0, 7.5, 15, 22.5, 30, 31) == [False] * 5 + [True]
    assert failures(1, 1, 1, 1, 1) == [False] * 4 + [True]
    assert failures(*range(0, 800, 8)) == [False] * 100


def test_a_busy_key_may_fail_now_and_then() -> None:
    assert failures(*range(9), served=9)[:5] == [False] * 4 + [True]  # 1 in 10
    assert failures(*range(9), served=15) == [False] * 9


def test_what_went_well_for_hours_does_not_hold_up_the_breaker() -> None:
    lanes = Lanes(RULES)
    assert failures(100, served=1_000_000, lanes=lanes) == [False]
    assert failures(101, 102, 103, 104, lanes=lanes) == [False] * 3 + [True]


def test_the_breaker_forgets_what_a_person_made_void_and_what_has_tripped() -> None:
    lanes = Lanes(RULES)
    failures(1, 2, 3, 4, lanes=lanes)
    for time in (5, 6, 7, 8):
        assert lanes.apply(report(Signal.FAILED, 0, generation=2), time, 0.0) is None
    tripped = lanes.apply(report(Signal.FAILED, 0, generation=2), 9, 0.0)
    assert tripped is not None
    assert lanes.apply(report(Signal.SERVED, 1, generation=2), 20, 0.0) is not None
    assert lanes.apply(report(Signal.FAILED, 2, generation=2), 21, 0.0) is None


def test_the_breaker_of_a_lane_that_others_moved_begins_anew() -> None:
    lanes = Lanes(RULES)
    failures(1, 2, 3, 4, lanes=lanes)
    lanes.adopt(lane(Health.NORMAL, 2))
    assert lanes.apply(report(Signal.FAILED, 2), 5, 0.0) is None


def test_nothing_is_kept_of_keys_that_are_gone() -> None:
    lanes = lanes_with(lane(Health.INVALID))
    for key_id in (8, 9):
        lanes.apply(Report(key_id, "", 1, 0, Signal.FAILED, "x"), 1.0, 0.0)

    lanes.forget({9})

    assert list(lanes) == []
    assert {key_id for key_id, _ in lanes._breakers} == {9}


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 60)), max_size=400))
def test_the_breaker_is_bounded_and_trips_at_the_right_share(
    tries: list[tuple[float, int]],
) -> None:
    lanes, now, step, entries = Lanes(RULES), 0.0, 0, deque[tuple[float, int]]()
    for pause, served in tries:
        now += pause
        while entries and entries[0][0] <= now - 30.5:
            entries.popleft()
        entries.append((now, served))
        changed = lanes.apply(report(Signal.FAILED, step, served=served), now, 0.0)
        between = sum(one for _, one in list(entries)[1:])
        if changed is not None:
            assert len(entries) >= 5
            lanes.apply(report(Signal.SERVED, changed.step), now, 0.0)
            step = changed.step + 1
            entries.clear()
        elif len([time for time, _ in entries if time > now - 29.0]) >= 5:
            assert len(entries) < 0.2 * (len(entries) + between + served) or between > 0
        assert all(len(breaker._parts) <= 65 for breaker in lanes._breakers.values())


# --- what people are shown --------------------------------------------------------------------


@pytest.mark.parametrize(
    ("facts", "shown"),
    [
        ({}, Status.NORMAL),
        ({"lane": lane(Health.NORMAL)}, Status.NORMAL),
        ({"lane": lane(Health.COOLING)}, Status.COOLING),
        ({"lane": lane(Health.EXCEEDED)}, Status.EXCEEDED),
        ({"lane": lane(Health.INVALID)}, Status.ERROR),
        ({"secret_missing": True}, Status.ERROR),
        ({"enabled": False, "lane": lane(Health.EXCEEDED)}, Status.DISABLED),
        ({"expires_at": 500, "enabled": False}, Status.EXPIRED),
        ({"expires_at": 501}, Status.NORMAL),
    ],
)
def test_one_word_says_what_people_are_shown(facts: dict[str, object], shown: Status) -> None:
    usual: dict[str, object] = {
        "enabled": True, "expires_at": 0, "secret_missing": False, "lane": None, "unix_now": 500.0
    }  # fmt: skip
    assert status_of(**(usual | facts)) is shown  # type: ignore[arg-type]


# --- races ------------------------------------------------------------------------------------

TOUCHY = HealthRules(breaker_failures=2)


class Worker:
    """A worker's copy, its generation of the key, and its line in both directions."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.lanes = Lanes(TOUCHY)
        self.generation = 1
        self.up: deque[Report] = deque()
        self.down: deque[tuple[tuple[Lane, ...], bool]] = deque()
        self.calls: list[tuple[int, int, bool]] = []  # generation, step, is a probe

    def begin(self) -> None:
        """A call, if the key may be called."""
        one = self.lanes.get(KEY, "", self.generation)
        now = self.world.now
        if not may_call(one, now):
            return
        step, probe = one.step if one else 0, one is not None and is_due(one, now)
        if probe:
            self.show(Signal.PROBING, self.generation, step)
            self.world.probing(self.generation, step)
        self.calls.append((self.generation, step, probe))

    def end(self, signal: Signal) -> None:
        """The oldest or newest call ends, and shows this."""
        index = self.world.chance.randrange(len(self.calls))
        generation, step, probe = self.calls.pop(index)
        if probe:
            self.world.probes.pop((generation, step), None)
        if signal is not Signal.SERVED or probe:
            self.show(signal, generation, step)

    def show(self, signal: Signal, generation: int, step: int) -> None:
        world = self.world
        seconds = world.chance.choice((-1.0, 0.5, 3.0, 30.0))
        served = world.chance.choice((0, 0, 0, 60))
        word = Report(KEY, "", generation, step, signal, signal.name, seconds, served)
        before = self.lanes.get(KEY, "", self.generation)
        changed = self.lanes.apply(word, world.now, world.chance.random())
        if generation < self.generation:
            assert self.lanes.get(KEY, "", self.generation) == before, "void, and yet heard"
        self.up.append(as_told(word, changed))

    def hear(self) -> None:
        """The next of what the authority said."""
        lanes, everything = self.down.popleft()
        if everything:
            self.lanes.forget(())
        for one in lanes:
            self.lanes.adopt(one)


class World:
    """Workers, the authority and a person; whatever is on its way comes in order, at any time."""

    def __init__(self, seed: int, *, is_whole: bool) -> None:
        self.chance = random.Random(seed)
        self.is_whole = is_whole
        self.now = 100.0
        self.lanes = Lanes(TOUCHY)
        self.generation = 1
        self.probes: dict[tuple[int, int], float] = {}
        self.workers = [Worker(self) for _ in range(3)]

    def probing(self, generation: int, step: int) -> None:
        """A call begins to probe: is it the only one?"""
        if self.is_whole:
            since = self.probes.get((generation, step), -PROBE_SECONDS)
            assert self.now - since >= PROBE_SECONDS, "two calls probe at once"
        self.probes[generation, step] = self.now

    def deliver(self, worker: Worker) -> None:
        """The next report of a worker reaches the authority."""
        word = worker.up.popleft()
        before = next(iter(self.lanes), None)
        changed = self.lanes.apply(word, self.now, self.chance.random())
        if before is not None:
            after = next(iter(self.lanes))
            assert (after.generation, after.step) >= (before.generation, before.step)
            if (word.generation, word.step) < (before.generation, before.step):
                assert changed is None, "old, and yet heard"
                assert after == before, "old, and yet heard"
        if changed is not None:
            for one in self.workers:
                one.down.append(((changed,), False))

    def reconnect(self, worker: Worker) -> None:
        """What was on the line is lost; the worker is told everything."""
        worker.up.clear()
        worker.down.clear()
        worker.down.append((tuple(self.lanes), True))

    def settle(self) -> None:
        """Everything that is on its way arrives."""
        while any(one.up or one.down for one in self.workers):
            for one in self.workers:
                while one.up:
                    self.deliver(one)
                while one.down:
                    one.hear()

    def step(self) -> None:
        """Something happens. While the links are whole, a word takes less time than there is
        between two calls."""
        chance = self.chance
        worker = chance.choice(self.workers)
        what = chance.random()
        if what < 0.35:
            if self.is_whole:
                self.settle()
            worker.begin()
        elif what < 0.55 and worker.calls:
            worker.end(chance.choice([s for s in Signal if s is not Signal.PROBING]))
        elif what < 0.7 and worker.up:
            self.deliver(worker)
        elif what < 0.85 and worker.down:
            worker.hear()
        elif what < 0.97:
            self.now += chance.choice((0.001, 0.3, 2.0, 12.0))
        elif what < 0.98:
            self.generation += 1  # a person has set it anew; the workers hear of it some time
        elif what < 0.99:
            worker.generation = self.generation
        elif not self.is_whole:
            self.reconnect(worker)
            if chance.random() < 0.2:
                self.lanes = Lanes(TOUCHY)  # a new ledger process, whose last rows were lost
                for one in self.workers:
                    self.reconnect(one)

    def check_converged(self) -> None:
        """All copies say the same of the present generation."""
        self.settle()
        for one in self.workers:
            one.generation = self.generation
            mine = one.lanes.get(KEY, "", self.generation)
            assert mine == self.lanes.get(KEY, "", self.generation)


@pytest.mark.parametrize("is_whole", [True, False], ids=["links whole", "links break"])
def test_whatever_the_order_all_copies_agree_in_the_end(is_whole: bool) -> None:
    for seed in range(60):
        world = World(seed, is_whole=is_whole)
        for _ in range(8):
            for _ in range(40):
                world.step()
            world.check_converged()


def test_what_a_person_set_is_never_undone_by_calls_that_began_before() -> None:
    for seed in range(60):
        world = World(seed, is_whole=False)
        for _ in range(150):
            world.step()
        # The person sets it anew, and every worker knows; calls from before go on ending.
        world.generation += 1
        for one in world.workers:
            one.generation = world.generation
        while any(one.calls for one in world.workers):
            for one in world.workers:
                if one.calls:
                    one.end(world.chance.choice(list(Signal)))
            world.settle()
            assert all(
                may_call(copy.get(KEY, "", world.generation), world.now)
                for copy in (world.lanes, *(one.lanes for one in world.workers))
            )
