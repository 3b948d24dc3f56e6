"""The shapes of the log on the wire: what a search is asked with, and how a call is shown.

Amounts are decimal CNY, exact; moments are ISO 8601 in UTC.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Query

from aipool.audit.desk import AskedId, Shown
from aipool.calls.rules import CURSOR_CHARACTERS_MAX
from aipool.calls.types import CallRow, Outcomes, Search
from aipool.kit.clock import iso_ms
from aipool.kit.errors import Invalid
from aipool.kit.money import format_cny, format_multiplier
from aipool.rating.bill import Bill
from aipool.rating.types import Units

_TEXT_MAX = 200
Text = Annotated[str, Query(max_length=_TEXT_MAX)]
PageLimit = Annotated[int, Query(ge=1, le=100)]
Cursor = Annotated[str, Query(max_length=CURSOR_CHARACTERS_MAX)]

_SOURCES = ("none", "vendor", "counted")
_STATUS_DIGITS = 3


@dataclass(frozen=True, slots=True)
class Names:
    """What numbers are called by people; what is not there any more is not in it. masked: users of
    whom whoever reads it is not told."""

    tokens: Mapping[int, str] = field(default_factory=dict)
    groups: Mapping[int, str] = field(default_factory=dict)
    users: Mapping[int, str] = field(default_factory=dict)
    vendors: Mapping[int, str] = field(default_factory=dict)
    keys: Mapping[int, str] = field(default_factory=dict)
    masked: Collection[int] = ()

    def told(self, call: CallRow) -> CallRow:
        """The call as it may be read: without from where a masked user made it."""
        return call._replace(ip="", user_agent="") if call.user_id in self.masked else call


class Named(Shown):
    """A record with its name; null when it is not there any more."""

    id: int
    name: str | None


class CallShown(Shown):
    """One call.

    id: the answer's x-request-id.  status: 499 = the client had left.  origin: "" = a client's own
    call, "playground".  calls: how many this row stands for: refusals beyond the first of a minute
    share one.  units: what was used besides text.  usage_source: who counted.  hold: what was held
    for it.  first_token_ms: null = no content came.
    """

    id: str
    at: str
    token: Named
    model: str
    group: Named
    endpoint: str
    stream: bool
    status: int
    error: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    units: dict[str, int]
    usage_source: Literal["none", "vendor", "counted"]
    multiplier: str
    charge: str
    hold: str
    first_token_ms: int | None
    duration_ms: int
    ip: str
    user_agent: str
    origin: str
    calls: int
    recovered: bool


class AttemptShown(Shown):
    """One try at one upstream key. status: the vendor's, null = no answer.  reason: "" = well."""

    vendor: Named
    key: Named
    model: str
    status: int | None
    reason: str
    duration_ms: int


class CallForOperators(CallShown):
    """One call with what it cost us. margin: charge − cost. Of a user whom one may not administer
    the names are null, and ip and user_agent are empty."""

    user: Named
    cost: str
    margin: str
    written_off: str
    vendor: Named
    key: Named
    upstream_model: str
    upstream_request_id: str
    price_id: int
    cost_price_id: int
    cost_multiplier: str
    attempts: list[AttemptShown]


class CallsListed(Shown):
    """A page, newest first. next_cursor: for the next one, null = this was the last."""

    items: list[CallShown]
    next_cursor: str | None


class CallsForOperators(Shown):
    """A page, newest first. next_cursor: for the next one, null = this was the last."""

    items: list[CallForOperators]
    next_cursor: str | None


class LineShown(Shown):
    """A line of a bill: quantity × price / per."""

    part: str
    quantity: int
    per: int
    price: str
    subtotal: str


class BillShown(Shown):
    """What a call costs, worked out again from its usage and the prices it was made at.

    list_total: the sum of the lines.  total: the sum times the multiplier, rounded up once.
    charge: what was charged; less than the total where the call was cut off at its hold
    (`recovered`) or the balance did not cover it (`written_off`).
    """

    id: str
    price_id: int
    above_tokens: int
    lines: list[LineShown]
    list_total: str
    multiplier: str
    total: str
    charge: str
    written_off: str
    recovered: bool


# --- asking ---------------------------------------------------------------------------------------


def asked(
    start: Annotated[
        Text, Query(alias="from", description="Arrived at or after this moment (ISO 8601).")
    ] = "",
    end: Annotated[Text, Query(alias="to", description="Arrived before this moment.")] = "",
    model: Text = "",
    token: AskedId = None,
    group: AskedId = None,
    status: Annotated[
        str, Query(pattern=r"^([1-9]\d\d|[245]xx)?$", description="A class (2xx, 4xx, 5xx) or one.")
    ] = "",
    endpoint: Annotated[Text, Query(description="The call type: chat.completions, …")] = "",
    stream: bool | None = None,
    error: Annotated[Text, Query(description="An error code.")] = "",
    origin: Literal["", "client", "playground"] = "",
    id: Annotated[Text, Query(description="The request id.")] = "",
) -> Search:
    """What everybody may look for."""
    outcome = Outcomes(status) if status.endswith("xx") or status == Outcomes.CLIENT_LEFT else None
    return Search(
        token_id=token,
        model=_or_none(model),
        group_id=group,
        outcome=outcome,
        status=int(status) if status and outcome is None else None,
        endpoint=_or_none(endpoint),
        stream=stream,
        error=_or_none(error),
        origin={"": None, "client": ""}.get(origin, origin),
        rid=_or_none(id),
        from_ms=moment(start, "from"),
        to_ms=moment(end, "to"),
    )


