"""How upstream keys fare: what is learned of them, and what follows. Pure.

What people want of a key (enabled or not) stands elsewhere; this is what calls have shown.
A *lane* is a key as a whole, or a key with one model: a vendor may limit the one or the other.

                  SERVED    TRIPPED   COOL      EXCEEDED   INVALID
    normal        –         cooling   cooling   exceeded   invalid
    cooling       normal    cooling   cooling   exceeded   invalid
    exceeded      normal    cooling   cooling   exceeded   invalid
    invalid       normal    –         –         –          –

A lane that is not normal is not called. When its time is over, it is called once, by one call of
the whole installation: a probe. What becomes of the probe is the next line of the table. An
exceeded lane without a known end, and an invalid one, wait for a person.

Every transition counts `step` up, and a report names the step its call began at: what an old call
brings is not heard. What a person does to the key counts `generation` up, and all that is known
of an older generation is void: so nothing learned late undoes what a person set. People write the
generation, the ledger process the rest, so neither waits for the other.

A worker acts on a report before the ledger process hears of it, so it may be a step ahead, with
another health or with one that is refused. Whoever hears of a newer step counts past it, whatever
becomes of the lane: so what the ledger process says next is new to everybody. A worker whose own
count of failures has tripped a lane therefore says TRIPPED, not FAILED (`as_told`); and one that
connects again takes what it is told in place of all it knew.

Times are seconds of the machine's monotonic clock, the same in all processes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterator
from dataclasses import dataclass
from enum import IntEnum, StrEnum

import msgspec

#: A probe that has not ended after this long may be followed by another.
PROBE_SECONDS = 30.0
#: A model that a key was found not to have is tried on it again after this long.
MODEL_GONE_SECONDS = 3600.0
#: What a vendor asks to wait is believed between these.
COOL_SECONDS_MAX = 3600.0
COOL_SECONDS_LEAST = 0.5
#: The end of a quota is believed up to this far ahead.
EXCEEDED_SECONDS_MAX = 400 * 86_400.0
#: Keys that began to rest together do not come back together: up to this share later.
JITTER = 0.1
#: A breaker trips only when at least this share of the tries failed: a busy key may fail
#: now and then.
FAILED_SHARE = 0.1
#: A breaker counts in so many parts of its time at most.
BREAKER_PARTS = 64


class Health(StrEnum):
    """What calls have shown."""

    NORMAL = "normal"
    COOLING = "cooling"
    EXCEEDED = "exceeded"
    INVALID = "invalid"


class Status(StrEnum):
    """What people are shown: intent, expiry and health in one word."""

    NORMAL = "normal"
    COOLING = "cooling"
    EXCEEDED = "exceeded"
    EXPIRED = "expired"
    DISABLED = "disabled"
    ERROR = "error"


class Signal(IntEnum):
    """What a call has shown of a lane."""

    SERVED = 0
    FAILED = 1  # for the breaker to count
    TRIPPED = 2  # the breaker's conclusion
    COOL = 3
    EXCEEDED = 4
    INVALID = 5
    PROBING = 6  # a call tries a lane whose time is over
    UNTRIED = 7  # the probe has shown nothing: its client left before


class Lane(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What is known of a key, or (model not "") of a key with one model.

    model: the name in the route.  until: when it may be tried again, 0.0 = not by itself.
    why: a stable word.  probing: until when a probe is waited for, 0.0 = there is none.
    """

    key_id: int
    model: str
    generation: int
    step: int
    health: Health
    until: float
    why: str
    probing: float = 0.0


