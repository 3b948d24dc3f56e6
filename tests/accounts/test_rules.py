"""What is a phone number, what is a password."""

from __future__ import annotations

import pytest

from aipool.accounts.passwords import hash_password, password_matches
from aipool.accounts.rules import canonical_phone, check_password
from aipool.accounts.types import Role
from aipool.kit.errors import Invalid

PHONE = "+8613800138000"


@pytest.mark.parametrize(
    "text",
    ["13800138000", "+8613800138000", "138 0013 8000", "0086 138-0013-8000", "+86 138 0013 8000"],
)
def test_one_number_has_one_spelling(text: str) -> None:
    assert canonical_phone(text) == PHONE


def test_a_number_of_another_country_keeps_it() -> None:
    assert canonical_phone("+1 650 253 0000") == "+16502530000"


@pytest.mark.parametrize(
    "text", ["", "12", "hello", "+86", "138001380000000000", "+999123456", "1e9"]
)
def test_what_cannot_be_a_number_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        canonical_phone(text)

    assert caught.value.field == "phone"


@pytest.mark.parametrize(
    ("password", "role", "code"),
    [
        ("seven77", Role.USER, "password_too_short"),
        ("elevenchars", Role.ADMIN, "password_too_short"),
        ("elevenchars", Role.ROOT, "password_too_short"),
        ("x" * 129, Role.USER, "password_too_long"),
        ("13800138000", Role.USER, "password_too_weak"),
        ("+8613800138000", Role.ROOT, "password_too_weak"),
        ("aaaaaaaaaaaa", Role.USER, "password_too_weak"),
    ],
)
def test_a_bad_password_is_refused(password: str, role: Role, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_password(password, role, PHONE)

    assert caught.value.code == code
    assert password not in caught.value.message


@pytest.mark.parametrize("password", ["eight888", "p" * 127 + "q", "密码密码密码密码1"])
def test_a_user_may_choose_any_long_enough_password(password: str) -> None:
    check_password(password, Role.USER, PHONE)


def test_a_password_is_recognised_and_its_hash_is_salted() -> None:
    first, second = hash_password("correct horse"), hash_password("correct horse")

    assert first != second
    assert first.startswith("$argon2id$")
    assert password_matches(first, "correct horse")
    assert not password_matches(first, "wrong horse")
    assert not password_matches("not a hash", "correct horse")
