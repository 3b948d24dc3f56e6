"""aipool token …"""

from __future__ import annotations

from typing import Annotated

import typer

from aipool.cli.options import DataDir, Output, OutputOption, Phone
from aipool.cli.output import say, show_record, show_rows

COLUMNS = (
    "id",
    "user",
    "name",
    "secret",
    "group",
    "enabled",
    "limit",
    "used",
    "expires",
    "models",
    "ips",
)
TokenId = Annotated[int, typer.Argument(help="The token's id.", metavar="ID")]


def list_tokens(
    phone: Annotated[str | None, typer.Option("--user", help="Only this user's.")] = None,
    after: Annotated[int, typer.Option(help="Only ids above this one.")] = 0,
    limit: Annotated[int, typer.Option(help="At most so many.", min=1, max=10_000)] = 1000,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Lists API tokens; of their secrets only the end."""
    from aipool.accounts import service as accounts
    from aipool.api_tokens import service as api_tokens
    from aipool.cli.session import open_session
    from aipool.groups import service as groups
    from aipool.kit.clock import iso
    from aipool.kit.money import format_cny
    from aipool.ledger.service import budget_state
    from aipool.ledger.types import token_budget

    with open_session(data_dir) as session, session.read() as connection:
        user = accounts.get_user(connection, phone) if phone else None
        group_names: dict[int, str] = {
            group.id: group.name for group in groups.list_groups(connection)
        }
        rows = []
        for token in api_tokens.list_tokens(connection, user=user, after_id=after, limit=limit):
            budget = budget_state(connection, token_budget(token.id))
            owner = user or accounts.user_by_id(connection, token.user_id)
            rows.append(
                {
                    "id": token.id,
                    "user": owner.phone,
                    "name": token.name,
                    "secret": f"…{token.last4}",
                    "group": group_names.get(token.group_id),
                    "enabled": token.enabled,
                    "limit": None if token.limit_nano is None else format_cny(token.limit_nano),
                    "used": format_cny(budget.used_nano) if budget else None,
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
    limit: Annotated[str | None, typer.Option(help="The most it may spend, in CNY.")] = None,
    expires: Annotated[str, typer.Option(help="never, a date, or a moment.")] = "never",
    models: Annotated[
        list[str] | None, typer.Option("--model", help="A model it may call; repeatable.")
    ] = None,
    ips: Annotated[
        list[str] | None, typer.Option("--ip", help="An address or network; repeatable.")
    ] = None,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Creates an API token and prints its secret, this once."""
    from aipool.accounts import service as accounts
    from aipool.api_tokens import rules
    from aipool.api_tokens import service as api_tokens
    from aipool.api_tokens.types import TokenTerms
    from aipool.catalog import service as catalog
    from aipool.cli.session import open_session
    from aipool.groups import service as groups
    from aipool.kit.names import checked_name

    limit_nano = rules.limit_nano(limit) if limit is not None else None
    with open_session(data_dir) as session, session.change() as tx:
        user = accounts.get_user(tx.connection, phone)
        catalog.check_names(tx.connection, models or ())
        found = (
            groups.get_group(tx.connection, group)
            if group
            else groups.default_group(tx, session.act)
        )
        terms = TokenTerms(
            checked_name(name),
            found.id,
            tuple(models) if models else None,
            rules.canonical_ips(ips or ()),
            rules.parse_expiry(expires),
            limit_nano,
        )
        token, secret = api_tokens.create_token(
            tx, session.act, session.secrets.pepper, user, terms
        )
    show_record({"id": token.id, "name": token.name, "secret": secret}, output)
    say("this is the only time the secret is shown")


def disable(token_id: TokenId, data_dir: DataDir = None) -> None:
    """Refuses calls with a token from now on."""
    _set_enabled(token_id, data_dir, enabled=False)


def enable(token_id: TokenId, data_dir: DataDir = None) -> None:
    """Accepts calls with a token again."""
    _set_enabled(token_id, data_dir, enabled=True)


def delete(token_id: TokenId, data_dir: DataDir = None) -> None:
    """Deletes a token for good; the records of its calls stay."""
    from aipool.api_tokens import service as api_tokens
    from aipool.cli.session import open_session

    with open_session(data_dir) as session, session.change() as tx:
        token = api_tokens.get_token(tx.connection, token_id)
        api_tokens.delete_token(tx, session.act, token)


def _set_enabled(token_id: int, data_dir: DataDir, *, enabled: bool) -> None:
    from aipool.api_tokens import service as api_tokens
    from aipool.cli.session import open_session

    with open_session(data_dir) as session, session.change() as tx:
        token = api_tokens.get_token(tx.connection, token_id)
        api_tokens.set_enabled(tx, session.act, token, enabled=enabled)
