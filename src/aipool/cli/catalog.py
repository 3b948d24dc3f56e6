"""aipool model …"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aipool.cli.options import DataDir, Output, OutputOption, Yes, confirm, parsed
from aipool.cli.output import show_record, show_rows

if TYPE_CHECKING:
    from aipool.vendors.types import Timeouts

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
                "hidden_reasoning": model.hidden_reasoning,
                "timeouts": _seconds(model.timeouts),
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
    hidden_reasoning: Annotated[
        bool, typer.Option(help="It thinks out of sight, so a stream holds its whole worst case.")
    ] = False,
    cost_input: Annotated[
        str | None, typer.Option(help="Cost, CNY per 1M input tokens; default not said.")
    ] = None,
    cost_output: Annotated[
        str | None, typer.Option(help="Cost, CNY per 1M output tokens; default not said.")
    ] = None,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Creates a chat model with one route. More routes: `aipool route add`."""
    from aipool.catalog import rules
    from aipool.catalog import service as catalog
    from aipool.catalog.types import (
        CONTEXT_TOKENS_DEFAULT,
        MAX_OUTPUT_TOKENS_DEFAULT,
        NOT_SAID,
        TYPED,
        Kind,
        ModelTerms,
        Route,
    )
    from aipool.cli.session import open_session
    from aipool.kit.errors import Conflict
    from aipool.pool import service as pool
    from aipool.rating.types import Price

    context_tokens = CONTEXT_TOKENS_DEFAULT
    if context is not None:
        context_tokens = parsed("--context", rules.token_count, context)
    output_tokens = min(MAX_OUTPUT_TOKENS_DEFAULT, context_tokens)
    if max_output_tokens is not None:
        output_tokens = parsed("--max-output-tokens", rules.token_count, max_output_tokens)

    def price_of(option: str, text: str | None) -> int:
        return parsed(option, rules.price_nano, "0" if text is None else text)

    sale_input = cached = price_of("--input-price", input_price)
    if cached_input_price is not None:
        cached = price_of("--cached-input-price", cached_input_price)
    cost_input_nano = price_of("--cost-input", cost_input)
    cost_output_nano = price_of("--cost-output", cost_output)
    price = Price(0, sale_input, cached, price_of("--output-price", output_price))
    cost = Price(0, cost_input_nano, cost_input_nano, cost_output_nano)
    with open_session(data_dir) as session, session.change() as tx:
        if any(model.name == name for model in catalog.list_models(tx.connection)):
            raise Conflict("model_exists", f"there is a model {name!r} already", field="name")
        owner = pool.get_vendor(tx.connection, vendor)
        route = Route(owner.id, rules.model_name(upstream_model or name), cost)
        terms = ModelTerms(
            rules.model_name(name),
            Kind.CHAT,
            context_tokens,
            output_tokens,
            price,
            (route,),
            hidden_reasoning,
            # A 0 that somebody types is meant.
            free=not (price.input_nano and price.output_nano),
            price_locked=True,
            cost_quotes=(NOT_SAID if cost_input is cost_output is None else TYPED,),
        )
        catalog.put_model(tx, session.act, terms)
    show_record({"name": name, "price": catalog.describe(price), "vendor": vendor}, output)


