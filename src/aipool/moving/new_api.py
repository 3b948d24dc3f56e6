"""What the rows of new-api mean, and of one-api, which it grew from.

    money      500,000 units of quota are a dollar (the option QuotaPerUnit says otherwise)
    ratios     ModelRatio 1 is 2 dollars for 1,000,000 tokens of input; CompletionRatio, CacheRatio,
               CreateCacheRatio, AudioRatio and ImageRatio are multiples of that; ModelPrice is
               dollars for a call; GroupRatio multiplies all of it
    tokens     the key is kept in clear text, without `sk-`; what it may still spend is remain_quota
    channels   one or more keys at one vendor, a line each, with the models it serves for its groups

Every reading is of one row, and refuses that row by itself.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal, InvalidOperation
from typing import Any
from urllib.parse import urlsplit

from aipool.api_tokens import rules as token_rules
from aipool.catalog import quoting
from aipool.catalog.quoting import Exchange
from aipool.catalog.rules import model_name
from aipool.catalog.types import Quote
from aipool.kit.digests import PREFIX
from aipool.kit.errors import BusinessError, Invalid
from aipool.kit.expiry import MOMENT_MAX, NEVER
from aipool.kit.money import MULTIPLIER_PPM_MAX, NANO_PER_CNY, PPM
from aipool.kit.names import NAME_CHARACTERS_MAX
from aipool.rating.types import Price
from aipool.vendors import VENDORS_BY_TYPE

Row = Mapping[str, Any]

QUOTA_PER_DOLLAR = 500_000
#: What ModelRatio 1 costs: dollars for 1,000,000 tokens.
DOLLARS_PER_RATIO = 2
DEFAULT_GROUP = "default"
#: As many digits as a rate may have behind the point (catalog.quoting).
_RATE_SCALE: int = 10**18
_ENABLED = 1
_DISABLED = 2
_UNKNOWN_TYPE = "openai_compatible"

#: By the number of a channel's type there.
_TYPES = {
    1: "openai",
    3: "azure_openai",
    4: "openai_compatible",
    8: "openai_compatible",
    14: "anthropic",
    16: "zhipu",
    17: "dashscope",
    19: "ai360",
    20: "openrouter",
    24: "gemini",
    25: "moonshot",
    26: "zhipu",
    27: "perplexity",
    31: "lingyiwanwu",
    34: "cohere",
    35: "minimax",
    39: "cloudflare",
    40: "siliconflow",
    42: "mistral",
    43: "deepseek",
    45: "ark",
    46: "qianfan",
    48: "xai",
}


@dataclass(frozen=True, slots=True)
class TheirUser:
    """A user. quota: what is left, in their units.  role: 1 is a customer."""

    id: int
    name: str
    username: str
    email: str
    enabled: bool
    is_customer: bool
    quota: int
    group: str


@dataclass(frozen=True, slots=True)
class TheirToken:
    """A customer's token. remain_quota: None = it has no limit.  models: None = all."""

    id: int
    user_id: int
    name: str
    secret: str = field(repr=False)
    enabled: bool
    expires_at: int
    remain_quota: int | None
    models: tuple[str, ...] | None
    ips: tuple[str, ...]
    group: str


@dataclass(frozen=True, slots=True)
class TheirChannel:
    """A channel. type: one of aipool.vendors.  base_url: "" = the usual one.  models: what it
    serves, by the name there and the vendor's own.  note: what a person should know."""

    id: int
    name: str
    type: str
    base_url: str
    secrets: tuple[str, ...] = field(repr=False)
    enabled: bool
    priority: int
    models: tuple[tuple[str, str], ...]
    groups: tuple[str, ...]
    note: str = ""


@dataclass(frozen=True, slots=True)
class Ratios:
    """What they sell by. Each by the name of a model; groups by the name of a group.  usable: the
    groups that everybody may choose beside their own, None = the dump does not say."""

    models: Mapping[str, Decimal]
    completion: Mapping[str, Decimal]
    cached: Mapping[str, Decimal]
    cache_write: Mapping[str, Decimal]
    audio: Mapping[str, Decimal]
    audio_completion: Mapping[str, Decimal]
    images: Mapping[str, Decimal]
    calls: Mapping[str, Decimal]
    groups: Mapping[str, Decimal]
    quota_per_dollar: int
    usable: frozenset[str] | None


def is_deleted(row: Row) -> bool:
    """Rows that were deleted stay there with a date."""
    return bool(row.get("deleted_at"))


