"""Usage → charge → Outcome: the fact that is left of a call, however it ended. Pure.

When it happens, and that it happens once, is `Call.settle`'s.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from aipool.doors.outcome import Attempt, Outcome, UsageSource
from aipool.doors.records import Hold
from aipool.kit.money import AMOUNT_NANO_MAX, PPM
from aipool.rating.rate import rate
from aipool.rating.types import Usage

if TYPE_CHECKING:
    from aipool.gateway.admission import Admitted
    from aipool.gateway.call import Call
    from aipool.gateway.candidates import Candidate
    from aipool.gateway.catalogue import Offer
    from aipool.gateway.tokens import Token

#: A report of this many times the gateway's own estimate is called suspicious.
SUSPICIOUS_FACTOR = 4

_MODEL_CHARACTERS_MAX = 200
_USER_AGENT_BYTES_MAX = 200


def charge_of(offer: Offer, usage: Usage) -> int:
    """What this usage costs the customer, in nano-yuan; at most what one transfer may move."""
    return min(rate(usage, offer.price, offer.multiplier_ppm), AMOUNT_NANO_MAX)


def cost_of(candidate: Candidate, usage: Usage) -> int:
    """What this usage costs us, in nano-yuan; at most what one transfer may move. Above that it is
    a broken report or a mistyped cost, and neither a journal nor a column would hold it."""
    return min(rate(usage, candidate.cost, candidate.cost_ppm), AMOUNT_NANO_MAX)


def outcome_of(
    call: Call,
    token: Token,
    status: int,
    error: str,
    usage: Usage,
    source: UsageSource,
    charge_nano: int,
    now: float,
) -> Outcome:
    """The call as it is recorded.

    status, error: what the client was told.  now: loop time, in the clock of `call.started`.
    """
    view, admitted, relay, body = token.view, call.admitted, call.relay, call.body
    price_id = multiplier_ppm = hold_nano = cost_nano = vendor_id = key_id = cost_price_id = 0
    cost_ppm = PPM
    budgets: tuple[tuple[str, int], ...] = ()
    upstream_model = upstream_request_id = ""
    attempts: tuple[Attempt, ...] = ()
    first_token_ms = -1
    if admitted is not None:
        offer = admitted.offer
        price_id, multiplier_ppm = offer.price.id, offer.multiplier_ppm
        if call.held:
            hold_nano, budgets = admitted.hold_nano, call.budgets
    if relay is not None:
        attempts = tuple(relay.attempts)
        first_token_ms = relay.first_token_ms
        upstream_request_id = relay.upstream_request_id
        candidate = relay.candidate
        if candidate is not None:
            vendor_id, key_id = candidate.key.vendor_id, candidate.key.id
            upstream_model = candidate.called_model
            cost_price_id, cost_ppm = candidate.cost.id, candidate.cost_ppm
            cost_nano = cost_of(candidate, usage)
    user_agent = call.exchange.headers.get(b"user-agent", b"")
    return Outcome(
        call.rid,
        call.at_ms,
        int((now - call.started) * 1000),
        first_token_ms,
        view.user_id,
        view.id,
        view.group_id,
        "" if body is None else body.model[:_MODEL_CHARACTERS_MAX],
        call.endpoint.name,
        body is not None and body.stream,
        status,
        error,
        *usage[:4],
        source,
        price_id,
        multiplier_ppm,
        charge_nano,
        hold_nano,
        budgets,
        cost_nano,
        vendor_id,
        key_id,
        upstream_model,
        upstream_request_id,
        attempts,
        call.address,
        user_agent[:_USER_AGENT_BYTES_MAX].decode("latin-1"),
        False,
        usage.units,
        cost_price_id,
        cost_ppm,
        view.origin,
    )


def hold_of(call: Call, admitted: Admitted) -> Hold:
    """What is held for a call, as it is journaled: all that recovery needs to settle it alone."""
    token = call.token
    assert token is not None
    view, offer = token.view, admitted.offer
    return Hold(
        call.rid,
        call.at_ms,
        view.user_id,
        view.id,
        view.group_id,
        offer.model,
        call.endpoint.name,
        call.body is not None and call.body.stream,
        admitted.hold_nano,
        call.budgets,
        offer.price,
        offer.multiplier_ppm,
        call.address,
        view.origin,
    )


def alarm_of(
    call: Call, admitted: Admitted, usage: Usage, charge_nano: int
) -> dict[str, str | int]:
    """The vendor reports more than could be: somebody has to look at the model's entry (its
    context, its output cap), or at the vendor."""
    estimate = call.input_estimate()
    return {
        "request_id": call.rid,
        "model": admitted.offer.model,
        "hold_nano": admitted.hold_nano,
        "charge_nano": charge_nano,
        "input_tokens": usage.input_tokens,
        "input_estimate": estimate,
        "output_tokens": usage.output_tokens,
        "suspicious": int(usage.input_tokens > SUSPICIOUS_FACTOR * max(estimate, 1)),
    }
