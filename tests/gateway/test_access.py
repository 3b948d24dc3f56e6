"""Who a client is: X-Forwarded-For is believed from trusted proxies and from nobody else."""

from __future__ import annotations

import pytest

from aipool.gateway.access import AddressList, address_of, bucket_of, client_address

NOBODY = AddressList(())
PROXIES = AddressList(("10.0.0.0/8", "2001:db8:1::/48", "192.0.2.7"))
LISTED = AddressList(("203.0.113.0/24", "2001:db8:2::/48"))

FORGED = [
    b"203.0.113.5",
    b" 203.0.113.5 ",
    b"203.0.113.5, 203.0.113.6",
    b"203.0.113.5,10.0.0.1",
    b"10.0.0.1, 203.0.113.5",
    b"::ffff:203.0.113.5",
    b"2001:db8:2::1",
    b"[2001:db8:2::1]",
    b"203.0.113.5:1234",
    b"[2001:db8:2::1]:80",
    b"203.0.113.005",
    b"0xcb.0.113.5",
    b"3405803781",
    b"203.0.113.5\t",
    b"203.0.113.5,",
    b",203.0.113.5",
    b"unknown, 203.0.113.5",
    b"localhost",
    b"127.0.0.1",
    b"2001:db8:2::1%eth0",
]
STRANGERS = ["198.51.100.1", "::ffff:198.51.100.1", "2001:db8:9::1"]


@pytest.mark.parametrize("peer", STRANGERS)
@pytest.mark.parametrize("header", FORGED)
def test_what_a_stranger_claims_changes_nothing(peer: str, header: bytes) -> None:
    for trusted in (NOBODY, PROXIES):
        seen = client_address(peer, header, trusted)
        assert seen == peer.removeprefix("::ffff:")
        assert seen not in LISTED


@pytest.mark.parametrize(
    ("header", "client"),
    [
        (None, "10.0.0.1"),
        (b"", "10.0.0.1"),
        (b"203.0.113.5", "203.0.113.5"),
        # What stands left of the first stranger is the stranger's own word.
        (b"203.0.113.5, 198.51.100.1", "198.51.100.1"),
        (b"203.0.113.5, 198.51.100.1, 10.0.0.2", "198.51.100.1"),
        (b"203.0.113.5, 10.0.0.2, 192.0.2.7", "203.0.113.5"),
        (b"198.51.100.1, 2001:db8:1::5", "198.51.100.1"),
        (b"::ffff:198.51.100.1", "198.51.100.1"),
        (b"2001:DB8:9::0001", "2001:db8:9::1"),
        # What is no address ends the walk.
        (b"203.0.113.5, rubbish", "10.0.0.1"),
        (b"203.0.113.5, rubbish, 10.0.0.3", "10.0.0.3"),
        (b"203.0.113.5,", "10.0.0.1"),
        (b"203.0.113.5:80", "10.0.0.1"),
        (b"\xff\xfe", "10.0.0.1"),
        (b"10.0.0.8, 10.0.0.9", "10.0.0.8"),
    ],
)
def test_a_trusted_proxy_is_believed_up_to_the_first_stranger(
    header: bytes | None, client: str
) -> None:
    assert client_address("10.0.0.1", header, PROXIES) == client


def test_a_proxy_in_ipv6_clothing_is_the_same_proxy() -> None:
    assert client_address("::ffff:10.0.0.1", b"203.0.113.5", PROXIES) == "203.0.113.5"


def test_a_very_long_list_is_walked_from_the_right() -> None:
    header = b", ".join([b"203.0.113.5"] * 5_000 + [b"198.51.100.1"])

    assert client_address("10.0.0.1", header, PROXIES) == "198.51.100.1"


def test_lists_take_addresses_and_networks_of_both_families() -> None:
    assert "203.0.113.255" in LISTED
    assert "203.0.114.0" not in LISTED
    assert "::ffff:203.0.113.1" in LISTED
    assert "2001:db8:2:ffff::1" in LISTED
    assert "2001:db8:3::1" not in LISTED
    assert "" not in LISTED
    assert "203.0.113.1%lo" not in LISTED
    assert not NOBODY
    assert "203.0.113.1" not in NOBODY


def test_many_addresses_do_not_make_a_list_forget_right_answers() -> None:
    listed = AddressList(("10.0.0.0/16",))

    for number in range(70_000):
        text = f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        assert (text in listed) == (number < 65_536)


@pytest.mark.parametrize(
    "text", ["", "a", "1.2.3", "1.2.3.4.5", "1.2.3.04", "1.2.3.4/32", "fe80::1%1", " 1.2.3.4"]
)
def test_what_is_no_address_is_none(text: str) -> None:
    assert address_of(text) is None


def test_limits_count_ipv6_by_its_64() -> None:
    assert bucket_of("1.2.3.4") == "1.2.3.4"
    assert bucket_of("2001:db8::1") == bucket_of("2001:db8::ffff:1") == "2001:db8::"
    assert bucket_of("2001:db8:0:1::1") != bucket_of("2001:db8::1")
    assert bucket_of("2001:db8:0:0:ff00::1") == "2001:db8::"