def user_of(row: Row) -> TheirUser:
    """A user; raises Invalid."""
    username = _text(row, "username")
    return TheirUser(
        _number(row, "id"),
        printable(_text(row, "display_name") or username),
        username,
        _text(row, "email").lower(),
        _number(row, "status", _ENABLED) == _ENABLED,
        _number(row, "role", 1) == 1,
        _number(row, "quota", 0),
        _text(row, "group") or DEFAULT_GROUP,
    )


def token_of(row: Row) -> TheirToken:
    """A customer's token; raises Invalid."""
    key = _text(row, "key").strip().removeprefix(PREFIX)
    secret = PREFIX + key
    token_rules.check_secret(secret)
    expires = _number(row, "expired_time", -1)
    limited = bool(_number(row, "model_limits_enabled", 0))
    models = tuple(dict.fromkeys(_words(_text(row, "model_limits")))) if limited else None
    lines = _text(row, "allow_ips").replace(",", "\n").split("\n")
    token_id = _number(row, "id")
    return TheirToken(
        token_id,
        _number(row, "user_id"),
        printable(_text(row, "name")) or f"token {token_id}",
        secret,
        _number(row, "status", _ENABLED) != _DISABLED,
        # Some wrote milliseconds there: thousands of years, which nothing here could show.
        expires if 0 < expires <= MOMENT_MAX else NEVER,
        None if _number(row, "unlimited_quota", 0) else max(0, _number(row, "remain_quota", 0)),
        models,
        token_rules.canonical_ips(line.strip() for line in lines if line.strip()),
        _text(row, "group"),
    )


def channel_of(row: Row) -> TheirChannel:
    """A channel; raises Invalid."""
    channel_id, number = _number(row, "id"), _number(row, "type", 0)
    vendor_type = _TYPES.get(number, _UNKNOWN_TYPE)
    note = "" if number in _TYPES else f"type {number} is not known here: disabled"
    base_url = _base_url(vendor_type, _text(row, "base_url").strip())
    if not base_url and VENDORS_BY_TYPE[vendor_type].base_url is None:
        raise Invalid("base_url_missing", "the channel has no base_url", field="base_url")
    mapping = _object(_text(row, "model_mapping"), "model_mapping")
    models = tuple(
        (model_name(name), model_name(str(mapping.get(name, name))))
        for name in dict.fromkeys(_words(_text(row, "models")))
    )
    secrets = tuple(
        dict.fromkeys(line.strip() for line in _text(row, "key").split("\n") if line.strip())
    )
    return TheirChannel(
        channel_id,
        printable(_text(row, "name")) or f"channel {channel_id}",
        vendor_type,
        base_url,
        secrets or ("",),
        _number(row, "status", _ENABLED) == _ENABLED and number in _TYPES,
        _number(row, "priority", 0),
        models,
        tuple(dict.fromkeys(_words(_text(row, "group")))) or (DEFAULT_GROUP,),
        note,
    )


def ratios_of(rows: list[dict[str, Any]]) -> Ratios:
    """The ratios of the options. Raises Invalid for what is no table of numbers."""
    options = {str(row.get("key")): row.get("value") for row in rows}

    def table(name: str) -> dict[str, Decimal]:
        return {key: _ratio(name, value) for key, value in _object(options.get(name), name).items()}

    per_dollar = _ratio("QuotaPerUnit", options.get("QuotaPerUnit") or QUOTA_PER_DOLLAR)
    usable = options.get("UserUsableGroups")
    if per_dollar < 1:
        raise Invalid("malformed_row", "QuotaPerUnit is below 1", field="QuotaPerUnit")
    return Ratios(
        table("ModelRatio"),
        table("CompletionRatio"),
        table("CacheRatio"),
        table("CreateCacheRatio"),
        table("AudioRatio"),
        table("AudioCompletionRatio"),
        table("ImageRatio"),
        table("ModelPrice"),
        table("GroupRatio"),
        int(per_dollar),
        frozenset(_object(usable, "UserUsableGroups")) if usable else None,
    )


