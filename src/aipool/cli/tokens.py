"""aipool token …"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from aipool.cli import limits as limit_options
from aipool.cli.limits import Concurrency, Limit, RequestsPerDay, Reset, Rpm, Total, Tpm
from aipool.cli.options import DataDir, Output, OutputOption, Phone, Yes, confirm, parsed
from aipool.cli.output import say, show_record, show_rows

if TYPE_CHECKING:
    from sqlalchemy.engine import Connection

    from aipool.api_tokens.types import ApiToken

COLUMNS = (
    "id",
    "user",
    "name",
    "description",
    "secret",
    "group",
    "enabled",
    "limit",
    "reset",
    "used",
    "remaining",
    "next_reset",
    "total",
    "used_total",
    "limits",
    "expires",
    "models",
    "ips",
)
TokenId = Annotated[int, typer.Argument(help="The token's id.", metavar="ID")]
Description = Annotated[str | None, typer.Option(help="What it is for.")]
Playground = Annotated[
    bool | None,
    typer.Option("--playground/--no-playground", help="May the playground stand in for it?"),
]


def list_tokens(
    phone: Annotated[str | None, typer.Option("--user", help="Only this user's.")] = None,
    after: Annotated[int, typer.Option(help="Only ids above this one.")] = 0,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=10_000)] = 1000,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Lists API tokens, with how far their limits are used; of their secrets only the end."""
    from aipool.accounts import service as accounts
    from aipool.api_tokens import service as api_tokens
    from aipool.cli.session import open_session
    from aipool.groups import service as groups
    from aipool.kit.clock import iso

    with open_session(data_dir) as session, session.read() as connection:
        user = accounts.get_user(connection, phone) if phone else None
        group_names: dict[int, str] = {
            group.id: group.name for group in groups.list_groups(connection)
        }
        day = api_tokens.current_day(connection, session.act.at_ms)
        rows = []
        for token in api_tokens.list_tokens(connection, user=user, after_id=after, limit=limit):
            owner = user or accounts.user_by_id(connection, token.user_id)
            rows.append(
                {
                    "id": token.id,
                    "user": owner.phone,
                    "name": token.name,
                    "description": token.description,
                    "secret": f"…{token.last4}",
                    "group": group_names.get(token.group_id),
                    "enabled": token.enabled,
                    **_spent(connection, token, day),
                    "limits": limit_options.shown(token.limits),
                    "expires": iso(token.expires_at) if token.expires_at else "never",
                    "models": list(token.models) if token.models is not None else "all",
                    "ips": list(token.ips),
                }
            )
    show_rows(rows, output, COLUMNS)


