"""Takes prices over from a list: first a plan, then the plan and nothing else.

For every model: what its routes cost by the list, and a sale price that covers what each of them
costs after that, unit by unit, times a markup. The operator types the rate, which is kept with its
day. What a person wrote is left: a sale price that is locked, and a cost that was typed, 0 among
them. A change by more than 30 %, to nothing, a charge for what was not charged, a sale below cost,
and a price of what was free on purpose are carried out only for the models that the operator names.

A plan has a digest, over all it would do. Who applies it sends the digest back; the plan is made
again in the transaction, and if anything is different by then, nothing is done.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, NamedTuple

from sqlalchemy.engine import Connection

from aipool.audit.types import Act
from aipool.catalog import quoting, rules, service
from aipool.catalog.comparing import below, highest, large_changes, own_amounts
from aipool.catalog.price_sources import Found, PriceList, Where
from aipool.catalog.quoting import CNY, Exchange
from aipool.catalog.types import TYPED, Model, Quote, Route, same_price
from aipool.kit.db import Transaction
from aipool.kit.errors import BusinessError, Conflict, Invalid
from aipool.kit.money import PRICE_NANO_MAX
from aipool.rating.types import Extras, Price

#: Vendors by their id, with the addresses they are called at.
VendorsAt = Callable[[Connection], Mapping[int, Where]]


@dataclass(frozen=True, slots=True)
class Options:
    """How a list becomes prices. dollar: what one costs, and the day it was said.  markup: the
    sale price as a multiple of the cost.  only: names of the models, () = all."""

    dollar: Exchange
    markup: Decimal = Decimal(1)
    only: tuple[str, ...] = ()


class State(StrEnum):
    """What a plan would do with a model."""

    CHANGE = "change"
    """It has another sale price or other costs."""
    SAME = "same"
    MISSING = "missing"
    """The list does not know it, at any vendor that serves it."""
    REFUSED = "refused"
    """What the list says cannot be a price here."""


class CostChange(NamedTuple):
    """What a route costs by the list. place: 1 is tried first."""

    place: int
    before: Price
    after: Price
    quote: Quote


@dataclass(frozen=True, slots=True)
class Line:
    """A model of a plan. sale_after: None = it stays.  needs: why the operator must name it, () =
    they need not.  locked: its sale price was written by hand and stays."""

    name: str
    state: State
    sale_before: Price
    sale_after: Price | None = None
    quote: Quote = TYPED
    costs: tuple[CostChange, ...] = ()
    needs: tuple[str, ...] = ()
    locked: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done. digest: of all of it."""

    source: str
    lines: tuple[Line, ...]
    digest: str


class Applied(NamedTuple):
    """changed: names.  skipped: names of what needed to be named and was not."""

    changed: tuple[str, ...]
    skipped: tuple[str, ...]


def plan(
    connection: Connection, listed: PriceList, options: Options, vendors_at: VendorsAt
) -> Plan:
    """What would be done now. May take a second, to look every model up."""
    vendors = vendors_at(connection)
    models = service.list_models(connection)
    unknown = sorted(set(options.only) - {model.name for model in models})
    if unknown:
        raise Invalid(
            "models_unknown",
            f"there is no model {', '.join(unknown)}",
            field="models",
            params={"models": ", ".join(unknown)},
        )
    wanted = [model for model in models if not options.only or model.name in options.only]
    quotes = service.list_quotes(connection, wanted)
    lines = tuple(_line(model, listed, options, vendors, quotes) for model in wanted)
    return Plan(listed.name, lines, _digest(listed.name, options, lines))


def apply(
    tx: Transaction,
    act: Act,
    listed: PriceList,
    options: Options,
    vendors_at: VendorsAt,
    *,
    digest: str,
    confirmed: Collection[str] = (),
) -> Applied:
    """Does what the plan of this digest says. confirmed: names of the models whose large changes
    are meant. Raises Conflict when something has changed since."""
    now = plan(tx.connection, listed, options, vendors_at)
    if now.digest != digest:
        raise Conflict("plan_stale", "models or prices have changed since: make the plan again")
    changed, skipped = [], []
    for line in now.lines:
        if line.state is not State.CHANGE:
            continue
        if line.needs and line.name not in confirmed:
            skipped.append(line.name)
            continue
        _carry_out(tx, act, line)
        changed.append(line.name)
    return Applied(tuple(changed), tuple(skipped))