def price_of(name: str, ratios: Ratios, dollar: Exchange) -> tuple[Price, Quote, str] | None:
    """What a model is sold for, what that was made from, and what is missing ("" = nothing); None
    when the dump has no ratio of it. Raises Invalid."""
    source = "new-api"
    if name in ratios.calls:
        amounts = {"call": _decimal(ratios.calls[name])}
        return *quoting.price_of(amounts, exchange=dollar, source=source), ""
    if name not in ratios.models:
        return None
    given = ratios.models[name] * DOLLARS_PER_RATIO
    amounts = {
        "input": _decimal(given),
        "cached_input": _decimal(given * ratios.cached.get(name, Decimal(1))),
    }
    missing = ""
    if name in ratios.completion:
        amounts["output"] = _decimal(given * ratios.completion[name])
    else:
        missing = "the dump has no CompletionRatio of it"
    if name in ratios.cache_write:
        amounts["cache_write"] = _decimal(given * ratios.cache_write[name])
    if name in ratios.images:
        amounts["image_input"] = _decimal(given * ratios.images[name])
    if name in ratios.audio:
        heard = given * ratios.audio[name]
        amounts["audio_input"] = _decimal(heard)
        if name in ratios.audio_completion:
            amounts["audio_output"] = _decimal(heard * ratios.audio_completion[name])
    return *quoting.price_of(amounts, exchange=dollar, source=source), missing


def multiplier_ppm(ratio: Decimal) -> int:
    """A group's ratio as a multiplier, rounded up to six digits. Raises Invalid."""
    ppm = quoting.ceiling_nano(ratio, Decimal(1), scale=PPM)
    if not 0 <= ppm <= MULTIPLIER_PPM_MAX:
        raise Invalid("invalid_multiplier", "a multiplier lies between 0 and 100")
    return ppm


def nano_of(quota: int, ratios: Ratios, dollar: Exchange) -> int:
    """Their units in nano-yuan, rounded up: nobody loses by moving."""
    # Whole numbers: a division of decimals could end in a rounding of its own.
    scaled = quoting.ceiling_nano(dollar.rate, Decimal(1), scale=_RATE_SCALE)
    per = ratios.quota_per_dollar * _RATE_SCALE
    return -(-quota * scaled * NANO_PER_CNY // per)


# --- fields ---------------------------------------------------------------------------------------


def _number(row: Row, name: str, otherwise: int | None = None) -> int:
    value = row.get(name)
    if value is None or value == "":
        value = otherwise
    try:
        value = int(value) if isinstance(value, bool) else value
        # A number such as 1e999999999 would take all memory as an integer.
        number = int(value) if value is not None and abs(Decimal(str(value))) < 2**64 else None
    except (TypeError, ValueError, ArithmeticError):
        number = None
    if number is None or abs(number) >= 2**63:
        raise Invalid("malformed_row", f"{name} is no whole number", field=name)
    return number


def _text(row: Row, name: str) -> str:
    value = row.get(name)
    if value is None:
        return ""
    if isinstance(value, dict | list):
        return json.dumps(value)
    return str(value)


def _words(text: str) -> list[str]:
    return [word.strip() for word in text.split(",") if word.strip()]


def printable(text: str) -> str:
    """The text on one line, as long as a name may be."""
    shown = "".join(mark if mark.isprintable() else " " for mark in text)
    return " ".join(shown.split())[:NAME_CHARACTERS_MAX].strip()


def _object(written: Any, name: str) -> dict[str, Any]:
    if not written:
        return {}
    if isinstance(written, dict):
        return dict(written)
    try:
        read = json.loads(str(written), parse_float=Decimal)
    except (ValueError, RecursionError):
        read = None
    if not isinstance(read, dict):
        raise Invalid("malformed_row", f"{name} is no JSON object", field=name)
    return read


def _ratio(name: str, value: Any) -> Decimal:
    try:
        ratio = Decimal(str(value))
    except InvalidOperation:
        ratio = Decimal(-1)
    if not ratio.is_finite() or not 0 <= ratio < 10**9:
        raise Invalid("malformed_row", f"{name} holds something that is no ratio", field=name)
    return ratio


def _decimal(amount: Decimal) -> str:
    """As people write it, rounded up to 18 digits behind the point."""
    rounded = quoting.ceiling_nano(amount, Decimal(1), scale=10**18)
    return f"{Decimal(rounded).scaleb(-18):f}"


def _base_url(vendor_type: str, given: str) -> str:
    """Their addresses end before the version, ours behind it. "" = the vendor's usual one."""
    if not given:
        return ""
    usual = urlsplit(VENDORS_BY_TYPE[vendor_type].base_url or "")
    address = urlsplit(given.rstrip("/"))
    if usual.hostname and address.hostname == usual.hostname:
        return ""
    if address.path in ("", "/"):
        return given.rstrip("/") + (usual.path or "/v1")
    return given.rstrip("/")


def refusal(problem: BusinessError) -> str:
    """Why a row was refused, with its field."""
    return f"{problem.field}: {problem.message}" if problem.field else problem.message
