"""What the file says, entry by entry, once it is read and right by itself.

line, path: of an entry in the file, where problems with it are reported. What it names (vendors,
groups, people) it names as the file does; `plan` finds whom that means here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from aipool.api_tokens.types import Reset, TokenTerms
from aipool.catalog.types import TYPED, Kind, Quote
from aipool.groups.types import CallLimits
from aipool.pool.types import KeyTerms
from aipool.rating.types import Price
from aipool.vendors.types import NO_TIMEOUTS, Action, Ordering, Timeouts


@dataclass(frozen=True, slots=True)
class VendorEntry:
    """A vendor with its keys."""

    line: int
    path: str
    name: str
    type: str
    base_url: str
    ordering: Ordering
    concurrency: int
    low_balance: str
    keys: tuple[KeyTerms, ...]


@dataclass(frozen=True, slots=True)
class KeywordEntry:
    """What a phrase in a vendor's error message means."""

    line: int
    path: str
    vendor_type: str
    phrase: str
    action: Action


@dataclass(frozen=True, slots=True)
class RouteEntry:
    """A route, its vendor and groups by name; groups () = all."""

    line: int
    path: str
    vendor: str
    upstream_model: str
    cost: Price
    groups: tuple[str, ...] = ()
    cost_quote: Quote = TYPED


@dataclass(frozen=True, slots=True)
class ModelEntry:
    """A model with its routes. free: a 0 was written where it has no price.  said: of maker,
    description, abilities and endpoints, what is written."""

    line: int
    path: str
    name: str
    kind: Kind
    context_tokens: int
    max_output_tokens: int
    price: Price
    routes: tuple[RouteEntry, ...]
    hidden_reasoning: bool = False
    timeouts: Timeouts = NO_TIMEOUTS
    free: bool = False
    quote: Quote = TYPED
    said: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class GroupEntry:
    """A pricing group; models None = every model. each_user, whole: see Group."""

    line: int
    path: str
    name: str
    multiplier_ppm: int
    models: tuple[str, ...] | None
    each_user: CallLimits
    whole: CallLimits


@dataclass(frozen=True, slots=True)
class UserEntry:
    """A user; password None = keep, credit_nano None = no opening credit."""

    line: int
    path: str
    phone: str
    password: str | None
    credit_nano: int | None


@dataclass(frozen=True, slots=True)
class TokenEntry:
    """An API token, its user by phone and its group by name; secret None = keep or make."""

    line: int
    path: str
    phone: str
    name: str
    secret: str | None
    group: str
    models: tuple[str, ...] | None
    ips: tuple[str, ...]
    expires_at: int
    limit_nano: int | None
    reset: Reset
    total_nano: int | None
    limits: CallLimits

    def terms(self, group_id: int) -> TokenTerms:
        """What it says about the token."""
        return TokenTerms(
            name=self.name,
            group_id=group_id,
            models=self.models,
            ips=self.ips,
            expires_at=self.expires_at,
            limit_nano=self.limit_nano,
            reset=self.reset,
            total_nano=self.total_nano,
            limits=self.limits,
        )


@dataclass(frozen=True, slots=True)
class Document:
    """The whole file; right by itself."""

    vendors: tuple[VendorEntry, ...]
    models: tuple[ModelEntry, ...]
    groups: tuple[GroupEntry, ...]
    users: tuple[UserEntry, ...]
    tokens: tuple[TokenEntry, ...]
    keywords: tuple[KeywordEntry, ...] = ()
