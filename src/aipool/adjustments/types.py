"""The words of adjustments that wait for a second administrator."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

#: Whoever asked has forgotten it by then.
WAIT_MS = 7 * 24 * 3_600_000


class State(StrEnum):
    """What became of it. EXPIRED: nobody decided in time; it is not written down."""

    WAITING = "waiting"
    AGREED = "agreed"
    DECLINED = "declined"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class Asked:
    """What an administrator wants to add to a balance, or (negative) take away from it.

    asked_by: the actor, as "user:7".  key: under which it was asked for, once.  decided_by: who
    agreed or declined; "" = nobody has.
    """

    id: int
    user_id: int
    amount_nano: int
    reason: str
    asked_by: str
    key: str
    asked_at_ms: int
    state: State
    decided_by: str
    decided_at_ms: int | None

    def state_at(self, at_ms: int) -> State:
        """What it is at a moment."""
        if self.state is State.WAITING and at_ms >= self.expires_at_ms:
            return State.EXPIRED
        return self.state

    @property
    def expires_at_ms(self) -> int:
        """Nobody can agree to it from then on."""
        return self.asked_at_ms + WAIT_MS
