"""aipool route …: the ways to serve a model, in the order in which they are tried."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from aipool.cli.catalog import ModelName
from aipool.cli.options import DataDir, Output, OutputOption, parsed
from aipool.cli.output import show_rows

if TYPE_CHECKING:
    from collections.abc import Callable

    from aipool.catalog.types import Model, Route
    from aipool.cli.session import Session

COLUMNS = ("place", "vendor", "upstream_model", "cost", "groups")

Place = Annotated[int, typer.Argument(help="A place; 1 is tried first.", metavar="PLACE")]


def list_routes(
    name: ModelName, output: OutputOption = Output.TABLE, data_dir: DataDir = None
) -> None:
    """Lists the ways to serve a model in the order of trying, with their cost and groups."""
    from aipool.catalog import service as catalog
    from aipool.cli.session import open_session
    from aipool.groups import service as groups
    from aipool.pool import service as pool

    with open_session(data_dir) as session, session.read() as connection:
        vendors: dict[int, str] = {one.id: one.name for one in pool.list_vendors(connection)}
        group_names: dict[int, str] = {one.id: one.name for one in groups.list_groups(connection)}
        rows = [
            {
                "place": place,
                "vendor": vendors[route.vendor_id],
                "upstream_model": route.upstream_model,
                "cost": catalog.describe(route.cost),
                "groups": [group_names.get(group, str(group)) for group in route.groups] or "all",
            }
            for place, route in enumerate(catalog.get_model(connection, name).routes, start=1)
        ]
    show_rows(rows, output, COLUMNS)


def add_route(
    name: ModelName,
    vendor: Annotated[str, typer.Option(help="Who serves it.")],
    upstream_model: Annotated[
        str | None, typer.Option(help="What the vendor calls it; default the same.")
    ] = None,
    cost_input: Annotated[
        str | None, typer.Option(help="Cost, CNY per 1M input tokens; default not said.")
    ] = None,
    cost_output: Annotated[
        str | None, typer.Option(help="Cost, CNY per 1M output tokens; default not said.")
    ] = None,
    group: Annotated[
        list[str] | None, typer.Option(help="A group it is limited to; repeatable.")
    ] = None,
    place: Annotated[int | None, typer.Option(help="Its place; default the last.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Adds a way to serve a model: another vendor, or another model of the same."""
    from aipool.catalog import rules
    from aipool.catalog import service as catalog
    from aipool.catalog.types import NOT_SAID, TYPED, Route
    from aipool.cli.session import open_session
    from aipool.groups import service as groups
    from aipool.pool import service as pool
    from aipool.rating.types import Price

    def cost_of(option: str, text: str | None) -> int:
        return parsed(option, rules.price_nano, "0" if text is None else text)

    cost_in = cost_of("--cost-input", cost_input)
    cost = Price(0, cost_in, cost_in, cost_of("--cost-output", cost_output))
    quote = NOT_SAID if cost_input is cost_output is None else TYPED
    with open_session(data_dir) as session, session.change() as tx:
        model = catalog.get_model(tx.connection, name)
        owner = pool.get_vendor(tx.connection, vendor)
        limited_to = tuple(groups.get_group(tx.connection, one).id for one in group or ())
        route = Route(owner.id, rules.model_name(upstream_model or name), cost, limited_to)
        places = len(model.routes) + 1
        wanted = list(model.routes)
        index = _index(places if place is None else place, places)
        wanted.insert(index, route)
        # The others keep what was said of theirs.
        quotes = [TYPED] * index + [quote]
        catalog.put_routes(tx, session.act, model, wanted, quotes)


def move_route(
    name: ModelName,
    place: Place,
    to: Annotated[int, typer.Argument(help="Its new place.")],
    data_dir: DataDir = None,
) -> None:
    """Changes the order in which the routes of a model are tried."""
    from aipool.cli.session import open_session

    with open_session(data_dir) as session:

        def moved(model: Model) -> list[Route]:
            routes = list(model.routes)
            route = routes.pop(_index(place, len(routes)))
            routes.insert(_index(to, len(model.routes)), route)
            return routes

        _change(session, name, moved)


def delete_route(name: ModelName, place: Place, data_dir: DataDir = None) -> None:
    """Takes a way to serve a model away. The last one cannot be deleted."""
    from aipool.cli.session import open_session

    with open_session(data_dir) as session:

        def without(model: Model) -> list[Route]:
            routes = list(model.routes)
            del routes[_index(place, len(routes))]
            return routes

        _change(session, name, without)


def _change(session: Session, name: str, wanted: Callable[[Model], list[Route]]) -> None:
    from aipool.catalog import service as catalog

    with session.change() as tx:
        model = catalog.get_model(tx.connection, name)
        catalog.put_routes(tx, session.act, model, wanted(model))


def _index(place: int, places: int) -> int:
    from aipool.kit.errors import Invalid

    if not 1 <= place <= places:
        raise Invalid(
            "place_unknown", f"a place is a number from 1 to {places}, not {place}", field="place"
        )
    return place - 1
