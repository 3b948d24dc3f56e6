"""Decisions about the pool: what may be called how, what a secret may look like."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import msgspec

from aipool.kit.errors import Invalid
from aipool.kit.names import NAME_CHARACTERS_MAX
from aipool.kit.outbound import BadUrl, Vet, parse_base_url
from aipool.vendors import VENDORS_BY_TYPE
from aipool.vendors.base import auth_headers, chat_path
from aipool.vendors.settings import BadSettings, carries_key, parse_settings
from aipool.vendors.types import Action, KeySettings, Keyword, Ordering

_KEY_NUMBER = re.compile(r"key(\d{1,90})", re.ASCII)
_SECRET_CHARACTERS_MAX = 8192
#: Where a name should stand: another secret, which would then be shown as one. Parts of words are
#: shorter, or do not mix letters and digits; some vendors' keys are UUIDs.
_SECRET_AS_NAME = re.compile(
    r"\b(?:sk|pk|ak|rk)[-_]\S{8}"
    r"|(?=[A-Za-z]*\d)(?=\d*[A-Za-z])[A-Za-z0-9]{16}"
    r"|[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}",
    re.ASCII | re.IGNORECASE,
)
#: Of a file that was pasted as it is: a comment, quotes, `OPENAI_API_KEY=…`.
_OF_A_FILE = re.compile(r"^#|[\"'`;]|^[A-Za-z_][A-Za-z0-9_]*=[^=]", re.ASCII)
_AMOUNT = re.compile(r"(0|[1-9][0-9]{0,14})(\.[0-9]{1,9})?", re.ASCII)

#: More calls at once than any installation has: a typing mistake.
CONCURRENCY_MAX = 1_000_000
PHRASE_CHARACTERS_MAX = 200
#: A phrase of one letter would be in every message.
PHRASE_CHARACTERS_LEAST = 2
#: Each is looked for in the message of every failure.
KEYWORDS_MAX = 200
#: What an operator's own keyword may mean: all that needs nothing else to be known.
KEYWORD_ACTIONS = tuple(action for action in Action if action is not Action.STRIP)


def check_type(vendor_type: str) -> None:
    """Raises Invalid for a kind of vendor this program does not know."""
    if vendor_type not in VENDORS_BY_TYPE:
        known = ", ".join(VENDORS_BY_TYPE)
        raise Invalid(
            "vendor_type_unknown",
            f"{vendor_type!r} is none of {known}",
            field="type",
            params={"given": vendor_type, "allowed": known},
        )


def base_url_for(vendor_type: str, given: str, vet: Vet) -> str:
    """The address to store: as given and allowed, else the vendor's usual one.

    Raises Invalid when it may not be called or there is none.
    """
    vendor = VENDORS_BY_TYPE[vendor_type]
    if vendor.socket is not None:
        if given and given != vendor.base_url:
            raise Invalid(
                "base_url_not_allowed",
                f"a vendor of type {vendor_type} has no address: leave base_url out",
                field="base_url",
                params={"type": vendor_type},
            )
        return vendor.base_url or ""
    wanted = given or vendor.base_url
    if wanted is None:
        raise Invalid(
            "base_url_missing",
            f"a vendor of type {vendor_type} needs a base_url",
            field="base_url",
            params={"type": vendor_type},
        )
    try:
        address = parse_base_url(wanted, vet).text
    except BadUrl as problem:
        # A password or a key that was put into it is not repeated.
        shown = "this address" if "@" in wanted else wanted.partition("?")[0]
        said = str(problem).replace(wanted, shown)
        raise Invalid(
            "base_url_not_allowed",
            f"{shown}: {said}",
            field="base_url",
            params={"address": shown, **problem.params},
        ) from None
    if any(carries_key(name) for name, _ in parse_qsl(urlsplit(address).query)):
        raise Invalid(
            "base_url_not_allowed", "leave the key out; it goes into api_key", field="base_url"
        )
    return address


def moves_host(old_url: str, new_url: str) -> bool:
    """Does a change of address send the keys to somebody else?"""
    old, new = urlsplit(old_url), urlsplit(new_url)
    return (old.scheme, old.hostname, old.port) != (new.scheme, new.hostname, new.port)


def needs_secret(vendor_type: str) -> bool:
    """Is a key of such a vendor worth nothing without a secret? A server of one's own and
    the sandbox may ask for none."""
    vendor = VENDORS_BY_TYPE[vendor_type]
    return vendor.socket is None and bool(vendor.base_url or vendor.key_page)


def check_secret(vendor_type: str, secret: str) -> None:
    """Raises Invalid for what cannot stand in the header that presents it."""
    if not secret and needs_secret(vendor_type):
        raise Invalid(
            "api_key_missing",
            f"a vendor of type {vendor_type} needs an API key",
            field="api_key",
            params={"type": vendor_type},
        )
    try:
        auth_headers(VENDORS_BY_TYPE[vendor_type], secret)
        allowed = len(secret) <= _SECRET_CHARACTERS_MAX and secret == secret.strip()
    except ValueError:
        allowed = False
    if not allowed:
        raise Invalid(
            "api_key_malformed",
            "an API key is printable ASCII without blanks around it",
            field="api_key",
        )


def settings_from(vendor_type: str, given: Mapping[str, Any]) -> KeySettings:
    """What a key is configured with, as a person wrote it (names and JSON values).

    Raises Invalid, whose field is such as "config.headers.Host".
    """
    try:
        return parse_settings(VENDORS_BY_TYPE[vendor_type], given)
    except BadSettings as problem:
        raise Invalid(
            "config_malformed",
            problem.message,
            field=problem.field,
            params={"said": problem.message},
        ) from None


def checked_settings(vendor_type: str, given: KeySettings, vet: Vet) -> KeySettings:
    """The configuration to store, whose address may be called. Raises Invalid."""
    settings = settings_from(vendor_type, msgspec.to_builtins(given))
    if not settings.base_url:
        return settings
    try:
        address = base_url_for(vendor_type, settings.base_url, vet)
    except Invalid as problem:
        raise Invalid(
            problem.code, problem.message, field=f"config.{problem.field}", params=problem.params
        ) from None
    return msgspec.structs.replace(settings, base_url=address)


def address_of(base_url: str, settings: KeySettings) -> str:
    """Where a key is called: at its own address, else at its vendor's."""
    return settings.base_url or base_url


