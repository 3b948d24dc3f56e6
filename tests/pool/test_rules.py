"""What may be called how."""

from __future__ import annotations

from ipaddress import ip_network

import pytest

from aipool.kit.errors import Invalid
from aipool.kit.outbound import Vet
from aipool.pool import rules
from aipool.vendors.types import KeySettings


@pytest.mark.parametrize(
    ("names", "next_name"),
    [
        ([], "key1"),
        (["key1"], "key2"),
        (["key7", "key2", "main"], "key8"),
        (["key", "keyx", "Key9", "key-3"], "key1"),
    ],
)
def test_a_key_without_a_name_gets_the_next_number(names: list[str], next_name: str) -> None:
    assert rules.next_key_name(names) == next_name


@pytest.mark.parametrize(
    ("old", "new", "moves"),
    [
        ("https://a.example/v1", "https://a.example/v2", False),
        ("https://a.example/v1", "https://b.example/v1", True),
        ("https://a.example", "https://a.example:8443", True),
        ("https://a.example", "http://a.example", True),
    ],
)
def test_a_change_of_host_is_told_from_a_change_of_path(old: str, new: str, moves: bool) -> None:
    assert rules.moves_host(old, new) is moves


def test_a_known_vendor_has_its_usual_address() -> None:
    assert rules.base_url_for("minimax", "", Vet()).startswith("https://")


@pytest.mark.parametrize(
    ("vendor_type", "base_url", "code"),
    [
        ("openai_compatible", "", "base_url_missing"),
        ("openai", "http://api.openai.com", "base_url_not_allowed"),
        ("openai", "https://127.0.0.1", "base_url_not_allowed"),
        ("sandbox", "https://example.com", "base_url_not_allowed"),
    ],
)
def test_an_address_that_cannot_be_is_refused(vendor_type: str, base_url: str, code: str) -> None:
    with pytest.raises(Invalid) as caught:
        rules.base_url_for(vendor_type, base_url, Vet())

    assert caught.value.code == code


@pytest.mark.parametrize(
    "secret", ["a\r\nHost: evil", "a b\n", " abc", "abc ", "schlüssel", "x" * 8193]
)
def test_a_secret_that_cannot_stand_in_a_header_is_refused(secret: str) -> None:
    with pytest.raises(Invalid) as caught:
        rules.check_secret("openai", secret)

    assert secret not in caught.value.message


def test_only_a_vendor_that_may_need_none_takes_an_empty_secret() -> None:
    rules.check_secret("openai_compatible", "")
    rules.check_secret("sandbox", "")
    with pytest.raises(Invalid):
        rules.check_secret("openai", "")


@pytest.mark.parametrize(
    ("line", "read"),
    [
        ("sk-1", ("", "sk-1")),
        ("  sk-1  ", ("", "sk-1")),
        ("spare sk-1", ("spare", "sk-1")),
        ("spare,sk-1", ("spare", "sk-1")),
        ("my own key , sk-1", ("my own key", "sk-1")),
        ("spare\tsk-1", ("spare", "sk-1")),
        ("sk-1,", None),
        ("my old key is sk-1", None),
        (",", None),
    ],
)
def test_a_line_is_a_secret_or_a_name_and_a_secret(line: str, read: tuple[str, str] | None) -> None:
    assert rules.name_and_secret(line) == read


@pytest.mark.parametrize(
    ("base_url", "settings", "url"),
    [
        ("https://a.example/v1", KeySettings(), "https://a.example/v1/chat/completions"),
        ("https://a.example", KeySettings(), "https://a.example/v1/chat/completions"),
        (
            "https://a.example/v1",
            KeySettings(base_url="https://b.example:8443/v3", query={"k": "v"}),
            "https://b.example:8443/v3/chat/completions?k=v",
        ),
    ],
)
def test_the_resolved_url_is_the_one_that_is_called(
    base_url: str, settings: KeySettings, url: str
) -> None:
    assert rules.resolved_url("openai_compatible", base_url, settings, "m") == url


@pytest.mark.parametrize("text", ["", "0", "20", "0.5", "999999999999999.123456789"])
def test_an_amount_is_a_decimal_number(text: str) -> None:
    rules.check_amount(text)


@pytest.mark.parametrize("text", ["-1", "1e3", ".5", "1.", "01", "x", "1.0000000001", "1 "])
def test_another_amount_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        rules.check_amount(text)


@pytest.mark.parametrize("text", ["x", "", "x" * 201, "a\x00b"])
def test_a_phrase_that_is_nowhere_or_everywhere_is_refused(text: str) -> None:
    with pytest.raises(Invalid):
        rules.phrase(text)


@pytest.mark.parametrize(("text", "number"), [("none", 0), ("0", 0), ("7", 7)])
def test_calls_at_a_time_are_a_number_or_none(text: str, number: int) -> None:
    assert rules.concurrency(text) == number
    with pytest.raises(Invalid):
        rules.concurrency(f"-{text}")


def test_private_addresses_of_keys_need_leave() -> None:
    inward = KeySettings(base_url="http://10.0.0.7:8000/v1")
    with pytest.raises(Invalid) as caught:
        rules.checked_settings("openai_compatible", inward, Vet())
    assert caught.value.field == "config.base_url"

    allowed = Vet([ip_network("10.0.0.0/8")])
    assert rules.checked_settings("openai_compatible", inward, allowed) == inward
