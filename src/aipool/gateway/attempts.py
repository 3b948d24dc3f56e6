"""Failover: what a failed try means, and what is tried next. Pure.

    a try ended with …                           so …
    ────────────────────────────────────────────────────────────────────────────────────
    no connection, a connection lost unanswered  NEXT
    a stream silent until its first event        NEXT
    a whole answer that never came               STOP   the vendor may have done the work
    any answer that is none                      as `vendors.failures` reads it

Only before the first meaningful event has reached the client; afterwards there is no next try.
The keys are tried in the order of the routes and, within one, as its vendor's ordering says; each
key once, unless it only lacked one model and a further route asks it for another. Keys that are
known to be bad are not tried (`gateway.board`).

Failing over must not become a storm of its own. A failure that convicts the key takes the key out
for everybody, so it costs nothing; a call's first failover is free; for every further one after a
time-out or a server error the call needs a permit of the retry budget.
"""

from __future__ import annotations

from collections.abc import Iterator
from math import ceil

from aipool.gateway.board import FOREVER, Standing
from aipool.gateway.candidates import Candidate, Candidates, KeyParts
from aipool.gateway.errors import Refusal, unavailable, upstream_failed
from aipool.pool.health import MODEL_GONE_SECONDS, Signal
from aipool.vendors.types import Action, Ordering, Scope, Verdict
from aipool.wire.request import Failure, FailureKind

#: What a client is told to wait when nobody knows how long.
RETRY_AFTER_SECONDS = 2
#: SDKs refuse to wait longer and give up instead.
RETRY_AFTER_SECONDS_MAX = 120

#: Where the soonest is called, this share of the calls goes to any key: one long answer would
#: otherwise keep a key out for good, for only calls can show that it has become quick.
LOOK_AROUND_SHARE = 0.02

#: Of the calls in flight, this share may be in a further failover after a time-out or a server
#: error, and at least so many.
RETRY_SHARE = 0.2
RETRIES_LEAST = 10

_TIMEOUTS = frozenset({FailureKind.TIMEOUT_FIRST_BYTE, FailureKind.TIMEOUT_IDLE})
#: Why a key was passed by that another call would not have met: the request asked too much of it.
_OF_REQUEST = frozenset({"request_refused", "event_too_large", FailureKind.TOO_LARGE.value})
_OF_THE_WAY = frozenset(kind.value for kind in FailureKind) | {"timeout_first_event"}
_CONVICTING = frozenset({Action.COOL, Action.EXCEEDED, Action.INVALID, Action.DROP_MODEL})


def judge_failure(failure: Failure, *, stream: bool) -> Verdict:
    """A try that ended without a whole answer and before anything was relayed."""
    kind = failure.kind
    if kind is FailureKind.TIMEOUT_TOTAL or (kind in _TIMEOUTS and not stream):
        return Verdict(Action.STOP, kind.value)
    return Verdict(Action.NEXT, kind.value)


def convicts(verdict: Verdict) -> bool:
    """Is the failure the key's own, so that nobody else needs to meet it?"""
    return verdict.action in _CONVICTING


def is_of_model(verdict: Verdict) -> bool:
    """Is the failure that of the key with this model only?"""
    return verdict.action is Action.DROP_MODEL or verdict.scope is Scope.MODEL


def may_be_the_requests(verdict: Verdict) -> bool:
    """May the request itself be to blame, since the vendor gave an answer, if a bad one?"""
    return verdict.action is Action.NEXT and verdict.why not in _OF_THE_WAY


def signal_of(verdict: Verdict) -> tuple[Signal, float | None] | None:
    """What a failure shows of its lane, and how long it should rest as far as is known."""
    if verdict.why == FailureKind.TIMEOUT_TOTAL.value:  # ours; it says nothing of the key
        return None
    if verdict.action is Action.NEXT and verdict.why in _OF_REQUEST:
        return None
    match verdict.action:
        case Action.NEXT | Action.STOP:
            return Signal.FAILED, None
        case Action.COOL:
            return Signal.COOL, verdict.seconds
        case Action.DROP_MODEL:
            return Signal.COOL, MODEL_GONE_SECONDS
        case Action.EXCEEDED:
            return Signal.EXCEEDED, verdict.seconds
        case Action.INVALID:
            return Signal.INVALID, None
    return None


class RetryBudget:
    """How many calls may be in a further failover at once."""

    __slots__ = ("in_use",)

    def __init__(self) -> None:
        self.in_use = 0

    def take(self, in_flight: int) -> bool:
        """May one more? in_flight: calls now open."""
        if self.in_use >= max(RETRIES_LEAST, RETRY_SHARE * in_flight):
            return False
        self.in_use += 1
        return True

    def give_back(self) -> None:
        """The call that took it has ended."""
        self.in_use -= 1


