"""What an operator configures of a key besides its secret: read, refused by field, described.

One table, `_FIELDS`, says what can be said of a key at all; a vendor takes all of it but those of
`OPTIONAL_FIELDS` that it does not name itself, and an address only where there is a network.
`parse_settings` checks what can be known from the words alone. Whether an address may be called
is the pool's business, which has the networks.

Nothing here may carry a credential: headers that do are refused, since settings are shown.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from enum import Enum
from typing import Any, get_args, get_type_hints
from urllib.parse import urlsplit

import msgspec

from aipool.vendors.base import Vendor
from aipool.vendors.types import NO_SETTINGS, KeySettings, Timeouts

#: What such a field's name begins with in a refusal.
PREFIX = "config"

#: Fields that only those vendors take which name them.
OPTIONAL_FIELDS = ("api_version", "region", "project")

#: What a key can be said to do otherwise than its vendor.
CAPABILITIES = ("stream_options",)

#: Fields of the body that the gateway itself reads or sets, as the price of a call hangs on them.
CONTROLLED_FIELDS = frozenset(
    {
        "model",
        "messages",
        "stream",
        "stream_options",
        "max_tokens",
        "max_completion_tokens",
        "n",
        "service_tier",
    }
)

# Headers about the connection, the body's form, or who calls: the gateway's own.
_REFUSED_HEADERS = frozenset(
    {
        "accept-encoding",
        "api-key",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content-type",
        "cookie",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
        "x-api-key",
        "x-goog-api-key",
    }
)

# Parameters by which a key is presented: an address is shown, and written into logs.
_REFUSED_PARAMETERS = frozenset(
    {"access_token", "api-key", "api_key", "apikey", "key", "token", "x-api-key"}
)

# A request line and its headers are 32 KiB at most with most servers; these leave room.
_PAIRS_MAX = 32
_PAIRS_BYTES_MAX = 8 * 1024
_BODY_SET_BYTES_MAX = 16 * 1024
_NAMES_MAX = 2000
_ADDRESS_CHARACTERS_MAX = 2048
_FIELD_CHARACTERS_MAX = 200

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+", re.ASCII)  # RFC 9110, 5.6.2
_MODEL = re.compile(r"(?=.*[A-Za-z0-9])[A-Za-z0-9._:/@+-]{1,200}", re.ASCII)
_PATH_PART = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", re.ASCII)
_PROXY_HOST = re.compile(r"[A-Za-z0-9._:-]+", re.ASCII)
_BODY_FIELD = re.compile(r"[A-Za-z0-9_.-]{1,100}", re.ASCII)

_PLACE = re.compile(r"(?P<what>.*) - at `(?:key` in `)?\$(?P<path>.*)`", re.DOTALL)
_UNKNOWN = re.compile(
    r"Object contains unknown field `(?P<name>.*?)`(?: - at `\$(?P<path>\.timeouts)`)?", re.DOTALL
)
_ANY_ENTRY = "[...]"


class BadSettings(ValueError):
    """A configuration that cannot be. field: as "config.headers.Host".  message: for a person."""

    def __init__(self, field: str, message: str) -> None:
        field = field[:_FIELD_CHARACTERS_MAX]
        super().__init__(f"{field}: {message}")
        self.field = field
        self.message = message


class Kind(Enum):
    """What a field holds, for a form that asks for it."""

    TEXT = "text"
    ADDRESS = "address"
    INTEGER = "integer"
    SECONDS = "seconds"
    NAMES = "names"
    """A list of texts."""
    PAIRS = "pairs"
    """Texts by name."""
    SWITCHES = "switches"
    """Yes or no by name."""
    VALUES = "values"
    """JSON values by name."""


class Field(msgspec.Struct, frozen=True):
    """One field of a form. default: what counts when nothing is said; None = nothing or all."""

    name: str
    kind: Kind
    required: bool
    help: str
    default: Any


_FIELDS: tuple[tuple[str, Kind, str], ...] = (
    ("base_url", Kind.ADDRESS, "Another address than the vendor's."),
    ("api_version", Kind.TEXT, "The dated version of the vendor's interface."),
    ("region", Kind.TEXT, "The vendor's region that is called."),
    ("project", Kind.TEXT, "The project or account at the vendor."),
    ("model_map", Kind.PAIRS, "By the model's name in a route, the name it is called by here."),
    ("models", Kind.NAMES, "The models in routes that this key serves; all, when left out."),
    ("headers", Kind.PAIRS, "Headers sent with every call, none that carry a credential."),
    ("query", Kind.PAIRS, "Parameters added to the address of every call."),
    ("body_set", Kind.VALUES, "Fields of the body that are put in or replaced."),
    ("body_strip", Kind.NAMES, "Fields of the body that are taken out."),
    ("proxy", Kind.ADDRESS, "An HTTP proxy, http://host:port."),
    ("timeouts.first_byte", Kind.SECONDS, "How long a whole answer may take to begin."),
    ("timeouts.first_event", Kind.SECONDS, "How long a stream may take to say something."),
    ("timeouts.idle", Kind.SECONDS, "How long an answer may pause."),
    ("capabilities", Kind.SWITCHES, "What the key can do otherwise than its vendor."),
    ("weight", Kind.INTEGER, "Its share where keys are called by weight, 1 to 1000."),
    ("concurrency", Kind.INTEGER, "The most calls at a time, up to 100000; 0 is any number."),
    ("cost_ppm", Kind.INTEGER, "What its calls cost us, in millionths of the route's cost."),
)


def parse_settings(vendor: Vendor, fields: Mapping[str, Any]) -> KeySettings:
    """The configuration of a key at this vendor. fields: JSON values by name.

    Raises BadSettings, which names the field; nothing is mended or left out silently.
    """
    settings = _converted(fields)
    _check_fields_of(vendor, settings)
    _check_models(settings)
    _check_headers(vendor, settings.headers)
    _check_query(settings.query)
    _check_body(settings)
    if settings.proxy and not is_proxy(settings.proxy):
        raise _bad("proxy", "a proxy is written http://host:port, without user and password")
    _check_numbers(settings)
    for name in settings.capabilities:
        if name not in CAPABILITIES:
            raise _bad(f"capabilities.{name}", f"known are {', '.join(CAPABILITIES)}")
    return settings


def settings_schema(vendor: Vendor) -> tuple[Field, ...]:
    """Every field that this vendor takes, in the order of a form."""
    return tuple(
        Field(
            name=name,
            kind=kind,
            required=name in vendor.required,
            help=text,
            default=vendor.base_url or "" if name == "base_url" else _default(name),
        )
        for name, kind, text in _FIELDS
        if _takes(vendor, name)
    )


def shown(settings: KeySettings) -> dict[str, Any]:
    """The configuration as JSON values, without what has its default."""
    return {name: value for name, value in _json_of(settings).items() if value != {}}


def is_proxy(text: str) -> bool:
    """Is this how the address of an HTTP proxy is written, without user and password?"""
    try:
        parts = urlsplit(text)
        whole = bool(parts.scheme == "http" and parts.hostname and parts.port)
    except ValueError:
        return False
    bare = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
    plain = text.isascii() and text.isprintable() and _PROXY_HOST.fullmatch(parts.hostname or "")
    return bool(whole and bare and plain)


def carries_key(parameter: str) -> bool:
    """Is a credential what stands in a parameter of this name?"""
    return parameter.lower() in _REFUSED_PARAMETERS


# --- the form of the values -----------------------------------------------------------------------


def _bad(name: str, message: str) -> BadSettings:
    return BadSettings(f"{PREFIX}.{name}", message)


def _converted(fields: Mapping[str, Any]) -> KeySettings:
    try:
        return msgspec.convert(fields, KeySettings, strict=True)
    except msgspec.ValidationError as problem:
        raise _placed(str(problem), fields) from None


def _placed(problem: str, fields: Mapping[str, Any]) -> BadSettings:
    """msgspec's words, with its path turned into the name of a field."""
    if unknown := _UNKNOWN.fullmatch(problem):
        place = f"{PREFIX}{unknown['path'] or ''}.{unknown['name']}"
        return BadSettings(place, "there is no such field")
    match = _PLACE.fullmatch(problem)
    path = match["path"] if match else ""
    if path.endswith(_ANY_ENTRY):
        name = path.removesuffix(_ANY_ENTRY).removeprefix(".")
        path = f".{name}.{_odd_entry(name, fields[name])}"
    what = match["what"] if match else problem
    return BadSettings(f"{PREFIX}{path}", what.replace("`", "").lower())


