"""aipool route …"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from aipool.cli.options import DataDir, Output, OutputOption
from aipool.cli.output import show_record, show_rows

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from aipool.control.explain import Explained

COLUMNS = ("turn", "route", "vendor", "upstream_model", "place", "key", "what")


def explain(
    token: Annotated[str, typer.Option(help="The token's id, or PHONE/NAME.")],
    model: Annotated[str, typer.Option(help="The model's name, as a client writes it.")],
    stream: Annotated[bool, typer.Option(help="As for a stream.")] = False,
    json: Annotated[bool, typer.Option("--json", help="The same as --output json.")] = False,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Says which upstream keys a call would go to now, in which order, and why not to others."""
    from aipool.cli.session import open_session
    from aipool.control.explain import explain as explained
    from aipool.kit.clock import now_ms

    with open_session(data_dir) as session, session.read() as connection:
        found = explained(
            connection,
            token_id=_token_id(connection, token),
            model_name=model,
            stream=stream,
            limits=session.settings.limits,
            now_ms=now_ms(),
        )
    if json or output is Output.JSON:
        show_record(asdict(found), Output.JSON)
    else:
        _show(found)


def _token_id(connection: Connection, text: str) -> int:
    """The token a person means; raises NotFound."""
    from aipool.accounts import service as accounts
    from aipool.api_tokens import service as api_tokens
    from aipool.kit.errors import NotFound

    phone, slash, name = text.partition("/")
    if slash:
        token = api_tokens.find_token(connection, accounts.get_user(connection, phone), name)
    elif text.isascii() and text.isdigit() and len(text) < 19:
        token = api_tokens.get_token(connection, int(text))
    else:
        token = None
    if token is None:
        raise NotFound(
            "token_unknown",
            "there is no such token: give its id, or the phone number of its user, a slash and "
            "its name",
            field="token",
        )
    return token.id


def _show(found: Explained) -> None:
    summary = {
        "token": f"{found.token_id} {found.token}",
        "user": found.user,
        "group": found.group,
        "model": found.model,
        "call": f"refused, {found.refusal}: {found.says}" if found.refusal else "allowed",
    }
    if found.only_from:
        summary["only from"] = ", ".join(found.only_from)
    for way in found.routes:
        summary[f"route {way.place}"] = f"{way.vendor}/{way.upstream_model}, " + (
            f"not used: {way.says}" if way.why else way.order
        )
    show_record(summary, Output.TABLE)
    rows = [
        {
            "turn": key.turn or None,
            "route": way.place,
            "vendor": way.vendor,
            "upstream_model": way.upstream_model,
            "place": key.position,
            "key": key.key,
            "what": key.says,
        }
        for way in found.routes
        for key in way.keys
        if not way.why
    ]
    if rows:
        print()
        show_rows(rows, Output.TABLE, COLUMNS)
