"""Use cases of groups: what each one is, and to whom it is granted.

The default group is granted to everybody. What a user has of others is written down, and taken
away only by a person: no change here moves a token to another price.

Refusals (kit.errors):
    group_unknown                         404
    group_exists, group_is_default        409
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import asdict, astuple, replace

from sqlalchemy.engine import Connection

from aipool.audit.service import record
from aipool.audit.types import Act
from aipool.groups import store
from aipool.groups.types import DEFAULT_NAME, NO_CALL_LIMITS, CallLimits, Group, GroupId, Member
from aipool.kit.db import Transaction
from aipool.kit.errors import Conflict, NotFound
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
    description: str | None = None,
) -> tuple[Group, bool]:
    """The group of this name, made or changed to be so; and whether anything changed.

    models: names that exist, in any order; None = every model.  description: None = as it is.
    """
    before = store.group_by_name(tx.connection, name)
    wanted = Group(
        before.id if before else GroupId(0),
        name,
        multiplier_ppm,
        None if models is None else tuple(sorted(models)),
        each_user,
        whole,
        (before.description if before else "") if description is None else description,
        before.is_default if before else _begins_as_default(tx.connection, name),
    )
    if before is not None:
        return change_group(tx, act, before, wanted)
    group = store.insert_group(tx.connection, wanted, at_ms=act.at_ms)
    tx.changes.note_catalogue()
    record(tx, act, "group.create", target(group), after=_fields(group))
    return group, True


def change_group(tx: Transaction, act: Act, before: Group, wanted: Group) -> tuple[Group, bool]:
    """The group as wanted, and whether anything changed. Which one is the default stays
    (make_default). Raises Conflict for the name of another group."""
    after = replace(
        wanted,
        models=None if wanted.models is None else tuple(sorted(wanted.models)),
        is_default=before.is_default,
    )
    if after == before:
        return before, False
    if after.name != before.name:
        refuse_taken_name(tx.connection, after.name)
    store.update_group(tx.connection, after)
    tx.changes.note_catalogue()
    record(tx, act, "group.change", target(before), before=_fields(before), after=_fields(after))
    return after, True


def make_default(tx: Transaction, act: Act, group: Group) -> Group:
    """This group is granted to everybody, and given to whoever is given no other. Everybody
    keeps the one that was the default before, now by name."""
    if group.is_default:
        return group
    before = store.default_group(tx.connection)
    if before is not None:
        store.update_group(tx.connection, replace(before, is_default=False))
        store.grant_to_everybody(tx.connection, before.id, actor=act.actor, at_ms=act.at_ms)
    after = replace(group, is_default=True)
    store.update_group(tx.connection, after)
    tx.changes.note_catalogue()
    tx.changes.note_everything()
    record(
        tx,
        act,
        "group.make_default",
        target(group),
        before={"default": before.name if before else None},
        after={"default": group.name},
    )
    return after


def delete_group(tx: Transaction, act: Act, group: Group, heir: Group | None) -> int:
    """The group is gone for good; the records of its calls stay. Whoever had it by name has
    `heir` from now on, the one a person chose; gives how many they were.

    What else names the group must have been moved before. Raises Conflict for the default one.
    """
    if group.is_default:
        raise Conflict(
            "group_is_default", "this group is the default one: make another the default first"
        )
    moved = 0
    if heir is not None:
        moved = store.move_grants(tx.connection, group.id, None if heir.is_default else heir.id)
    store.mark_deleted(tx.connection, group.id, at_ms=act.at_ms)
    tx.changes.note_catalogue()
    tx.changes.note_everything()
    after = {"heir": heir.name, "grants": moved} if heir is not None else None
    record(tx, act, "group.delete", target(group), before=_fields(group), after=after)
    return moved


def default_group(tx: Transaction, act: Act) -> Group:
    """The group of whoever was given no other; made at list price when missing."""
    found = store.default_group(tx.connection)
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
        raise NotFound(
            "group_unknown", f"there is no group {name!r}", field="group", params={"group": name}
        )
    return group


def group_by_id(connection: Connection, group_id: int) -> Group:
    """The group with this id; raises NotFound when there is none."""
    group = store.group_by_id(connection, group_id)
    if group is None:
        raise NotFound(
            "group_unknown",
            f"there is no group {group_id}",
            field="group",
            params={"group": group_id},
        )
    return group


def refuse_taken_name(connection: Connection, name: str) -> None:
    """Raises Conflict when there is a group of this name."""
    if store.group_by_name(connection, name) is not None:
        raise Conflict(
            "group_exists",
            f"there is a group {name!r} already",
            field="name",
            params={"name": name},
        )


def list_groups(connection: Connection) -> list[Group]:
    """Every group."""
    return store.list_groups(connection)


def group_names(connection: Connection) -> dict[int, str]:
    """The names of all groups there ever were, by id: for records of what was."""
    return store.names(connection)


def target(group: Group) -> str:
    """How the trail names a group."""
    return f"group:{group.id}"


# --- to whom they are granted -----------------------------------------------------------------


def granted_ids(connection: Connection, user_id: int) -> frozenset[int]:
    """The ids of the groups a user may choose for a token, the default one among them."""
    default = store.default_group(connection)
    named = store.granted_ids(connection, user_id)
    return named | {default.id} if default is not None else named


def granted_groups(connection: Connection, user_id: int) -> list[Group]:
    """The groups a user may choose for a token, the default one first."""
    ids = granted_ids(connection, user_id)
    found = [group for group in store.list_groups(connection) if group.id in ids]
    return sorted(found, key=lambda group: (not group.is_default, group.id))


def granted_to(connection: Connection, user_ids: Collection[int]) -> dict[int, frozenset[int]]:
    """The ids of the groups that are granted by name to each of these users, if any are."""
    return store.granted_to(connection, user_ids)


def is_granted(connection: Connection, user_id: int, group_id: int) -> bool:
    """May this user's tokens be in this group?"""
    return store.is_granted(connection, user_id, group_id)