def _odd_entry(name: str, entries: Mapping[str, Any]) -> str:
    """Which entry it was: msgspec says of an object only that one of its values is at fault."""
    _, value_type = get_args(get_type_hints(KeySettings)[name])
    return next(key for key, value in entries.items() if not _is_of(value_type, value))


def _json_of(value: Any) -> Any:
    return msgspec.json.decode(msgspec.json.encode(value))


def _is_of(wanted: Any, value: Any) -> bool:
    try:
        msgspec.convert(value, wanted, strict=True)
    except msgspec.ValidationError:
        return False
    return True


# --- what each field may say ----------------------------------------------------------------------


def _takes(vendor: Vendor, name: str) -> bool:
    if name in OPTIONAL_FIELDS:
        return name in vendor.fields
    return vendor.socket is None or name not in ("base_url", "proxy")


def _default(name: str) -> Any:
    value: Any = NO_SETTINGS
    for part in name.split("."):
        value = getattr(value, part)
    return _json_of(value)


def _check_fields_of(vendor: Vendor, settings: KeySettings) -> None:
    for name in KeySettings.__struct_fields__:
        value = getattr(settings, name)
        if not _takes(vendor, name) and value:
            raise _bad(name, f"a key of type {vendor.type} has none")
        if name in vendor.required and not value:
            raise _bad(name, f"a key of type {vendor.type} needs one")
        if name in OPTIONAL_FIELDS and value and not _PATH_PART.fullmatch(value):
            raise _bad(name, "letters, digits and . _ - only, at most 100")
    if len(settings.base_url) > _ADDRESS_CHARACTERS_MAX:
        raise _bad("base_url", f"at most {_ADDRESS_CHARACTERS_MAX} characters")


