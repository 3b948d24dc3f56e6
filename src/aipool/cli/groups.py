"""aipool group …"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aipool.cli import limits as limit_options
from aipool.cli.limits import Concurrency, RequestsPerDay, Rpm, Tpm
from aipool.cli.options import DataDir, Output, OutputOption, Phone, Yes, confirm, parsed
from aipool.cli.output import say, show_record, show_rows

if TYPE_CHECKING:
    from aipool.groups.types import CallLimits, Group

COLUMNS = ("id", "name", "multiplier", "models", "limits", "group_limits", "default", "description")

MEMBER_COLUMNS = ("id", "user", "granted", "by")

GroupName = Annotated[str, typer.Argument(help="The group's name.", metavar="GROUP")]
GroupRpm = Annotated[str | None, typer.Option(help="The same of the whole group.")]
Description = Annotated[str | None, typer.Option(help="For whom it is meant; users read it.")]
Models = Annotated[
    list[str] | None, typer.Option("--model", help="A model it may call; repeatable.")
]


def list_groups(output: OutputOption = Output.TABLE, data_dir: DataDir = None) -> None:
    """Lists pricing groups: limits are those of each user in it, group_limits the whole's."""
    from aipool.cli.session import open_session
    from aipool.groups import service as groups

    with open_session(data_dir) as session, session.read() as connection:
        rows = [_shown(group) for group in groups.list_groups(connection)]
    show_rows(rows, output, COLUMNS)


