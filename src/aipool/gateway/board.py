"""How the upstream keys stand, as one worker sees it.

The rules are pool.health's; the word that counts is the ledger process's. A worker acts at once on
what its own calls show, says so, and takes over what it is told. What is shown here:

    a call failed ─▶ show ─▶ this worker's lanes ─▶ turn + 1 ─▶ candidates look anew
                       └───▶ KeyReports ─▶ ledger process ─▶ KeyStates ─▶ every worker: adopt

A lane whose time is over is probed by one call of one worker. So that not all of them try at the
same moment, the worker of place i waits i × 50 ms longer, in which the first one's word arrives.
"""

from __future__ import annotations

from collections.abc import Callable, Container, Iterable
from enum import Enum
from typing import TYPE_CHECKING

from aipool.doors.frames import KeyReports
from aipool.pool.health import (
    Health,
    HealthRules,
    Lane,
    Lanes,
    Report,
    Signal,
    as_told,
    callable_at,
    is_due,
    why_not,
)

if TYPE_CHECKING:
    from aipool.gateway.candidates import KeyParts

#: How much later than the worker before it a worker thinks of a probe.
STAGGER_SECONDS = 0.05
#: How much of the newest measurement is in the latency of a key.
LATENCY_SHARE = 0.2

FOREVER = float("inf")


class Standing(Enum):
    """May a key be called for a model?"""

    WELL = "well"
    DUE = "due"  # by one call, which finds out whether it is well again
    OUT = "out"


class Tally:
    """What went well on a key.

    served: calls since the last report of it, of late.  seconds: about how long it takes to the
    first word, 0.0 = not known yet.
    """

    __slots__ = ("seconds", "served")

    def __init__(self) -> None:
        self.served = 0
        self.seconds = 0.0

    def went_well(self, seconds: float) -> None:
        """One more call, whose first word came after this time."""
        self.served += 1
        known = self.seconds
        self.seconds = known + LATENCY_SHARE * (seconds - known) if known else seconds


class Mark:
    """Where the lanes of a try stood when it began, and which of them it probes."""

    __slots__ = ("key_step", "model_step", "probes")

    def __init__(self, key_step: int, model_step: int, probes: tuple[str, ...]) -> None:
        self.key_step = key_step
        self.model_step = model_step
        self.probes = probes

    def ended(self) -> Mark:
        """The same of a try that no longer probes: what it tried has become known."""
        return Mark(self.key_step, self.model_step, ()) if self.probes else self


_WELL = (Standing.WELL, FOREVER)

#: Nothing is known of either lane: nearly every try.
FRESH = Mark(0, 0, ())


