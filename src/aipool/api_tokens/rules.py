"""Decisions about API tokens: what a person may write, how a token stands, whom it is for."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection, Iterable

from aipool.accounts.types import Role
from aipool.api_tokens.types import ApiToken, Reset, Standing, Status, TokenWithOwner
from aipool.groups.rules import NO_LIMIT
from aipool.groups.types import Group
from aipool.kit.digests import PREFIX, RANDOM_CHARACTERS, is_token
from aipool.kit.errors import Invalid
from aipool.kit.expiry import NEVER, moment_or_days
from aipool.kit.money import AMOUNT_NANO_MAX, MoneyError, format_cny, parse_cny
from aipool.ledger.rules import DAY_SECONDS, next_window_day

IPS_MAX = 100
#: More than any list of a token is long, and fewer than a program would send by mistake.
MODELS_MAX = 1000
DESCRIPTION_CHARACTERS_MAX = 500
#: The tokens that one user may have at a time.
TOKENS_MAX = 10_000
#: How long the secret before a rotation may still be good.
GRACE_SECONDS_MAX = 30 * DAY_SECONDS

_SPAN = re.compile(r"([0-9]{1,9}) ?(s|m|h|d|)", re.ASCII)
_SPAN_SECONDS = {"": 1, "s": 1, "m": 60, "h": 3600, "d": DAY_SECONDS}


def canonical_ips(texts: Iterable[str]) -> tuple[str, ...]:
    """Addresses and networks as networks in their shortest spelling, each once.

    An IPv4 address written as an IPv6 one becomes IPv4. Raises Invalid for zone ids,
    octal, ports, bits behind the mask, and for more than IPS_MAX of them.
    """
    networks = {str(_network(text)) for text in texts}
    if len(networks) > IPS_MAX:
        raise Invalid(
            "too_many_ips",
            f"at most {IPS_MAX} addresses and networks",
            field="ips",
            params={"most": IPS_MAX},
        )
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
            params={"least": 0, "most": format_cny(AMOUNT_NANO_MAX), "given": text},
        )
    return amount


def sent_limit_nano(text: str | None, field: str) -> int | None:
    """The same as a program sends it, None or "" for no limit; raises Invalid, which names the
    field."""
    if not text:
        return None
    try:
        return limit_nano(text)
    except MoneyError as problem:
        raise Invalid("invalid_amount", str(problem), field=field, params=problem.params) from None
    except Invalid as problem:
        problem.field = field
        raise


def expiry(text: str | None, now_seconds: int) -> int:
    """When a token ends, as a person writes it, in unix seconds: never (or None), 7d, 30d, a date
    or a moment; raises Invalid for what is no moment, or one that is over."""
    try:
        seconds = moment_or_days(text or "never", now_seconds)
    except Invalid as problem:
        problem.field = "expires_at"
        raise
    if seconds != NEVER and seconds <= now_seconds:
        raise Invalid(
            "expiry_in_the_past",
            "a token expires at a moment to come, or never; to stop it now, disable it",
            field="expires_at",
        )
    return seconds


def description(text: str) -> str:
    """What a person writes about a token, without blanks around it; raises Invalid for a very
    long one, and for control characters other than line ends."""
    written = text.replace("\r\n", "\n").strip()
    fits = len(written) <= DESCRIPTION_CHARACTERS_MAX
    if not fits or not all(mark.isprintable() or mark == "\n" for mark in written):
        raise Invalid(
            "invalid_description",
            f"a description has at most {DESCRIPTION_CHARACTERS_MAX} characters, none of them "
            "control characters",
            field="description",
            params={"most": DESCRIPTION_CHARACTERS_MAX},
        )
    return written


def chosen_models(names: Collection[str] | None) -> tuple[str, ...] | None:
    """The models a token is limited to, each once, None for a blank choice: all of its group."""
    if not names:
        return None
    if len(names) > MODELS_MAX:
        raise Invalid(
            "too_many_models",
            f"at most {MODELS_MAX} models",
            field="models",
            params={"most": MODELS_MAX},
        )
    return tuple(dict.fromkeys(names))


def check_models(
    chosen: tuple[str, ...] | None, group: Group, known: Collection[str], kept: Collection[str]
) -> None:
    """Raises Invalid when models are chosen that the group does not have.

    known: the names on sale.  kept: those that the token has already, which may be off sale.
    A model of another group is answered for as one that does not exist.
    """
    allowed = None if group.models is None else frozenset(group.models)
    wrong = [
        name
        for name in chosen or ()
        if (name not in known and name not in kept) or (allowed is not None and name not in allowed)
    ]
    if wrong:
        shown = ", ".join(repr(name) for name in wrong[:5])
        raise Invalid(
            "models_unknown",
            f"the group {group.name} has no model {shown}",
            field="models",
            params={"group": group.name, "models": shown},
        )


def grace_seconds(text: str) -> int:
    """How long a secret may still be good, as a person writes it: 90s, 30m, 1h, 7d, or 0 for not
    at all; raises Invalid."""
    written = _SPAN.fullmatch(text.strip().lower())
    if written is None:
        raise Invalid(
            "invalid_grace",
            f"{text!r} is no span of time: write 0, 30m, 1h or 7d",
            field="grace",
            params={"given": text},
        )
    seconds = int(written[1]) * _SPAN_SECONDS[written[2]]
    check_grace(seconds)
    return seconds


def check_grace(grace_seconds: int) -> None:
    """Raises Invalid for a grace that is too long, or none."""
    if not 0 <= grace_seconds <= GRACE_SECONDS_MAX:
        raise Invalid(
            "grace_out_of_range",
            f"the secret before may be good for 0 to {GRACE_SECONDS_MAX} seconds more",
            field="grace_seconds",
            params={"least": 0, "most": GRACE_SECONDS_MAX},
        )


def reset(text: str) -> Reset:
    """When a limit begins anew, as a person writes it; raises Invalid."""
    try:
        return Reset(text)
    except ValueError:
        resets = ", ".join(Reset)
        raise Invalid(
            "invalid_reset",
            f"{text!r} is no reset type; there is: {resets}",
            field="reset",
            params={"given": text, "allowed": resets},
        ) from None


def check_secret(secret: str) -> None:
    """Raises Invalid for a text that does not have the form of a token."""
    if not is_token(secret.encode("utf-8", "surrogatepass")):
        raise Invalid(
            "malformed_secret",
            f"a token is {PREFIX} and at least {RANDOM_CHARACTERS} random characters of "
            "A-Z a-z 0-9 - _",
            field="secret",
            params={"prefix": PREFIX, "least": RANDOM_CHARACTERS},
        )


def why_blocked(found: TokenWithOwner) -> str:
    """Why no call with this token is allowed now, "" when one is."""
    if not found.token.enabled:
        return "disabled"
    if not found.user_active:
        return "user_frozen"
    return "" if found.group_granted else "group_not_granted"


def standing(token: ApiToken, *, used: int | None, used_total: int, day: int) -> Standing:
    """How far a token's limits are used.

    used: of its limit, in its window; None = it has none.  day: the UTC day for the windows, in
    days since 1970-01-01.
    """
    rooms = []
    if token.limit_nano is not None:
        rooms.append(token.limit_nano - (used or 0))
    if token.total_nano is not None:
        rooms.append(token.total_nano - used_total)
    period = token.reset.period
    return Standing(
        used_nano=used,
        remaining_nano=max(0, min(rooms)) if rooms else None,
        resets_at=None if period is None else next_window_day(period, day) * DAY_SECONDS,
        used_total_nano=used_total,
    )


def status(token: ApiToken, stands: Standing, *, group_granted: bool, now_seconds: int) -> Status:
    """Can it be called with now, as far as it says itself?"""
    if not token.enabled:
        return Status.DISABLED
    if not group_granted:
        return Status.GROUP_NOT_GRANTED
    if token.expires_at != NEVER and token.expires_at <= now_seconds:
        return Status.EXPIRED
    return Status.EXHAUSTED if stands.remaining_nano == 0 else Status.ACTIVE


def models_count(token: ApiToken, group: Group | None, on_sale: Collection[str]) -> int:
    """How many models a token is for: those that were chosen, or all of its group that are sold."""
    if token.models is not None:
        return len(token.models)
    if group is None or group.models is None:
        return len(on_sale)
    return sum(name in on_sale for name in group.models)


def may_administer(operator: Role, owner: Role) -> bool:
    """May an operator see and stop the tokens of somebody of this role? Only of lower ones; the
    root account, of everybody."""
    return operator is Role.ROOT or (operator is Role.ADMIN and owner is Role.USER)


def is_allowed_from(ips: Collection[str], address: str) -> bool:
    """May a client of this address use a token with this list? () = any may.

    address: as the worker in front writes it, an IPv4 one never in IPv6 clothing.
    """
    if not ips:
        return True
    try:
        client = ipaddress.ip_address(address)
    except ValueError:
        return False
    return any(
        client.version == network.version and client in network
        for network in map(ipaddress.ip_network, ips)
    )


def _network(text: str) -> ipaddress.IPv4Network | ipaddress.IPv6Network:
    written = text.strip()
    try:
        if "%" in written:
            raise ValueError(written)
        network = ipaddress.ip_network(written)
    except ValueError:
        _refuse_bits_behind_the_mask(text)
        raise Invalid(
            "invalid_ip",
            f"{text!r} is no address or network: write 203.0.113.7, 203.0.113.0/24 or "
            "2001:db8::/32",
            field="ips",
            params={"given": text},
        ) from None
    mapped = getattr(network.network_address, "ipv4_mapped", None)
    if mapped is not None and network.prefixlen >= 96:
        return ipaddress.ip_network((mapped, network.prefixlen - 96))
    return network


def _refuse_bits_behind_the_mask(text: str) -> None:
    """Raises Invalid for 10.0.0.5/8, which may mean all of 10.0.0.0/8, or 10.0.0.5 alone."""
    address = text.strip().partition("/")[0]
    try:
        network = ipaddress.ip_network(text.strip(), strict=False)
    except ValueError:
        return
    if "%" not in text:
        raise Invalid(
            "invalid_ip",
            f"{text!r} is an address within a network: write {network} for the network, or "
            f"{address} for the address alone",
            field="ips",
            params={"given": text, "network": str(network), "address": address},
        ) from None
