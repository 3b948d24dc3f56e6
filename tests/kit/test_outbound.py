"""Which addresses are called: the corpus of ways inwards, and the ways out."""

from __future__ import annotations

import ipaddress

import pytest

from aipool.kit.outbound import BadUrl, Vet, parse_base_url

PUBLIC = Vet()
LAN = Vet([ipaddress.ip_network("10.0.0.0/8"), ipaddress.ip_network("fd00::/8")])

INWARD = [
    "127.0.0.1",
    "127.8.8.8",
    "0.0.0.0",
    "10.0.0.1",
    "172.16.0.1",
    "172.31.255.255",
    "192.168.1.1",
    "169.254.0.1",
    "169.254.169.254",
    "169.254.170.2",
    "100.64.0.1",
    "100.100.100.200",
    "192.0.0.1",
    "192.0.0.192",
    "192.0.2.1",
    "198.18.0.1",
    "198.51.100.1",
    "203.0.113.1",
    "224.0.0.1",
    "239.1.2.3",
    "240.0.0.1",
    "255.255.255.255",
    "192.88.99.1",
    "::",
    "::1",
    "::127.0.0.1",
    "::ffff:127.0.0.1",
    "::ffff:7f00:1",
    "::ffff:8.8.8.8",
    "::ffff:0:127.0.0.1",
    "64:ff9b::7f00:1",
    "64:ff9b::8.8.8.8",
    "64:ff9b:1::1",
    "2002:7f00:1::",
    "2002:0808:0808::",
    "2001::1",
    "2001:0:53aa::1",
    "2001:db8::1",
    "fc00::1",
    "fd00:ec2::254",
    "fe80::1",
    "fec0::1",
    "ff02::1",
    "fe80::1%eth0",
]

NOT_ADDRESSES = [
    "2130706433",
    "0x7f.1",
    "0177.0.0.1",
    "127.1",
    "1.2.3",
    "1.2.3.4.5",
    "localhost",
    "example.com",
]


@pytest.mark.parametrize("address", [*INWARD, *NOT_ADDRESSES, ""])
def test_nothing_that_leads_inwards_is_connected_to(address: str) -> None:
    assert not PUBLIC.encrypted(address)
    assert not PUBLIC.plain(address)


@pytest.mark.parametrize("address", ["8.8.8.8", "1.1.1.1", "2606:4700:4700::1111", "47.92.0.1"])
def test_a_public_address_is_called_over_tls_only(address: str) -> None:
    assert PUBLIC.encrypted(address)
    assert not PUBLIC.plain(address)


def test_a_listed_network_is_called_either_way_and_nothing_else_is() -> None:
    assert LAN.plain("10.1.2.3")
    assert LAN.encrypted("10.1.2.3")
    assert LAN.plain("fd00::1")
    assert not LAN.plain("192.168.1.1")
    assert not LAN.plain("8.8.8.8")


def test_metadata_stays_blocked_in_a_listed_network() -> None:
    everything = Vet([ipaddress.ip_network("0.0.0.0/0"), ipaddress.ip_network("::/0")])

    for address in ("169.254.169.254", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"):
        assert not everything.plain(address)
        assert not everything.encrypted(address)


@pytest.mark.parametrize(
    ("text", "spelled"),
    [
        ("https://api.openai.com/v1", "https://api.openai.com/v1"),
        ("https://API.OpenAI.com/v1/", "https://api.openai.com/v1"),
        ("https://api.example.com:443/v1", "https://api.example.com/v1"),
        ("https://api.example.com:8443", "https://api.example.com:8443"),
        ("https://8.8.8.8/v1", "https://8.8.8.8/v1"),
        ("https://[2606:4700:4700::1111]:8443/v1", "https://[2606:4700:4700::1111]:8443/v1"),
        ("https://x.example/openai?api-version=1", "https://x.example/openai?api-version=1"),
    ],
)
def test_an_address_is_stored_in_one_spelling(text: str, spelled: str) -> None:
    assert parse_base_url(text, PUBLIC).text == spelled


@pytest.mark.parametrize(
    "text",
    [
        "",
        "api.openai.com",
        "http://api.openai.com",
        "ftp://api.openai.com",
        "file:///etc/passwd",
        "gopher://example.com",
        "data:text/plain,x",
        "https://",
        "https:///v1",
        "https://user@example.com",
        "https://user:password@example.com",
        "https://example.com#x",
        "https://example.com:22",
        "https://example.com:99999",
        "https://example.com:x",
        "https://exa mple.com",
        "https://example.com\\@evil.example",
        "https://example.com\r\nHost: evil.example",
        "https://例子.example",
        "https://example。com",
        "https://2130706433",
        "https://0x7f.1",
        "https://0177.0.0.1",
        "https://127.1",
        "https://example.com.",
        "https://127.0.0.1",
        "https://10.0.0.1",
        "https://[::1]",
        "https://[::ffff:127.0.0.1]",
        "https://[fe80::1%25eth0]",
        "https://localhost",
        "https://a.localhost",
        "https://metadata.google.internal",
        "https://169.254.169.254",
        "https://-bad.example",
        "https://a..b",
        "https://" + "a" * 64 + ".example",
    ],
)
def test_an_odd_or_inward_address_is_refused(text: str) -> None:
    with pytest.raises(BadUrl):
        parse_base_url(text, PUBLIC)


def test_plain_http_needs_a_private_network_and_the_refusal_names_the_setting() -> None:
    with pytest.raises(BadUrl, match="AIPOOL_PRIVATE_UPSTREAMS"):
        parse_base_url("http://10.0.0.5:8000/v1", PUBLIC)

    assert parse_base_url("http://10.0.0.5:8000/v1", LAN).text == "http://10.0.0.5:8000/v1"
    assert not parse_base_url("http://vllm:8000", LAN).tls
    with pytest.raises(BadUrl):
        parse_base_url("http://8.8.8.8", LAN)
    with pytest.raises(BadUrl):
        parse_base_url("http://169.254.169.254", LAN)
