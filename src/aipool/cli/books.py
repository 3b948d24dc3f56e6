"""aipool ledger …"""

from __future__ import annotations

import typer

from aipool.cli.options import DataDir, Output, OutputOption
from aipool.cli.output import show_record


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