def voids_health(before: KeySettings, after: KeySettings) -> bool:
    """Does the key go elsewhere, or otherwise, so that what calls have shown of it is void?
    Not by how often it is chosen, nor by how many calls it takes."""
    return _how_called(before) != _how_called(after)


def _how_called(settings: KeySettings) -> KeySettings:
    return msgspec.structs.replace(settings, weight=1, concurrency=0)


def resolved_url(vendor_type: str, base_url: str, settings: KeySettings, model: str) -> str:
    """The whole address at which chat completions of this model are asked for.

    base_url: the vendor's.  model: the name in a route.
    """
    address = address_of(base_url, settings)
    name = settings.model_map.get(model, model)
    parts = urlsplit(address)
    path = chat_path(VENDORS_BY_TYPE[vendor_type], address, settings, name)
    return f"{parts.scheme}://{parts.netloc}{path}"


def check_expiry(expires_at: int, now_ms: int) -> None:
    """Raises Invalid for an expiry that is over. expires_at: unix seconds, 0 = never."""
    if expires_at < 0 or (expires_at and expires_at * 1000 <= now_ms):
        raise Invalid(
            "expiry_in_the_past", "a key expires at a moment to come, or never", field="expires_at"
        )


def is_expired(expires_at: int, now_ms: int) -> bool:
    """Is the time of a key over? expires_at: unix seconds, 0 = never."""
    return expires_at != 0 and expires_at * 1000 <= now_ms


def check_concurrency(concurrency: int) -> None:
    """Raises Invalid for a number of calls in flight that cannot be; 0 = any number."""
    if not 0 <= concurrency <= CONCURRENCY_MAX:
        raise Invalid(
            "invalid_concurrency",
            f"a whole number from 1 to {CONCURRENCY_MAX}, or 0 for any number",
            field="concurrency",
            params={"least": 1, "most": CONCURRENCY_MAX},
        )


def concurrency(text: str) -> int:
    """The most calls in flight, as a person writes it, 0 for `none`; raises Invalid."""
    digits = text.isascii() and text.isdigit() and len(text) <= len(str(CONCURRENCY_MAX))
    number = 0 if text == "none" else int(text) if digits else -1
    check_concurrency(number)
    return number


def amount(text: str) -> str:
    """An amount as a person writes it, "" for `none`; raises Invalid."""
    written = "" if text == "none" else text
    check_amount(written)
    return written


