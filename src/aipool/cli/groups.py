"""aipool group …"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aipool.cli import limits as limit_options
from aipool.cli.limits import Concurrency, RequestsPerDay, Rpm, Tpm
from aipool.cli.options import DataDir, Output, OutputOption, parsed
from aipool.cli.output import say, show_record, show_rows

if TYPE_CHECKING:
    from aipool.groups.types import CallLimits, Group

COLUMNS = ("id", "name", "multiplier", "models", "limits", "group_limits")

GroupName = Annotated[str, typer.Argument(help="The group's name.", metavar="GROUP")]
GroupRpm = Annotated[str | None, typer.Option(help="The same of the whole group.")]
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
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Creates a pricing group."""
    from aipool.catalog import service as catalog
    from aipool.cli.session import open_session
    from aipool.groups import service as groups
    from aipool.kit.errors import Conflict
    from aipool.kit.money import format_multiplier, parse_multiplier
    from aipool.kit.names import checked_name

    multiplier_ppm = parsed("--multiplier", parse_multiplier, multiplier)
    with open_session(data_dir, make=True) as session, session.change() as tx:
        if groups.find_group(tx.connection, checked_name(name)) is not None:
            raise Conflict("group_exists", f"there is a group {name!r} already", field="name")
        catalog.check_names(tx.connection, models or ())
        group, _ = groups.put_group(
            tx,
            session.act,
            name=name,
            multiplier_ppm=multiplier_ppm,
            models=tuple(models) if models else None,
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
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Changes a group's multiplier and limits; `none` lifts a limit, what is not said stays.

    Limits are those of each user in the group; --group-… those of the group as a whole.
    """
    from aipool.apply import lowering
    from aipool.cli.session import open_session
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
            if name == DEFAULT_NAME:
                before = groups.default_group(tx, session.act)
            else:
                before = groups.get_group(tx.connection, name)
            each_user, whole = wanted(before)
            group, _ = groups.put_group(
                tx,
                session.act,
                name=name,
                multiplier_ppm=before.multiplier_ppm if ppm is None else ppm,
                models=before.models,
                each_user=each_user,
                whole=whole,
            )
        session.collect_lowered(lowered)
    show_record(_shown(group), output)
    for text in groups.differences(before, group) or ("nothing changed",):
        say(text)


def _shown(group: Group) -> dict[str, object]:
    from aipool.kit.money import format_multiplier

    return {
        "id": group.id,
        "name": group.name,
        "multiplier": format_multiplier(group.multiplier_ppm),
        "models": "all" if group.models is None else list(group.models),
        "limits": limit_options.shown(group.each_user),
        "group_limits": limit_options.shown(group.whole),
    }
