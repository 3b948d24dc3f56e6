"""The words of API tokens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NamedTuple, NewType

from aipool.groups.types import NO_CALL_LIMITS, CallLimits
from aipool.kit.expiry import NEVER
from aipool.ledger.rules import Period, token_limit_budget

TokenId = NewType("TokenId", int)


class Reset(StrEnum):
    """When a token's limit begins anew: never, or at 00:00 UTC of a day, a Monday, a first."""

    NONE = "none"
    DAILY = "daily"
    WEEKLY = "weekly"
    MONTHLY = "monthly"

    @property
    def period(self) -> Period | None:
        """The period of its budget, None = a lifetime."""
        return _PERIODS[self]


_PERIODS = {
    Reset.NONE: None,
    Reset.DAILY: Period.DAY,
    Reset.WEEKLY: Period.WEEK,
    Reset.MONTHLY: Period.MONTH,
}


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A customer's credential, without its secret; name is unique among the user's own.

    models: names it may call, None = all of its group.  ips: networks it may be used
    from, () = any.  expires_at: unix seconds, NEVER = 0.  limit_nano: what it may spend
    until `reset`, None = no limit of its own.  total_nano: what it may spend in its life,
    beside a limit that begins anew; None = no such cap.  limits: of its calls.  limit_no:
    how often the limit was begun anew because its reset type was changed.  last4: the end
    of its secret.  playground_allowed: may a playground key stand in for it, which is bound to
    a session in place of `ips`.  content_days: how long what its calls say is kept for its owner,
    0 = not at all.
    """

    id: TokenId
    user_id: int
    group_id: int
    name: str
    models: tuple[str, ...] | None
    ips: tuple[str, ...]
    expires_at: int
    limit_nano: int | None
    enabled: bool
    last4: str
    created_at_ms: int
    reset: Reset = Reset.NONE
    total_nano: int | None = None
    limit_no: int = 0
    limits: CallLimits = NO_CALL_LIMITS
    description: str = ""
    playground_allowed: bool = True
    content_days: int = 0

    @property
    def limit_budget(self) -> str:
        """The budget that its limit is counted on."""
        return token_limit_budget(self.id, self.reset.period, self.limit_no)

    @property
    def terms(self) -> TokenTerms:
        """What people say about it, as it is."""
        return TokenTerms(
            name=self.name,
            group_id=self.group_id,
            models=self.models,
            ips=self.ips,
            expires_at=self.expires_at,
            limit_nano=self.limit_nano,
            reset=self.reset,
            total_nano=self.total_nano,
            limits=self.limits,
            description=self.description,
            playground_allowed=self.playground_allowed,
            content_days=self.content_days,
        )


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """What a person says about a token; the words of ApiToken."""

    name: str
    group_id: int
    models: tuple[str, ...] | None = None
    ips: tuple[str, ...] = ()
    expires_at: int = NEVER
    limit_nano: int | None = None
    reset: Reset = Reset.NONE
    total_nano: int | None = None
    limits: CallLimits = NO_CALL_LIMITS
    description: str = ""
    playground_allowed: bool = True
    content_days: int = 0


#: What the calls of a playground key are marked with.
PLAYGROUND = "playground"


@dataclass(frozen=True, slots=True)
class TokenWithOwner:
    """A token as it is looked up for a call.

    group_granted: may the owner's tokens be in its group.  until: when the secret that was
    presented ends, in unix seconds, NEVER = with the token.  session_id: of the session whose
    playground key was presented, 0 = it was a secret of the token.
    """

    token: ApiToken
    user_active: bool
    group_granted: bool = True
    until: int = NEVER
    session_id: int = 0

    @property
    def origin(self) -> str:
        """What its calls are marked with."""
        return PLAYGROUND if self.session_id else ""

    @property
    def expires_at(self) -> int:
        """When what was presented is over, in unix seconds, NEVER = 0."""
        return min(self.token.expires_at or self.until, self.until or self.token.expires_at)

    @property
    def ips(self) -> tuple[str, ...]:
        """Networks that it may be used from, () = any: a playground key is bound to its session
        instead."""
        return () if self.session_id else self.token.ips


@dataclass(frozen=True, slots=True)
class Standing:
    """How far a token's limits are used.

    used_nano: of its limit, in the window it is now; None = no limit.  remaining_nano: what
    it may still spend, in this window and of its total; None = neither limits it.
    resets_at: unix seconds of the next window, None = none follows.  used_total_nano: in
    its life.
    """

    used_nano: int | None
    remaining_nano: int | None
    resets_at: int | None
    used_total_nano: int


class Status(StrEnum):
    """Why a token can be called with or not, the first that is true. Of the account, which may
    be frozen or have no money, it says nothing."""

    DISABLED = "disabled"
    GROUP_NOT_GRANTED = "group_not_granted"
    EXPIRED = "expired"
    EXHAUSTED = "exhausted"
    ACTIVE = "active"


class Sort(StrEnum):
    """In which order tokens are listed; each also backwards."""

    CREATED = "created"
    NAME = "name"
    EXPIRES = "expires"
    LIMIT = "limit"
    USED = "used"
    USED_TOTAL = "used_total"
    REMAINING = "remaining"


@dataclass(frozen=True, slots=True)
class Asked:
    """Which tokens of a user are listed, and in which order.

    text: in name, description or the end of the secret, "" = any.  status, group_id, enabled:
    None = any.  descending: the newest, the last, the most first.
    """

    text: str = ""
    status: Status | None = None
    group_id: int | None = None
    enabled: bool | None = None
    sort: Sort = Sort.CREATED
    descending: bool = True


@dataclass(frozen=True, slots=True)
class TokenListed:
    """A token with how far its limits are used, and whether its group is its owner's."""

    token: ApiToken
    standing: Standing
    group_granted: bool


class Place(NamedTuple):
    """Where a page ended: what it is sorted by, of its last token, and that token's id."""

    key: int | str
    token_id: int


class StandIn(NamedTuple):
    """A secret that stands in for a token's own until a moment.

    until: unix seconds.  session_id: whose playground key it is, 0 = the secret before the last
    rotation.
    """

    digest: bytes
    token_id: int
    session_id: int
    until: int