def _check_models(settings: KeySettings) -> None:
    for field, names in (("model_map", settings.model_map), ("models", settings.models or ())):
        if len(names) > _NAMES_MAX:
            raise _bad(field, f"at most {_NAMES_MAX} models")
    if settings.models == ():
        raise _bad("models", "a key that serves no model is never called: leave it out for all")
    for place, name in enumerate(settings.models or ()):
        _check_model(f"models[{place}]", name)
    for name, called in settings.model_map.items():
        _check_model(f"model_map.{name}", name)
        _check_model(f"model_map.{name}", called)


def _check_model(field: str, name: str) -> None:
    if not _MODEL.fullmatch(name):
        raise _bad(field, "a model is named by letters, digits and . _ : / @ + - only, at most 200")


def _check_headers(vendor: Vendor, headers: Mapping[str, str]) -> None:
    _check_size("headers", headers)
    seen: set[str] = set()
    for name, value in headers.items():
        field, lower = f"headers.{name}", name.lower()
        if not _TOKEN.fullmatch(name):
            raise _bad(field, "not the name of a header")
        refused = lower in _REFUSED_HEADERS or lower == vendor.auth.header.lower()
        if refused or lower.startswith("proxy-"):
            raise _bad(field, "this header is the gateway's own")
        if lower in seen:
            raise _bad(field, "this header is there twice")
        if not (value.isascii() and value.isprintable()):
            raise _bad(field, "the value of a header is one line of printable ASCII")
        seen.add(lower)


def _check_query(query: Mapping[str, str]) -> None:
    _check_size("query", query)
    for name, value in query.items():
        if not (name and name.isprintable() and value.isprintable()):
            raise _bad(f"query.{name}", "a parameter has a name, and no control characters")
        if carries_key(name):
            raise _bad(f"query.{name}", "a credential does not belong in an address")


def _check_size(field: str, pairs: Mapping[str, str]) -> None:
    sizes = (len(text.encode(errors="replace")) for pair in pairs.items() for text in pair)
    if len(pairs) > _PAIRS_MAX or sum(sizes) > _PAIRS_BYTES_MAX:
        raise _bad(field, f"at most {_PAIRS_MAX}, of {_PAIRS_BYTES_MAX} bytes together")


def _check_body(settings: KeySettings) -> None:
    if len(settings.body_strip) > _NAMES_MAX:
        raise _bad("body_strip", f"at most {_NAMES_MAX} fields")
    for field, name in _body_fields(settings.body_set, settings.body_strip):
        if not _BODY_FIELD.fullmatch(name):
            raise _bad(field, "letters, digits and _ . - only, at most 100")
        if name in CONTROLLED_FIELDS:
            raise _bad(field, f"{name} is the gateway's own")
    for place, name in enumerate(settings.body_strip):
        if name in settings.body_set:
            raise _bad(f"body_strip[{place}]", f"{name} is put in by body_set")
    if settings.body_set and _json_bytes(settings.body_set) > _BODY_SET_BYTES_MAX:
        raise _bad("body_set", f"at most {_BODY_SET_BYTES_MAX} bytes of JSON")


def _body_fields(set_: Iterable[str], strip: Iterable[str]) -> Iterator[tuple[str, str]]:
    yield from ((f"body_set.{name}", name) for name in set_)
    yield from ((f"body_strip[{place}]", name) for place, name in enumerate(strip))


def _json_bytes(body_set: Mapping[str, Any]) -> int:
    """How long this is as JSON. Raises BadSettings for a value that JSON would say otherwise,
    such as NaN or a date of YAML."""
    for name, value in body_set.items():
        try:
            same = _json_of(value) == value
        except (msgspec.MsgspecError, TypeError, ValueError, OverflowError, RecursionError):
            same = False
        if not same:
            raise _bad(f"body_set.{name}", "this is not a value of JSON")
    return len(msgspec.json.encode(body_set))


def _check_numbers(settings: KeySettings) -> None:
    for name in Timeouts.__struct_fields__:
        seconds = getattr(settings.timeouts, name)
        if seconds is not None and not 0.1 <= seconds <= 3600:
            raise _bad(f"timeouts.{name}", "from 0.1 to 3600 seconds")
    if not 1 <= settings.weight <= 1000:
        raise _bad("weight", "from 1 to 1000")
    if not 0 <= settings.concurrency <= 100_000:
        raise _bad("concurrency", "from 0 to 100000")
    if not 0 <= settings.cost_ppm <= 100_000_000:
        raise _bad("cost_ppm", "from 0 to 100000000")
