"""aipool ledger …"""

from __future__ import annotations

import typer

from aipool.cli.options import DataDir, Output, OutputOption, Yes, confirm
from aipool.cli.output import say, show_record


def verify(output: OutputOption = Output.TABLE, data_dir: DataDir = None) -> None:
    """Derives the books again from their first entry; fails on any difference.

    Reads only, and may run beside a server.
    """
    from aipool.books.verify import verify as look
    from aipool.cli.session import open_session
    from aipool.kit.money import format_cny

    with open_session(data_dir) as session:
        report = look(session.database)
    if output is Output.JSON:
        record = {
            "agree": not report.count,
            "differences": report.count,
            "first_differences": [difference._asdict() for difference in report.differences],
            "wallets": report.wallets,
            "transfers": report.transfers,
            "calls": report.calls,
            "recovered": report.recovered,
            "balance": format_cny(report.wallets_nano),
            "charged": format_cny(report.charged_nano),
            "written_off": format_cny(report.written_off_nano),
        }
        show_record(record, output)
    else:
        for line in report.lines():
            print(line)
    raise typer.Exit(report.exit_code)


def confirm_clock(yes: Yes = False, data_dir: DataDir = None) -> None:
    """Lets the day of the limits go on after the clock leapt, once you believe the clock.

    The day is frozen when the clock leaps ahead by more than 36 hours: the windows that would
    begin then could not be taken back.
    """
    from aipool.audit.service import record as note
    from aipool.cli.session import open_session
    from aipool.kit.clock import iso
    from aipool.ledger import service as ledger
    from aipool.ledger.rules import DAY_SECONDS, day_of

    def date(day: int) -> str:
        return iso(day * DAY_SECONDS).partition("T")[0]

    with open_session(data_dir) as session:
        with session.read() as connection:
            kept = ledger.today(connection)
        if kept is None or not kept[1]:
            say("the day of the limits is not frozen; there is nothing to confirm")
            return
        day, clock = kept[0], day_of(session.act.at_ms)
        say(f"the day of the limits is frozen at {date(day)}; the clock says {date(clock)}")
        if clock > day:
            say(f"confirmed, it is {date(clock)} for them: what resets until then begins anew")
        else:
            say(f"confirmed, it stays {date(day)} until the clock has passed it")
        confirm("Is the clock right?", yes=yes)
        with session.change() as tx:
            ledger.set_day(tx, clock, frozen=False)
            before = {"day": date(day), "frozen": True}
            after = {"day": date(max(day, clock)), "frozen": False}
            note(tx, session.act, "ledger.confirm_clock", "calendar", before=before, after=after)
        say("confirmed; a running server goes on within a second")
