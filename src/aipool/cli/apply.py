"""aipool apply FILE"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from aipool.cli.options import DataDir, Output, OutputOption
from aipool.cli.output import say, show_record

if TYPE_CHECKING:
    from aipool.apply.plan import Applied


def apply(
    file: Annotated[Path, typer.Argument(help="A YAML file; - is standard input.")],
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show what would be done and write nothing.")
    ] = False,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Makes vendors, models, groups, users and tokens what a file says.

    Objects are found by their name, and made, changed or left alone; nothing is deleted.
    """
    import os

    from aipool.apply import lowering
    from aipool.apply.document import read_document
    from aipool.apply.plan import carry_out
    from aipool.cli.session import open_session

    document = read_document(_text(file), os.environ)
    with open_session(data_dir, make=True) as session:
        with session.read() as connection:
            lowered = lowering.by_document(connection, document, session.act.at_ms)
        if not dry_run:
            session.collect_lowered(lowered)
        applied = carry_out(
            session.database,
            document,
            session.act,
            session.secrets,
            session.vet,
            dry_run=dry_run,
        )
        # Before anything is printed: whoever reads that may hang up.
        session.tell_workers(applied.changes, applied.revision)
        if not dry_run:
            session.collect_lowered(lowered)
        _show(applied, output, dry_run=dry_run)


def _text(file: Path) -> str:
    from aipool.kit.errors import Invalid

    try:
        return sys.stdin.read() if str(file) == "-" else file.read_text("utf-8")
    except OSError as error:
        raise Invalid("file_unreadable", f"cannot read {file}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Invalid("file_unreadable", f"{file} is not UTF-8 text") from None


def _show(applied: Applied, output: Output, *, dry_run: bool) -> None:
    new_tokens = [] if dry_run else applied.new_tokens
    if output is Output.JSON:
        record: dict[str, Any] = {
            "dry_run": dry_run,
            "steps": [step._asdict() for step in applied.steps],
            "new_tokens": [token._asdict() for token in new_tokens],
        }
        show_record(record, output)
        return
    for step in applied.steps:
        details = f": {', '.join(step.details)}" if step.details else ""
        print(f"{step.verb:9}  {step.kind} {step.name}{details}")
    for token in new_tokens:
        print(f"secret     token {token.phone}/{token.name}: {token.secret}")
    if new_tokens:
        say("this is the only time these secrets are shown")
    if dry_run:
        say("a dry run: nothing was written")
