"""HEAD /: coding agents ask it before anything else, to see whether somebody is there."""

from __future__ import annotations

from aipool.gateway.context import Context
from aipool.gateway.endpoints.base import Endpoint
from aipool.wire.exchange import Exchange


def _begin(context: Context, endpoint: Endpoint, exchange: Exchange) -> None:
    context.counters.answered(endpoint.name, 200)
    exchange.answer(200, b"", b"")


ROOT = Endpoint("root", "HEAD", "/", _begin)
