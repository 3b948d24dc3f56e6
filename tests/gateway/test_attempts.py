"""Failover: verdicts, the order of the keys, and giving up."""

from __future__ import annotations

import pytest

from aipool.gateway.attempts import Attempts, Verdict, judge_failure, judge_status, refusal_of_stop
from aipool.gateway.catalogue import Candidate
from aipool.rating.types import TokenPrice
from aipool.vendors.base import OnDisconnect
from aipool.wire.request import Failure, FailureKind, Origin


def candidate(key_id: int, vendor_id: int = 1) -> Candidate:
    return Candidate(
        vendor_id=vendor_id,
        key_id=key_id,
        key_name=f"k{key_id}",
        vendor_name="v",
        origin=Origin("h", 443, tls=True),
        head=b"",
        secret="s",
        upstream_model="m",
        model_json=None,
        cap_field="max_tokens",
        takes_stream_options=True,
        on_disconnect=OnDisconnect.DRAIN,
        cost=TokenPrice(0, 0, 0, 0),
    )


NEXT = {401, 402, 403, 408, 429}


@pytest.mark.parametrize("status", range(100, 600))
def test_every_status_has_its_verdict(status: int) -> None:
    if status in (504, 524):
        wanted = Verdict.STOP
    elif 400 <= status < 500 and status not in NEXT:
        wanted = Verdict.PASS
    else:
        wanted = Verdict.NEXT

    assert judge_status(status) is wanted


@pytest.mark.parametrize("kind", FailureKind)
def test_every_failure_has_its_verdict(kind: FailureKind) -> None:
    failure = Failure(kind, "", sent=True, answered=False)

    silent = kind in (FailureKind.TIMEOUT_FIRST_BYTE, FailureKind.TIMEOUT_IDLE)
    too_long = kind is FailureKind.TIMEOUT_TOTAL
    assert (judge_failure(failure, stream=True) is Verdict.STOP) == too_long
    assert (judge_failure(failure, stream=False) is Verdict.STOP) == (too_long or silent)


def test_keys_come_in_order_and_each_once() -> None:
    attempts = Attempts((candidate(1), candidate(2), candidate(1), candidate(3), candidate(2)))

    keys = []
    while (found := attempts.next()) is not None:
        keys.append(found.key_id)

    assert keys == [1, 2, 3]
    assert attempts.next() is None


def test_when_all_keys_failed_the_client_may_come_again() -> None:
    attempts = Attempts((candidate(1),))
    attempts.next()
    attempts.bad_answers = False

    refusal = attempts.give_up()

    assert (refusal.status, refusal.code) == (503, "no_available_key")
    assert 1 <= refusal.retry_after_seconds <= 120


def test_when_all_answers_were_bad_it_is_a_bad_gateway() -> None:
    attempts = Attempts((candidate(1),))
    attempts.next()

    assert attempts.give_up().status == 502


def test_without_any_key_there_was_no_answer_at_all() -> None:
    assert Attempts(()).give_up().status == 503


@pytest.mark.parametrize("status", [0, 504, 524])
def test_what_is_not_repeated_is_a_timeout_to_the_client(status: int) -> None:
    assert refusal_of_stop(status).status == 504
