"""Failover: what a failure means, the order of the keys, what a storm may cost, and giving up."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from itertools import pairwise
from typing import Any

import msgspec
import pytest

from aipool.doors.snapshot import KeyView, ModelView, Snapshot, VendorView
from aipool.gateway.attempts import (
    Attempts,
    RetryBudget,
    convicts,
    judge_failure,
    none_available,
    signal_of,
)
from aipool.gateway.board import FRESH
from aipool.gateway.candidates import Candidate, Candidates
from aipool.gateway.catalogue import Catalogue
from aipool.pool.health import HealthRules, Signal
from aipool.vendors.types import Action, KeySettings, Ordering, Scope, Verdict
from aipool.wire.request import Failure, FailureKind
from tests.gateway.offers import DEFAULT, Boards, model, route, snapshot

SERVER_ERROR = Verdict(Action.NEXT, "server_error")
REFUSED = Verdict(Action.INVALID, "credential_refused")


def candidates(boards: Boards, *routes: Any, **vendor: Any) -> Candidates:
    """Vendor 1 has the keys 11 and 12, vendor 2 the key 21."""
    base = snapshot(model("m", *(routes or (route(1), route(2, "theirs")))))
    vendors = (msgspec.structs.replace(base.vendors[0], **vendor), *base.vendors[1:])
    world = msgspec.structs.replace(base, vendors=vendors)
    offer = Catalogue(world, boards.board, str).offer(DEFAULT, "m")
    assert offer is not None
    return offer.candidates


def walk(attempts: Attempts, boards: Boards, verdict: Verdict = SERVER_ERROR) -> list[int]:
    """The keys that are tried when each fails like this."""
    order = []
    while (candidate := attempts.next(boards.clock.now, 0.0)) is not None:
        attempts.begun(candidate)
        attempts.failed(candidate, verdict)
        order.append(candidate.key_id)
    return order


def refuse(boards: Boards, candidate: Candidate, signal: Signal, **how: Any) -> None:
    boards.board.show(candidate.key, "", FRESH, signal, "why", **how)


@pytest.mark.parametrize("kind", FailureKind)
def test_every_failure_of_a_connection_has_its_verdict(kind: FailureKind) -> None:
    failure = Failure(kind, "", sent=True, answered=False)

    silent = kind in (FailureKind.TIMEOUT_FIRST_BYTE, FailureKind.TIMEOUT_IDLE)
    too_long = kind is FailureKind.TIMEOUT_TOTAL
    stopped = {stream: judge_failure(failure, stream=stream).action for stream in (False, True)}

    assert (stopped[True] is Action.STOP) == too_long
    assert (stopped[False] is Action.STOP) == (too_long or silent)
    assert set(stopped.values()) <= {Action.STOP, Action.NEXT}


def test_our_own_deadline_says_nothing_of_the_key() -> None:
    failure = Failure(FailureKind.TIMEOUT_TOTAL, "", sent=True, answered=False)

    assert signal_of(judge_failure(failure, stream=True)) is None


@pytest.mark.parametrize("action", Action)
@pytest.mark.parametrize("scope", Scope)
def test_only_what_the_key_cannot_help_is_kept_from_its_record(
    action: Action, scope: Scope
) -> None:
    verdict = Verdict(action, "why", scope)

    assert (signal_of(verdict) is None) == (action in (Action.PASS, Action.STRIP))
    if convicts(verdict):
        assert signal_of(verdict) not in (None, (Signal.FAILED, None))


def test_s1_05_keys_come_by_priority_and_each_once() -> None:
    boards = Boards()
    # The third route names the first vendor again.
    found = candidates(boards, route(1), route(2, "x"), route(1, "y"))

    assert walk(Attempts(found), boards) == [11, 12, 21]


def test_a_key_that_only_lacks_a_model_is_asked_for_another() -> None:
    boards = Boards()
    found = candidates(boards, route(1), route(1, "older"))

    gone = Verdict(Action.DROP_MODEL, "model_not_found")
    assert walk(Attempts(found), boards, gone) == [11, 12, 11, 12]


def test_the_key_of_the_session_comes_first_and_the_others_in_order() -> None:
    boards = Boards()

    assert walk(Attempts(candidates(boards), prefer=21), boards) == [21, 11, 12]
    assert walk(Attempts(candidates(boards), prefer=99), boards) == [11, 12, 21]


def test_the_key_of_the_session_is_no_trap() -> None:
    boards = Boards()
    found = candidates(boards)
    refuse(boards, found[2], Signal.COOL, seconds=60.0)

    assert walk(Attempts(found, prefer=21), boards) == [11, 12]


def test_keys_that_are_known_to_be_bad_are_not_tried() -> None:
    boards = Boards()
    found = candidates(boards)
    refuse(boards, found[0], Signal.INVALID)

    assert walk(Attempts(found), boards) == [12, 21]
    ready = found.ready(boards.clock.now)
    assert ready is not None and ready.key_id == 12


def test_one_call_probes_a_key_whose_time_is_over() -> None:
    boards = Boards()
    found = candidates(boards)
    refuse(boards, found[0], Signal.COOL, seconds=10.0)
    boards.clock.now += 10.5

    assert found.ready(boards.clock.now) is None, "somebody has to look closer"
    candidate = Attempts(found).next(boards.clock.now, 0.0)
    assert candidate is not None and candidate.key_id == 11
    mark = boards.board.begin(candidate.key, candidate.upstream_model, boards.clock.now)
    assert mark.probes == ("",)

    for _ in range(3):
        assert walk(Attempts(found), boards) == [12, 21]
    boards.board.show(candidate.key, "", mark, Signal.SERVED, "")
    assert found.ready(boards.clock.now) is found[0]


def test_the_first_key_at_hand_is_always_the_one_a_closer_look_finds() -> None:
    boards = Boards()
    found = candidates(boards)
    first, second, third = found[0], found[1], found[2]
    steps = [
        lambda: refuse(boards, first, Signal.COOL, seconds=5.0),
        lambda: refuse(boards, second, Signal.COOL, seconds=2.0),
        lambda: refuse(boards, third, Signal.EXCEEDED),
    ]

    for step in (*steps, *[None] * 100):
        if step is not None:
            step()
        boards.clock.now += 0.1
        now = boards.clock.now
        ready, looked = found.ready(now), Attempts(found).next(now, 0.0)
        assert ready is None or ready is looked
        if looked is None:
            assert found.out_until(now) > now
            refusal = none_available(found.out_until(now) - now)
            assert refusal.retry_after_seconds >= 1
        else:
            assert found.out_until(now) == 0.0


def test_a_key_expires_to_the_second() -> None:
    boards = Boards()
    at = int(boards.clock.unix()) + 30
    keys = (KeyView(11, "a", "s", expires_at=at), KeyView(12, "b", "s"))
    found = candidates(boards, keys=keys)

    for seconds, key_id in ((0.0, 11), (29.0, 11), (0.9, 11), (0.2, 12), (100.0, 12)):
        boards.clock.now += seconds
        ready = found.ready(boards.clock.now)
        assert ready is not None and ready.key_id == key_id


def test_a_key_is_only_called_for_the_models_it_has() -> None:
    boards = Boards()
    keys = (
        KeyView(11, "a", "s", settings=KeySettings(models=("other",))),
        KeyView(12, "b", "s", settings=KeySettings(models=("m",), model_map={"m": "deployed"})),
    )
    found = candidates(boards, keys=keys)

    ready = found.ready(boards.clock.now)
    assert ready is not None and (ready.key_id, ready.called_model) == (12, "deployed")
    assert walk(Attempts(found), boards) == [12, 21]


def test_by_weight_each_key_gets_its_share() -> None:
    boards = Boards()
    keys = (
        KeyView(11, "a", "s", settings=KeySettings(weight=3)),
        KeyView(12, "b", "s", settings=KeySettings(weight=1)),
    )
    found = candidates(boards, keys=keys, ordering=Ordering.WEIGHTED)

    assert found.ready(boards.clock.now) is None
    first = Counter(
        candidate.key_id
        for part in range(1000)
        if (candidate := Attempts(found).next(boards.clock.now, part / 1000)) is not None
    )
    assert first == {11: 750, 12: 250}
    assert sorted(walk(Attempts(found), boards)) == [11, 12, 21]


def test_by_latency_the_soonest_is_called_and_the_unknown_is_tried() -> None:
    boards = Boards()
    found = candidates(boards, ordering=Ordering.LEAST_LATENCY)

    assert walk(Attempts(found), boards) == [11, 12, 21]
    found[0].key.tally.went_well(0.5)
    assert walk(Attempts(found), boards)[0] == 12, "it was never called"
    found[1].key.tally.went_well(0.7)
    assert walk(Attempts(found), boards)[0] == 11
    for _ in range(30):
        found[0].key.tally.went_well(2.0)
    assert walk(Attempts(found), boards)[0] == 12


def test_what_went_well_is_remembered_across_catalogues() -> None:
    boards = Boards()
    candidates(boards)[0].key.tally.went_well(0.5)

    assert candidates(boards)[0].key.tally.seconds == 0.5


def test_the_retry_budget_is_a_fifth_of_the_calls_and_at_least_ten() -> None:
    budget = RetryBudget()
    assert sum(budget.take(5) for _ in range(50)) == 10
    assert sum(budget.take(200) for _ in range(50)) == 30
    budget.give_back()
    assert budget.take(200) and not budget.take(200)


def test_a_failure_that_nobody_else_will_meet_needs_no_permit() -> None:
    boards = Boards(rules=replace(HealthRules(), breaker_failures=2))
    found = candidates(boards)
    budget = RetryBudget()
    attempts = Attempts(found)

    def fails(candidate: Candidate) -> bool:
        attempts.begun(candidate)
        attempts.failed(candidate, SERVER_ERROR)
        refuse(boards, candidate, Signal.FAILED)
        now = boards.clock.now
        return attempts.may_go_on(candidate, SERVER_ERROR, now, budget, 200)

    assert fails(found[0]) and budget.in_use == 0, "the first one is free"
    assert fails(found[1]) and budget.in_use == 1, "others will meet this one too"
    attempts.over()
    assert budget.in_use == 0
    other = Attempts(found)
    assert other.may_go_on(found[0], SERVER_ERROR, boards.clock.now, budget, 200)
    refuse(boards, found[2], Signal.FAILED)
    refuse(boards, found[2], Signal.FAILED)
    assert other.may_go_on(found[2], SERVER_ERROR, boards.clock.now, budget, 200)
    assert budget.in_use == 0, "its breaker is open by now"


def test_when_all_keys_failed_the_client_may_come_again() -> None:
    boards = Boards()
    attempts = Attempts(candidates(boards))
    walk(attempts, boards)
    attempts.bad_answers = False

    refusal = attempts.give_up(boards.clock.now)

    assert (refusal.status, refusal.code) == (503, "no_available_key")
    assert 1 <= refusal.retry_after_seconds <= 120


def test_the_client_is_told_when_the_first_key_comes_back() -> None:
    boards = Boards(rules=replace(HealthRules(), cooldown_seconds=40.0))
    found = candidates(boards)
    for index, seconds in enumerate((90.0, 30.0, 3600.0)):
        refuse(boards, found[index], Signal.COOL, seconds=seconds)

    assert found.ready(boards.clock.now) is None
    assert Attempts(found).give_up(boards.clock.now).retry_after_seconds == 30
    assert none_available(3600.0).retry_after_seconds == 120
    assert none_available(0.001).retry_after_seconds == 1


def test_when_all_answers_were_bad_it_is_a_bad_gateway() -> None:
    boards = Boards()
    attempts = Attempts(candidates(boards))
    walk(attempts, boards)

    assert attempts.give_up(boards.clock.now).status == 502


def test_without_any_key_there_was_no_answer_at_all() -> None:
    boards = Boards()

    assert Attempts(candidates(boards, route(77))).give_up(boards.clock.now).status == 503


def test_hundreds_of_keys_under_many_models_are_made_when_they_are_needed() -> None:
    boards = Boards()
    keys = tuple(KeyView(100 + number, f"k{number}", "s") for number in range(400))
    found = candidates(boards, route(1), keys=keys)
    for number in range(200):
        refuse(boards, found[number], Signal.EXCEEDED)

    ready = found.ready(boards.clock.now)
    assert ready is not None and ready.key_id == 300
    order = [key for key in walk(Attempts(found), boards) if key >= 300]
    assert all(later == earlier + 1 for earlier, later in pairwise(order))
    assert len(found._made) <= 401


def test_a_snapshot_without_keys_offers_nobody() -> None:
    boards = Boards()
    world = Snapshot(
        1,
        snapshot().groups,
        (VendorView(1, "v", "openai", "https://v.test/v1", ()),),
        (ModelView(1, "m", "chat", 0, 10, 10, snapshot().models[0].price, (route(1),)),),
    )
    offer = Catalogue(world, boards.board, str).offer(DEFAULT, "m")

    assert offer is not None and not offer.candidates
