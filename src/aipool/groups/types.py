"""The words of groups."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

GroupId = NewType("GroupId", int)

#: What the default group is called until somebody makes another one the default.
DEFAULT_NAME = "default"


@dataclass(frozen=True, slots=True)
class CallLimits:
    """How many calls one bucket may make; None = no such limit, and never zero.

    rpm, tpm: calls and tokens in any 60 seconds.  requests_per_day: in a UTC day.
    concurrency: in flight.
    """

    rpm: int | None = None
    tpm: int | None = None
    requests_per_day: int | None = None
    concurrency: int | None = None


NO_CALL_LIMITS = CallLimits()


@dataclass(frozen=True, slots=True)
class Group:
    """A pricing group. multiplier_ppm: of the list price, 1_000_000 is the list price.
    models: names it may call, None = every model.

    each_user: the limits of each user's calls in it, all that user's tokens of the group
    together.  whole: those of all its users together.  description: for whom it is meant.
    is_default: granted to everybody, and given to a token that names no other.
    """

    id: GroupId
    name: str
    multiplier_ppm: int
    models: tuple[str, ...] | None
    each_user: CallLimits = NO_CALL_LIMITS
    whole: CallLimits = NO_CALL_LIMITS
    description: str = ""
    is_default: bool = False


@dataclass(frozen=True, slots=True)
class Member:
    """A user to whom a group is granted by name. actor: who granted it, as the trail says."""

    user_id: int
    granted_at_ms: int
    actor: str
