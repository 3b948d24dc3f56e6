"""aipool trail …"""

from __future__ import annotations

import sys
from enum import StrEnum
from typing import Annotated

import typer

from aipool.cli.options import DataDir, Output, OutputOption
from aipool.cli.output import show_record, show_rows

COLUMNS = ("id", "at", "actor", "action", "target", "ip", "before", "after")

Actor = Annotated[str, typer.Option(help="Only by this one, such as user:7.")]
Action = Annotated[str, typer.Option(help="Only token.create, or all of the family token.")]
Target = Annotated[str, typer.Option(help="Only what was done to this, such as token:7.")]


class Format(StrEnum):
    """How a file is written."""

    JSONL = "jsonl"
    CSV = "csv"


def list_trail(
    actor: Actor = "",
    action: Action = "",
    target: Target = "",
    before: Annotated[int | None, typer.Option(help="Only rows before this one.")] = None,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=10_000)] = 50,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Lists what was done, the newest first."""
    from aipool.audit import service as audit
    from aipool.audit.export import fields_of
    from aipool.audit.types import Wanted
    from aipool.cli.session import open_session

    wanted = Wanted(actor, action, target)
    with open_session(data_dir) as session, session.read() as connection:
        found = audit.search(connection, wanted, limit=limit, before_id=before)
    show_rows([fields_of(entry) for entry in found], output, COLUMNS)


def verify(
    noted: Annotated[
        str,
        typer.Option(
            help="A row and its digest as noted elsewhere before, such as 120:9f86…",
            metavar="ID:DIGEST",
        ),
    ] = "",
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Walks along the trail and names the first row that was altered, taken away or put in.

    Prints the newest digest: noted elsewhere, it proves later that nothing before was changed.
    """
    from aipool.audit import service as audit
    from aipool.cli.session import open_session

    mark = _mark(noted) if noted else None
    with open_session(data_dir) as session, session.database.read(patient=True) as connection:
        verdict = audit.verify(connection, noted=mark)
    record = {
        "whole": not verdict.problem,
        "rows": verdict.count,
        "newest": f"{verdict.last_id}:{verdict.digest.hex()}",
        "broken_at": verdict.at_id or None,
        "problem": f"row {verdict.at_id}: {verdict.problem}" if verdict.problem else None,
    }
    show_record(record, output)
    raise typer.Exit(1 if verdict.problem else 0)


def export(
    actor: Actor = "",
    action: Action = "",
    target: Target = "",
    format: Annotated[Format, typer.Option(help="JSON Lines, or CSV for a table.")] = Format.JSONL,
    data_dir: DataDir = None,
) -> None:
    """Writes the trail to standard output, the oldest first."""
    from aipool.audit import service as audit
    from aipool.audit.export import as_csv, as_jsonl
    from aipool.audit.types import Wanted
    from aipool.cli.session import open_session

    with open_session(data_dir) as session:
        entries = audit.stream(session.database, Wanted(actor, action, target))
        sys.stdout.writelines(as_csv(entries) if format is Format.CSV else as_jsonl(entries))


def _mark(text: str) -> tuple[int, bytes]:
    from aipool.kit.errors import Invalid

    row, _, digest = text.partition(":")
    try:
        return int(row), bytes.fromhex(digest)
    except ValueError:
        raise Invalid(
            "malformed_mark", "--noted: write it as `aipool trail verify` prints it"
        ) from None