def _carry_out(tx: Transaction, act: Act, line: Line) -> None:
    model = service.get_model(tx.connection, line.name)
    if line.costs:
        routes, quotes = list(model.routes), [TYPED] * len(model.routes)
        for change in line.costs:
            routes[change.place - 1] = routes[change.place - 1]._replace(cost=change.after)
            quotes[change.place - 1] = change.quote
        service.put_routes(tx, act, model, routes, quotes)
    if line.sale_after is not None:
        # What the list sells for nothing the operator has named.
        free = bool(rules.unpriced(model.kind, line.sale_after))
        service.set_price(tx, act, model, line.sale_after, quote=line.quote, free=free)


# --- one model ------------------------------------------------------------------------------------


def _line(
    model: Model,
    listed: PriceList,
    options: Options,
    vendors: Mapping[int, Where],
    quotes: Mapping[int, Quote],
) -> Line:
    try:
        found = list(_found(model, listed, options, vendors))
        if not found:
            return Line(model.name, State.MISSING, model.price, locked=model.price_locked)
        note = "; ".join(dict.fromkeys(one.found.note for one in found if one.found.note))
        costs = tuple(
            CostChange(one.place, one.route.cost, one.cost, one.quote)
            for one in found
            if one.route is not None
            and not same_price(one.route.cost, one.cost)
            # A 0 that somebody typed is a cost as well: their own machines.
            and quotes.get(one.route.cost.id, TYPED).source != TYPED.source
        )
        _check_whole(model, found)
        costs_after = _costs_after(model, costs)
        basis = _basis(model, costs_after, [one.cost for one in found])
        sale = None if model.price_locked else _times(basis, options.markup)
    except BusinessError as problem:
        return Line(model.name, State.REFUSED, model.price, note=problem.message)
    if sale is not None and same_price(sale, model.price):
        sale = None
    if sale is None and not costs:
        return Line(model.name, State.SAME, model.price, locked=model.price_locked, note=note)
    return Line(
        model.name,
        State.CHANGE,
        model.price,
        sale,
        next(
            (one.quote for one in found if same_price(one.cost, basis)), Quote(source=listed.name)
        ),
        costs,
        tuple(_needs(model, sale, costs, costs_after)),
        model.price_locked,
        note,
    )


class _One(NamedTuple):
    """What the list says of a route; route None: of the model, which has none yet."""

    place: int
    route: Route | None
    cost: Price
    quote: Quote
    found: Found


def _found(
    model: Model, listed: PriceList, options: Options, vendors: Mapping[int, Where]
) -> Iterator[_One]:
    if not model.routes:
        found = listed.find(model.name, None)
        if found is not None:
            yield _One(0, None, *_cost(found, options), found)
    for place, route in enumerate(model.routes, start=1):
        where = vendors.get(route.vendor_id)
        found = listed.find(route.upstream_model, where) if where else None
        if found is not None:
            yield _One(place, route, *_cost(found, options), found)


def _check_whole(model: Model, found: Iterable[_One]) -> None:
    """Raises Invalid for what a model of its kind can use and the list leaves out. A 0 that the
    list says is one."""
    for one in found:
        unpriced = rules.unpriced(model.kind, one.cost)
        if unpriced and all(one.found.amounts.values()):
            raise Invalid(
                "price_missing", f"the list has no price for {unpriced}", params={"units": unpriced}
            )


def _costs_after(model: Model, changes: Iterable[CostChange]) -> list[Price]:
    """What the routes cost once the changes are made, whoever said so."""
    after = {change.place: change.after for change in changes}
    return [after.get(place, route.cost) for place, route in enumerate(model.routes, start=1)]