class Board:
    """All upstream keys of a worker. `turn` counts up whenever one may have changed.

    place: the worker's.  tell: sends reports, if the line is up.  now: the monotonic clock.
    unix_now: the time of day.  chance: a number in [0, 1).
    """

    def __init__(
        self,
        rules: HealthRules,
        *,
        place: int,
        tell: Callable[[KeyReports], object],
        now: Callable[[], float],
        unix_now: Callable[[], float],
        chance: Callable[[], float],
    ) -> None:
        self.turn = 0
        self._lanes = Lanes(rules)
        self._stagger = place * STAGGER_SECONDS
        self._tell = tell
        self._now = now
        self._unix_now = unix_now
        self._chance = chance
        self._tallies: dict[int, Tally] = {}
        self._served_seconds = rules.breaker_seconds
        self._forget_served_at = 0.0

    # --- what is known --------------------------------------------------------------------

    def tally(self, key_id: int) -> Tally:
        """What went well on a key; the same object for as long as the key is there."""
        tally = self._tallies.get(key_id)
        if tally is None:
            tally = self._tallies[key_id] = Tally()
        return tally

    def lane(self, key: KeyParts, model: str) -> Lane | None:
        """What is known of the key ("") or of the key with this model."""
        return self._lanes.get(key.id, model, key.generation)

    def why_not(self, key: KeyParts, model: str, now: float) -> str:
        """Why this key is not called for this model now; "" = it may be."""
        return why_not(
            serves=key.settings.models is None or model in key.settings.models,
            expires_at=key.expires_at,
            unix_now=self._unix_now(),
            key_lane=self.lane(key, ""),
            model_lane=self.lane(key, model),
            now=now - self._stagger,
        )

    def look(self, key: KeyParts, model: str, now: float) -> tuple[Standing, float]:
        """May it be called, and until when does that hold unless something is learned?"""
        resting = self._resting(key, model)
        if not (resting or key.expires_at) and key.settings.models is None:
            return _WELL  # nearly every key, and there may be a thousand
        when = now - self._stagger
        for lane in resting:
            if not is_due(lane, when):
                return Standing.OUT, max(map(callable_at, resting)) + self._stagger
        until = FOREVER
        if key.expires_at:
            until = now + key.expires_at - self._unix_now()
        if self.why_not(key, model, now):
            return Standing.OUT, FOREVER
        return (Standing.DUE, now) if resting else (Standing.WELL, until)

    def seconds_until(self, key: KeyParts, model: str, now: float) -> float:
        """In how long it may be called, as far as is known; infinity = not by itself."""
        standing, until = self.look(key, model, now)
        return max(0.0, until - now) if standing is Standing.OUT else 0.0

    # --- what calls show ------------------------------------------------------------------

    def begin(self, key: KeyParts, model: str, now: float) -> Mark:
        """A try begins: where its lanes stand. A lane whose time is over is probed by it."""
        if not self._lanes:
            return FRESH
        key_lane, model_lane = self.lane(key, ""), self.lane(key, model)
        when = now - self._stagger
        probes = tuple([lane.model for lane in self._resting(key, model) if is_due(lane, when)])
        mark = Mark(
            key_lane.step if key_lane is not None else 0,
            model_lane.step if model_lane is not None else 0,
            probes,
        )
        for name in probes:
            self.show(key, name, mark, Signal.PROBING, "")
        return mark

    def show(
        self,
        key: KeyParts,
        model: str,
        mark: Mark,
        signal: Signal,
        why: str,
        seconds: float | None = None,
    ) -> None:
        """A try has shown something of the key (model "") or of the key with this model."""
        tally = self.tally(key.id)
        report = Report(
            key.id,
            model,
            key.generation,
            mark.model_step if model else mark.key_step,
            signal,
            why,
            -1.0 if seconds is None else seconds,
            tally.served,
        )
        tally.served = 0
        changed = self._lanes.apply(report, self._now(), self._chance())
        if changed is not None:
            self.turn += 1
        self._tell(KeyReports((as_told(report, changed),)))

    # --- what the ledger process says -----------------------------------------------------

    def adopt(self, lanes: Iterable[Lane], *, everything: bool = False) -> None:
        """How lanes stand for all workers. everything: of others nothing is known."""
        if everything:
            self._lanes.forget(())
            self.turn += 1
        for lane in lanes:
            if self._lanes.adopt(lane):
                self.turn += 1

    def forget(self, key_ids: Container[int]) -> None:
        """The catalogue has changed: keeps only what is known of these keys."""
        self._lanes.forget(key_ids)
        for key_id in [key_id for key_id in self._tallies if key_id not in key_ids]:
            del self._tallies[key_id]
        self.turn += 1

    def tick(self) -> None:
        """Each second: the time of day may have been set, and keys expire by it; and what went
        well long ago says nothing of failures now."""
        self.turn += 1
        now = self._now()
        if now >= self._forget_served_at:
            self._forget_served_at = now + self._served_seconds
            for tally in self._tallies.values():
                tally.served = 0

    def _resting(self, key: KeyParts, model: str) -> list[Lane]:
        """Of the two lanes of a try those that are not normal."""
        lanes, key_id, generation = self._lanes, key.id, key.generation
        return [
            lane
            for lane in (lanes.get(key_id, "", generation), lanes.get(key_id, model, generation))
            if lane is not None and lane.health is not Health.NORMAL
        ]
