"""aipool serve, migrate, doctor and version."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NamedTuple

import typer

from aipool.cli.options import DataDir, Output, OutputOption
from aipool.cli.output import say, show_record, show_rows

if TYPE_CHECKING:
    from aipool.config import Settings

DOCTOR_COLUMNS = ("check", "state", "detail")

_BODY = '{"model": "gpt-4o-mini", "messages": [{"role": "user", "content": "Hello!"}]}'


class _Prepared(NamedTuple):
    """What is told once the platform serves. None = nothing to tell."""

    settings: Settings
    demo_token: str | None
    setup_secret: str | None


def serve(
    demo: Annotated[
        bool, typer.Option("--demo", help="Seed a sandbox vendor, models and a token.")
    ] = False,
    host: Annotated[str | None, typer.Option(help="Address to listen on.")] = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on.")] = None,
    workers: Annotated[int | None, typer.Option(help="Gateway workers; 0 = one per core.")] = None,
    metrics_port: Annotated[
        int | None, typer.Option(help="Port of /metrics on loopback; 0 = off.")
    ] = None,
    log_level: Annotated[str | None, typer.Option(help="debug, info, warning or error.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Starts the platform and runs until SIGTERM or Ctrl-C.

    Every other setting: AIPOOL_* in the environment or aipool.toml in the data folder.
    """
    from aipool import config

    settings = config.load(
        {
            "host": host,
            "port": port,
            "workers": workers,
            "metrics_port": metrics_port,
            "log_level": log_level,
            "data_dir": data_dir,
        }
    )
    if settings.tokenizer == "exact":
        from aipool.dialects.exact import NotInstalled, require

        try:
            require()
        except NotInstalled as missing:
            raise config.BadSetting(str(missing)) from None
    from aipool.site.service import check_fixed

    check_fixed(settings)
    prepared = _prepare(settings, demo=demo)

    from aipool.supervisor import serve as run

    status = run(settings, on_ready=lambda address: _welcome(prepared, address))
    raise typer.Exit(status)


def _prepare(settings: Settings, *, demo: bool) -> _Prepared:
    """Database, secrets, the demo and the way in for the first administrator."""
    from aipool.accounts.setup import issue_link
    from aipool.audit.types import Act
    from aipool.cli.session import open_installation
    from aipool.installation import AlreadyOwned, owner_of
    from aipool.kit.clock import now_ms

    owner = owner_of(settings.data_dir)
    if owner is not None:
        raise AlreadyOwned(f"another AI-POOL runs on {settings.data_dir} (process {owner.pid})")
    with open_installation(settings, make=True) as session:
        demo_token = None
        if demo:
            from aipool.demo import seed

            act = Act("demo", now_ms())
            demo_token = seed(session.database, act, session.secrets, settings.data_dir)
        with session.database.write() as tx:
            setup_secret = issue_link(tx, Act("start", now_ms()), session.secrets.pepper)
    return _Prepared(settings, demo_token, setup_secret)


def _welcome(prepared: _Prepared, address: str) -> None:
    """Standard output gets what is to be pasted, standard error everything else."""
    # An address to listen on, such as 0.0.0.0, is not one to call.
    address = address.replace("//0.0.0.0:", "//127.0.0.1:").replace("//[::]:", "//[::1]:")
    say(f"AI-POOL serves on {address}")
    if prepared.setup_secret is not None:
        link = f"{address}/setup#{prepared.setup_secret}"
        if prepared.demo_token is None:
            say("No administrator yet. Open this link once, before anybody else does:")
            print(link, flush=True)
        else:
            say(f"Administrator, when you want one: {link}")
    if prepared.demo_token is not None:
        say("A first call:")
        print(_curl(address, prepared.demo_token), flush=True)
        say(f"Its charge is in the header x-aipool-charge, and in: {_call_list(prepared.settings)}")


def _curl(address: str, token: str) -> str:
    return (
        f"curl -i {address}/v1/chat/completions \\\n"
        f"  -H 'Authorization: Bearer {token}' \\\n"
        "  -H 'Content-Type: application/json' \\\n"
        f"  -d '{_BODY}'"
    )


def _call_list(settings: Settings) -> str:
    program = sys.argv[0] if Path(sys.argv[0]).name == "aipool" else "aipool"
    return shlex.join([program, "call", "list", "--data-dir", str(settings.data_dir)])


def migrate(output: OutputOption = Output.TABLE, data_dir: DataDir = None) -> None:
    """Brings the database to this program's form. Every start does so by itself."""
    from aipool import config
    from aipool.cli.session import bring_up_to_date
    from aipool.kit.db import open_database

    settings = config.load({"data_dir": data_dir})
    settings.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    database = open_database(settings.database_url_effective)
    try:
        done = bring_up_to_date(settings, database)
    finally:
        database.close()
    show_record({"before": done.before, "after": done.after}, output)


def doctor(
    json_output: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Checks the installation; changes nothing. Fails when something must be put right."""
    from aipool import config
    from aipool.doctor import State, examine

    findings = examine(config.load({"data_dir": data_dir}))
    rows = [{"check": f.check, "state": f.state.value, "detail": f.detail} for f in findings]
    show_rows(rows, Output.JSON if json_output else output, DOCTOR_COLUMNS)
    if any(finding.state is State.BAD for finding in findings):
        raise typer.Exit(1)


def version() -> None:
    """Prints the program's version."""
    from aipool import __version__

    print(__version__)
