"""Decisions about API tokens: what an address list and a secret look like."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from aipool.api_tokens.types import Reset, TokenWithOwner
from aipool.groups.rules import NO_LIMIT
from aipool.kit.digests import PREFIX, RANDOM_CHARACTERS, is_token
from aipool.kit.errors import Invalid
from aipool.kit.money import AMOUNT_NANO_MAX, format_cny, parse_cny

IPS_MAX = 100


def canonical_ips(texts: Iterable[str]) -> tuple[str, ...]:
    """Addresses and networks as networks in their shortest spelling, each once.

    An IPv4 address written as an IPv6 one becomes IPv4. Raises Invalid for zone ids,
    octal, ports, bits behind the mask, and for more than IPS_MAX of them.
    """
    networks = {str(_network(text)) for text in texts}
    if len(networks) > IPS_MAX:
        raise Invalid("too_many_ips", f"at most {IPS_MAX} addresses and networks", field="ips")
    return tuple(sorted(networks))


def limit_nano(text: str) -> int | None:
    """The most a token may spend, as a person writes it, in CNY, None for NO_LIMIT; raises
    Invalid or MoneyError."""
    if text == NO_LIMIT:
        return None
    amount = parse_cny(text)
    if not 0 <= amount <= AMOUNT_NANO_MAX:
        raise Invalid(
            "limit_out_of_range",
            f"a limit lies between 0 and {format_cny(AMOUNT_NANO_MAX)} CNY, not {text}",
            field="limit",
        )
    return amount


def reset(text: str) -> Reset:
    """When a limit begins anew, as a person writes it; raises Invalid."""
    try:
        return Reset(text)
    except ValueError:
        resets = ", ".join(Reset)
        raise Invalid(
            "invalid_reset", f"{text!r} is no reset type; there is: {resets}", field="reset"
        ) from None


def check_secret(secret: str) -> None:
    """Raises Invalid for a text that does not have the form of a token."""
    if not is_token(secret.encode("utf-8", "surrogatepass")):
        raise Invalid(
            "malformed_secret",
            f"a token is {PREFIX} and at least {RANDOM_CHARACTERS} random characters of "
            "A-Z a-z 0-9 - _",
            field="secret",
        )


def why_blocked(found: TokenWithOwner) -> str:
    """Why no call with this token is allowed now, "" when one is."""
    if not found.token.enabled:
        return "disabled"
    return "" if found.user_active else "user_frozen"


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    written = text.strip()
    try:
        if "%" in written:
            raise ValueError(written)
        network = ipaddress.ip_network(written)
    except ValueError:
        raise Invalid(
            "invalid_ip",
            f"{text!r} is no address or network: write 203.0.113.7, 203.0.113.0/24 or "
            "2001:db8::/32",
            field="ips",
        ) from None
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= 96:
        return ipaddress.ip_network((mapped, network.prefixlen - 96))
    return network
