"""What may stand in the file, and what is wrong with it by itself.

    vendors:
      - name: minimax            type: minimax, openai, deepseek, openai_compatible, sandbox, …
        type: minimax
        base_url: https://…      left out: the usual one of the type
        ordering: priority       or weighted, least_latency
        concurrency: 200         calls in flight over all its keys; left out: any number
        low_balance: none        or 20: below it you are told, where the vendor tells a balance
        keys:                    in the order of trying; the first is the default key
          - {name: main, api_key: "${MINIMAX_KEY}", proxy: "http://10.0.0.1:3128"}
          - name: spare
            api_key: "${SPARE_KEY}"
            expires: 2027-01-31              the default key does not expire
            config:                          see below
              model_map: {MiniMax-M3: my-own-name}
              timeouts: {first_byte: 60}
              concurrency: 8
    keywords:                    words in a vendor's error message, and what they mean
      - {vendor_type: minimax, phrase: "account frozen", action: invalid}
    models:
      - name: MiniMax-M3
        kind: chat               or embedding, image, audio, video, rerank, moderation
        maker: MiniMax           these four left out: as they are
        description: for agents
        abilities: [tools, reasoning]
        endpoints: [/v1/chat/completions]
        context: 200000
        max_output_tokens: 16384
        hidden_reasoning: true                                     left out: false
        timeouts: {first_byte: 120, first_event: 60, idle: 60}     left out: as of the platform
        price: {input: 2.1, cached_input: 0.21, output: 8.4}       CNY per 1M tokens
        routes:                  in the order of trying
          - {vendor: minimax, model: MiniMax-M3, cost: {input: 2, output: 8}, groups: [vip]}
                                 groups: those it is limited to; left out: all
          - vendor: openai
            cost: {input: 0.3, output: 1.2, currency: USD, rate: 7.1, rate_on: 2026-11-22}
    groups:
      - name: vip
        multiplier: 0.8
        models: [MiniMax-M3]       left out: every model
        limits: {rpm: 60, tpm: 200000, requests_per_day: 5000, concurrency: 8}
        group_limits: {rpm: 600}   of the whole group; limits: of each user in it
    users:
      - {phone: "13800138000", password: "${PASSWORD}", credit: 100}
    tokens:
      - {user: "13800138000", name: production, group: vip, expires: 2027-01-31,
         models: [MiniMax-M3], ips: [203.0.113.0/24], secret: "${TOKEN}",
         limit: 50, reset: monthly, total: 500, limits: {rpm: 30}}

A price and a cost may have any unit of catalog.quoting beside `input` and `output`, and tiers:
{input: 2, output: 8, call: 0.01, tiers: [{above_tokens: 200000, input: 4, output: 16}]}.
A model that is not charged by tokens of text leaves them out: {image: 0.2}.

Money is in CNY, and a limit or a price of 0 is one: nothing may be spent, or it is free.
A limit of calls is never 0. What is left out, left blank or `none` is not limited.

The config of a key has the fields of vendors.types.KeySettings: base_url, api_version, region,
project, model_map, models, headers, query, body_set, body_strip, proxy, timeouts,
capabilities, weight and concurrency; `proxy` beside it is short for the one in it. In it, and
only there, a word without quotes is a number, true, false or null where JSON reads it so.

An object is described whole: a field left out has its default, not its former value. But
a password left out stays, and so does a token's secret.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from typing import Any

from aipool.accounts import rules as account_rules
from aipool.accounts.types import Role
from aipool.api_tokens import rules as token_rules
from aipool.api_tokens.types import Reset
from aipool.apply.credit import opening_amount_nano
from aipool.apply.entries import (
    Document,
    GroupEntry,
    KeywordEntry,
    ModelEntry,
    RouteEntry,
    TokenEntry,
    UserEntry,
    VendorEntry,
)
from aipool.apply.fields import Reader
from aipool.apply.nodes import ApplyRefused, Problem, read_nodes
from aipool.catalog import quoting
from aipool.catalog import rules as catalog_rules
from aipool.catalog.types import (
    CONTEXT_TOKENS_DEFAULT,
    MAX_OUTPUT_TOKENS_DEFAULT,
    NOT_SAID,
    TYPED,
    Kind,
    Quote,
)
from aipool.groups import rules as group_rules
from aipool.groups.types import DEFAULT_NAME, NO_CALL_LIMITS, CallLimits
from aipool.kit.errors import Invalid
from aipool.kit.expiry import NEVER, moment
from aipool.kit.money import PPM, parse_multiplier
from aipool.kit.names import checked_name
from aipool.pool import rules as pool_rules
from aipool.pool.types import KeyTerms
from aipool.rating.types import Price
from aipool.vendors.types import (
    NO_SETTINGS,
    NO_TIMEOUTS,
    Action,
    KeySettings,
    Ordering,
    Timeouts,
)


def read_document(text: str, environ: Mapping[str, str]) -> Document:
    """The document in this text. Raises ApplyRefused with every problem found."""
    problems: list[Problem] = []
    root = Reader(read_nodes(text, environ, problems), "", problems)
    vendors = tuple(_vendor(entry) for entry in root.items("vendors"))
    keywords = tuple(_keyword(entry) for entry in root.items("keywords"))
    models = tuple(_model(entry) for entry in root.items("models"))
    groups = tuple(_group(entry) for entry in root.items("groups"))
    users = tuple(_user(entry) for entry in root.items("users"))
    tokens = tuple(_token(entry) for entry in root.items("tokens"))
    root.finish()
    for entries, name_of in (
        (vendors, lambda entry: entry.name),
        (keywords, lambda entry: (entry.vendor_type, entry.phrase)),
        (models, lambda entry: entry.name),
        (groups, lambda entry: entry.name),
        (users, lambda entry: entry.phone),
        (tokens, lambda entry: (entry.phone, entry.name)),
    ):
        _refuse_twice(entries, name_of, problems)
    if problems:
        raise ApplyRefused(sorted(problems))
    return Document(vendors, models, groups, users, tokens, keywords)


def _vendor(entry: Reader) -> VendorEntry:
    name = entry.parsed("name", checked_name, "", required=True)
    vendor_type = entry.parsed("type", _vendor_type, "", required=True)
    base_url = entry.text("base_url") or ""
    ordering = entry.parsed("ordering", pool_rules.ordering, Ordering.PRIORITY)
    concurrency = entry.parsed("concurrency", pool_rules.concurrency, 0)
    low_balance = entry.parsed("low_balance", pool_rules.amount, "")
    keys = tuple(
        _key(key, vendor_type, default=place == 0) for place, key in enumerate(entry.items("keys"))
    )
    names = [key.name for key in keys]
    for doubled in {name for name in names if name and names.count(name) > 1}:
        entry.refuse("keys", f"the key {doubled} is listed twice")
    entry.finish()
    return VendorEntry(
        entry.line,
        entry.path,
        name,
        vendor_type,
        base_url,
        ordering,
        concurrency,
        low_balance,
        keys,
    )


def _key(entry: Reader, vendor_type: str, *, default: bool) -> KeyTerms:
    def secret(text: str) -> str:
        if vendor_type:
            pool_rules.check_secret(vendor_type, text)
        return text

    needed = bool(vendor_type) and pool_rules.needs_secret(vendor_type)
    terms = KeyTerms(
        name=entry.parsed("name", checked_name, "", required=True),
        secret=entry.parsed("api_key", secret, "", required=needed),
        settings=_settings(entry, vendor_type),
        expires_at=entry.parsed("expires", moment, NEVER),
    )
    if default and terms.expires_at:
        entry.refuse("expires", "the first key is the default key and does not expire")
    entry.finish()
    return terms


def _settings(entry: Reader, vendor_type: str) -> KeySettings:
    values = entry.values("config")
    proxy = entry.text("proxy")
    if proxy and "proxy" in values:
        entry.refuse("proxy", "is in config already")
    if not vendor_type:
        return NO_SETTINGS
    try:
        return pool_rules.settings_from(
            vendor_type, {**values, "proxy": proxy} if proxy else values
        )
    except Invalid as problem:
        short = proxy and problem.field == "config.proxy"
        entry.refuse("proxy" if short else problem.field, problem.message)
        return NO_SETTINGS


def _keyword(entry: Reader) -> KeywordEntry:
    vendor_type = entry.parsed("vendor_type", _vendor_type, "")
    phrase = entry.parsed("phrase", pool_rules.phrase, "", required=True)
    action = entry.parsed("action", pool_rules.action, Action.PASS, required=True)
    entry.finish()
    return KeywordEntry(entry.line, entry.path, vendor_type, phrase, action)


def _model(entry: Reader) -> ModelEntry:
    name = entry.parsed("name", catalog_rules.model_name, "", required=True)
    kind = entry.parsed("kind", catalog_rules.kind, Kind.CHAT)
    context = entry.parsed("context", catalog_rules.token_count, CONTEXT_TOKENS_DEFAULT)
    output = entry.parsed(
        "max_output_tokens", catalog_rules.token_count, min(MAX_OUTPUT_TOKENS_DEFAULT, context)
    )
    hidden = entry.parsed("hidden_reasoning", catalog_rules.yes_or_no, fallback=False)
    timeouts = _timeouts(entry)
    written = entry.nested("price")
    if written is None:
        entry.refuse("price", "is missing: write {input: …, output: …} in CNY per 1M tokens")
    price, quote, zeros = _price(written, text_required=kind is Kind.CHAT)
    unpriced = catalog_rules.unpriced(kind, price)
    if unpriced and written is not None and not zeros:
        entry.refuse("price", f"says nothing of {unpriced}; write 0 if that is free")
    said: dict[str, Any] = {}
    for name_of in ("maker", "description"):
        text = entry.text(name_of)
        if text is not None:
            said[name_of] = text
    for name_of in ("abilities", "endpoints"):
        words = entry.texts(name_of)
        if words is not None:
            said[name_of] = words
    routes = tuple(_route(route, name) for route in entry.items("routes"))
    if not routes:
        entry.refuse("routes", "a model needs at least one route")
    if output > context:
        entry.refuse("max_output_tokens", f"{output} is more than the context of {context}")
    entry.finish()
    return ModelEntry(
        entry.line,
        entry.path,
        name,
        kind,
        context,
        output,
        price,
        routes,
        hidden,
        timeouts,
        bool(unpriced),
        quote,
        said,
    )


def _timeouts(parent: Reader) -> Timeouts:
    entry = parent.nested("timeouts")
    if entry is None:
        return NO_TIMEOUTS
    timeouts = Timeouts(
        **{
            name: entry.parsed(name, catalog_rules.timeout_seconds, None)
            for name in Timeouts.__struct_fields__
        }
    )
    entry.finish()
    return timeouts


def _route(entry: Reader, model: str) -> RouteEntry:
    vendor = entry.parsed("vendor", checked_name, "", required=True)
    upstream_model = entry.parsed("model", catalog_rules.model_name, model)
    said = entry.nested("cost")
    cost, quote, _ = _price(said, text_required=True)
    groups = tuple(dict.fromkeys(entry.texts("groups") or ()))
    entry.finish()
    if said is None:
        quote = NOT_SAID
    return RouteEntry(entry.line, entry.path, vendor, upstream_model, cost, groups, quote)


def _price(entry: Reader | None, *, text_required: bool) -> tuple[Price, Quote, bool]:
    """A price, what it was made from, and whether a 0 was written in it.

    text_required: what is charged by tokens of text says both; where another unit is written, it
    need not.
    """
    if entry is None:
        return _FREE, TYPED, False
    others = {name: entry.text(name) for name in (*quoting.AS_TEXT, *quoting.OTHER)}
    tiers = [_tier(tier) for tier in entry.items("tiers")]
    needed = text_required and not any(others.values())
    amounts = {
        "input": entry.text("input", required=needed),
        "cached_input": entry.text("cached_input"),
        "output": entry.text("output", required=needed),
        **others,
    }
    currency = entry.text("currency") or quoting.CNY
    rate, rate_on = entry.text("rate"), entry.text("rate_on") or ""
    entry.finish()
    try:
        exchange = quoting.exchange(currency, rate, rate_on)
        price, quote = quoting.price_of(amounts, tiers, exchange=exchange)
    except Invalid as problem:
        entry.refuse(problem.field, problem.message)
        return _FREE, TYPED, False
    zeros = any(text is not None and not text.strip("0.") for text in amounts.values())
    return price, quote, zeros


_FREE = Price(0, 0, 0, 0)


def _tier(entry: Reader) -> dict[str, object]:
    tier: dict[str, object] = {
        "above_tokens": entry.parsed("above_tokens", catalog_rules.token_count, 1, required=True),
        "cached_input": entry.text("cached_input"),
    }
    for name in ("input", "output"):
        tier[name] = entry.text(name, required=True) or "0"
    entry.finish()
    return tier


def _group(entry: Reader) -> GroupEntry:
    name = entry.parsed("name", checked_name, "", required=True)
    multiplier_ppm = entry.parsed("multiplier", parse_multiplier, PPM)
    models = entry.texts("models")
    each_user, whole = _call_limits(entry, "limits"), _call_limits(entry, "group_limits")
    entry.finish()
    return GroupEntry(entry.line, entry.path, name, multiplier_ppm, models, each_user, whole)


def _call_limits(parent: Reader, name: str) -> CallLimits:
    entry = parent.nested(name)
    if entry is None:
        return NO_CALL_LIMITS
    limits = CallLimits(
        *(entry.parsed(field.name, group_rules.call_limit, None) for field in fields(CallLimits))
    )
    entry.finish()
    return limits


def _user(entry: Reader) -> UserEntry:
    phone = entry.parsed("phone", account_rules.canonical_phone, "", required=True)

    def password(text: str) -> str:
        account_rules.check_password(text, Role.USER, phone)
        return text

    user = UserEntry(
        entry.line,
        entry.path,
        phone,
        entry.parsed("password", password, None),
        entry.parsed("credit", opening_amount_nano, None),
    )
    entry.finish()
    return user


def _token(entry: Reader) -> TokenEntry:
    def secret(text: str) -> str:
        token_rules.check_secret(text)
        return text

    token = TokenEntry(
        entry.line,
        entry.path,
        phone=entry.parsed("user", account_rules.canonical_phone, "", required=True),
        name=entry.parsed("name", checked_name, "", required=True),
        secret=entry.parsed("secret", secret, None),
        group=entry.parsed("group", checked_name, DEFAULT_NAME),
        models=entry.texts("models"),
        ips=entry.parsed_texts("ips", token_rules.canonical_ips, ()),
        expires_at=entry.parsed("expires", moment, NEVER),
        limit_nano=entry.parsed("limit", token_rules.limit_nano, None),
        reset=entry.parsed("reset", token_rules.reset, Reset.NONE),
        total_nano=entry.parsed("total", token_rules.limit_nano, None),
        limits=_call_limits(entry, "limits"),
    )
    entry.finish()
    return token


def _vendor_type(text: str) -> str:
    pool_rules.check_type(text)
    return text


def _refuse_twice(
    entries: Iterable[
        VendorEntry | KeywordEntry | ModelEntry | GroupEntry | UserEntry | TokenEntry
    ],
    name_of: Callable[..., object],
    problems: list[Problem],
) -> None:
    seen: dict[object, int] = {}
    for entry in entries:
        name = name_of(entry)
        if name in seen and name not in ("", ("", "")):
            problems.append(
                Problem(entry.line, entry.path, f"the same as in line {seen[name]}: {name}")
            )
        seen.setdefault(name, entry.line)
