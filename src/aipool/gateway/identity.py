"""Which token does a request present? At hand, looked up, or none."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from aipool.gateway.admission import MISSING_TOKEN, UNKNOWN_TOKEN
from aipool.gateway.context import Context
from aipool.gateway.errors import Refusal, unavailable
from aipool.gateway.headers import credential
from aipool.gateway.tokens import Token
from aipool.wire.exchange import Exchange


class Memo(NamedTuple):
    """What a connection presented last, and its digest: most connections are one client's.

    Only the hashing is saved; whether the token may be used is looked up each time.
    """

    presented: bytes
    digest: bytes


_UNCHECKED = unavailable("ledger_unavailable", "API tokens cannot be checked just now.")
_TOO_MANY = unavailable("overloaded", "Too many unknown API tokens are being tried.")


def find_token(
    context: Context, exchange: Exchange, address: str, later: Callable[[Token | Refusal], None]
) -> Token | Refusal | None:
    """The token of this request, or why there is none.

    None: it is being looked up, the body is not read meanwhile, and `later` gets the answer.
    A token that cannot be checked is never called unknown: that is a 503.
    """
    peer = exchange.connection
    headers = exchange.headers
    tokens = context.tokens
    memo = peer.memo
    presented = headers.get(b"authorization")
    if presented is not None and isinstance(memo, Memo) and memo.presented == presented:
        digest = memo.digest
    else:
        secret = credential(headers, exchange.query)
        if secret is None:
            return MISSING_TOKEN
        if not tokens.is_well_formed(secret):
            return UNKNOWN_TOKEN
        digest = tokens.digest(secret)
        if presented is not None:
            peer.memo = Memo(presented, digest)
    token = tokens.get(digest)
    if token is not None:
        return token
    if tokens.is_unknown(digest):
        return UNKNOWN_TOKEN
    bucket = context.limit_bucket(address)
    if not tokens.may_look_up(bucket):
        return _TOO_MANY

    def found(looked_up: Token | None, answered: bool) -> None:
        if looked_up is not None:
            later(looked_up)
        else:
            later(UNKNOWN_TOKEN if answered else _UNCHECKED)

    exchange.hold_body()
    tokens.fetch(digest, bucket, found)
    return None
