"""POST /v1/chat/completions: the metered call, streamed or not."""

from __future__ import annotations

from aipool.gateway.call import Call
from aipool.gateway.context import Context
from aipool.gateway.endpoints.base import Endpoint
from aipool.wire.exchange import Exchange


def _begin(context: Context, endpoint: Endpoint, exchange: Exchange) -> None:
    call = Call(context, endpoint, exchange)
    exchange.listener = call
    call.identify()


CHAT_COMPLETIONS = Endpoint("chat.completions", "POST", "/v1/chat/completions", _begin)
