"""Use cases of groups.

Refusals (kit.errors):
    group_unknown    404
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, astuple

from sqlalchemy.engine import Connection

from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.groups import store
from aipool.groups.types import DEFAULT_NAME, NO_CALL_LIMITS, CallLimits, Group
from aipool.kit.db import Transaction
from aipool.kit.errors import NotFound
from aipool.kit.money import PPM, format_multiplier


def put_group(
    tx: Transaction,
    act: Act,
    *,
    name: str,
    multiplier_ppm: int,
    models: Sequence[str] | None,
    each_user: CallLimits = NO_CALL_LIMITS,
    whole: CallLimits = NO_CALL_LIMITS,
) -> tuple[Group, bool]:
    """The group of this name, made or changed to be so; and whether anything changed.

    models: names that exist, in any order; None = every model.
    """
    wanted = None if models is None else tuple(sorted(models))
    before = store.group_by_name(tx.connection, name)
    if before is None:
        group = store.insert_group(
            tx.connection,
            name=name,
            multiplier_ppm=multiplier_ppm,
            models=wanted,
            each_user=each_user,
            whole=whole,
            at_ms=act.at_ms,
        )
        action = "group.create"
    else:
        group = Group(before.id, name, multiplier_ppm, wanted, each_user, whole)
        if group == before:
            return before, False
        store.update_group(
            tx.connection,
            before.id,
            multiplier_ppm=multiplier_ppm,
            models=wanted,
            each_user=each_user,
            whole=whole,
        )
        action = "group.change"
    tx.changes.note_catalogue()
    record(
        tx,
        act,
        action,
        f"group:{group.id}",
        before=_fields(before) if before else None,
        after=_fields(group),
    )
    return group, True


def default_group(tx: Transaction, act: Act) -> Group:
    """The group of whoever was given no other; made at list price when missing."""
    found = store.group_by_name(tx.connection, DEFAULT_NAME)
    if found is not None:
        return found
    group, _ = put_group(tx, act, name=DEFAULT_NAME, multiplier_ppm=PPM, models=None)
    return group


def find_group(connection: Connection, name: str) -> Group | None:
    """The group of this name."""
    return store.group_by_name(connection, name)


def get_group(connection: Connection, name: str) -> Group:
    """Like find_group; raises NotFound when there is none."""
    group = store.group_by_name(connection, name)
    if group is None:
        raise NotFound("group_unknown", f"there is no group {name!r}", field="group")
    return group


def list_groups(connection: Connection) -> list[Group]:
    """Every group."""
    return store.list_groups(connection)


def differences(before: Group, after: Group) -> tuple[str, ...]:
    """What is other in a group than it was, in words."""
    old, new = before.multiplier_ppm, after.multiplier_ppm
    found = []
    if old != new:
        found.append(f"multiplier {format_multiplier(old)} -> {format_multiplier(new)}")
    if before.models != after.models:
        found.append("models")
    found += limit_differences(before.each_user, after.each_user)
    found += [f"group's {text}" for text in limit_differences(before.whole, after.whole)]
    return tuple(found)


def limit_differences(before: CallLimits, after: CallLimits) -> list[str]:
    """What is other in limits of calls than it was, in words."""
    return [
        f"{name.replace('_', ' ')} {_count(was)} -> {_count(now)}"
        for (name, was), now in zip(asdict(before).items(), astuple(after), strict=True)
        if was != now
    ]


def _count(limit: int | None) -> str:
    return "none" if limit is None else str(limit)


def _fields(group: Group) -> dict[str, object]:
    return {
        "name": group.name,
        "multiplier_ppm": group.multiplier_ppm,
        "models": None if group.models is None else list(group.models),
        "each_user": asdict(group.each_user),
        "whole": asdict(group.whole),
    }