def grant(tx: Transaction, act: Act, user_id: int, group: Group) -> bool:
    """The user may choose the group. False = they could already."""
    if store.is_granted(tx.connection, user_id, group.id):
        return False
    store.insert_grant(tx.connection, user_id, group.id, actor=act.actor, at_ms=act.at_ms)
    # A user may have any number of tokens; workers fetch again those that are called.
    tx.changes.note_everything()
    record(tx, act, "user.grant_group", f"user:{user_id}", after={"group": group.name})
    return True


def revoke(tx: Transaction, act: Act, user_id: int, group: Group) -> bool:
    """The user has the group no longer by name: calls with their tokens in it are refused.
    False = they had not."""
    if not store.delete_grant(tx.connection, user_id, group.id):
        return False
    tx.changes.note_everything()
    record(tx, act, "user.revoke_group", f"user:{user_id}", before={"group": group.name})
    return True


def set_grants(tx: Transaction, act: Act, user_id: int, names: Iterable[str]) -> bool:
    """The user has these groups by name, beside the default one, which everybody has. False =
    so it was. Raises NotFound for a name that no group has."""
    chosen = [get_group(tx.connection, name) for name in names]
    wanted = frozenset(group.id for group in chosen if not group.is_default)
    had = store.granted_ids(tx.connection, user_id)
    if wanted == had:
        return False
    for group_id in sorted(had - wanted):
        store.delete_grant(tx.connection, user_id, group_id)
    for group_id in sorted(wanted - had):
        store.insert_grant(tx.connection, user_id, group_id, actor=act.actor, at_ms=act.at_ms)
    tx.changes.note_everything()
    called = store.names(tx.connection)
    record(
        tx,
        act,
        "user.set_groups",
        f"user:{user_id}",
        before={"groups": sorted(called[one] for one in had)},
        after={"groups": sorted(called[one] for one in wanted)},
    )
    return True


def members(
    connection: Connection, group: Group, *, after_user_id: int = 0, limit: int = 50
) -> list[Member]:
    """The users to whom a group is granted by name, by their ids."""
    return store.members(connection, group.id, after_user_id=after_user_id, limit=limit)


def member_counts(connection: Connection) -> dict[int, int]:
    """To how many users each group is granted by name."""
    return store.member_counts(connection)


# --- in words ---------------------------------------------------------------------------------


def differences(before: Group, after: Group) -> tuple[str, ...]:
    """What is other in a group than it was, in words."""
    old, new = before.multiplier_ppm, after.multiplier_ppm
    found = []
    if old != new:
        found.append(f"multiplier {format_multiplier(old)} -> {format_multiplier(new)}")
    if before.models != after.models:
        found.append("models")
    if before.description != after.description:
        found.append("description")
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


def _begins_as_default(connection: Connection, name: str) -> bool:
    return name == DEFAULT_NAME and store.default_group(connection) is None


def _count(limit: int | None) -> str:
    return "none" if limit is None else str(limit)


def _fields(group: Group) -> dict[str, object]:
    return {
        "name": group.name,
        "description": group.description,
        "multiplier_ppm": group.multiplier_ppm,
        "models": None if group.models is None else list(group.models),
        "each_user": asdict(group.each_user),
        "whole": asdict(group.whole),
    }
