"""How one worker sees the upstream keys, and how several come to see the same."""

from __future__ import annotations

from aipool.gateway.board import FRESH, STAGGER_SECONDS, Standing
from aipool.gateway.candidates import KeyParts
from aipool.pool.health import Health, HealthRules, Lane, Lanes, Report, Signal
from tests.gateway.offers import DEFAULT, Boards, Clock, catalogue


def key_of(boards: Boards) -> KeyParts:
    offer = catalogue(boards=boards).offer(DEFAULT, "m")
    assert offer is not None
    return offer.candidates[0].key


class Office:
    """The ledger process: applies reports in the order they come, and tells everybody."""

    def __init__(self, workers: list[Boards], clock: Clock) -> None:
        self._workers = workers
        self._clock = clock
        self._lanes = Lanes(HealthRules())
        for worker in workers:
            worker.clock = clock

    def deliver(self) -> list[Lane]:
        """Everything that was reported so far reaches it, and its word everybody."""
        said = []
        for worker in self._workers:
            reports, worker.reports[:] = list(worker.reports), []
            for report in reports:
                lane = self._lanes.apply(report, self._clock.now, 0.0)
                if lane is not None:
                    said.append(lane)
        for worker in self._workers:
            worker.board.adopt(said)
        return said


def test_what_a_call_has_shown_counts_at_once_and_is_told() -> None:
    boards = Boards()
    key = key_of(boards)
    turn = boards.board.turn

    boards.board.show(key, "", FRESH, Signal.COOL, "rate_limited", 5.0)

    assert boards.board.turn > turn
    assert boards.board.look(key, "m", boards.clock.now) == (
        Standing.OUT,
        boards.clock.now + 5.0,
    )
    (report,) = boards.reports
    assert (report.key_id, report.signal, report.why) == (11, Signal.COOL, "rate_limited")


def test_a_model_may_rest_while_its_key_serves_others() -> None:
    boards = Boards()
    key = key_of(boards)

    boards.board.show(key, "m", FRESH, Signal.COOL, "rate_limited", 5.0)

    assert boards.board.look(key, "m", boards.clock.now)[0] is Standing.OUT
    assert boards.board.look(key, "other", boards.clock.now)[0] is Standing.WELL
    assert boards.board.why_not(key, "m", boards.clock.now) == "model_cooling"


def test_failures_trip_the_breaker_and_what_went_well_speaks_for_the_key() -> None:
    boards = Boards()
    key = key_of(boards)

    for _ in range(5):
        assert boards.board.look(key, "m", boards.clock.now)[0] is Standing.WELL
        boards.board.show(key, "", FRESH, Signal.FAILED, "server_error")
    assert boards.board.look(key, "m", boards.clock.now)[0] is Standing.OUT

    busy = Boards()
    key = key_of(busy)
    for _ in range(50):
        for _ in range(20):
            key.tally.went_well(0.1)
        busy.board.show(key, "", FRESH, Signal.FAILED, "server_error")
    assert busy.board.look(key, "m", busy.clock.now)[0] is Standing.WELL
    assert busy.reports[-1].served == 20


def test_what_went_well_long_ago_does_not_speak_for_a_key() -> None:
    boards = Boards()
    key = key_of(boards)
    boards.board.tick()
    for _ in range(1000):
        key.tally.went_well(0.1)
    boards.clock.now += 31.0
    boards.board.tick()

    for _ in range(5):
        boards.board.show(key, "", FRESH, Signal.FAILED, "server_error")

    assert boards.board.look(key, "m", boards.clock.now)[0] is Standing.OUT
    # The conclusion is told, since others cannot draw it from what they see themselves.
    assert boards.reports[-1].signal is Signal.TRIPPED


def test_workers_come_to_see_the_same_whoever_saw_it_first() -> None:
    clock = Clock()
    workers = [Boards(place=place) for place in range(4)]
    office = Office(workers, clock)
    keys = [key_of(worker) for worker in workers]

    # Two calls of two workers meet different refusals of one key in the same moment.
    workers[1].board.show(keys[1], "", FRESH, Signal.COOL, "rate_limited", 3.0)
    workers[2].board.show(keys[2], "", FRESH, Signal.EXCEEDED, "quota_exceeded")
    assert workers[0].board.look(keys[0], "m", clock.now)[0] is Standing.WELL
    office.deliver()

    lanes = {worker.board.lane(key, "") for worker, key in zip(workers, keys, strict=True)}
    assert len(lanes) == 1
    (lane,) = lanes
    assert lane is not None and lane.health is Health.COOLING and lane.step == 1