class Report(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """What a call has shown. generation, step: of the lane when the call began.

    seconds: how long it should rest, as the vendor says; below 0 = it does not say.
    served: calls that went well on this key since the reporter's last report of it, at most
    those of the time in which failures are counted.
    """

    key_id: int
    model: str
    generation: int
    step: int
    signal: Signal
    why: str
    seconds: float = -1.0
    served: int = 0


@dataclass(frozen=True, slots=True)
class HealthRules:
    """The operator's settings: `breaker_failures` within `breaker_seconds` trip a key, which
    then rests for `cooldown_seconds`, as does one whose vendor does not say how long."""

    breaker_failures: int = 5
    breaker_seconds: float = 30.0
    cooldown_seconds: float = 10.0


_CALLED = {
    Signal.SERVED: Health.NORMAL,
    Signal.TRIPPED: Health.COOLING,
    Signal.COOL: Health.COOLING,
    Signal.EXCEEDED: Health.EXCEEDED,
    Signal.INVALID: Health.INVALID,
}

#: What does not count a step up by itself.
_LEAVES_STEP = frozenset({Signal.FAILED, Signal.PROBING, Signal.UNTRIED})

#: The table above.
TRANSITIONS: dict[tuple[Health, Signal], Health] = {
    (health, signal): to
    for health in (Health.NORMAL, Health.COOLING, Health.EXCEEDED)
    for signal, to in _CALLED.items()
    if (health, signal) != (Health.NORMAL, Signal.SERVED)
} | {(Health.INVALID, Signal.SERVED): Health.NORMAL}


class Lanes:
    """All lanes of which anything is known. A lane that is not here is normal, at step 0.

    The ledger process has the one that counts; each worker has one of its own, which it changes
    at once by what its calls show, and corrects by what the ledger process says.
    """

    def __init__(self, rules: HealthRules) -> None:
        self._rules = rules
        self._lanes: dict[tuple[int, str], Lane] = {}
        self._breakers: dict[tuple[int, str], _Breaker] = {}

    def __iter__(self) -> Iterator[Lane]:
        return iter(tuple(self._lanes.values()))

    def __bool__(self) -> bool:
        return bool(self._lanes)

    def get(self, key_id: int, model: str, generation: int) -> Lane | None:
        """What is known of this lane in this generation; None = nothing, so it is normal."""
        lane = self._lanes.get((key_id, model))
        return lane if lane is not None and lane.generation == generation else None

    def adopt(self, lane: Lane) -> bool:
        """What somebody who knows better says. False: something newer is known here."""
        key = (lane.key_id, lane.model)
        mine = self._lanes.get(key)
        if mine is not None and (lane.generation, lane.step) < (mine.generation, mine.step):
            return False
        if mine is None or (lane.generation, lane.step) != (mine.generation, mine.step):
            self._breakers.pop(key, None)
        self._lanes[key] = lane
        return True

    def forget(self, key_ids: Container[int]) -> None:
        """Keeps nothing of keys that are not among these."""
        for key in [key for key in self._lanes if key[0] not in key_ids]:
            del self._lanes[key]
        for key in [key for key in self._breakers if key[0] not in key_ids]:
            del self._breakers[key]

    def apply(self, report: Report, now: float, chance: float) -> Lane | None:
        """The lane after this report; None when it changes nothing. chance: in [0, 1)."""
        key = (report.key_id, report.model)
        lane = self._lanes.get(key)
        if lane is None or lane.generation < report.generation:
            lane = _fresh(report)
        if (report.generation, report.step) < (lane.generation, lane.step):
            return None
        changed = self._changed(lane, report, now, chance)
        if changed is None and _is_ahead(report, lane):
            changed = msgspec.structs.replace(lane, step=report.step + 1)
        if changed is not None:
            self._lanes[key] = changed
            if changed.step != lane.step:
                self._breakers.pop(key, None)
        return changed

    def _changed(self, lane: Lane, report: Report, now: float, chance: float) -> Lane | None:
        """What a report that is not old makes of a lane; None = it stays as it is."""
        signal = report.signal
        if signal is Signal.PROBING or signal is Signal.UNTRIED:
            if lane.health is Health.NORMAL or report.step != lane.step:
                return None
            if signal is Signal.UNTRIED:
                return msgspec.structs.replace(lane, probing=0.0)
            if lane.probing > now:
                return None
            return msgspec.structs.replace(lane, probing=now + PROBE_SECONDS)
        if signal is Signal.FAILED:
            if lane.health is Health.NORMAL and not self._trips(report, now):
                return None
            signal = Signal.TRIPPED
        health = TRANSITIONS.get((lane.health, signal))
        if health is None:
            return None
        return Lane(
            lane.key_id,
            lane.model,
            lane.generation,
            report.step + 1,
            health,
            self._until(health, report, now, chance),
            "" if health is Health.NORMAL else report.why,
        )

    def _trips(self, report: Report, now: float) -> bool:
        key = (report.key_id, report.model)
        breaker = self._breakers.get(key)
        if breaker is None or breaker.generation != report.generation:
            breaker = self._breakers[key] = _Breaker(report.generation)
        return breaker.trips(self._rules, report.served, now)

    def _until(self, health: Health, report: Report, now: float, chance: float) -> float:
        if health is Health.COOLING:
            seconds = report.seconds if report.seconds >= 0 else self._rules.cooldown_seconds
            seconds = min(max(seconds, COOL_SECONDS_LEAST), COOL_SECONDS_MAX)
            return now + seconds * (1 + JITTER * chance)
        if health is Health.EXCEEDED and report.seconds >= 0:
            return now + min(max(report.seconds, COOL_SECONDS_LEAST), EXCEEDED_SECONDS_MAX)
        return 0.0


class _Breaker:
    """The failures of one lane of late, and what went well between them.

    What went well before the first of them says nothing: a key that has served for hours and
    then fails is failing.
    """

    __slots__ = ("_parts", "generation")

    def __init__(self, generation: int) -> None:
        self.generation = generation
        # [time of the first failure, failures, went well before them], of neighbouring moments.
        self._parts: deque[list[float]] = deque()

    def trips(self, rules: HealthRules, served: int, now: float) -> bool:
        """One more failure; is it one too many? served: calls that went well since the last."""
        parts = self._parts
        while parts and parts[0][0] <= now - rules.breaker_seconds:
            parts.popleft()
        if parts and now - parts[-1][0] < rules.breaker_seconds / BREAKER_PARTS:
            parts[-1][1] += 1
            parts[-1][2] += served
        else:
            parts.append([now, 1, served if parts else 0])
        failed = sum(part[1] for part in parts)
        went_well = sum(part[2] for part in parts)
        return failed >= rules.breaker_failures and failed >= FAILED_SHARE * (failed + went_well)


def _fresh(report: Report) -> Lane:
    return Lane(report.key_id, report.model, report.generation, 0, Health.NORMAL, 0.0, "")


def _is_ahead(report: Report, lane: Lane) -> bool:
    """May the reporter's own lane stand at a newer step than this one?"""
    if report.step != lane.step:
        return report.step > lane.step
    return report.signal not in _LEAVES_STEP


def as_told(report: Report, changed: Lane | None) -> Report:
    """The report as the ledger process is to hear it. changed: what it made of the reporter's
    own lane, by Lanes.apply."""
    if changed is not None and report.signal is Signal.FAILED:
        return msgspec.structs.replace(report, signal=Signal.TRIPPED)
    return report


def may_call(lane: Lane | None, now: float) -> bool:
    """May this lane be called: is it normal, or is its time over and nobody probes it?"""
    if lane is None or lane.health is Health.NORMAL:
        return True
    return is_due(lane, now)


def is_due(lane: Lane, now: float) -> bool:
    """Is the lane's time over, and no probe of it under way?"""
    return lane.health is not Health.NORMAL and 0.0 < lane.until <= now and lane.probing <= now


def why_not(
    *,
    serves: bool,
    expires_at: int,
    unix_now: float,
    key_lane: Lane | None,
    model_lane: Lane | None,
    now: float,
) -> str:
    """Why this key is not called for this model now; "" = it may be.

    serves: does its configuration say that it has the model?  expires_at: unix seconds, 0 =
    never.  now: of the monotonic clock.  The dry run and the workers both ask here.
    """
    if expires_at and unix_now >= expires_at:
        return Status.EXPIRED.value
    if not serves:
        return "model_not_served"
    for lane, what in ((key_lane, ""), (model_lane, "model_")):
        if lane is not None and not may_call(lane, now):
            return what + ("probed" if lane.probing > now else lane.health.value)
    return ""


def callable_at(lane: Lane) -> float:
    """When a lane that is not normal may be called next; infinity = when a person says so."""
    return max(lane.until, lane.probing) if lane.until else float("inf")


def status_of(
    *, enabled: bool, expires_at: int, secret_missing: bool, lane: Lane | None, unix_now: float
) -> Status:
    """What people are shown. expires_at: unix seconds, 0 = never.  lane: of the whole key, in
    the key's generation."""
    if expires_at and unix_now >= expires_at:
        return Status.EXPIRED
    if not enabled:
        return Status.DISABLED
    if secret_missing:
        return Status.ERROR
    match lane.health if lane is not None else Health.NORMAL:
        case Health.COOLING:
            return Status.COOLING
        case Health.EXCEEDED:
            return Status.EXCEEDED
        case Health.INVALID:
            return Status.ERROR
    return Status.NORMAL
