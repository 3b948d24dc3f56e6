"""DOOR down: the catalogue as a worker sees it.

Immutable and replaced whole by one assignment. API tokens are not in it: a worker
fetches a token on first use by its digest (`TokenView`), so a million tokens cost it
nothing. Nothing in it points back, so none of its objects is for the garbage collector
(`gc=False`): there are tens of thousands of them.
"""

from __future__ import annotations

import msgspec

from aipool.rating.types import Price
from aipool.vendors.types import (
    NO_SETTINGS,
    NO_TIMEOUTS,
    KeySettings,
    Keyword,
    Ordering,
    Timeouts,
)


class KeyView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An upstream key in priority order. `secret` is plain: it crosses only link.sock,
    whose mode is 0600, and lives only in a worker's memory.

    generation: see pool.health.  expires_at: unix seconds, 0 = never.
    """

    id: int
    name: str
    secret: str
    generation: int = 1
    expires_at: int = 0
    settings: KeySettings = NO_SETTINGS


class VendorView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A vendor and its keys that people allow to be called, first = tried first.

    concurrency: the most calls in flight over all of them, 0 = any number.
    """

    id: int
    name: str
    type: str
    base_url: str
    keys: tuple[KeyView, ...]
    ordering: Ordering = Ordering.PRIORITY
    concurrency: int = 0


class RouteView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One way to serve a model. `groups`: ids of the groups it is limited to, () = all."""

    vendor_id: int
    upstream_model: str
    cost: Price
    groups: tuple[int, ...]


class ModelView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A model on sale. `routes` are in the order in which they are tried.

    hidden_reasoning: what it has used cannot be followed while it answers.
    """

    id: int
    name: str
    kind: str
    created_at: int
    context_tokens: int
    max_output_tokens: int
    price: Price
    routes: tuple[RouteView, ...]
    hidden_reasoning: bool = False
    timeouts: Timeouts = NO_TIMEOUTS


class CallLimits(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """How many calls one bucket may make; 0 = no such limit.

    rpm, tpm: calls and tokens in any 60 seconds.  requests_per_day: in a UTC day.
    concurrency: in flight.
    """

    rpm: int = 0
    tpm: int = 0
    requests_per_day: int = 0
    concurrency: int = 0


NO_CALL_LIMITS = CallLimits()


class GroupView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A pricing group. `models` None = every model.

    each_user: the limits of each user's calls in it, all that user's tokens of the group
    together.  whole: those of all its users together.
    """

    id: int
    name: str
    multiplier_ppm: int
    models: tuple[str, ...] | None
    each_user: CallLimits = NO_CALL_LIMITS
    whole: CallLimits = NO_CALL_LIMITS


class Snapshot(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Everything but the tokens, as of `revision`."""

    revision: int
    groups: tuple[GroupView, ...]
    vendors: tuple[VendorView, ...]
    models: tuple[ModelView, ...]
    keywords: tuple[Keyword, ...] = ()


class TokenView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An API token as the gateway needs it; never its secret.

    budgets: the names of the budgets of money a call must fit, the wallet first; which
    window of them, the day says (ledger.rules).
    limits: of this token's calls, beside those of its group.
    expires_at: unix seconds, 0 = never.  models: None = all of the group.
    ips: addresses and networks in CIDR form, () = any.
    blocked: "" or why no call is allowed now: "disabled", "user_frozen",
    "group_not_granted".
    origin: what its calls are marked with: "playground" for a short-lived stand-in of a token,
    whose money, group and models are its parent's; "" = a token.
    content_days: for how long what its calls say is kept for its owner, 0 = not at all.
    """

    id: int
    user_id: int
    group_id: int
    name: str
    expires_at: int
    models: tuple[str, ...] | None
    ips: tuple[str, ...]
    budgets: tuple[str, ...]
    blocked: str
    limits: CallLimits = NO_CALL_LIMITS
    origin: str = ""
    content_days: int = 0


def wallet_budget(user_id: int) -> str:
    """The id of a user's wallet, as an account and as a budget."""
    return f"wallet:{user_id}"


def token_budget(token_id: int) -> str:
    """The id of a token's own limit."""
    return f"token:{token_id}"
