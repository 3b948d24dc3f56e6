"""Which addresses this program may call: the one guard against being sent inwards.

A vendor's address is typed by an operator, yet it must not reach the operator's own
network, the machine itself, or a cloud's metadata service, neither as typed nor as it
resolves today. `parse_base_url` judges what was typed; `Vet` judges every address it
resolves to, at every new connection.

Private upstreams (a vLLM or Ollama next door) are let through by networks the operator
lists; plain HTTP goes to those only. Metadata services stay blocked even then. Pure.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from dataclasses import dataclass
from urllib.parse import urlsplit

Address = ipaddress.IPv4Address | ipaddress.IPv6Address
Network = ipaddress.IPv4Network | ipaddress.IPv6Network

_METADATA = frozenset(
    ipaddress.ip_address(text)
    for text in (
        "169.254.169.254",  # AWS, Azure, Google, most others
        "169.254.170.2",  # AWS container credentials
        "fd00:ec2::254",  # AWS over IPv6
        "100.100.100.200",  # Alibaba Cloud
        "192.0.0.192",  # Oracle Cloud
    )
)

# What `is_global` lets through and still leads inwards: ways of writing an IPv4 address
# as an IPv6 one, protocol assignments and the old 6to4 relays.
_BLOCKED = tuple(
    ipaddress.ip_network(text)
    for text in (
        "64:ff9b::/96",
        "64:ff9b:1::/48",
        "2002::/16",
        "2001::/23",
        "::/96",
        "::ffff:0:0/96",
        "::ffff:0:0:0/96",
        "fec0::/10",
        "192.0.0.0/24",
        "192.88.99.0/24",
    )
)

_HOST_CHARACTERS_MAX = 253
_LABEL = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9])?", re.ASCII)
# Resolvers read these as IPv4 addresses: 2130706433, 0x7f.1, 0177.0.0.1.
_NUMERIC_LABEL = re.compile(r"\d+|0x[0-9a-f]*", re.ASCII)

_WEB_PORTS = {"https": 443, "http": 80}
_PORT_LEAST = 1024


class Vet:
    """Says which addresses may be connected to."""

    __slots__ = ("private_networks",)

    def __init__(self, private_networks: Iterable[Network] = ()) -> None:
        self.private_networks = tuple(private_networks)

    def encrypted(self, address: str) -> bool:
        """May TLS be spoken with this IP address?"""
        parsed = _parse_address(address)
        if parsed is None or parsed in _METADATA:
            return False
        if self._is_listed(parsed):
            return True
        return (
            parsed.is_global
            and not parsed.is_multicast
            and not parsed.is_reserved
            and not any(parsed in network for network in _BLOCKED)
        )

    def plain(self, address: str) -> bool:
        """May plain HTTP be spoken with it? Only where the operator said so."""
        parsed = _parse_address(address)
        return parsed is not None and parsed not in _METADATA and self._is_listed(parsed)

    def _is_listed(self, address: Address) -> bool:
        return any(address in network for network in self.private_networks)


@dataclass(frozen=True, slots=True)
class BaseUrl:
    """A vendor's address, in one spelling. `text` is stored and shown."""

    text: str
    tls: bool
    host: str
    port: int


class BadUrl(ValueError):
    """An address that will not be called; the message says why and what would do. params: the
    same for other languages, as in kit.errors."""

    def __init__(self, why: str, message: str, **params: object) -> None:
        super().__init__(message)
        self.params = {"why": why, **params}


def parse_base_url(text: str, vet: Vet) -> BaseUrl:
    """The address, if it may be called as it is written. Raises BadUrl.

    A host name is judged again by its addresses at every connection.
    """
    if not text.isascii() or not text.isprintable() or any(mark in text for mark in ' \\"<>'):
        raise BadUrl(
            "url_form", "write it in plain ASCII without blanks (an international name as xn--…)"
        )
    try:
        parts = urlsplit(text)
        host, port = (parts.hostname or "").lower(), parts.port
    except ValueError:
        raise BadUrl("url_unreadable", f"not an address: {text}") from None
    if parts.scheme not in _WEB_PORTS:
        raise BadUrl(
            "url_scheme", "it must start with https:// (or http:// for a private upstream)"
        )
    if "@" in parts.netloc:
        raise BadUrl("url_login", "leave user and password out; the key goes into api_key")
    if parts.fragment or "#" in text:
        raise BadUrl("url_fragment", "leave out the part from # on")
    _refuse_odd_port(port)
    _refuse_odd_host(host)

    tls = parts.scheme == "https"
    _refuse_inward(host, tls, vet)
    shown_host = f"[{host}]" if ":" in host else host
    default_port = _WEB_PORTS[parts.scheme]
    netloc = shown_host if port in (None, default_port) else f"{shown_host}:{port}"
    query = f"?{parts.query}" if parts.query else ""
    spelled = f"{parts.scheme}://{netloc}{parts.path.rstrip('/')}{query}"
    return BaseUrl(spelled, tls, host, port or default_port)


def _refuse_odd_port(port: int | None) -> None:
    if port is not None and port not in _WEB_PORTS.values() and port < _PORT_LEAST:
        raise BadUrl(
            "url_port",
            f"port {port} belongs to another service; use 80, 443 or one from {_PORT_LEAST} on",
            port=port,
            least=_PORT_LEAST,
        )


def _refuse_odd_host(host: str) -> None:
    if _parse_address(host) is not None:
        return
    labels = host.split(".")
    if (
        not host
        or len(host) > _HOST_CHARACTERS_MAX
        or not all(_LABEL.fullmatch(label) for label in labels)
        or _NUMERIC_LABEL.fullmatch(labels[-1])
    ):
        raise BadUrl(
            "url_host", f"not a host name or IP address: {host or 'nothing'}", host=host or "…"
        )


def _refuse_inward(host: str, tls: bool, vet: Vet) -> None:
    hint = "list its network in AIPOOL_PRIVATE_UPSTREAMS if that is meant"
    if _parse_address(host) is not None:
        if not (vet.encrypted(host) if tls else vet.plain(host)):
            raise BadUrl(
                "url_inward",
                f"{host} is not a public address reached over https: {hint}",
                host=host,
            )
        return
    inward_name = host == "localhost" or host.endswith((".localhost", ".internal", ".local"))
    if (inward_name or not tls) and not vet.private_networks:
        raise BadUrl(
            "url_inward",
            f"{host} over {'https' if tls else 'plain http'} is not public: {hint}",
            host=host,
        )


def _parse_address(text: str) -> Address | None:
    if "%" in text:
        return None
    try:
        return ipaddress.ip_address(text)
    except ValueError:
        return None
