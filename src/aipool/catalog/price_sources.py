"""Lists of prices that somebody else keeps, read as amounts by unit (catalog.quoting).

    package    genai-prices, where it is installed (the `prices` extra), and before it what vendors
               publish in yuan (list_prices.toml); nothing is fetched
    file       a JSON object of models in the form that LiteLLM keeps: dollars for one token

A unit that is not charged here is left out, and the note says which. Where a price depends on the
hour, the dearest counts; where a part of the input has tiers of its own, its dearest tier does:
what is made from a list is never below it.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from importlib import metadata
from typing import Any, NamedTuple, Protocol

from aipool.catalog import proposals
from aipool.catalog.quoting import CNY, TEXT
from aipool.kit.errors import Invalid

USD = "USD"
#: As large as a list of every model of every vendor is, twice.
FILE_BYTES_MAX = 8 << 20
_MODELS_MAX = 50_000
#: Powers of ten, up and down, that no number of such a file has.
_MAGNITUDE_MAX = 40
_TIER_DIGITS_MAX = 9
_MILLION = 1_000_000
_HOUR_SECONDS = 3_600
_HOURS = 24


class Where(NamedTuple):
    """Who serves a model. type: one of aipool.vendors.  base_url: their address, resolved."""

    type: str
    base_url: str


class Found(NamedTuple):
    """What a list says of a model. amounts: exact, by unit.  tiers: `above_tokens`, and amounts of
    text.  note: what a person should know."""

    currency: str
    amounts: dict[str, Decimal]
    tiers: tuple[dict[str, Any], ...]
    source: str
    note: str = ""


class PriceList(Protocol):
    """A list of prices. name: with its version or its day."""

    @property
    def name(self) -> str:
        """How the list is called, with its version."""
        ...

    def find(self, model: str, where: Where | None) -> Found | None:
        """What is said of this model of that vendor, or (None) of whoever made it."""
        ...


# --- the package ----------------------------------------------------------------------------------

_PACKAGE = "genai-prices"
#: By the package's name of a unit: ours, and how many of theirs are one of ours.
_OF_PACKAGE: dict[str, tuple[str, int]] = {
    "input_mtok": ("input", 1),
    "cache_read_mtok": ("cached_input", 1),
    "output_mtok": ("output", 1),
    "cache_write_mtok": ("cache_write", 1),
    "cache_write_1h_mtok": ("cache_write_long", 1),
    "input_audio_mtok": ("audio_input", 1),
    "input_image_mtok": ("image_input", 1),
    "output_audio_mtok": ("audio_output", 1),
    "output_image_mtok": ("image_output", 1),
    "input_mchars": ("character", 1),
    "audio_hours": ("second", _HOUR_SECONDS),
    "requests_kcount": ("call", 1_000),
}


@dataclass(frozen=True, slots=True)
class Package:
    """The package. at: now, because some of its prices begin on a day."""

    at: datetime

    @property
    def name(self) -> str:
        """Raises Invalid where the package is not installed."""
        try:
            return f"{_PACKAGE} {metadata.version(_PACKAGE)}"
        except metadata.PackageNotFoundError:
            raise Invalid(
                "source_missing",
                "the package genai-prices is not installed: pip install 'aipool[prices]'",
                field="source",
            ) from None

    def find(self, model: str, where: Where | None) -> Found | None:
        """First what is published in yuan, then what the package knows."""
        listed = proposals.published_in_yuan(where.base_url, model) if where else None
        listed = listed or (proposals.in_yuan(model) if where is None else None)
        if listed is not None:
            given = dict(zip(TEXT, listed.price[:3], strict=True))
            return Found(CNY, given, (), f"{listed.source} {listed.read_on}", listed.note)
        return self._in_package(model, where)

    def _in_package(self, model: str, where: Where | None) -> Found | None:
        name = self.name
        from genai_prices.data_snapshot import get_snapshot

        snapshot = get_snapshot()
        known = None
        # Of whom it is asked: the vendor that serves it, else whoever the name belongs to.
        for provider, base_url in [(None, where.base_url)] if where else _ANYBODY:
            try:
                _, known = snapshot.find_provider_model(model, None, provider, base_url)
            except LookupError:
                continue
            break
        if known is None:
            return None
        hours = [_read(known.get_prices(hour)) for hour in _hours_of(self.at)]
        amounts, tiers, left_out = max(hours, key=_dearness)
        if not amounts:
            return None
        notes = ["the dearest hour of the day"] if any(one != hours[0] for one in hours) else []
        if left_out:
            notes.append(f"not taken: {', '.join(left_out)}")
        return Found(USD, amounts, tiers, name, "; ".join(notes))


#: The package's own guess, then the makers that it knows, as (provider, address).
_MAKERS = (
    "openai",
    "anthropic",
    "google",
    "deepseek",
    "zhipuai",
    "moonshotai",
    "minimax",
    "mistral",
    "cohere",
    "x-ai",
    "voyageai",
)
_ANYBODY: list[tuple[str | None, str | None]] = [(None, None), *((one, None) for one in _MAKERS)]

_Read = tuple[dict[str, Decimal], tuple[dict[str, Any], ...], tuple[str, ...]]


def _hours_of(at: datetime) -> Iterator[datetime]:
    for hour in range(_HOURS):
        yield at.astimezone(UTC).replace(hour=hour, minute=30, second=0, microsecond=0)


def _dearness(read: _Read) -> tuple[Decimal, Decimal]:
    amounts = read[0]
    return amounts.get("output", Decimal(0)), amounts.get("input", Decimal(0))


def _read(price: Any) -> _Read:
    """Amounts, tiers of text, and the names of what is left out."""
    amounts: dict[str, Decimal] = {}
    rising: dict[int, dict[str, Decimal]] = {}
    left_out = []
    for theirs, amount in vars(price).items():
        if amount is None or theirs.startswith("_"):
            continue
        if theirs not in _OF_PACKAGE:
            left_out.append(theirs)
            continue
        unit, size = _OF_PACKAGE[theirs]
        tiers = getattr(amount, "tiers", ())
        base = getattr(amount, "base", amount)
        if unit in TEXT:
            for tier in tiers:
                rising.setdefault(tier.start, {})[unit] = tier.price
        else:
            base = max([base, *(tier.price for tier in tiers)])
        amounts[unit] = base / size
    return amounts, _tiers(amounts, rising), tuple(left_out)


def _tiers(
    amounts: Mapping[str, Decimal], rising: Mapping[int, Mapping[str, Decimal]]
) -> tuple[dict[str, Any], ...]:
    """The tiers whole: what one does not say is as in the one before."""
    now = {unit: amounts[unit] for unit in TEXT if unit in amounts}
    found: list[dict[str, Any]] = []
    for above in sorted(rising):
        now = {**now, **rising[above]}
        if above > 0 and "input" in now and "output" in now:
            found.append({"above_tokens": above, **now})
    return tuple(found)


# --- a file ---------------------------------------------------------------------------------------

#: By the file's name of a unit: ours, and how many of theirs are one of ours.
_OF_FILE: dict[str, tuple[str, int]] = {
    "input_cost_per_token": ("input", _MILLION),
    "cache_read_input_token_cost": ("cached_input", _MILLION),
    "output_cost_per_token": ("output", _MILLION),
    "cache_creation_input_token_cost": ("cache_write", _MILLION),
    "cache_creation_input_token_cost_above_1hr": ("cache_write_long", _MILLION),
    "input_cost_per_audio_token": ("audio_input", _MILLION),
    "input_cost_per_image_token": ("image_input", _MILLION),
    "output_cost_per_audio_token": ("audio_output", _MILLION),
    "output_cost_per_image_token": ("image_output", _MILLION),
    "input_cost_per_character": ("character", _MILLION),
    "input_cost_per_query": ("call", 1),
    "output_cost_per_image": ("image", 1),
    "input_cost_per_second": ("second", 1),
    "output_cost_per_second": ("second", 1),
}
_ABOVE = "_above_"
_OF_TEXT = {theirs: ours for theirs, (ours, _) in _OF_FILE.items() if ours in TEXT}
#: What such files put before a model's name for a vendor of ours, where it is not our type.
_PREFIXES = {
    "ark": "volcengine",
    "azure_openai": "azure",
    "zhipu": "zai",
    "together": "together_ai",
    "fireworks": "fireworks_ai",
    "nvidia": "nvidia_nim",
}


@dataclass(frozen=True, slots=True)
class PriceFile:
    """A file that was read. name: how people call it, with its day."""

    name: str
    models: Mapping[str, Mapping[str, Any]]

    def find(self, model: str, where: Where | None) -> Found | None:
        """By the vendor's prefix and the name, else by the name alone. Raises Invalid for what is
        no price where one belongs: passed over, it would be sold for nothing, or too cheaply."""
        prefix = _PREFIXES.get(where.type, where.type) if where else ""
        entry = self.models.get(f"{prefix}/{model}") or self.models.get(model)
        if entry is None:
            return None
        amounts: dict[str, Decimal] = {}
        rising: dict[int, dict[str, Decimal]] = {}
        left_out = []
        for theirs, amount in entry.items():
            name, is_tier, above = theirs.partition(_ABOVE)
            if amount is not None and (name in _OF_TEXT if is_tier else name in _OF_FILE):
                _check_price(theirs, amount)
            if not isinstance(amount, Decimal) or "cost" not in theirs:
                continue
            if theirs in _OF_FILE:
                unit, times = _OF_FILE[theirs]
                amounts[unit] = max(amounts.get(unit, Decimal(0)), amount * times)
            elif is_tier and name in _OF_TEXT and (tokens := _tokens(above)):
                rising.setdefault(tokens, {})[_OF_TEXT[name]] = amount * _MILLION
            elif amount:
                left_out.append(theirs)
        if not amounts:
            return None
        note = f"not taken: {', '.join(left_out)}" if left_out else ""
        return Found(USD, amounts, _tiers(amounts, rising), self.name, note)


def read_file(name: str, text: str) -> PriceFile:
    """A file of prices. name: how people call it, with its day. Raises Invalid."""
    if len(text.encode("utf-8", "replace")) > FILE_BYTES_MAX:
        raise Invalid(
            "file_too_large",
            f"at most {FILE_BYTES_MAX} bytes",
            field="file",
            params={"most": FILE_BYTES_MAX},
        )
    try:
        read = json.loads(text, parse_float=_number, parse_int=_number, parse_constant=str)
    except (ValueError, RecursionError):
        raise Invalid("malformed_file", "the file is no JSON", field="file") from None
    if not isinstance(read, dict) or len(read) > _MODELS_MAX:
        raise Invalid(
            "malformed_file", "the file is a JSON object with a model for each name", field="file"
        )
    models = {key: value for key, value in read.items() if isinstance(value, dict)}
    if not models:
        raise Invalid("malformed_file", "the file names no model", field="file")
    return PriceFile(name, models)


def _check_price(name: str, amount: object) -> None:
    if not isinstance(amount, Decimal) or amount < 0:
        raise Invalid(
            "malformed_amount",
            f"{name} is no price: a number of dollars, 0 or more",
            field=name,
            params={"price": name},
        )


def _tokens(above: str) -> int:
    """`200k_tokens` is 200,000; 0 = something else."""
    number = above.removesuffix("_tokens").removesuffix("k")
    is_one = number.isdecimal() and len(number) <= _TIER_DIGITS_MAX
    return int(number) * 1_000 if is_one and above.endswith("k_tokens") else 0


def _number(text: str) -> Decimal:
    """Raises ValueError for what is far from any price: 1e999999999 would take all memory."""
    try:
        number = Decimal(text)
    except ArithmeticError:
        raise ValueError from None
    if not number:
        return Decimal(0)
    if abs(number.adjusted()) > _MAGNITUDE_MAX:
        raise ValueError
    return number
