"""What an address list and a limit look like."""

from __future__ import annotations

import pytest

from aipool.api_tokens import rules
from aipool.kit.errors import BusinessError, Invalid
from aipool.kit.money import MoneyError


@pytest.mark.parametrize(
    ("texts", "canonical"),
    [
        (["203.0.113.7"], ("203.0.113.7/32",)),
        (["203.0.113.0/24", "203.0.113.0/24"], ("203.0.113.0/24",)),
        (["2001:DB8::/32"], ("2001:db8::/32",)),
        (["::1"], ("::1/128",)),
        (["::ffff:203.0.113.7"], ("203.0.113.7/32",)),
        (["::ffff:203.0.113.0/120"], ("203.0.113.0/24",)),
        ([" 10.0.0.1 ", "0.0.0.0/0"], ("0.0.0.0/0", "10.0.0.1/32")),
        ([], ()),
    ],
)
def test_addresses_have_one_spelling(texts: list[str], canonical: tuple[str, ...]) -> None:
    assert rules.canonical_ips(texts) == canonical


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "1.2.3",
        "010.0.0.1",
        "1.2.3.4:80",
        "1.2.3.4/33",
        "10.0.0.5/8",
        "fe80::1%eth0",
        "::/129",
    ],
)
def test_what_is_no_network_is_refused(text: str) -> None:
    with pytest.raises(Invalid) as caught:
        rules.canonical_ips([text])

    assert caught.value.field == "ips"


@pytest.mark.parametrize(
    ("text", "network", "address"),
    [("10.0.0.5/8", "10.0.0.0/8", "10.0.0.5"), ("2001:db8::1/32", "2001:db8::/32", "2001:db8::1")],
)
def test_an_address_within_a_network_may_mean_two_things(
    text: str, network: str, address: str
) -> None:
    with pytest.raises(Invalid) as caught:
        rules.canonical_ips([text])

    assert f"write {network} for the network, or {address} for" in str(caught.value)


def test_a_list_has_a_bound() -> None:
    addresses = [f"10.0.{n // 256}.{n % 256}" for n in range(rules.IPS_MAX + 1)]
    with pytest.raises(Invalid):
        rules.canonical_ips(addresses)


@pytest.mark.parametrize("text", ["-1", "1000000.000000001", "1e3", "x", ""])
def test_an_absurd_limit_is_refused(text: str) -> None:
    with pytest.raises((BusinessError, MoneyError)):
        rules.limit_nano(text)


def test_a_limit_of_nothing_is_a_limit() -> None:
    assert rules.limit_nano("0") == 0
