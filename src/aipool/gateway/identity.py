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
    """The token a connection presented last, and its digest: most connections are one
    client's. Kept by the token itself, wherever in the request it stood, for a proxy may
    carry many clients over one connection.

    Only the hashing is saved; whether the token may be used is looked up each time.
    """

    secret: bytes
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
    tokens = context.tokens
    secret = credential(exchange.headers, exchange.query)
    if secret is None:
        return MISSING_TOKEN
    memo = peer.memo
    if isinstance(memo, Memo) and memo.secret == secret:
        digest = memo.digest
    elif tokens.is_well_formed(secret):
        digest = tokens.digest(secret)
        peer.memo = Memo(secret, digest)
    else:
        return UNKNOWN_TOKEN
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
