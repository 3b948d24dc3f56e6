"""aipool import …"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from aipool.cli.options import DataDir, Output, OutputOption
from aipool.cli.output import say, show_rows

COLUMNS = ("kind", "number", "name", "outcome", "says")


def import_new_api(
    file: Annotated[
        Path, typer.Argument(help="A SQLite file, a JSON export or INSERT statements.")
    ],
    cny_per_usd: Annotated[str, typer.Option(help="What a dollar of balance costs in CNY.")],
    dry_run: Annotated[bool, typer.Option(help="Show what would be done; write nothing.")] = False,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Moves users, balances, tokens, channels and ratios in from a dump of new-api.

    Old keys keep working. A second run changes nothing. Nobody's password can be moved: give each
    person a link to set one.
    """
    from aipool.catalog import quoting
    from aipool.catalog.price_sources import USD
    from aipool.cli.session import open_session
    from aipool.kit.clock import iso_ms
    from aipool.moving.carrying import Outcome, carry_out
    from aipool.moving.dump import read_dump

    with open_session(data_dir) as session:
        dollar = quoting.exchange(USD, cny_per_usd, iso_ms(session.act.at_ms)[:10])
        moved = carry_out(
            session.database,
            read_dump(file),
            dollar,
            session.act,
            session.secrets,
            session.vet,
            dry_run=dry_run,
        )
        # Before anything is printed: whoever reads that may hang up.
        session.tell_workers(moved.changes, moved.revision)
        show_rows([step._asdict() for step in moved.steps], output, COLUMNS)
    refused = sum(step.outcome is Outcome.REFUSED for step in moved.steps)
    made = sum(step.outcome is Outcome.CREATED for step in moved.steps)
    say(f"{made} {'would be ' if dry_run else ''}created, {refused} refused")
    if refused:
        raise typer.Exit(1)
