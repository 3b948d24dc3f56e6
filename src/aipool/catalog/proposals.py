"""What a model might cost, for people who take it over from a vendor. They decide.

Looked for in this order, and the first that knows the model wins:

    told          the vendor's own list carries prices (OpenRouter)
    list_prices   a file beside this one: what vendors publish in yuan, each with page and day
    genai-prices  the package of that name, where it is installed (the `prices` extra): the prices
                  of hundreds of models in dollars. Its data is in its wheel; nothing is fetched

The sale price that is proposed is the cost times a markup. Amounts are exact decimals until the
very end, where they become whole nano-yuan, rounded up: a proposal is never below what it is
made from.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib import metadata, resources
from typing import Any, NamedTuple
from urllib.parse import urlsplit

from aipool.catalog.quoting import ceiling_nano
from aipool.kit.errors import Invalid
from aipool.kit.money import PRICE_NANO_MAX
from aipool.rating.types import Price

#: About the mean of recent years; an operator who knows better says so.
CNY_PER_USD_DEFAULT = Decimal("7.2")
#: At cost: nobody is made to earn.
MARKUP_DEFAULT = Decimal(1)
#: A rate or a markup above it is a typing mistake.
FACTOR_MAX = Decimal(100)

_FILE = "list_prices.toml"
_FACTOR = re.compile(r"\d{1,3}(\.\d{1,9})?", re.ASCII)


class ListPrice(NamedTuple):
    """A published price per 1,000,000 tokens, exact. currency: "CNY" or "USD"."""

    input: Decimal
    cached_input: Decimal
    output: Decimal
    currency: str


class Listed(NamedTuple):
    """What somebody publishes about a model. source: who.  read_on: the day, as 2026-11-22, "" =
    just now.  note: what a person should know."""

    price: ListPrice
    source: str
    read_on: str = ""
    note: str = ""
    context_tokens: int | None = None
    max_output_tokens: int | None = None


@dataclass(frozen=True, slots=True)
class Terms:
    """How published prices become an operator's own."""

    cny_per_usd: Decimal = CNY_PER_USD_DEFAULT
    markup: Decimal = MARKUP_DEFAULT


class Proposal(NamedTuple):
    """cost: what the vendor takes.  price: what it might be sold for.  listed: what both are
    made from.  cny_per_usd: the rate that was used, None = none was needed."""

    cost: Price
    price: Price
    listed: Listed
    cny_per_usd: Decimal | None


def factor(text: str) -> Decimal:
    """A rate or a markup as a person writes it; raises Invalid."""
    found = Decimal(text) if _FACTOR.fullmatch(text) else Decimal(0)
    if not 0 < found <= FACTOR_MAX:
        raise Invalid(
            "invalid_factor",
            f"{text!r}: a decimal number above 0, at most {FACTOR_MAX}",
            params={"given": text, "most": FACTOR_MAX},
        )
    return found


def _price(amounts: tuple[int, ...]) -> Price:
    input_nano, cached_input_nano, output_nano = amounts
    return Price(0, input_nano, cached_input_nano, output_nano)


def propose(listed: Listed, terms: Terms) -> Proposal | None:
    """What this makes in nano-yuan; None when it is dearer than can be stored."""
    rate = terms.cny_per_usd if listed.price.currency == "USD" else None
    factor = Decimal(1) if rate is None else rate
    cost = tuple(ceiling_nano(amount, factor) for amount in listed.price[:3])
    price = tuple(ceiling_nano(Decimal(amount), terms.markup, scale=1) for amount in cost)
    if max(*cost, *price) > PRICE_NANO_MAX:
        return None
    return Proposal(_price(cost), _price(price), listed, rate)


def published(base_url: str, model: str, at: datetime) -> Listed | None:
    """What is published of a model of the vendor that lives at this address, None when nothing
    is known. at: now, in UTC: some prices begin on a day.

    The first call may take half a second, to read what the package knows.
    """
    return published_in_yuan(base_url, model) or _from_package(base_url, model, at)