class Attempts:
    """The tries of one request, in order. `bad_answers`: all so far were answers, but bad.

    prefer: the id of the key that served this session last, 0 = none.
    without: what this call leaves out, because a vendor did not take it.
    """

    __slots__ = (
        "_board",
        "_candidates",
        "_failovers",
        "_passed",
        "_prefer",
        "_retries",
        "_spent",
        "_tried",
        "bad_answers",
        "without",
    )

    def __init__(self, candidates: Candidates, prefer: int = 0) -> None:
        self._candidates = candidates
        self._board = candidates.board
        self._prefer = prefer
        self._passed = 0  # the keys before this place were tried, or could not be called
        self._tried: set[int] = set()
        self._spent: set[int] = set()
        self._failovers = 0
        self._retries: RetryBudget | None = None  # of which this call has a permit
        self.bad_answers = True
        self.without: frozenset[str] = frozenset()

    def begun(self, candidate: Candidate) -> None:
        """This one is being tried, or found busy: not again."""
        self._tried.add(candidate.place)

    def failed(self, candidate: Candidate, verdict: Verdict) -> None:
        """It has failed. Where only the model did, another model may be asked of its key."""
        if not is_of_model(verdict):
            self._spent.add(candidate.key.id)

    def may_go_on(
        self,
        candidate: Candidate,
        verdict: Verdict,
        now: float,
        retries: RetryBudget,
        in_flight: int,
    ) -> bool:
        """After this failure, may another key be tried? The first time always; and when nobody
        else will meet the failure, because the key is out by now."""
        self._failovers += 1
        if (
            self._failovers > 1
            and self._retries is None
            and not convicts(verdict)
            and self._stands(candidate.key, candidate.upstream_model, now) is not Standing.OUT
        ):
            if not retries.take(in_flight):
                return False
            self._retries = retries
        return True

    def over(self) -> None:
        """The call has ended."""
        if self._retries is not None:
            self._retries.give_back()
            self._retries = None

    def next(self, now: float, chance: float) -> Candidate | None:
        """The next key to try, or None when there is no other now. chance: in [0, 1)."""
        if self._prefer:
            prefer, self._prefer = self._prefer, 0
            for index, key, model in self._untried():
                if key.id == prefer and self._stands(key, model, now) is Standing.WELL:
                    return self._candidates[index]
        found = self._next(self._passed, now, chance)
        if found is None and self._passed:
            found = self._next(0, now, chance)  # one that was out may be back
        return found

    def _next(self, start: int, now: float, chance: float) -> Candidate | None:
        """From this place on: a call that is passed on by a thousand keys looks at each once."""
        index = 0
        for route, keys in self._candidates.ways:
            options: list[tuple[int, KeyParts]] = []
            for at in range(max(start, index), index + len(keys)):
                key = keys[at - index]
                if at in self._tried or key.id in self._spent:
                    continue
                standing = self._stands(key, route.upstream_model, now)
                if standing is Standing.OUT:
                    continue
                by_priority = key.ordering is Ordering.PRIORITY
                if standing is Standing.DUE or by_priority:
                    self._passed = at if by_priority else index
                    return self._candidates[at]
                options.append((at, key))
            if options:
                self._passed = index
                return self._candidates[_chosen(options, chance)]
            index += len(keys)
        self._passed = index
        return None

    def give_up(self, now: float) -> Refusal:
        """What the client is told when no key is left."""
        if self._spent and self.bad_answers:
            return upstream_failed()
        return none_available(self._seconds_until_one(now) or FOREVER)

    def _untried(self) -> Iterator[tuple[int, KeyParts, str]]:
        index = 0
        for route, keys in self._candidates.ways:
            for key in keys:
                if index not in self._tried and key.id not in self._spent:
                    yield index, key, route.upstream_model
                index += 1

    def _stands(self, key: KeyParts, model: str, now: float) -> Standing:
        return self._board.look(key, model, now)[0]

    def _seconds_until_one(self, now: float) -> float:
        return min(
            (
                self._board.seconds_until(key, route.upstream_model, now)
                for route, keys in self._candidates.ways
                for key in keys
            ),
            default=FOREVER,
        )


def _chosen(options: list[tuple[int, KeyParts]], chance: float) -> int:
    """The index of one of the keys of a route whose vendor is not called by priority."""
    if options[0][1].ordering is Ordering.LEAST_LATENCY:
        if chance >= 1 - LOOK_AROUND_SHARE:
            return options[int((1 - chance) / LOOK_AROUND_SHARE * len(options)) % len(options)][0]
        # A key that was never called answers in no time, so each is tried once.
        return min(options, key=lambda option: option[1].tally.seconds)[0]
    left = chance * sum(key.settings.weight for _, key in options)
    for index, key in options:
        left -= key.settings.weight
        if left < 0:
            return index
    return options[-1][0]


def nobody_ready(candidates: Candidates, now: float) -> Refusal | None:
    """What a client is told when no key at all may be called; None = one may."""
    if not candidates:
        return unavailable("no_available_key", "No vendor serves this model just now.")
    out_until = candidates.out_until(now)
    return none_available(out_until - now) if out_until else None


def none_available(seconds: float) -> Refusal:
    """No key can be called now. seconds: until one may, as far as is known."""
    wait = RETRY_AFTER_SECONDS if seconds == FOREVER else ceil(seconds)
    return unavailable(
        "no_available_key",
        "No vendor of this model can answer just now.",
        min(max(wait, 1), RETRY_AFTER_SECONDS_MAX),
    )
