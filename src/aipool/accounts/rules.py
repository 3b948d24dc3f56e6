"""Decisions about accounts: what is a phone number, an address, a password, a name."""

from __future__ import annotations

import math
import re
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum

from aipool.accounts.common_passwords import is_common
from aipool.accounts.types import Role
from aipool.kit.errors import Invalid
from aipool.kit.names import checked_name

DEFAULT_REGION = "CN"

#: OWASP ASVS 6.2.1 asks for 8; whoever can change prices and keys needs 12.
PASSWORD_CHARACTERS_LEAST = 8
ADMIN_PASSWORD_CHARACTERS_LEAST = 12
#: Long enough for a pass-phrase, short enough that hashing it costs nothing extra.
PASSWORD_CHARACTERS_MAX = 128

#: RFC 5321: a path has 256 octets, two of them its brackets.
EMAIL_CHARACTERS_MAX = 254
NOTE_CHARACTERS_MAX = 2000
LOGIN_CHARACTERS_MAX = EMAIL_CHARACTERS_MAX


# --- how people are reached -------------------------------------------------------------------


def canonical_phone(text: str) -> str:
    """The number in E.164, such as +8613800138000; without a + it is a Chinese one.

    Raises Invalid for what is no number that can exist.
    """
    # The tables of the world's numbers take 30 ms to load: only who needs them pays.
    import phonenumbers

    number = None
    # It would take letters for the keys of a telephone: with an O for a zero, for another number.
    if not any(mark.isalpha() for mark in text):
        with suppress(phonenumbers.NumberParseException):
            number = phonenumbers.parse(text, DEFAULT_REGION)
    if number is None or not phonenumbers.is_valid_number(number):
        raise Invalid(
            "invalid_phone",
            f"{text!r} is no phone number: write it like 13800138000 or +8613800138000",
            field="phone",
            params={"given": text},
        )
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def check_country(phone: str, calling_codes: tuple[str, ...]) -> None:
    """Raises Invalid for a number of another country than these. phone: canonical.
    calling_codes: without the +; () = every country."""
    import phonenumbers

    if calling_codes and str(phonenumbers.parse(phone).country_code) not in calling_codes:
        shown = ", ".join(f"+{code}" for code in calling_codes)
        raise Invalid(
            "country_not_served",
            f"only numbers of {shown} are taken",
            field="phone",
            params={"codes": shown},
        )


_EMAIL = re.compile(r"[^\s@\"(),:;<>\[\\\]]{1,64}@([a-z0-9-]{1,63}\.)+[a-z][a-z0-9-]{0,62}")


def canonical_email(text: str) -> str:
    """The address in lower case. Raises Invalid for what cannot be one."""
    address = text.strip().lower()
    plain = address.isascii() and address.isprintable() and len(address) <= EMAIL_CHARACTERS_MAX
    name = address.partition("@")[0]
    dotted = name.startswith(".") or name.endswith(".") or ".." in address
    if not plain or dotted or _EMAIL.fullmatch(address) is None:
        raise Invalid(
            "invalid_email",
            "this is no mail address: write it like somebody@example.com",
            field="email",
        )
    return address


@dataclass(frozen=True, slots=True)
class Login:
    """What somebody wrote to say who they are: a number or an address; of both one is empty.
    Both are, when it can be neither."""

    phone: str = ""
    email: str = ""

    @property
    def key(self) -> str:
        """The same for every spelling of the same."""
        return self.phone or self.email


def login_of(text: str) -> Login:
    """Reads it; what can be neither names nobody and is no error: a login tells no more."""
    try:
        if "@" in text:
            return Login(email=canonical_email(text))
        return Login(phone=canonical_phone(text))
    except Invalid:
        return Login()


# --- passwords --------------------------------------------------------------------------------


def is_short(password: str, role: Role) -> bool:
    """Has it too few characters for what its owner may do?"""
    return len(password) < _least(role)


def _least(role: Role) -> int:
    return PASSWORD_CHARACTERS_LEAST if role is Role.USER else ADMIN_PASSWORD_CHARACTERS_LEAST


def check_password(password: str, role: Role, phone: str) -> None:
    """Raises Invalid for a password that is too short, too long, the phone number, or one that
    many people have."""
    if is_short(password, role):
        least = _least(role)
        raise Invalid(
            "password_too_short",
            f"a password needs at least {least} characters",
            field="password",
            params={"least": least},
        )
    if len(password) > PASSWORD_CHARACTERS_MAX:
        raise Invalid(
            "password_too_long",
            f"a password has at most {PASSWORD_CHARACTERS_MAX} characters",
            field="password",
            params={"most": PASSWORD_CHARACTERS_MAX},
        )
    if password.strip("+ ") in phone or len(set(password)) == 1:
        raise Invalid(
            "password_too_weak",
            "the phone number or one repeated character is no password",
            field="password",
        )
    if is_common(password):
        raise Invalid(
            "password_too_common",
            "this is among the first passwords that anybody tries: choose another one",
            field="password",
        )


class Strength(StrEnum):
    """How long a password would stand against somebody who has its hash."""

    WEAK = "weak"
    FAIR = "fair"
    GOOD = "good"
    STRONG = "strong"


#: Bits from which on each is reached. 15 random letters, as ASVS advises, have 70.
_STRENGTHS = ((70, Strength.STRONG), (50, Strength.GOOD), (35, Strength.FAIR))
_CLASSES = ((r"[a-z]", 26), (r"[A-Z]", 26), (r"[0-9]", 10), (r"[ -/:-@\[-`{-~]", 33))
#: Characters beyond ASCII: the common part of any one script.
_OTHERS = 200


def strength(password: str) -> Strength:
    """A hint, not a rule: bits of chance if each character was chosen freely, where one that
    repeats or follows its neighbour counts little."""
    choices = sum(size for pattern, size in _CLASSES if re.search(pattern, password))
    choices += _OTHERS if not password.isascii() else 0
    told = sum(
        1.0 if index == 0 or abs(ord(mark) - ord(password[index - 1])) > 1 else 0.25
        for index, mark in enumerate(password)
    )
    told = min(told, 1.5 * len(set(password)))
    bits = 0.0 if is_common(password) else told * math.log2(max(choices, 2))
    return next((word for least, word in _STRENGTHS if bits >= least), Strength.WEAK)


# --- the rest ---------------------------------------------------------------------------------


def display_name(text: str) -> str:
    """What a person wants to be called; "" = nothing in particular. Raises Invalid."""
    return checked_name(text) if text else ""


def checked_note(text: str) -> str:
    """What operators note about a person. Raises Invalid."""
    kept = text.strip()
    if len(kept) > NOTE_CHARACTERS_MAX or not all(
        mark.isprintable() or mark in "\n\t" for mark in kept
    ):
        raise Invalid(
            "malformed_note",
            f"a note has at most {NOTE_CHARACTERS_MAX} printable characters",
            field="note",
            params={"most": NOTE_CHARACTERS_MAX},
        )
    return kept


def may_administer(actor: Role, of_person: Role) -> bool:
    """May they see and change such a person? Nobody but root changes their equals."""
    order = list(Role)
    return actor is Role.ROOT or order.index(actor) > order.index(of_person)
