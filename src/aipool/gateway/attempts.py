"""Failover: what a failed try means, and what is tried next. Pure.

    a try ended with …                           so …
    ────────────────────────────────────────────────────────────────────────────────
    no connection, a connection lost unanswered  NEXT
    401 402 403 408 429, 5xx but 504 and 524     NEXT   it is about our key or the vendor
    3xx, 200 with an error or without an answer  NEXT   it is no answer
    a stream silent until its first event        NEXT
    504 524, a whole answer that never came      STOP   the vendor may have done the work
    any other 4xx                                PASS   it is about the request

Only before the first meaningful event has reached the client; afterwards there is no next
try. Each key is tried at most once for a request, in the order of the routes and, within
one, of the keys.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import Enum

from aipool.gateway.catalogue import Candidate
from aipool.gateway.errors import Refusal, unavailable, upstream_failed, upstream_timed_out
from aipool.wire.request import Failure, FailureKind

#: What a client is told to wait when every key failed: keys that cool come back in seconds.
RETRY_AFTER_SECONDS = 2

_ABOUT_OUR_KEY = frozenset({401, 402, 403, 408, 429})
_NEVER_REPLAYED = frozenset({504, 524})
_TIMEOUTS = frozenset({FailureKind.TIMEOUT_FIRST_BYTE, FailureKind.TIMEOUT_IDLE})


class Verdict(Enum):
    """What a failed try means for the request."""

    NEXT = "next"
    STOP = "stop"
    PASS = "pass"


def judge_status(status: int) -> Verdict:
    """A status that is not a success."""
    if status in _NEVER_REPLAYED:
        return Verdict.STOP
    if 400 <= status < 500 and status not in _ABOUT_OUR_KEY:
        return Verdict.PASS
    return Verdict.NEXT


def judge_failure(failure: Failure, *, stream: bool) -> Verdict:
    """A try that ended without a whole answer and before anything was relayed."""
    if failure.kind is FailureKind.TIMEOUT_TOTAL:
        return Verdict.STOP
    if failure.kind in _TIMEOUTS and not stream:
        return Verdict.STOP
    return Verdict.NEXT


class Attempts:
    """The tries of one request, in order. `bad_answers`: all so far were answers, but bad."""

    __slots__ = ("_candidates", "_next", "_tried", "bad_answers")

    def __init__(self, candidates: Sequence[Candidate]) -> None:
        self._candidates = candidates
        self._next = 0
        self._tried: set[int] | None = None
        self.bad_answers = True

    def next(self) -> Candidate | None:
        """The next key, or None when all were tried."""
        candidates = self._candidates
        while self._next < len(candidates):
            candidate = candidates[self._next]
            self._next += 1
            if self._tried is None:
                self._tried = {candidate.key_id}
                return candidate
            if candidate.key_id not in self._tried:
                self._tried.add(candidate.key_id)
                return candidate
        return None

    def give_up(self) -> Refusal:
        """What the client is told when no key is left."""
        if self._tried and self.bad_answers:
            return upstream_failed()
        return unavailable(
            "no_available_key",
            "No vendor of this model can answer just now.",
            RETRY_AFTER_SECONDS,
        )


def refusal_of_stop(status: int) -> Refusal:
    """What the client is told when a try may not be repeated. status: 0 = none came."""
    return upstream_timed_out() if status in _NEVER_REPLAYED or not status else upstream_failed()