def set_model(
    name: ModelName,
    first_byte: Annotated[
        str | None, typer.Option(help="Seconds until a whole answer begins, or none.")
    ] = None,
    first_event: Annotated[
        str | None, typer.Option(help="Seconds until a stream says something, or none.")
    ] = None,
    idle: Annotated[
        str | None, typer.Option(help="Seconds between two pieces of an answer, or none.")
    ] = None,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Changes how long is waited for a model; none leaves it to the platform.

    Where a vendor's key says how long, that counts.
    """
    from aipool.catalog import rules
    from aipool.catalog import service as catalog
    from aipool.cli.session import open_session
    from aipool.vendors.types import Timeouts

    def wanted(option: str, text: str | None, before: float | None) -> float | None:
        return before if text is None else parsed(option, rules.timeout_seconds, text)

    with open_session(data_dir) as session, session.change() as tx:
        model = catalog.get_model(tx.connection, name)
        before = model.timeouts
        timeouts = Timeouts(
            wanted("--first-byte", first_byte, before.first_byte),
            wanted("--first-event", first_event, before.first_event),
            wanted("--idle", idle, before.idle),
        )
        catalog.set_timeouts(tx, session.act, model, timeouts)
    show_record({"name": name, **_seconds(timeouts)}, output)


def price_model(
    name: ModelName,
    amounts: Annotated[
        list[str],
        typer.Argument(
            help="Prices such as input=2 output=8 or image=0.2, in CNY.", metavar="UNIT=AMOUNT…"
        ),
    ],
    free: Annotated[
        bool, typer.Option(help="What it has no price for costs nothing, and that is meant.")
    ] = False,
    lock: Annotated[bool, typer.Option(help="No list of prices changes it.")] = True,
    output: OutputOption = Output.TABLE,
    data_dir: DataDir = None,
) -> None:
    """Sets what a model is sold for. Units: docs/prices.md."""
    from aipool.catalog import quoting
    from aipool.catalog import service as catalog
    from aipool.cli.session import open_session
    from aipool.kit.errors import Invalid

    said: dict[str, str | None] = {}
    for text in amounts:
        unit, is_there, amount = text.partition("=")
        if not is_there or unit in said:
            raise Invalid("malformed_amount", f"{text!r}: write each unit once, as input=2")
        said[unit] = amount
    price, quote = quoting.price_of(said)
    with open_session(data_dir) as session, session.change() as tx:
        model = catalog.get_model(tx.connection, name)
        tiers = model.price.extras.tiers if model.price.extras else ()
        if tiers:
            raise Invalid(
                "price_has_tiers",
                f"the price of {name} has tiers: change it in a file or over HTTP",
            )
        catalog.set_price(tx, session.act, model, price, quote=quote, free=free, locked=lock)
    show_record({"name": name, "price": catalog.describe(price), "locked": lock}, output)


def seed_models(output: OutputOption = Output.TABLE, data_dir: DataDir = None) -> None:
    """Adds well-known models that are not there yet, off sale and without routes."""
    from aipool.catalog import seed
    from aipool.cli.session import open_session

    with open_session(data_dir) as session, session.change() as tx:
        names = seed.plant(tx, session.act)
        rows = [
            {"name": terms.name, "kind": terms.kind.value, "maker": terms.about.maker}
            for terms in seed.seeds()
            if terms.name in names and terms.about is not None
        ]
    show_rows(rows, output, ("name", "kind", "maker"))


def delete_model(name: ModelName, yes: Yes = False, data_dir: DataDir = None) -> None:
    """Deletes a model that no group's list names. The records of its calls stay."""
    from aipool.catalog import service as catalog
    from aipool.cli.session import open_session
    from aipool.control.parties import groups_naming

    confirm(f"Delete the model {name}?", yes=yes)
    with open_session(data_dir) as session, session.change() as tx:
        model = catalog.get_model(tx.connection, name)
        named_by = groups_naming(tx.connection, name)
        catalog.delete_model(tx, session.act, model, named_by=named_by)


def disable_model(name: ModelName, data_dir: DataDir = None) -> None:
    """Takes a model off sale."""
    _set_enabled(name, data_dir, enabled=False)


def enable_model(name: ModelName, data_dir: DataDir = None) -> None:
    """Puts a model on sale again."""
    _set_enabled(name, data_dir, enabled=True)


def _seconds(timeouts: Timeouts) -> dict[str, float | None]:
    return {
        "first_byte": timeouts.first_byte,
        "first_event": timeouts.first_event,
        "idle": timeouts.idle,
    }


def _set_enabled(name: str, data_dir: DataDir, *, enabled: bool) -> None:
    from aipool.catalog import service as catalog
    from aipool.cli.session import open_session

    with open_session(data_dir) as session, session.change() as tx:
        catalog.set_enabled(tx, session.act, name, enabled=enabled)
