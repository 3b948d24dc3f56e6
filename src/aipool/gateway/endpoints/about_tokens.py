"""GET /v1/token and /v1/calls/{request_id}: what a token may ask about itself and its calls.

Both are answered from the books, which a worker does not have: the control process answers, and
finds out for itself whose token it is.
"""

from __future__ import annotations

from aipool.gateway.context import Context
from aipool.gateway.endpoints.base import Endpoint
from aipool.gateway.proxy import ControlProxy
from aipool.wire.exchange import Exchange


def _begin(context: Context, endpoint: Endpoint, exchange: Exchange) -> None:
    target = endpoint.path.encode()
    if endpoint.path.endswith("/"):
        target += exchange.path.rpartition(b"/")[2]
    # Any page may call under /v1 with a token of its own, here as at the other endpoints.
    cors = context.cors.headers(exchange.headers.get(b"origin"))
    ControlProxy(context, exchange, target, cors).start()


TOKEN = Endpoint("token", "GET", "/v1/token", _begin)
CALL = Endpoint("token.call", "GET", "/v1/calls/", _begin)
