"""The words of API tokens."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import NewType

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
    of its secret.
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


@dataclass(frozen=True, slots=True)
class TokenWithOwner:
    """A token as it is looked up for a call."""

    token: ApiToken
    user_active: bool


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
