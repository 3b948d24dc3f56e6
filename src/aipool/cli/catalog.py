"""aipool model … and aipool group …"""

from __future__ import annotations

from typing import Annotated

import typer

from aipool.cli.options import DataDir, Output, OutputOption
from aipool.cli.output import show_record, show_rows

MODEL_COLUMNS = (
    "id",
    "name",
    "kind",
    "enabled",
    "input",
    "cached_input",
    "output",
    "context",
    "max_output_tokens",
    "routes",
)
GROUP_COLUMNS = ("id", "name", "multiplier", "models")

ModelName = Annotated[str, typer.Argument(help="The model's name.", metavar="MODEL")]


def list_models(output: OutputOption = Output.TABLE, data_dir: DataDir = None) -> None:
    """Lists models with their prices in CNY per 1M tokens and their routes."""
    from aipool.catalog import service as catalog
    from aipool.cli.session import open_session
    from aipool.kit.money import format_cny
    from aipool.pool import service as pool

    with open_session(data_dir) as session, session.read() as connection:
        vendor_names: dict[int, str] = {
            vendor.id: vendor.name for vendor in pool.list_vendors(connection)
        }
        rows = [
            {
                "id": model.id,
                "name": model.name,
                "kind": model.kind.value,
                "enabled": model.enabled,
                "input": format_cny(model.price.input_nano),
                "cached_input": format_cny(model.price.cached_input_nano),
                "output": format_cny(model.price.output_nano),
                "context": model.context_tokens,
                "max_output_tokens": model.max_output_tokens,
                "routes": [
                    f"{vendor_names[route.vendor_id]}/{route.upstream_model}"
                    for route in model.routes
                ],
            }
            for model in catalog.list_models(connection)
        ]
    show_rows(rows, output, MODEL_COLUMNS)


def create_model(
    name: ModelName,
    vendor: Annotated[str, typer.Option(help="Who serves it.")],
    input_price: Annotated[str, typer.Option(help="CNY per 1M input tokens.")],
    output_price: Annotated[str, typer.Option(help="CNY per 1M output tokens.")],
    cached_input_price: Annotated[
        str | None, typer.Option(help="CNY per 1M cached input tokens; default as input.")
    ] = None,
    upstream_model: Annotated[
        str | None, typer.Option(help="What the vendor calls it; default the same.")
    ] = None,
    context: Annotated[str | None, typer.Option(help="Context window in tokens.")] = None,
    max_output_tokens: Annotated[
        str | None, typer.Option(help="The longest answer, in tokens.")
    ] = None,
    cost_input: Annotated[str, typer.Option(help="Cost, CNY per 1M input tokens.")] = "0",
    cost_output: Annotated[str, typer.Option(help="Cost, CNY per 1M output tokens.")] = "0",
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Creates a chat model with one route. More routes: `aipool apply`."""
    from aipool.catalog import rules
    from aipool.catalog import service as catalog
    from aipool.catalog.types import (
        CONTEXT_TOKENS_DEFAULT,
        MAX_OUTPUT_TOKENS_DEFAULT,
        Kind,
        ModelTerms,
        Route,
    )
    from aipool.cli.session import open_session
    from aipool.kit.errors import Conflict
    from aipool.pool import service as pool
    from aipool.rating.types import TokenPrice

    context_tokens = rules.token_count(context) if context else CONTEXT_TOKENS_DEFAULT
    output_tokens = (
        rules.token_count(max_output_tokens)
        if max_output_tokens
        else min(MAX_OUTPUT_TOKENS_DEFAULT, context_tokens)
    )
    sale_input, cost_input_nano = rules.price_nano(input_price), rules.price_nano(cost_input)
    cached = sale_input if cached_input_price is None else rules.price_nano(cached_input_price)
    price = TokenPrice(0, sale_input, cached, rules.price_nano(output_price))
    cost = TokenPrice(0, cost_input_nano, cost_input_nano, rules.price_nano(cost_output))
    with open_session(data_dir) as session, session.change() as tx:
        if any(model.name == name for model in catalog.list_models(tx.connection)):
            raise Conflict("model_exists", f"there is a model {name!r} already", field="name")
        owner = pool.get_vendor(tx.connection, vendor)
        route = Route(owner.id, rules.model_name(upstream_model or name), cost)
        terms = ModelTerms(
            rules.model_name(name), Kind.CHAT, context_tokens, output_tokens, price, (route,)
        )
        catalog.put_model(tx, session.act, terms)
    show_record({"name": name, "price": catalog.describe(price), "vendor": vendor}, output)


def disable_model(name: ModelName, data_dir: DataDir = None) -> None:
    """Takes a model off sale."""
    _set_enabled(name, data_dir, enabled=False)


def enable_model(name: ModelName, data_dir: DataDir = None) -> None:
    """Puts a model on sale again."""
    _set_enabled(name, data_dir, enabled=True)


def list_groups(output: OutputOption = Output.TABLE, data_dir: DataDir = None) -> None:
    """Lists pricing groups."""
    from aipool.cli.session import open_session
    from aipool.groups import service as groups
    from aipool.kit.money import format_multiplier

    with open_session(data_dir) as session, session.read() as connection:
        rows = [
            {
                "id": group.id,
                "name": group.name,
                "multiplier": format_multiplier(group.multiplier_ppm),
                "models": "all" if group.models is None else list(group.models),
            }
            for group in groups.list_groups(connection)
        ]
    show_rows(rows, output, GROUP_COLUMNS)


def create_group(
    name: Annotated[str, typer.Argument(help="A name for the group.")],
    multiplier: Annotated[str, typer.Option(help="Of the list price; 0.8 is a discount.")] = "1",
    models: Annotated[
        list[str] | None, typer.Option("--model", help="A model it may call; repeatable.")
    ] = None,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Creates a pricing group."""
    from aipool.catalog import service as catalog
    from aipool.cli.session import open_session
    from aipool.groups import service as groups
    from aipool.kit.errors import Conflict
    from aipool.kit.money import format_multiplier, parse_multiplier
    from aipool.kit.names import checked_name

    multiplier_ppm = parse_multiplier(multiplier)
    with open_session(data_dir, make=True) as session, session.change() as tx:
        if groups.find_group(tx.connection, checked_name(name)) is not None:
            raise Conflict("group_exists", f"there is a group {name!r} already", field="name")
        catalog.check_names(tx.connection, models or ())
        group, _ = groups.put_group(
            tx,
            session.act,
            name=name,
            multiplier_ppm=multiplier_ppm,
            models=tuple(models) if models else None,
        )
    record = {"id": group.id, "name": name, "multiplier": format_multiplier(multiplier_ppm)}
    show_record(record, output)


def _set_enabled(name: str, data_dir: DataDir, *, enabled: bool) -> None:
    from aipool.catalog import service as catalog
    from aipool.cli.session import open_session

    with open_session(data_dir) as session, session.change() as tx:
        catalog.set_enabled(tx, session.act, name, enabled=enabled)
