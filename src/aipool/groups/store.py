"""The statements of groups, one function each."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict, fields
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from aipool.accounts.tables import users
from aipool.groups.tables import granted, groups, user_groups
from aipool.groups.types import CallLimits, Group, GroupId, Member

_LIMITS = [field.name for field in fields(CallLimits)]
_COLUMNS = (
    groups.c.id,
    groups.c.name,
    groups.c.multiplier_ppm,
    groups.c.models,
    groups.c.description,
    groups.c.is_default,
    *(groups.c[prefix + name] for prefix in ("", "whole_") for name in _LIMITS),
)


_LIVE = groups.c.deleted_at_ms.is_(None)


def insert_group(connection: Connection, group: Group, *, at_ms: int) -> Group:
    """A new group; of `group` all but the id."""
    row = connection.execute(
        sa.insert(groups).values(created_at_ms=at_ms, **_values(group)).returning(*_COLUMNS)
    ).one()
    return _group(row)


def update_group(connection: Connection, group: Group) -> None:
    """The group is so from now on."""
    connection.execute(sa.update(groups).where(groups.c.id == group.id).values(**_values(group)))


def mark_deleted(connection: Connection, group_id: int, *, at_ms: int) -> None:
    """No longer a group, except to the records that name it."""
    connection.execute(sa.update(groups).where(groups.c.id == group_id).values(deleted_at_ms=at_ms))


def group_by_name(connection: Connection, name: str) -> Group | None:
    """The group of this name."""
    return _one(connection, groups.c.name == name)


def group_by_id(connection: Connection, group_id: int) -> Group | None:
    """The group with this id, unless it was deleted."""
    return _one(connection, groups.c.id == group_id)


def default_group(connection: Connection) -> Group | None:
    """The group that is granted to everybody."""
    return _one(connection, groups.c.is_default)


def list_groups(connection: Connection) -> list[Group]:
    """Every group, in the order they were made."""
    query = sa.select(*_COLUMNS).where(_LIVE).order_by(groups.c.id)
    return [_group(row) for row in connection.execute(query)]


def names(connection: Connection) -> dict[int, str]:
    """The names of all groups there ever were, by id."""
    return {row.id: row.name for row in connection.execute(sa.select(groups.c.id, groups.c.name))}


# --- grants -----------------------------------------------------------------------------------


def granted_ids(connection: Connection, user_id: int) -> frozenset[int]:
    """The groups that are granted to a user by name."""
    query = sa.select(user_groups.c.group_id).where(user_groups.c.user_id == user_id)
    return frozenset(connection.execute(query).scalars())


def is_granted(connection: Connection, user_id: int, group_id: int) -> bool:
    """Is this group granted to this user, by name or to everybody?"""
    query = sa.select(granted(sa.literal(user_id), sa.literal(group_id)))
    return bool(connection.execute(query).scalar())


def granted_to(connection: Connection, user_ids: Collection[int]) -> dict[int, frozenset[int]]:
    """The groups that are granted by name to each of these users, if any are."""
    query = sa.select(user_groups.c.user_id, user_groups.c.group_id).where(
        user_groups.c.user_id.in_(user_ids)
    )
    found: dict[int, set[int]] = {}
    for user_id, group_id in connection.execute(query):
        found.setdefault(user_id, set()).add(group_id)
    return {user_id: frozenset(ids) for user_id, ids in found.items()}


def insert_grant(
    connection: Connection, user_id: int, group_id: int, *, actor: str, at_ms: int
) -> None:
    """A group is granted to a user who has no such grant."""
    connection.execute(
        sa.insert(user_groups).values(
            user_id=user_id, group_id=group_id, granted_at_ms=at_ms, actor=actor
        )
    )


def delete_grant(connection: Connection, user_id: int, group_id: int) -> bool:
    """A group is not granted to a user any more. True = it was."""
    deleted = connection.execute(
        sa.delete(user_groups).where(
            user_groups.c.user_id == user_id, user_groups.c.group_id == group_id
        )
    )
    return bool(deleted.rowcount)


def grant_to_everybody(connection: Connection, group_id: int, *, actor: str, at_ms: int) -> None:
    """Every user there is has the group by name."""
    there = sa.exists().where(
        user_groups.c.user_id == users.c.id, user_groups.c.group_id == group_id
    )
    chosen = sa.select(
        users.c.id, sa.literal(group_id), sa.literal(at_ms), sa.literal(actor)
    ).where(~there)
    columns = ["user_id", "group_id", "granted_at_ms", "actor"]
    connection.execute(sa.insert(user_groups).from_select(columns, chosen))


def move_grants(connection: Connection, group_id: int, heir_id: int | None) -> int:
    """Whoever had the one group by name has the other; how many they were. heir_id: None = one
    that everybody has."""
    if heir_id is not None:
        had, has = user_groups.alias("had"), user_groups.alias("has")
        there = sa.exists().where(has.c.user_id == had.c.user_id, has.c.group_id == heir_id)
        chosen = sa.select(
            had.c.user_id, sa.literal(heir_id), had.c.granted_at_ms, had.c.actor
        ).where(had.c.group_id == group_id, ~there)
        columns = ["user_id", "group_id", "granted_at_ms", "actor"]
        connection.execute(sa.insert(user_groups).from_select(columns, chosen))
    moved = connection.execute(sa.delete(user_groups).where(user_groups.c.group_id == group_id))
    return int(moved.rowcount)


def members(
    connection: Connection, group_id: int, *, after_user_id: int, limit: int
) -> list[Member]:
    """The users to whom a group is granted by name, by their ids."""
    query = (
        sa.select(user_groups.c.user_id, user_groups.c.granted_at_ms, user_groups.c.actor)
        .where(user_groups.c.group_id == group_id, user_groups.c.user_id > after_user_id)
        .order_by(user_groups.c.user_id)
        .limit(limit)
    )
    return [Member(*row) for row in connection.execute(query)]


def member_counts(connection: Connection) -> dict[int, int]:
    """To how many users each group is granted by name."""
    query = sa.select(user_groups.c.group_id, sa.func.count()).group_by(user_groups.c.group_id)
    return {row[0]: int(row[1]) for row in connection.execute(query)}


def _one(connection: Connection, condition: sa.ColumnElement[bool]) -> Group | None:
    row = connection.execute(sa.select(*_COLUMNS).where(_LIVE, condition)).one_or_none()
    return _group(row) if row else None


def _group(row: Any) -> Group:
    group_id, name, multiplier_ppm, models, description, is_default, *limits = row
    return Group(
        GroupId(group_id),
        name,
        multiplier_ppm,
        None if models is None else tuple(models),
        CallLimits(*limits[: len(_LIMITS)]),
        CallLimits(*limits[len(_LIMITS) :]),
        description,
        is_default,
    )


def _values(group: Group) -> dict[str, Any]:
    whole = {f"whole_{name}": limit for name, limit in asdict(group.whole).items()}
    return {
        "name": group.name,
        "multiplier_ppm": group.multiplier_ppm,
        "models": None if group.models is None else list(group.models),
        "description": group.description,
        "is_default": group.is_default,
        **asdict(group.each_user),
        **whole,
    }
