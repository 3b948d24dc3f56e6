"""May this call be made, and what can it cost at most? Pure.

Two decisions, because they fall at two moments: `may_use` at the end of the headers, before
a byte of the body is read, and `admit` when the body is whole.
"""

from __future__ import annotations

import msgspec

from aipool.gateway.body import ChatBody
from aipool.gateway.catalogue import Catalogue, Offer
from aipool.gateway.errors import Refusal, forbidden, invalid, not_found, out_of_funds, unauthorized
from aipool.gateway.rolling import FIRST_TOKENS, SLICE_TOKENS, extend_at
from aipool.gateway.tokens import Token
from aipool.kit.money import AMOUNT_NANO_MAX
from aipool.rating.rate import Dearest, output_tokens_for
from aipool.rating.rate import worst_case as worst_case_at
from aipool.rating.types import TOKENS_MAX

#: A cap the gateway writes itself is never below this: an answer of fewer tokens helps nobody.
OUTPUT_TOKENS_LEAST = 16

_BLOCKED = {
    "disabled": unauthorized("This API token is disabled.", "token_disabled"),
    "user_frozen": unauthorized("The account of this API token is frozen.", "account_frozen"),
    "group_not_granted": forbidden(
        "group_not_granted", "The account has lost access to this API token's group."
    ),
}
_EXPIRED = unauthorized("This API token has expired.", "token_expired")
_ADDRESS = forbidden("ip_not_allowed", "This API token may not be used from this address.")

MISSING_TOKEN = unauthorized(
    "No API token was given. Send it as `Authorization: Bearer sk-…`.", "missing_api_key"
)
UNKNOWN_TOKEN = unauthorized("This API token does not exist.")


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """A call that may be made.

    hold_nano: its worst case, or that of the beginning of a stream (gateway.rolling).
    input_tokens: the upper bound that it holds for.  output_tokens: the most it may answer.
    held_tokens: how many of them the hold covers.
    """

    offer: Offer
    hold_nano: int
    input_tokens: int
    output_tokens: int
    held_tokens: int


def may_use(token: Token, address: str, now_seconds: float) -> Refusal | None:
    """May this token be used by this client now? None = yes."""
    view = token.view
    if view.blocked:
        return _BLOCKED.get(view.blocked, _BLOCKED["disabled"])
    if view.expires_at and now_seconds >= view.expires_at:
        return _EXPIRED
    if token.addresses and address not in token.addresses:
        return _ADDRESS
    return None


def admit(body: ChatBody, token: Token, catalogue: Catalogue) -> Admitted | Refusal:
    """May this token call this model, and what must be held for it?"""
    view = token.view
    offer = catalogue.offer(view.group_id, body.model)
    if offer is None or (token.models is not None and body.model not in token.models):
        return _not_for_you(body.model, catalogue)
    if not offer.is_chat:
        return invalid(
            f"The model {body.model!r} is not for chat completions.", "model", "wrong_endpoint"
        )
    input_tokens = body.input_tokens_max
    input_tokens = min(input_tokens, offer.context_tokens)
    cap = body.output_cap
    if cap is None:
        cap = offer.max_output_tokens
    output_tokens = cap * body.choices
    held_tokens = output_tokens
    if body.stream and offer.rolls:
        held_tokens = min(output_tokens, FIRST_TOKENS * body.choices)
    hold_nano = worst_case(offer, input_tokens, held_tokens)
    if hold_nano > AMOUNT_NANO_MAX:
        return out_of_funds("This call could cost more than any one call may.")
    return Admitted(offer, hold_nano, input_tokens, output_tokens, held_tokens)


def held_further(admitted: Admitted, counted_tokens: int) -> Admitted:
    """The same call with as many more slices of its answer held as cover what is counted."""
    held_tokens = admitted.held_tokens
    while True:
        held_tokens = min(admitted.output_tokens, held_tokens + SLICE_TOKENS)
        due = extend_at(held_tokens, admitted.output_tokens)
        if due is None or due > counted_tokens:
            break
    hold_nano = worst_case(admitted.offer, admitted.input_tokens, held_tokens)
    return msgspec.structs.replace(admitted, held_tokens=held_tokens, hold_nano=hold_nano)


def worst_case(offer: Offer, input_tokens: int, output_tokens: int) -> int:
    """The most that this many tokens can be charged, in nano-yuan."""
    return worst_case_at(
        _most(offer, input_tokens), input_tokens, output_tokens, offer.multiplier_ppm
    )


def _most(offer: Offer, input_tokens: int) -> Dearest:
    """What tokens cost at most in a call whose input is at most so long."""
    dearest = offer.dearest
    most = dearest[0]
    for tier in dearest[1:]:
        if input_tokens <= tier.above_tokens:
            break
        most = tier
    return most


def reduced_cap(
    body: ChatBody, admitted: Admitted, available_nano: int, input_estimate: int
) -> tuple[int, Admitted] | None:
    """The largest output cap that `available_nano` covers, and the smaller hold.

    Only for a call that set no cap itself. input_estimate: tokens the input is likely to
    take of the context. None when not even a short answer is covered.
    """
    offer = admitted.offer
    if body.output_cap is not None:
        return None
    tokens = output_tokens_for(
        available_nano,
        input_tokens=admitted.input_tokens,
        most=_most(offer, admitted.input_tokens),
        multiplier_ppm=offer.multiplier_ppm,
    )
    room = max(offer.context_tokens - input_estimate, OUTPUT_TOKENS_LEAST)
    cap = min(tokens // body.choices, offer.max_output_tokens, room, TOKENS_MAX)
    if cap < OUTPUT_TOKENS_LEAST:
        return None
    tokens = cap * body.choices
    hold = worst_case(offer, admitted.input_tokens, tokens)
    return cap, Admitted(offer, hold, admitted.input_tokens, tokens, tokens)


def _not_for_you(model: str, catalogue: Catalogue) -> Refusal:
    if model in catalogue.models:
        return forbidden(
            "model_not_allowed", f"This API token may not call the model {model!r}.", "model"
        )
    return not_found(f"There is no model {model!r}.", "model_not_found", "model")
