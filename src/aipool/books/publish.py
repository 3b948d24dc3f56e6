"""DOOR down: the slices become what the workers hold in memory.

A snapshot is built whole from the tables, in a handful of statements, whenever the
catalogue changed; with 2,000 models and 1,000 keys that takes a few milliseconds. API
tokens are not in it: a worker asks for one by its digest (`token_view`).

Both are read inside the caller's transaction, so content and revision belong together.
"""

from __future__ import annotations

import gc
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import astuple

from sqlalchemy.engine import Connection

from aipool.api_tokens import rules as token_rules
from aipool.api_tokens import service as api_tokens
from aipool.catalog import service as catalog
from aipool.doors import snapshot
from aipool.doors.snapshot import (
    GroupView,
    KeyView,
    ModelView,
    RouteView,
    Snapshot,
    TokenView,
    VendorView,
    token_budget,
    wallet_budget,
)
from aipool.groups import service as groups
from aipool.groups.types import CallLimits
from aipool.kit import db
from aipool.kit.sealing import Keyring
from aipool.pool import service as pool


def current_revision(connection: Connection) -> int:
    """The newest committed revision; 0 before the first change."""
    return db.current_revision(connection)


def build_snapshot(connection: Connection, keyring: Keyring) -> Snapshot:
    """Everything but the tokens, as this connection sees it.

    Disabled models and keys are left out, and keys without a secret; the order of routes and
    keys is that of trying. Whether a key has expired the workers judge, at each call.
    Raises sealing.Unsealable when a key's secret does not open.
    """
    with _no_collection():
        return Snapshot(
            revision=current_revision(connection),
            groups=_groups(connection),
            vendors=_vendors(connection, keyring),
            models=_models(connection),
            keywords=tuple(one.keyword for one in pool.list_keywords(connection)),
        )


def token_view(connection: Connection, digest: bytes) -> TokenView | None:
    """The token with this digest as the gateway needs it; None when nobody has it."""
    found = api_tokens.look_up(connection, digest)
    if found is None:
        return None
    token = found.token
    budgets = [wallet_budget(token.user_id)]
    if token.total_nano is not None:
        budgets.append(token_budget(token.id))
    if token.limit_nano is not None and token.limit_budget not in budgets:
        budgets.append(token.limit_budget)
    return TokenView(
        id=token.id,
        user_id=token.user_id,
        group_id=token.group_id,
        name=token.name,
        expires_at=found.expires_at,
        models=token.models,
        ips=found.ips,
        budgets=tuple(budgets),
        blocked=token_rules.why_blocked(found),
        limits=_call_limits(token.limits),
        origin=found.origin,
        content_days=token.content_days,
    )


def _call_limits(limits: CallLimits) -> snapshot.CallLimits:
    return snapshot.CallLimits(*(limit or 0 for limit in astuple(limits)))


def _groups(connection: Connection) -> tuple[GroupView, ...]:
    return tuple(
        GroupView(
            group.id,
            group.name,
            group.multiplier_ppm,
            group.models,
            _call_limits(group.each_user),
            _call_limits(group.whole),
        )
        for group in groups.list_groups(connection)
    )


def _models(connection: Connection) -> tuple[ModelView, ...]:
    return tuple(
        ModelView(
            model.id,
            model.name,
            model.kind.value,
            model.created_at_ms // 1000,
            model.context_tokens,
            model.max_output_tokens,
            model.price,
            tuple([RouteView(*route) for route in model.routes]),
            model.hidden_reasoning,
            model.timeouts,
        )
        for model in catalog.list_models(connection)
        if model.enabled
    )


def _vendors(connection: Connection, keyring: Keyring) -> tuple[VendorView, ...]:
    secrets = pool.open_secrets(connection, keyring)
    keys_of: defaultdict[int, list[KeyView]] = defaultdict(list)
    for key in pool.list_keys(connection):
        if key.id in secrets:
            keys_of[key.vendor_id].append(
                KeyView(
                    key.id,
                    key.name,
                    secrets[key.id],
                    key.generation,
                    key.expires_at,
                    key.settings,
                )
            )
    return tuple(
        VendorView(
            vendor.id,
            vendor.name,
            vendor.type,
            vendor.base_url,
            tuple(keys_of[vendor.id]),
            vendor.ordering,
            vendor.concurrency,
        )
        for vendor in pool.list_vendors(connection)
    )


@contextmanager
def _no_collection() -> Iterator[None]:
    """Tens of thousands of objects are made and all are kept: a garbage collection in the
    middle finds nothing and takes twice as long as everything else."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()
