"""DOOR up: one fact per call, journaled first, then recorded with its money."""

from __future__ import annotations

from enum import IntEnum

import msgspec

from aipool.rating.types import Units


class UsageSource(IntEnum):
    """Where the token counts of a call come from."""

    NONE = 0  # nothing was served
    VENDOR = 1  # the vendor reported them
    COUNTED = 2  # the gateway counted what it relayed


class Attempt(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One try at one upstream key. status: the vendor's, 0 = no answer.  reason: "" = well.
    upstream_model: the name the key was called with."""

    vendor_id: int
    key_id: int
    status: int
    reason: str
    duration_ms: int
    upstream_model: str = ""


class Outcome(msgspec.Struct, tag="S", array_like=True, frozen=True, gc=False):
    """How a call ended, once. It is the journal's S record, the entry that is shipped
    and the call's row.

    rid: the request id, ordered by time.  at_ms: unix milliseconds of its arrival.
    status: what the client was sent; 499 = it had left.  error: the error code or "".
    first_token_ms: -1 when no content came.
    budgets: the chain that held the money, () when nothing was held.
    hold_nano: what was held on each of them.  charge_nano: the rating of the usage at
    `price_id` and `multiplier_ppm`; it may exceed the hold (the recorder then takes the
    rest from unleased balance and writes off what is missing).
    recovered: settled from the journal of a worker that died.
    units: what it used besides tokens of text.  cost_nano: the rating of the usage at
    `cost_price_id`, times cost_ppm of a million: the upstream key's discount.
    origin: "" = a client's own call, "playground".
    calls: how many calls this stands for: refusals beyond the first of a minute share a row.
    """

    rid: str
    at_ms: int
    duration_ms: int
    first_token_ms: int
    user_id: int
    token_id: int
    group_id: int
    model: str
    endpoint: str
    stream: bool
    status: int
    error: str
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    reasoning_tokens: int
    usage_source: int
    price_id: int
    multiplier_ppm: int
    charge_nano: int
    hold_nano: int
    budgets: tuple[tuple[str, int], ...]
    cost_nano: int
    vendor_id: int
    key_id: int
    upstream_model: str
    upstream_request_id: str
    attempts: tuple[Attempt, ...]
    ip: str
    user_agent: str
    recovered: bool
    units: Units | None = None
    cost_price_id: int = 0
    cost_ppm: int = 1_000_000
    origin: str = ""
    calls: int = 1
