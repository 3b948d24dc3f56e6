"""aipool prices …"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from aipool.cli.options import DataDir, Output, OutputOption, Yes, confirm, parsed
from aipool.cli.output import say, show_rows

if TYPE_CHECKING:
    from aipool.catalog.importing import Line, Options, Plan
    from aipool.catalog.price_sources import PriceList
    from aipool.cli.session import Session

COLUMNS = ("model", "state", "before", "after", "costs", "needs", "note")

CnyPerUsd = Annotated[str, typer.Option(help="What a dollar costs in CNY; kept with its day.")]
RateOn = Annotated[
    str | None, typer.Option(help="The day of the rate, as 2026-11-22; default today.")
]
Markup = Annotated[str, typer.Option(help="The sale price is the cost times this.")]
File = Annotated[
    Path | None,
    typer.Option(help="A JSON file in LiteLLM's form; default the package genai-prices."),
]
Models = Annotated[list[str] | None, typer.Option("--model", help="Only this model; repeatable.")]


def diff(
    cny_per_usd: CnyPerUsd,
    rate_on: RateOn = None,
    markup: Markup = "1",
    file: File = None,
    model: Models = None,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Shows what a list of prices would change, and changes nothing."""
    from aipool.cli.session import open_session

    with open_session(data_dir) as session:
        listed, options = _asked(session, cny_per_usd, rate_on, markup, file, model)
        _show(_plan(session, listed, options), output)


def import_prices(
    cny_per_usd: CnyPerUsd,
    rate_on: RateOn = None,
    markup: Markup = "1",
    file: File = None,
    model: Models = None,
    confirm_model: Annotated[
        list[str] | None,
        typer.Option("--confirm", help="The large changes of this model are meant; repeatable."),
    ] = None,
    yes: Yes = False,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Takes costs and sale prices over from a list, after showing what changes.

    What was written by hand stays. A change by more than 30 % or to nothing, a new charge and a
    sale below cost need --confirm MODEL.
    """
    from aipool.catalog import importing
    from aipool.cli.session import open_session
    from aipool.control.parties import vendors_at

    with open_session(data_dir) as session:
        listed, options = _asked(session, cny_per_usd, rate_on, markup, file, model)
        made = _plan(session, listed, options)
        _show(made, output)
        if not any(line.state is importing.State.CHANGE for line in made.lines):
            return
        confirm("Take these prices over?", yes=yes)
        with session.change() as tx:
            done = importing.apply(
                tx,
                session.act,
                listed,
                options,
                vendors_at,
                digest=made.digest,
                confirmed=confirm_model or (),
            )
    say(f"{len(done.changed)} models changed")
    if done.skipped:
        say(f"not without --confirm: {', '.join(done.skipped)}")


def _asked(
    session: Session,
    cny_per_usd: str,
    rate_on: str | None,
    markup: str,
    file: Path | None,
    models: list[str] | None,
) -> tuple[PriceList, Options]:
    from datetime import UTC, datetime

    from aipool.catalog import quoting
    from aipool.catalog.importing import Options
    from aipool.catalog.price_sources import FILE_BYTES_MAX, USD, Package, read_file
    from aipool.catalog.proposals import factor
    from aipool.kit.clock import iso_ms
    from aipool.kit.errors import Invalid

    day = rate_on or iso_ms(session.act.at_ms)[:10]
    options = Options(
        quoting.exchange(USD, cny_per_usd, day),
        parsed("--markup", factor, markup),
        tuple(models or ()),
    )
    if file is None:
        return Package(datetime.fromtimestamp(session.act.at_ms / 1000, UTC)), options
    try:
        with file.open("rb") as opened:
            text = opened.read(FILE_BYTES_MAX + 1).decode("utf-8")
    except (OSError, UnicodeError) as problem:
        raise Invalid("unreadable_file", f"{file}: {problem}") from None
    return read_file(f"{file.name} {day}", text), options


def _plan(session: Session, listed: PriceList, options: Options) -> Plan:
    from aipool.catalog import importing
    from aipool.control.parties import vendors_at

    with session.read() as connection:
        return importing.plan(connection, listed, options, vendors_at)


def _show(plan: Plan, output: Output) -> None:
    show_rows([_row(line) for line in plan.lines], output, COLUMNS)
    say(f"{plan.source}")


def _row(line: Line) -> dict[str, object]:
    from aipool.catalog import service as catalog

    before = catalog.describe(line.sale_before)
    return {
        "model": line.name,
        "state": line.state.value,
        "before": before,
        "after": catalog.describe(line.sale_after) if line.sale_after else before,
        "locked": line.locked,
        "costs": [f"{one.place}: {catalog.describe(one.after)}" for one in line.costs],
        "needs": list(line.needs),
        "note": line.note,
    }