def create(
    phone: Phone,
    name: Annotated[str, typer.Argument(help="A name for the token.")],
    group: Annotated[str | None, typer.Option(help="Pricing group.")] = None,
    limit: Limit = None,
    reset: Reset = None,
    total: Total = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    requests_per_day: RequestsPerDay = None,
    concurrency: Concurrency = None,
    expires: Annotated[str, typer.Option(help="never, 7d, a date, or a moment.")] = "never",
    models: Annotated[
        list[str] | None, typer.Option("--model", help="A model it may call; repeatable.")
    ] = None,
    ips: Annotated[
        list[str] | None, typer.Option("--ip", help="An address or network; repeatable.")
    ] = None,
    description: Description = None,
    playground: Playground = None,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Creates an API token and prints its secret, this once."""
    from aipool.accounts import service as accounts
    from aipool.api_tokens import rules
    from aipool.api_tokens import service as api_tokens
    from aipool.api_tokens.types import Reset, TokenTerms
    from aipool.catalog import service as catalog
    from aipool.cli.session import open_session
    from aipool.groups import service as groups
    from aipool.groups.types import NO_CALL_LIMITS
    from aipool.kit.names import checked_name

    limit_nano = limit_options.money("--limit", limit)
    total_nano = limit_options.money("--total", total)
    reset_type = Reset.NONE if reset is None else parsed("--reset", rules.reset, reset)
    limits = limit_options.calls(
        NO_CALL_LIMITS,
        rpm=rpm,
        tpm=tpm,
        requests_per_day=requests_per_day,
        concurrency=concurrency,
    )
    about = parsed("--description", rules.description, description or "")
    with open_session(data_dir) as session, session.change() as tx:
        now_seconds = session.act.at_ms // 1000
        expires_at = parsed(
            "--expires", lambda written: rules.expiry(written, now_seconds), expires
        )
        user = accounts.get_user(tx.connection, phone)
        catalog.check_names(tx.connection, models or ())
        found = (
            groups.get_group(tx.connection, group)
            if group
            else groups.default_group(tx, session.act)
        )
        # Whoever gives somebody a token of a group gives them the group.
        granted = groups.grant(tx, session.act, user.id, found)
        terms = TokenTerms(
            checked_name(name),
            found.id,
            tuple(models) if models else None,
            rules.canonical_ips(ips or ()),
            expires_at,
            limit_nano,
            reset_type,
            total_nano,
            limits,
            about,
            playground is not False,
        )
        token, secret = api_tokens.create_token(
            tx, session.act, session.secrets.pepper, user, terms
        )
    if granted:
        say(f"the group {found.name} is granted to {user.phone} now")
    show_record({"id": token.id, "name": token.name, "secret": secret}, output)
    say("this is the only time the secret is shown")


def set_limits(
    token_id: TokenId,
    limit: Limit = None,
    reset: Reset = None,
    total: Total = None,
    rpm: Rpm = None,
    tpm: Tpm = None,
    requests_per_day: RequestsPerDay = None,
    concurrency: Concurrency = None,
    description: Description = None,
    playground: Playground = None,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Changes a token; `none` lifts a limit, and what is not said stays.

    Another amount keeps what the window has used. Another reset type begins a new window.
    """
    from dataclasses import replace

    from aipool.api_tokens import rules
    from aipool.api_tokens import service as api_tokens
    from aipool.api_tokens.types import TokenTerms
    from aipool.apply import lowering
    from aipool.cli.session import open_session

    def wanted(token: ApiToken) -> TokenTerms:
        return replace(
            token.terms,
            limit_nano=limit_options.money("--limit", limit, token.limit_nano),
            reset=token.reset if reset is None else parsed("--reset", rules.reset, reset),
            total_nano=limit_options.money("--total", total, token.total_nano),
            limits=limit_options.calls(
                token.limits,
                rpm=rpm,
                tpm=tpm,
                requests_per_day=requests_per_day,
                concurrency=concurrency,
            ),
            description=token.description
            if description is None
            else parsed("--description", rules.description, description),
            playground_allowed=token.playground_allowed if playground is None else playground,
            content_days=token.content_days,
        )

    with open_session(data_dir) as session:
        act = session.act
        with session.read() as connection:
            token = api_tokens.get_token(connection, token_id)
            lowered = lowering.by_token(connection, token, wanted(token), act.at_ms)
        session.collect_lowered(lowered)
        with session.change() as tx:
            token = api_tokens.get_token(tx.connection, token_id)
            changed = api_tokens.change_token(tx, act, session.secrets.pepper, token, wanted(token))
        session.collect_lowered(lowered)
        with session.read() as connection:
            token = api_tokens.get_token(connection, token_id)
            day = api_tokens.current_day(connection, act.at_ms)
            record = {"id": token.id, "name": token.name, **_spent(connection, token, day)}
    show_record({**record, "limits": limit_options.shown(token.limits)}, output)
    for text in changed or ("nothing changed",):
        say(text)


def rotate(
    token_id: TokenId,
    grace: Annotated[
        str, typer.Option(help="How long the old secret is good beside the new one: 30m, 1h, 7d.")
    ] = "0",
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Gives a token another secret and prints it, this once; the old one ends after its grace."""
    from aipool.api_tokens import rules
    from aipool.api_tokens import service as api_tokens
    from aipool.cli.session import open_session

    grace_seconds = parsed("--grace", rules.grace_seconds, grace)
    with open_session(data_dir) as session, session.change() as tx:
        token = api_tokens.get_token(tx.connection, token_id)
        token, secret = api_tokens.rotate_token(
            tx, session.act, session.secrets.pepper, token, grace_seconds=grace_seconds
        )
    show_record({"id": token.id, "name": token.name, "secret": secret}, output)
    say("this is the only time the secret is shown")


def disable(token_id: TokenId, data_dir: DataDir = None) -> None:
    """Refuses calls with a token from now on."""
    _set_enabled(token_id, data_dir, enabled=False)


def enable(token_id: TokenId, data_dir: DataDir = None) -> None:
    """Accepts calls with a token again."""
    _set_enabled(token_id, data_dir, enabled=True)


def delete(token_id: TokenId, yes: Yes = False, data_dir: DataDir = None) -> None:
    """Deletes a token for good; the records of its calls stay."""
    from aipool.api_tokens import service as api_tokens
    from aipool.cli.session import open_session

    confirm(f"Delete the token {token_id}? Its key never works again.", yes=yes)
    with open_session(data_dir) as session, session.change() as tx:
        token = api_tokens.get_token(tx.connection, token_id)
        api_tokens.delete_token(tx, session.act, token)


def _spent(connection: Connection, token: ApiToken, day: int) -> dict[str, Any]:
    """How far its limits of money are used."""
    from aipool.api_tokens import service as api_tokens
    from aipool.kit.clock import iso
    from aipool.kit.money import format_cny

    def cny(amount_nano: int | None) -> str | None:
        return None if amount_nano is None else format_cny(amount_nano)

    now = api_tokens.standing(connection, token, day)
    return {
        "limit": cny(token.limit_nano),
        "reset": token.reset.value,
        "used": cny(now.used_nano),
        "remaining": cny(now.remaining_nano),
        "next_reset": None if now.resets_at is None else iso(now.resets_at),
        "total": cny(token.total_nano),
        "used_total": cny(now.used_total_nano),
    }


def _set_enabled(token_id: int, data_dir: DataDir, *, enabled: bool) -> None:
    from aipool.api_tokens import service as api_tokens
    from aipool.cli.session import open_session

    with open_session(data_dir) as session, session.change() as tx:
        token = api_tokens.get_token(tx.connection, token_id)
        api_tokens.set_enabled(tx, session.act, token, enabled=enabled)