def create_group(
    name: Annotated[str, typer.Argument(help="A name for the group.")],
    multiplier: Annotated[str, typer.Option(help="Of the list price; 0.8 is a discount.")] = "1",
    models: Models = None,
    description: Description = None,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Creates a pricing group, which nobody may choose before it is granted."""
    from aipool.catalog import service as catalog
    from aipool.cli.session import open_session
    from aipool.groups import rules
    from aipool.groups import service as groups
    from aipool.kit.money import format_multiplier, parse_multiplier
    from aipool.kit.names import checked_name

    multiplier_ppm = parsed("--multiplier", parse_multiplier, multiplier)
    with open_session(data_dir, make=True) as session, session.change() as tx:
        groups.refuse_taken_name(tx.connection, checked_name(name))
        catalog.check_names(tx.connection, models or ())
        group, _ = groups.put_group(
            tx,
            session.act,
            name=name,
            multiplier_ppm=multiplier_ppm,
            models=tuple(models) if models else None,
            description=rules.checked_description(description or ""),
        )
    record = {"id": group.id, "name": name, "multiplier": format_multiplier(multiplier_ppm)}
    show_record(record, output)


def set_group(
    name: GroupName,
    multiplier: Annotated[str | None, typer.Option(help="Of the list price.")] = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    requests_per_day: RequestsPerDay = None,
    concurrency: Concurrency = None,
    group_rpm: GroupRpm = None,
    group_tpm: GroupRpm = None,
    group_requests_per_day: GroupRpm = None,
    group_concurrency: GroupRpm = None,
    description: Description = None,
    default: Annotated[
        bool, typer.Option("--default", help="Grant it to everybody, in place of the one before.")
    ] = False,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Changes a group's multiplier and limits; `none` lifts a limit, what is not said stays.

    Limits are those of each user in the group; --group-… those of the group as a whole.
    """
    from dataclasses import replace

    from aipool.apply import lowering
    from aipool.cli.session import open_session
    from aipool.groups import rules
    from aipool.groups import service as groups
    from aipool.groups.types import DEFAULT_NAME
    from aipool.kit.money import parse_multiplier

    def wanted(group: Group) -> tuple[CallLimits, CallLimits]:
        each_user = limit_options.calls(
            group.each_user,
            rpm=rpm,
            tpm=tpm,
            requests_per_day=requests_per_day,
            concurrency=concurrency,
        )
        whole = limit_options.calls(
            group.whole,
            prefix="group-",
            rpm=group_rpm,
            tpm=group_tpm,
            requests_per_day=group_requests_per_day,
            concurrency=group_concurrency,
        )
        return each_user, whole

    ppm = None if multiplier is None else parsed("--multiplier", parse_multiplier, multiplier)
    with open_session(data_dir) as session:
        with session.read() as connection:
            found = groups.find_group(connection, name)
            lowered = lowering.by_group(found, *wanted(found)) if found else lowering.Lowered()
        session.collect_lowered(lowered)
        with session.change() as tx:
            if name == DEFAULT_NAME and groups.find_group(tx.connection, name) is None:
                groups.default_group(tx, session.act)
            before = groups.get_group(tx.connection, name)
            each_user, whole = wanted(before)
            after = replace(before, each_user=each_user, whole=whole)
            if ppm is not None:
                after = replace(after, multiplier_ppm=ppm)
            if description is not None:
                after = replace(after, description=rules.checked_description(description))
            group, _ = groups.change_group(tx, session.act, before, after)
            if default:
                group = groups.make_default(tx, session.act, group)
        session.collect_lowered(lowered)
    show_record(_shown(group), output)
    for text in groups.differences(before, group) or ("nothing changed",):
        say(text)


def delete_group(
    name: GroupName,
    target: Annotated[
        str | None,
        typer.Option(help="Where its tokens, users and routes go.", metavar="GROUP"),
    ] = None,
    yes: Yes = False,
    data_dir: DataDir = None,
) -> None:
    """Deletes a group for good; one that is in use needs another that takes its place.

    Its tokens are charged at the other group's multiplier from then on, but for those of users
    whom it was taken from: they stay refused until another group is chosen for them.
    """
    from aipool.cli.session import open_session
    from aipool.control import groups_admin
    from aipool.groups import service as groups

    with open_session(data_dir) as session:
        confirm(f"Delete the group {name}?", yes=yes)
        with session.change() as tx:
            group = groups.get_group(tx.connection, name)
            heir = groups.get_group(tx.connection, target) if target else None
            moved = groups_admin.dissolve(tx, session.act, group, heir)
    if target:
        say(f"moved to {target}: {moved.tokens} tokens, {moved.users} users, {moved.routes} models")
    if moved.tokens_left:
        say(f"{moved.tokens_left} tokens stay refused: their users had lost the group before")


def grant_group(name: GroupName, phone: Phone, data_dir: DataDir = None) -> None:
    """Lets a user choose a group for their tokens."""
    from aipool.accounts import service as accounts
    from aipool.cli.session import open_session
    from aipool.groups import service as groups

    with open_session(data_dir) as session, session.change() as tx:
        user = accounts.get_user(tx.connection, phone)
        group = groups.get_group(tx.connection, name)
        granted = groups.grant(tx, session.act, user.id, group)
    if not granted:
        say(f"{user.phone} may choose {name} already")


def revoke_group(name: GroupName, phone: Phone, data_dir: DataDir = None) -> None:
    """Takes a group from a user: calls with their tokens in it are refused, and move nowhere."""
    from aipool.accounts import service as accounts
    from aipool.cli.session import open_session
    from aipool.groups import service as groups

    with open_session(data_dir) as session, session.change() as tx:
        user = accounts.get_user(tx.connection, phone)
        group = groups.get_group(tx.connection, name)
        revoked = groups.revoke(tx, session.act, user.id, group)
    if not revoked:
        say(f"{name} was not granted to {user.phone} by name")
    if group.is_default:
        say(f"{name} is the default group, which everybody may choose")


def list_members(
    name: GroupName,
    after: Annotated[int, typer.Option(help="Only users with ids above this one.")] = 0,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=10_000)] = 1000,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Lists the users to whom a group is granted by name."""
    from aipool.accounts import service as accounts
    from aipool.cli.session import open_session
    from aipool.groups import service as groups
    from aipool.kit.clock import iso_ms

    with open_session(data_dir) as session, session.read() as connection:
        group = groups.get_group(connection, name)
        found = groups.members(connection, group, after_user_id=after, limit=limit)
        people = accounts.users_by_ids(connection, [one.user_id for one in found])
        rows = [
            {
                "id": one.user_id,
                "user": people[one.user_id].label,
                "granted": iso_ms(one.granted_at_ms),
                "by": one.actor,
            }
            for one in found
        ]
    show_rows(rows, output, MEMBER_COLUMNS)


def _shown(group: Group) -> dict[str, object]:
    from aipool.kit.money import format_multiplier

    return {
        "id": group.id,
        "name": group.name,
        "multiplier": format_multiplier(group.multiplier_ppm),
        "models": "all" if group.models is None else list(group.models),
        "limits": limit_options.shown(group.each_user),
        "group_limits": limit_options.shown(group.whole),
        "default": group.is_default,
        "description": group.description,
    }
