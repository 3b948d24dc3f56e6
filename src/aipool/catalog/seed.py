"""Well-known models that ship with the program, so that a catalogue need not be typed.

`seed.toml` says what each is. A model is planted off sale and without a route. Where its vendor
publishes a price in yuan (list_prices.toml) it has that one, at cost; the others get theirs from a
list of prices or from a person. What is there already is left as it is.
"""

from __future__ import annotations

import functools
import tomllib
from importlib import resources
from typing import Any

from aipool.audit.types import Act
from aipool.catalog import proposals, service
from aipool.catalog.rules import checked_about, kind, model_name
from aipool.catalog.types import (
    CONTEXT_TOKENS_DEFAULT,
    MAX_OUTPUT_TOKENS_DEFAULT,
    TYPED,
    About,
    Kind,
    ModelTerms,
    Parameter,
    Quote,
)
from aipool.kit.db import Transaction
from aipool.rating.types import Price

_FILE = "seed.toml"
_NO_PRICE = Price(0, 0, 0, 0)


def plant(tx: Transaction, act: Act) -> list[str]:
    """Adds what is not there; the names of what was added."""
    there = {model.name for model in service.list_models(tx.connection)}
    missing = [terms for terms in seeds() if terms.name not in there]
    for terms in missing:
        service.put_model(tx, act, terms)
    return [terms.name for terms in missing]


@functools.cache
def seeds() -> tuple[ModelTerms, ...]:
    """What the file says, as terms."""
    read = _read()
    return tuple(_terms(entry, read["kinds"][entry["kind"]]) for entry in read["models"])


def endpoints_of(kind: Kind) -> tuple[str, ...]:
    """The public paths that models of this kind are called at."""
    return tuple(_read()["kinds"][kind]["endpoints"])


@functools.cache
def _read() -> dict[str, Any]:
    return tomllib.loads(resources.files(__package__).joinpath(_FILE).read_text("utf-8"))


def _terms(entry: dict[str, Any], of_kind: dict[str, Any]) -> ModelTerms:
    context = entry.get("context", CONTEXT_TOKENS_DEFAULT)
    parameters = tuple(Parameter(**one) for one in of_kind["parameters"])
    about = About(
        entry["maker"],
        entry["description"],
        tuple(entry.get("abilities", ())),
        tuple(of_kind["endpoints"]),
        parameters,
    )
    price, quote = _price(entry["name"])
    return ModelTerms(
        model_name(entry["name"]),
        kind(entry["kind"]),
        context,
        entry.get("max_output", min(MAX_OUTPUT_TOKENS_DEFAULT, context)),
        price,
        (),
        entry.get("hidden_reasoning", False),
        about=checked_about(about),
        enabled=False,
        quote=quote,
    )


def _price(name: str) -> tuple[Price, Quote]:
    listed = proposals.in_yuan(name)
    made = proposals.propose(listed, proposals.Terms()) if listed else None
    if listed is None or made is None:
        return _NO_PRICE, TYPED
    return made.cost, Quote(source=f"{listed.source} {listed.read_on}")