def check_amount(text: str) -> None:
    """Raises Invalid for what is no amount of money such as 20 or 0.5; "" = none."""
    if text and not _AMOUNT.fullmatch(text):
        raise Invalid(
            "invalid_amount",
            f"{text!r} is no amount such as 20 or 0.5",
            field="low_balance",
            params={"given": text},
        )


def check_low_balance(vendor_type: str, text: str) -> None:
    """Raises Invalid for what is no amount, and for any where nobody would ever be told:
    most vendors do not say what is left. "" = none."""
    check_amount(text)
    if text and VENDORS_BY_TYPE[vendor_type].balance is None:
        known = ", ".join(name for name, vendor in VENDORS_BY_TYPE.items() if vendor.balance)
        raise Invalid(
            "balance_not_told",
            f"a vendor of type {vendor_type} tells no balance; {known} do",
            field="low_balance",
            params={"type": vendor_type, "known": known},
        )


def ordering(text: str) -> Ordering:
    """In which order keys are tried, as a person writes it; raises Invalid."""
    try:
        return Ordering(text)
    except ValueError:
        known = ", ".join(one.value for one in Ordering)
        raise Invalid(
            "invalid_ordering",
            f"{text!r} is none of {known}",
            field="ordering",
            params={"given": text, "allowed": known},
        ) from None


def keyword(vendor_type: str, words: str, meaning: Action) -> Keyword:
    """A keyword as it is stored, its phrase in lower case; raises Invalid."""
    if vendor_type:
        try:
            check_type(vendor_type)
        except Invalid as problem:
            raise Invalid(
                problem.code, problem.message, field="vendor_type", params=problem.params
            ) from None
    if meaning not in KEYWORD_ACTIONS:
        raise Invalid(
            "invalid_action",
            f"{meaning.value!r} is none of {_actions()}",
            field="action",
            params={"given": meaning.value, "allowed": _actions()},
        )
    return Keyword(vendor_type, phrase(words), meaning)


def phrase(text: str) -> str:
    """A phrase as it is looked for: in lower case, blanks evened out; raises Invalid."""
    words = " ".join(text.lower().split())
    fits = PHRASE_CHARACTERS_LEAST <= len(words) <= PHRASE_CHARACTERS_MAX
    if not fits or not words.isprintable():
        raise Invalid(
            "invalid_phrase",
            f"a phrase has {PHRASE_CHARACTERS_LEAST} to {PHRASE_CHARACTERS_MAX} characters",
            field="phrase",
            params={"least": PHRASE_CHARACTERS_LEAST, "most": PHRASE_CHARACTERS_MAX},
        )
    return words


def action(text: str) -> Action:
    """What a keyword means, as a person writes it; raises Invalid."""
    found = next((one for one in KEYWORD_ACTIONS if one.value == text), None)
    if found is None:
        raise Invalid(
            "invalid_action",
            f"{text!r} is none of {_actions()}",
            field="action",
            params={"given": text, "allowed": _actions()},
        )
    return found


def _actions() -> str:
    return ", ".join(one.value for one in KEYWORD_ACTIONS)


def name_and_secret(line: str) -> tuple[str, str] | None:
    """What stands in one line of many keys, which is `secret`, `name secret` or `name,secret`;
    name "" = none. Only before a comma or a tab may a name have blanks: a sentence in the middle
    of a paste is no key.

    None = it has another form, or what would be the name looks like another secret.
    """
    text = line.strip()
    mark = "," if "," in text else "\t" if "\t" in text else None
    name, _, secret = text.rpartition(mark) if mark else ("", "", text)
    if mark is None and len(words := text.split(maxsplit=2)) == 2:
        name, secret = words
    name, secret = name.strip(), secret.strip()
    if secret.split() != [secret] or "," in name or _OF_A_FILE.search(text):
        return None
    # A longer name is refused as such.
    looked_at = name[: NAME_CHARACTERS_MAX + 1]
    return None if _SECRET_AS_NAME.search(looked_at) else (name, secret)


def next_key_name(names: Iterable[str]) -> str:
    """The name of a key nobody named: `key` and the largest number in use, plus one."""
    numbers = [int(match[1]) for name in names if (match := _KEY_NUMBER.fullmatch(name))]
    return f"key{max(numbers, default=0) + 1}"
