"""The statements of groups, one function each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.groups.tables import groups
from aipool.groups.types import CallLimits, Group, GroupId

_LIMITS = [field.name for field in fields(CallLimits)]
_COLUMNS = (
    groups.c.id,
    groups.c.name,
    groups.c.multiplier_ppm,
    groups.c.models,
    *(groups.c[prefix + name] for prefix in ("", "whole_") for name in _LIMITS),
)


def insert_group(
    connection: Connection,
    *,
    name: str,
    multiplier_ppm: int,
    models: Sequence[str] | None,
    each_user: CallLimits,
    whole: CallLimits,
    at_ms: int,
) -> Group:
    """A new group."""
    row = connection.execute(
        sa.insert(groups)
        .values(
            name=name,
            multiplier_ppm=multiplier_ppm,
            models=None if models is None else list(models),
            created_at_ms=at_ms,
            **_limits(each_user, whole),
        )
        .returning(*_COLUMNS)
    ).one()
    return _group(row)


def update_group(
    connection: Connection,
    group_id: int,
    *,
    multiplier_ppm: int,
    models: Sequence[str] | None,
    each_user: CallLimits,
    whole: CallLimits,
) -> None:
    """Another multiplier, other models and other limits from now on."""
    connection.execute(
        sa.update(groups)
        .where(groups.c.id == group_id)
        .values(
            multiplier_ppm=multiplier_ppm,
            models=None if models is None else list(models),
            **_limits(each_user, whole),
        )
    )


def group_by_name(connection: Connection, name: str) -> Group | None:
    """The group of this name."""
    row = connection.execute(sa.select(*_COLUMNS).where(groups.c.name == name)).one_or_none()
    return _group(row) if row else None


def list_groups(connection: Connection) -> list[Group]:
    """Every group, in the order they were made."""
    return [_group(row) for row in connection.execute(sa.select(*_COLUMNS).order_by(groups.c.id))]


def _group(row: Any) -> Group:
    group_id, name, multiplier_ppm, models, *limits = row
    return Group(
        GroupId(group_id),
        name,
        multiplier_ppm,
        None if models is None else tuple(models),
        CallLimits(*limits[: len(_LIMITS)]),
        CallLimits(*limits[len(_LIMITS) :]),
    )


def _limits(each_user: CallLimits, whole: CallLimits) -> dict[str, int | None]:
    of_each = asdict(each_user)
    return of_each | {f"whole_{name}": limit for name, limit in asdict(whole).items()}
