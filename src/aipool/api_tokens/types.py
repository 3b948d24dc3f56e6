"""The words of API tokens."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NewType

TokenId = NewType("TokenId", int)

NEVER = 0


@dataclass(frozen=True, slots=True)
class ApiToken:
    """A customer's credential, without its secret; name is unique among the user's own.

    models: names it may call, None = all of its group.  ips: networks it may be used
    from, () = any.  expires_at: unix seconds, NEVER = 0.  limit_nano: what it may spend
    in all, None = no limit of its own.  last4: the end of its secret.
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


@dataclass(frozen=True, slots=True)
class TokenTerms:
    """What a person says about a token; the words of ApiToken."""

    name: str
    group_id: int
    models: tuple[str, ...] | None = None
    ips: tuple[str, ...] = ()
    expires_at: int = NEVER
    limit_nano: int | None = None


@dataclass(frozen=True, slots=True)
class TokenWithOwner:
    """A token as it is looked up for a call."""

    token: ApiToken
    user_active: bool
