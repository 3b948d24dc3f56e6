"""The statements of groups, one function each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.groups.tables import groups
from aipool.groups.types import Group, GroupId

_COLUMNS = (groups.c.id, groups.c.name, groups.c.multiplier_ppm, groups.c.models)


def insert_group(
    connection: Connection,
    *,
    name: str,
    multiplier_ppm: int,
    models: Sequence[str] | None,
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
        )
        .returning(*_COLUMNS)
    ).one()
    return _group(row)


def update_group(
    connection: Connection, group_id: int, *, multiplier_ppm: int, models: Sequence[str] | None
) -> None:
    """Another multiplier and other models from now on."""
    connection.execute(
        sa.update(groups)
        .where(groups.c.id == group_id)
        .values(multiplier_ppm=multiplier_ppm, models=None if models is None else list(models))
    )


def group_by_name(connection: Connection, name: str) -> Group | None:
    """The group of this name."""
    row = connection.execute(sa.select(*_COLUMNS).where(groups.c.name == name)).one_or_none()
    return _group(row) if row else None


def list_groups(connection: Connection) -> list[Group]:
    """Every group, in the order they were made."""
    return [_group(row) for row in connection.execute(sa.select(*_COLUMNS).order_by(groups.c.id))]


def _group(row: Any) -> Group:
    models = None if row.models is None else tuple(row.models)
    return Group(GroupId(row.id), row.name, row.multiplier_ppm, models)
