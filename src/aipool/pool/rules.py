"""Decisions about the pool: what may be called how, what a secret may look like."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from aipool.kit.errors import Invalid
from aipool.kit.outbound import BadUrl, Vet, parse_base_url
from aipool.vendors import VENDORS_BY_TYPE
from aipool.vendors.base import auth_headers

_KEY_NUMBER = re.compile(r"key(\d{1,9})", re.ASCII)
_SECRET_CHARACTERS_MAX = 8192


def check_type(vendor_type: str) -> None:
    """Raises Invalid for a kind of vendor this program does not know."""
    if vendor_type not in VENDORS_BY_TYPE:
        known = ", ".join(VENDORS_BY_TYPE)
        raise Invalid("vendor_type_unknown", f"{vendor_type!r} is none of {known}", field="type")


def base_url_for(vendor_type: str, given: str, vet: Vet) -> str:
    """The address to store: as given and allowed, else the vendor's usual one.

    Raises Invalid when it may not be called or there is none.
    """
    vendor = VENDORS_BY_TYPE[vendor_type]
    if vendor.socket is not None:
        if given and given != vendor.base_url:
            raise Invalid(
                "base_url_not_allowed",
                f"a vendor of type {vendor_type} has no address: leave base_url out",
                field="base_url",
            )
        return vendor.base_url or ""
    wanted = given or vendor.base_url
    if wanted is None:
        raise Invalid(
            "base_url_missing", f"a vendor of type {vendor_type} needs a base_url", field="base_url"
        )
    try:
        return parse_base_url(wanted, vet).text
    except BadUrl as problem:
        raise Invalid("base_url_not_allowed", f"{wanted}: {problem}", field="base_url") from None


def moves_host(old_url: str, new_url: str) -> bool:
    """Does a change of address send the keys to somebody else?"""
    old, new = urlsplit(old_url), urlsplit(new_url)
    return (old.scheme, old.hostname, old.port) != (new.scheme, new.hostname, new.port)


def needs_secret(vendor_type: str) -> bool:
    """Is a key of such a vendor worth nothing without a secret? A server of one's own and
    the sandbox may ask for none."""
    vendor = VENDORS_BY_TYPE[vendor_type]
    return vendor.base_url is not None and vendor.socket is None


def check_secret(vendor_type: str, secret: str) -> None:
    """Raises Invalid for what cannot stand in the header that presents it."""
    if not secret and needs_secret(vendor_type):
        raise Invalid(
            "api_key_missing", f"a vendor of type {vendor_type} needs an API key", field="api_key"
        )
    try:
        auth_headers(VENDORS_BY_TYPE[vendor_type], secret)
        allowed = len(secret) <= _SECRET_CHARACTERS_MAX and secret == secret.strip()
    except ValueError:
        allowed = False
    if not allowed:
        raise Invalid(
            "api_key_malformed",
            "an API key is printable ASCII without blanks around it",
            field="api_key",
        )


def check_proxy(proxy_url: str) -> None:
    """Raises Invalid for what is not the address of an HTTP proxy; "" = none."""
    if not proxy_url:
        return
    try:
        parts = urlsplit(proxy_url)
        whole = bool(parts.scheme == "http" and parts.hostname and parts.port)
        bare = not (parts.path.strip("/") or parts.query or parts.fragment or "@" in parts.netloc)
    except ValueError:
        whole = bare = False
    if not (whole and bare and proxy_url.isascii() and proxy_url.isprintable()):
        raise Invalid(
            "proxy_malformed",
            "a proxy is written http://host:port, without user and password",
            field="proxy",
        )


def next_key_name(names: Iterable[str]) -> str:
    """The name of a key nobody named: `key` and the largest number in use, plus one."""
    numbers = [int(match[1]) for name in names if (match := _KEY_NUMBER.fullmatch(name))]
    return f"key{max(numbers, default=0) + 1}"