def test_one_worker_probes_and_the_others_hold_off() -> None:
    clock = Clock()
    workers = [Boards(place=place) for place in range(4)]
    office = Office(workers, clock)
    keys = [key_of(worker) for worker in workers]
    workers[3].board.show(keys[3], "", FRESH, Signal.COOL, "rate_limited", 3.0)
    office.deliver()

    clock.now += 3.0
    standings = [
        worker.board.look(key, "m", clock.now)[0] for worker, key in zip(workers, keys, strict=True)
    ]
    assert standings == [Standing.DUE, Standing.OUT, Standing.OUT, Standing.OUT]
    mark = workers[0].board.begin(keys[0], "m", clock.now)
    office.deliver()
    clock.now += 4 * STAGGER_SECONDS
    for worker, key in zip(workers, keys, strict=True):
        assert worker.board.look(key, "m", clock.now)[0] is Standing.OUT
        assert worker.board.begin(key, "m", clock.now).probes == ()

    workers[0].board.show(keys[0], "", mark, Signal.SERVED, "")
    office.deliver()
    for worker, key in zip(workers, keys, strict=True):
        assert worker.board.look(key, "m", clock.now)[0] is Standing.WELL


def test_a_probe_that_showed_nothing_leaves_the_key_to_the_next_call() -> None:
    boards = Boards()
    key = key_of(boards)
    boards.board.show(key, "", FRESH, Signal.COOL, "rate_limited", 3.0)
    boards.clock.now += 3.0
    mark = boards.board.begin(key, "m", boards.clock.now)
    assert boards.board.look(key, "m", boards.clock.now)[0] is Standing.OUT

    boards.board.show(key, "", mark, Signal.UNTRIED, "")

    assert boards.board.look(key, "m", boards.clock.now)[0] is Standing.DUE


def test_what_an_old_call_brings_is_not_heard() -> None:
    boards = Boards()
    key = key_of(boards)
    old = boards.board.begin(key, "m", boards.clock.now)
    boards.board.show(key, "", old, Signal.COOL, "rate_limited", 3.0)
    until = boards.board.look(key, "m", boards.clock.now)[1]

    boards.board.show(key, "", old, Signal.INVALID, "credential_refused")
    boards.board.show(key, "", old, Signal.SERVED, "")

    assert boards.board.look(key, "m", boards.clock.now) == (Standing.OUT, until)


def test_what_a_person_sets_is_not_undone_by_what_is_learned_late() -> None:
    boards = Boards()
    key = key_of(boards)
    mark = boards.board.begin(key, "m", boards.clock.now)
    enabled = key._replace(generation=2)

    boards.board.show(key, "", mark, Signal.INVALID, "credential_refused")
    boards.board.adopt([Lane(key.id, "", 1, 9, Health.EXCEEDED, 0.0, "quota_exceeded")])

    assert boards.board.look(key, "m", boards.clock.now)[0] is Standing.OUT
    assert boards.board.look(enabled, "m", boards.clock.now)[0] is Standing.WELL


def test_keys_that_are_gone_are_forgotten() -> None:
    boards = Boards()
    key = key_of(boards)
    key.tally.went_well(1.0)
    boards.board.show(key, "", FRESH, Signal.INVALID, "credential_refused")

    boards.board.forget(frozenset({12}))

    assert boards.board.lane(key, "") is None
    assert boards.board.tally(key.id).seconds == 0.0


def test_a_report_carries_what_went_well_once() -> None:
    boards = Boards()
    key = key_of(boards)
    for _ in range(3):
        key.tally.went_well(0.1)

    boards.board.show(key, "", FRESH, Signal.FAILED, "server_error")
    boards.board.show(key, "", FRESH, Signal.FAILED, "server_error")

    assert [report.served for report in boards.reports] == [3, 0]
    assert all(isinstance(report, Report) for report in boards.reports)
