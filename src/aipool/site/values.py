"""The kinds of values that a setting of the site may have.

A value has three forms. As JSON it comes over HTTP and lies in the database; as text it stands in
the environment or in a file; inside it has a type of its own. Both ways in end in one check, so a
value is good or bad wherever it was written. Pure.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum
from typing import Any, Generic, TypeVar
from urllib.parse import urlsplit

from aipool.kit.money import MoneyError, format_cny, parse_cny

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)

#: What JSON can say of a setting.
Json = str | int | bool | list[str]


@dataclass(frozen=True, slots=True)
class Kind(Generic[T]):
    """How a value of one sort is checked, read and written.

    word: what a form makes of it.  check: from JSON, ValueError when it is not one of these.
    read: the JSON a text stands for.  write: back to JSON.  allowed: completes "it must be …".
    choices, least, most: for those who offer a form; empty and None where they say nothing.
    rule: what languages have a phrase for instead of `allowed`, "" = the word.
    """

    word: str
    check: Callable[[object], T]
    allowed: str
    read: Callable[[str], object] = str
    write: Callable[[Any], Json] = str
    choices: tuple[str, ...] = ()
    least: int | None = None
    most: int | None = None
    rule: str = ""

    @property
    def params(self) -> dict[str, object]:
        """What `allowed` says, by name (kit.errors)."""
        return {
            "why": f"setting_{self.rule or self.word}",
            "choices": ", ".join(self.choices),
            "least": self.least,
            "most": self.most,
        }


def line(characters_max: int) -> Kind[str]:
    """Text on one line, without blanks around it."""

    def check(raw: object) -> str:
        text = _text(raw, characters_max).strip()
        if not text.isprintable():
            raise ValueError
        return text

    allowed = f"printable text of at most {characters_max} characters on one line"
    return Kind("line", check, allowed, most=characters_max)


def prose(characters_max: int) -> Kind[str]:
    """Text on many lines, in the plain Markdown of control.prose."""

    def check(raw: object) -> str:
        text = _text(raw, characters_max).replace("\r\n", "\n").replace("\r", "\n").strip()
        if not all(mark.isprintable() or mark in "\n\t" for mark in text):
            raise ValueError
        return text

    return Kind("prose", check, f"text of at most {characters_max} characters", most=characters_max)


def whole(least: int, most: int) -> Kind[int]:
    """A whole number, both ends included."""

    def check(raw: object) -> int:
        if isinstance(raw, bool) or not isinstance(raw, int) or not least <= raw <= most:
            raise ValueError
        return raw

    allowed = f"a whole number from {least} to {most}"
    return Kind("whole", check, allowed, int, int, least=least, most=most)


def choice(words: type[E]) -> Kind[E]:
    """One of some words."""

    def check(raw: object) -> E:
        return words(_text(raw, 40))

    known = tuple(word.value for word in words)
    return Kind("choice", check, f"one of {', '.join(known)}", choices=known)


def _check_switch(raw: object) -> bool:
    if raw is True or raw is False:
        return raw
    raise ValueError


_SWITCH_WORDS = {"true": True, "yes": True, "on": True, "1": True} | {
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def _read_switch(text: str) -> object:
    return _SWITCH_WORDS.get(text.lower(), text)


SWITCH: Kind[bool] = Kind("switch", _check_switch, "true or false", _read_switch, bool)


def _amount(nano_max: int) -> Kind[int]:
    def check(raw: object) -> int:
        try:
            nano = parse_cny(_text(raw, 40))
        except MoneyError:
            raise ValueError from None
        if not 0 <= nano <= nano_max:
            raise ValueError
        return nano

    allowed = f"an amount of CNY from 0 to {format_cny(nano_max)}, such as 12.5"
    return Kind("amount", check, allowed, write=format_cny)


#: Nano-yuan, up to ¥1,000,000.
AMOUNT = _amount(10**15)

_FACTOR = re.compile(r"\d{1,7}(\.\d{1,6})?", re.ASCII)


def _check_factor(raw: object) -> Decimal:
    text = _text(raw, 20)
    if not _FACTOR.fullmatch(text) or not 0 < Decimal(text) <= 1_000_000:
        raise ValueError
    return Decimal(text)


FACTOR: Kind[Decimal] = Kind(
    "factor",
    _check_factor,
    "a decimal number above 0, at most 1000000, with at most six digits after the point",
    write=lambda value: f"{value:f}",
)

_CURRENCY = re.compile(r"[A-Z]{3}", re.ASCII)


def _check_currency(raw: object) -> str:
    text = _text(raw, 3)
    if not _CURRENCY.fullmatch(text):
        raise ValueError
    return text


CURRENCY: Kind[str] = Kind(
    "line", _check_currency, "three capitals (ISO 4217), such as CNY", most=3, rule="currency"
)

_CODES_MAX = 50
_CALLING_CODE = re.compile(r"[1-9]\d{0,2}", re.ASCII)


def _check_calling_codes(raw: object) -> tuple[str, ...]:
    if not isinstance(raw, list) or len(raw) > _CODES_MAX:
        raise ValueError
    codes = tuple(_text(code, 4).removeprefix("+") for code in raw)
    if not all(_CALLING_CODE.fullmatch(code) for code in codes):
        raise ValueError
    return tuple(dict.fromkeys(codes))


#: Without the +: "86" is China. None = every country.
CALLING_CODES: Kind[tuple[str, ...]] = Kind(
    "list",
    _check_calling_codes,
    f"a list of at most {_CODES_MAX} calling codes such as 86 or 852",
    lambda text: [part.strip() for part in text.split(",") if part.strip()],
    list,
)

_ADDRESS_CHARACTERS_MAX = 500


def _check_web_address(raw: object) -> str:
    text = _text(raw, _ADDRESS_CHARACTERS_MAX).strip().rstrip("/")
    if not text:
        return ""
    parts = urlsplit(text)
    plain = text.isascii() and text.isprintable() and not set(' \\"<>') & set(text)
    _ = parts.port
    if (
        not plain
        or parts.scheme not in ("http", "https")
        or not parts.hostname
        or "@" in parts.netloc
        or parts.query
        or parts.fragment
        or text[-1] in "?#"
    ):
        raise ValueError
    return text


#: Where browsers find something, without a slash at its end; "" = not said.
WEB_ADDRESS: Kind[str] = Kind(
    "line",
    _check_web_address,
    "an address such as https://ai.example.com",
    most=_ADDRESS_CHARACTERS_MAX,
    rule="web_address",
)

#: As text, which everybody who opens the site is sent; three quarters of it as a picture.
_LOGO_CHARACTERS_MAX = 64 * 1024
_LOGO = re.compile(
    r"data:image/(png|jpeg|gif|webp|svg\+xml);base64,[A-Za-z0-9+/]+={0,2}"
    r"|/(?!/)[A-Za-z0-9._~/-]{1,200}",
    re.ASCII,
)


def _check_logo(raw: object) -> str:
    text = _text(raw, _LOGO_CHARACTERS_MAX)
    if text and not _LOGO.fullmatch(text):
        raise ValueError
    return text


#: A picture in itself, or a path of this site: the console's pages load nothing from elsewhere.
LOGO: Kind[str] = Kind(
    "picture",
    _check_logo,
    "a picture as data:image/png;base64,… (png, jpeg, gif, webp, svg) of at most "
    f"{_LOGO_CHARACTERS_MAX // 1024} KiB, or a path of this site such as /logo.png",
    most=_LOGO_CHARACTERS_MAX,
)


def _text(raw: object, characters_max: int) -> str:
    if not isinstance(raw, str) or len(raw) > characters_max:
        raise ValueError
    return raw
