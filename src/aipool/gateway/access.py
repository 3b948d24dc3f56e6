"""Who is on the other end: the client's address, and the lists it must be on. Pure.

A header that names another client is believed only when the TCP peer is a trusted proxy;
by default nobody is. The list in X-Forwarded-For is walked from the right, past proxies
that are trusted too, to the first address that is not.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network


def address_of(text: str) -> Address | None:
    """The address written here, IPv4 in IPv6 clothing as IPv4; None for anything else:
    host names, zone ids, ports, leading zeros."""
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return None
        return address.ipv4_mapped or address
    return address


class AddressList:
    """Networks, compiled once, and the answers they gave lately."""

    __slots__ = ("_answers", "_networks")

    #: Answers kept; one worker sees few addresses again and again.
    _ANSWERS_MAX = 4096

    def __init__(self, networks: Iterable[str | Network]) -> None:
        self._networks = tuple(
            network if not isinstance(network, str) else ipaddress.ip_network(network)
            for network in networks
        )
        self._answers: dict[str, bool] = {}

    def __bool__(self) -> bool:
        return bool(self._networks)

    def __contains__(self, text: str) -> bool:
        known = self._answers.get(text)
        if known is None:
            if len(self._answers) >= self._ANSWERS_MAX:
                self._answers.clear()
            address = address_of(text)
            known = address is not None and any(
                address.version == network.version and address in network
                for network in self._networks
            )
            self._answers[text] = known
        return known


def client_address(peer: str, forwarded_for: bytes | None, trusted: AddressList) -> str:
    """The address a call counts as coming from.

    peer: the TCP peer, "" on a Unix socket.  forwarded_for: X-Forwarded-For, all its lines
    joined. What does not parse ends the walk: the last address that did is the client.
    """
    if not forwarded_for or peer not in trusted:
        return _plain(peer)
    client = peer
    for part in reversed(forwarded_for.decode("latin-1").split(",")):
        address = address_of(part.strip())
        if address is None:
            break
        client = str(address)
        if client not in trusted:
            break
    return _plain(client)


def _plain(text: str) -> str:
    """IPv4 in IPv6 clothing without it."""
    if text.startswith("::ffff:"):
        address = address_of(text)
        return str(address) if address is not None else text
    return text


def bucket_of(text: str) -> str:
    """What per-address limits count by: an IPv4 address, or the /64 of an IPv6 one."""
    if ":" not in text:
        return text
    address = address_of(text)
    if not isinstance(address, ipaddress.IPv6Address):
        return text
    return str(ipaddress.ip_network((int(address) >> 64 << 64, 64)).network_address)
