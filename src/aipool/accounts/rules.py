"""Decisions about accounts: what is a phone number, what is a password."""

from __future__ import annotations

from aipool.accounts.types import Role
from aipool.kit.errors import Invalid

DEFAULT_REGION = "CN"

#: OWASP ASVS 6.2.1 asks for 8; whoever can change prices and keys needs 12.
PASSWORD_CHARACTERS_LEAST = 8
ADMIN_PASSWORD_CHARACTERS_LEAST = 12
#: Long enough for a pass-phrase, short enough that hashing it costs nothing extra.
PASSWORD_CHARACTERS_MAX = 128


def canonical_phone(text: str) -> str:
    """The number in E.164, such as +8613800138000; without a + it is a Chinese one.

    Raises Invalid for what is no number that can exist.
    """
    # The tables of the world's numbers take 30 ms to load: only who needs them pays.
    import phonenumbers

    try:
        number = phonenumbers.parse(text, DEFAULT_REGION)
    except phonenumbers.NumberParseException:
        number = None
    if number is None or not phonenumbers.is_valid_number(number):
        raise Invalid(
            "invalid_phone",
            f"{text!r} is no phone number: write it like 13800138000 or +8613800138000",
            field="phone",
        )
    return phonenumbers.format_number(number, phonenumbers.PhoneNumberFormat.E164)


def check_password(password: str, role: Role, phone: str) -> None:
    """Raises Invalid for a password that is too short, too long or the phone number."""
    least = PASSWORD_CHARACTERS_LEAST if role is Role.USER else ADMIN_PASSWORD_CHARACTERS_LEAST
    if len(password) < least:
        raise Invalid(
            "password_too_short", f"a password needs at least {least} characters", field="password"
        )
    if len(password) > PASSWORD_CHARACTERS_MAX:
        raise Invalid(
            "password_too_long",
            f"a password has at most {PASSWORD_CHARACTERS_MAX} characters",
            field="password",
        )
    if password.strip("+ ") in phone or len(set(password)) == 1:
        raise Invalid(
            "password_too_weak",
            "the phone number or one repeated character is no password",
            field="password",
        )