def in_yuan(model: str) -> Listed | None:
    """What the file beside this one says of a model of this name, whoever serves it."""
    for models in _listed_prices().values():
        if model.lower() in models:
            return models[model.lower()]
    return None


def told(price: ListPrice, vendor: str) -> Listed:
    """A price that the vendor's own list of models carries."""
    return Listed(price, f"the list of models of {vendor}")


# --- the file -------------------------------------------------------------------------------

# A date behind a name: doubao-seed-2-1-pro-260915, qwen3.7-max-2026-05-20.
_DATED = re.compile(r"-(\d{6}|\d{8}|\d{4}-\d{2}-\d{2})$", re.ASCII)


def published_in_yuan(base_url: str, model: str) -> Listed | None:
    """What the file says of a model of the vendor that lives at this address."""
    of_host = _listed_prices().get(urlsplit(base_url).hostname or "", {})
    name = model.lower()
    return of_host.get(name) or of_host.get(_DATED.sub("", name))


@functools.cache
def _listed_prices() -> dict[str, dict[str, Listed]]:
    """By host, then by the model's name in lower case."""
    text = resources.files(__package__).joinpath(_FILE).read_text("utf-8")
    found: dict[str, dict[str, Listed]] = {}
    for vendor in tomllib.loads(text)["vendors"]:
        models = {entry["name"].lower(): _listed(vendor, entry) for entry in vendor["models"]}
        for host in vendor["hosts"]:
            found[host] = models
    return found


def _listed(vendor: dict[str, Any], entry: dict[str, Any]) -> Listed:
    given = Decimal(entry["input"])
    cached = Decimal(entry.get("cached_input", entry["input"]))
    price = ListPrice(given, cached, Decimal(entry["output"]), "CNY")
    return Listed(
        price,
        vendor["source"],
        vendor["read_on"],
        vendor["note"],
        entry.get("context"),
        entry.get("max_output"),
    )


# --- the package ----------------------------------------------------------------------------

_PACKAGE = "genai-prices"
_HOURS = 24


def _from_package(base_url: str, model: str, at: datetime) -> Listed | None:
    try:
        from genai_prices.data_snapshot import get_snapshot
    except ImportError:
        return None
    try:
        _, known = get_snapshot().find_provider_model(model, None, None, base_url)
    except LookupError:
        return None
    # Some vendors have peak hours; what is sold by a proposal is never sold below its cost.
    hours = [_package_price(known.get_prices(hour)) for hour in _hours_of(at)]
    prices = [price for price in hours if price is not None]
    if not prices:
        return None
    dearest = ListPrice(
        max(price.input for price in prices),
        max(price.cached_input for price in prices),
        max(price.output for price in prices),
        "USD",
    )
    notes = ["the dearest hour of the day"] if len(set(prices)) > 1 else []
    if _is_tiered(known.get_prices(at)):
        notes.append("long requests cost more")
    return Listed(
        dearest,
        f"{_PACKAGE} {metadata.version(_PACKAGE)}",
        "",
        "; ".join(notes),
        known.context_window,
    )


def _hours_of(at: datetime) -> Iterator[datetime]:
    for hour in range(_HOURS):
        yield at.astimezone(UTC).replace(hour=hour, minute=30, second=0, microsecond=0)


def _package_price(price: Any) -> ListPrice | None:
    """Input and output of text in dollars per million, for requests of ordinary length; None
    for what is not sold by the token, or not by it alone: the call would be given away."""
    given, answered = _base(price.input_mtok), _base(price.output_mtok)
    if given is None or answered is None or _base(price.requests_kcount):
        return None
    cached = _base(price.cache_read_mtok)
    return ListPrice(given, given if cached is None else cached, answered, "USD")


def _base(amount: Any) -> Decimal | None:
    """The amount, or that of the first of its tiers."""
    amount = getattr(amount, "base", amount)
    return amount if isinstance(amount, Decimal) else None


def _is_tiered(price: Any) -> bool:
    return hasattr(price.input_mtok, "tiers") or hasattr(price.output_mtok, "tiers")