def _basis(model: Model, costs: Sequence[Price], listed: Sequence[Price]) -> Price:
    """What the sale price is made of: it covers every route, by every unit. Where the routes cost
    nothing of what the model is charged by, the list says what such a model is worth."""
    basis = highest(costs or listed)
    if costs and rules.unpriced(model.kind, basis):
        basis = highest([*costs, *listed])
    return basis


def _cost(found: Found, options: Options) -> tuple[Price, Quote]:
    exchange = quoting.IN_CNY if found.currency == CNY else options.dollar
    amounts = {unit: _text(amount) for unit, amount in found.amounts.items()}
    tiers = [
        {unit: amount if unit == "above_tokens" else _text(amount) for unit, amount in one.items()}
        for one in found.tiers
    ]
    return quoting.price_of(amounts, tiers, exchange=exchange, source=found.source)


def _text(amount: Decimal) -> str:
    """As people write it, to 18 digits behind the point, rounded up."""
    rounded = quoting.ceiling_nano(amount, Decimal(1), scale=10**18)
    text = f"{Decimal(rounded).scaleb(-18):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def _times(cost: Price, markup: Decimal) -> Price:
    """The cost times the markup, every amount rounded up."""

    def times(nano: int) -> int:
        return quoting.ceiling_nano(Decimal(nano), markup, scale=1)

    def or_none(nano: int | None) -> int | None:
        return None if nano is None else times(nano)

    extras = cost.extras
    if extras is not None:
        changes: dict[str, Any] = {
            f"{unit}_nano": or_none(getattr(extras, f"{unit}_nano")) for unit in quoting.AS_TEXT
        }
        changes |= {
            f"{unit}_nano": times(getattr(extras, f"{unit}_nano")) for unit in quoting.OTHER
        }
        tiers = tuple(
            type(tier)(tier.above_tokens, *(times(nano) for nano in _text_of(tier)))
            for tier in extras.tiers
        )
        extras = Extras(**changes, tiers=tiers)
    given, cached, answered = map(times, _text_of(cost))
    price = Price(0, given, cached, answered, extras)
    last = price.extras.tiers[-1:] if price.extras else ()
    if max(*own_amounts(price).values(), *(max(_text_of(tier)) for tier in last)) > PRICE_NANO_MAX:
        raise Invalid("price_out_of_range", "it would be dearer than a price can be")
    return price


def _text_of(price: Any) -> tuple[int, int, int]:
    return price.input_nano, price.cached_input_nano, price.output_nano


def _needs(
    model: Model, sale: Price | None, costs: tuple[CostChange, ...], costs_after: Sequence[Price]
) -> Iterator[str]:
    """Why the operator must name this model."""
    if sale is not None:
        if model.free:
            yield "it is free on purpose"
        elif rules.unpriced(model.kind, sale):
            yield "it would be free"
        yield from (f"sale of {reason}" for reason in large_changes(model.price, sale))
    for change in costs:
        for reason in large_changes(change.before, change.after):
            yield f"cost of route {change.place}, {reason}"
    if sale is None and model.free:
        return
    for place, cost in enumerate(costs_after, start=1):
        for unit in below(sale or model.price, cost):
            yield f"sale of {unit} below the cost of route {place}"


def _digest(source: str, options: Options, lines: tuple[Line, ...]) -> str:
    """Over everything that the plan would do, and what it starts from."""
    shown = [
        [
            line.name,
            line.state,
            line.locked,
            line.needs,
            quoting.amounts_of(line.sale_before),
            None if line.sale_after is None else quoting.amounts_of(line.sale_after),
            [
                [one.place, quoting.amounts_of(one.before), quoting.amounts_of(one.after)]
                for one in line.costs
            ],
        ]
        for line in lines
    ]
    dollar = [options.dollar.currency, str(options.dollar.rate), options.dollar.on]
    said = [source, dollar, str(options.markup), sorted(options.only), shown]
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()
