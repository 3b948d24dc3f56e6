"""DOOR down: the catalogue as a worker sees it.

Immutable and replaced whole by one assignment. API tokens are not in it: a worker
fetches a token on first use by its digest (`TokenView`), so a million tokens cost it
nothing. Nothing in it points back, so none of its objects is for the garbage collector
(`gc=False`): there are tens of thousands of them.
"""

from __future__ import annotations

import msgspec

from aipool.rating.types import TokenPrice


class KeyView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An upstream key in priority order. `secret` is plain: it crosses only link.sock,
    whose mode is 0600, and lives only in a worker's memory."""

    id: int
    name: str
    secret: str
    proxy_url: str


class VendorView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A vendor and its keys that may be called, first = tried first."""

    id: int
    name: str
    type: str
    base_url: str
    keys: tuple[KeyView, ...]


class RouteView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One way to serve a model. `groups`: ids of the groups it is limited to, () = all."""

    vendor_id: int
    upstream_model: str
    cost: TokenPrice
    groups: tuple[int, ...]


class ModelView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A model on sale. `routes` are in the order in which they are tried."""

    id: int
    name: str
    kind: str
    created_at: int
    context_tokens: int
    max_output_tokens: int
    price: TokenPrice
    routes: tuple[RouteView, ...]


class GroupView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A pricing group. `models` None = every model."""

    id: int
    name: str
    multiplier_ppm: int
    models: tuple[str, ...] | None


class Snapshot(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """Everything but the tokens, as of `revision`."""

    revision: int
    groups: tuple[GroupView, ...]
    vendors: tuple[VendorView, ...]
    models: tuple[ModelView, ...]


class TokenView(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """An API token as the gateway needs it; never its secret.

    budgets: the chain a call must fit, as (budget id, window number); the wallet first.
    expires_at: unix seconds, 0 = never.  models: None = all of the group.
    ips: addresses and networks in CIDR form, () = any.
    blocked: "" or why no call is allowed now: "disabled", "user_frozen",
    "group_not_granted".
    """

    id: int
    user_id: int
    group_id: int
    name: str
    expires_at: int
    models: tuple[str, ...] | None
    ips: tuple[str, ...]
    budgets: tuple[tuple[str, int], ...]
    blocked: str


def wallet_budget(user_id: int) -> str:
    """The id of a user's wallet, as an account and as a budget."""
    return f"wallet:{user_id}"


def token_budget(token_id: int) -> str:
    """The id of a token's own limit."""
    return f"token:{token_id}"
