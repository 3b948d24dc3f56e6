"""What may be called how."""

from __future__ import annotations

import pytest

from aipool.kit.errors import Invalid
from aipool.kit.outbound import Vet
from aipool.pool import rules


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


@pytest.mark.parametrize("proxy", ["", "http://10.0.0.1:3128", "http://proxy.example:8080/"])
def test_a_plain_http_proxy_is_accepted(proxy: str) -> None:
    rules.check_proxy(proxy)


@pytest.mark.parametrize(
    "proxy",
    ["10.0.0.1:3128", "https://p:1", "socks5://p:1", "http://p", "http://u:s@p:1", "http://p:1/x"],
)
def test_another_proxy_is_refused(proxy: str) -> None:
    with pytest.raises(Invalid):
        rules.check_proxy(proxy)