def moment(text: str, field: str) -> int | None:
    """Unix milliseconds; a date is its first moment, and without a zone it is UTC."""
    if not text:
        return None
    try:
        meant = datetime.fromisoformat(text)
        meant = meant if meant.tzinfo else meant.replace(tzinfo=UTC)
        # From 1970 to 9999, where every month has a name.
        return min(max(int(meant.timestamp() * 1000), 0), _LAST_MS)
    except (ValueError, OverflowError):
        raise Invalid(
            "invalid_moment", "write it as 2027-01-31 or 2027-01-31T18:00:00Z", field=field
        ) from None


_LAST_MS = 253_402_300_799_999


def _or_none(text: str) -> str | None:
    if "\0" in text:
        raise Invalid("invalid_filter", "a filter has no NUL in it")
    return text or None


# --- showing --------------------------------------------------------------------------------------


def call_shown(call: CallRow, names: Names) -> CallShown:
    """A call as its owner sees it."""
    return CallShown(**_fields(call, names))


def call_for_operators(call: CallRow, names: Names) -> CallForOperators:
    """A call as operators see it."""
    call = names.told(call)
    return CallForOperators(
        **_fields(call, names),
        user=_named(call.user_id, names.users),
        cost=format_cny(call.cost_nano),
        margin=format_cny(call.charged_nano - call.cost_nano),
        written_off=format_cny(call.written_off_nano),
        vendor=_named(call.vendor_id, names.vendors),
        key=_named(call.key_id, names.keys),
        upstream_model=call.upstream_model,
        upstream_request_id=call.upstream_request_id,
        price_id=call.price_id,
        cost_price_id=call.cost_price_id,
        cost_multiplier=format_multiplier(call.cost_ppm),
        attempts=[_attempt(one, names) for one in msgspec.json.decode(call.attempts or "[]")],
    )


def _fields(call: CallRow, names: Names) -> dict[str, Any]:
    return {
        "id": call.rid,
        "at": iso_ms(call.at_ms),
        "token": _named(call.token_id, names.tokens),
        "model": call.model,
        "group": _named(call.group_id, names.groups),
        "endpoint": call.endpoint,
        "stream": bool(call.stream),
        "status": call.status,
        "error": call.error,
        "input_tokens": call.input_tokens,
        "cached_tokens": call.cached_tokens,
        "output_tokens": call.output_tokens,
        "reasoning_tokens": call.reasoning_tokens,
        "units": units_shown(call),
        "usage_source": _SOURCES[call.usage_source],
        "multiplier": format_multiplier(call.multiplier_ppm),
        "charge": format_cny(call.charged_nano),
        "hold": format_cny(call.hold_nano),
        "first_token_ms": call.first_token_ms if call.first_token_ms >= 0 else None,
        "duration_ms": call.duration_ms,
        "ip": call.ip,
        "user_agent": call.user_agent,
        "origin": call.origin,
        "calls": call.calls,
        "recovered": bool(call.recovered),
    }


def units_shown(call: CallRow) -> dict[str, int]:
    """What a call used besides text, without what it did not."""
    if not call.units:
        return {}
    units = msgspec.json.decode(call.units, type=Units)
    amounts: dict[str, int] = {name: getattr(units, name) for name in units.__struct_fields__}
    return {name: amount for name, amount in amounts.items() if amount}


def _attempt(one: list[Any], names: Names) -> AttemptShown:
    vendor_id, key_id, status, reason, duration_ms, *rest = one
    return AttemptShown(
        vendor=_named(vendor_id, names.vendors),
        key=_named(key_id, names.keys),
        model=rest[0] if rest else "",
        status=status or None,
        reason=reason,
        duration_ms=duration_ms,
    )


def _named(number: int, names: Mapping[int, str]) -> Named:
    return Named(id=number, name=names.get(number))


def bill_shown(call: CallRow, bill: Bill) -> BillShown:
    """The bill of a call."""
    return BillShown(
        id=call.rid,
        price_id=call.price_id,
        above_tokens=bill.above_tokens,
        lines=[LineShown(**{**line._asdict(), "part": line.part.value}) for line in bill.lines],
        list_total=bill.list_total,
        multiplier=bill.multiplier,
        total=format_cny(bill.total_nano),
        charge=format_cny(call.charged_nano),
        written_off=format_cny(call.written_off_nano),
        recovered=bool(call.recovered),
    )
