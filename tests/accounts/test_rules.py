"""What is a phone number, what is a password."""

from __future__ import annotations

from importlib.resources import files

import pytest

from aipool.accounts.passwords import NOBODYS_HASH, hash_password, password_matches
from aipool.accounts.rules import (
    Strength,
    canonical_email,
    canonical_phone,
    check_password,
    may_administer,
    strength,
)
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
    "text",
    [
        *("", "12", "hello", "+86", "138001380000000000", "+999123456", "1e9"),
        # On a telephone's keys these letters are digits, and the number is somebody else's.
        *("138OO138OOO", "+86 138OO138OOO", "1380013TEST", "13800138000 ext 5", "l3800138000"),
    ],
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
    # What is compared where there is no account costs as much.
    assert NOBODYS_HASH.rsplit("$", 2)[0] == first.rsplit("$", 2)[0]
    assert not password_matches(NOBODYS_HASH, "")


@pytest.mark.parametrize(
    "password", ["Password1", "qwertyuiop", "12345678", "1qaz2wsx3edc", "woaini520", "admin123456"]
)
def test_s_07_what_everybody_tries_is_no_password(password: str) -> None:
    with pytest.raises(Invalid) as caught:
        check_password(password, Role.USER, PHONE)

    assert caught.value.code == "password_too_common"


def test_s_07_the_list_of_common_passwords_has_three_thousand_and_none_that_is_too_short() -> None:
    text = (files("aipool.accounts") / "common_passwords.txt").read_text("utf-8")
    listed = [line for line in text.splitlines() if not line.startswith("# ")]

    assert len(listed) >= 3000
    assert len(set(listed)) == len(listed)
    assert all(line == line.lower() and len(line) >= 8 for line in listed)


@pytest.mark.parametrize(
    ("password", "expected"),
    [
        ("12345678", Strength.WEAK),
        ("aaaaaaaaaaaaaaaaaaaaaaaaaaaab", Strength.WEAK),
        ("abcdefghijklmnopqrstuvwxyz", Strength.WEAK),
        ("blue77sky", Strength.FAIR),
        ("ksdjfhweoiru", Strength.GOOD),
        ("violet harbour 93", Strength.STRONG),
    ],
)
def test_s0_3_a_hint_tells_how_strong_a_password_is(password: str, expected: Strength) -> None:
    assert strength(password) is expected


@pytest.mark.parametrize(
    ("text", "address"),
    [(" Some.Body@Example.COM ", "some.body@example.com"), ("a+b@c-d.example", "a+b@c-d.example")],
)
def test_one_address_has_one_spelling(text: str, address: str) -> None:
    assert canonical_email(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "a",
        "a@b",
        "a@@b.example",
        "a b@c.example",
        ".a@b.example",
        "a..b@c.example",
        "é@b.example",
        "a@-.1",
        "x" * 250 + "@b.example",
    ],
)
def test_what_cannot_be_an_address_is_refused(text: str) -> None:
    if text == "a@b.example\n":
        assert canonical_email(text) == "a@b.example"
        return
    with pytest.raises(Invalid):
        canonical_email(text)


@pytest.mark.parametrize(
    ("actor", "of_person", "may"),
    [
        (Role.USER, Role.USER, False),
        (Role.ADMIN, Role.USER, True),
        (Role.ADMIN, Role.ADMIN, False),
        (Role.ADMIN, Role.ROOT, False),
        (Role.ROOT, Role.ROOT, True),
    ],
)
def test_s_04_nobody_but_root_administers_their_equals(
    actor: Role, of_person: Role, may: bool
) -> None:
    assert may_administer(actor, of_person) is may
