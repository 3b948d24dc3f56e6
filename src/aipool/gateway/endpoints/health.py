"""GET /health/live and /health/ready: answered by the worker itself, whoever else is down.

Ready means that calls can be admitted here: a catalogue is at hand, the journal can be
written, and the worker is not on its way out. Other processes being down is told, and is no
reason to take a worker that still serves out of rotation.
"""

from __future__ import annotations

import msgspec

from aipool.gateway.context import Context
from aipool.gateway.endpoints.base import Endpoint
from aipool.wire.exchange import Exchange

_JSON = b"Content-Type: application/json\r\nCache-Control: no-store\r\n"


def _live(context: Context, endpoint: Endpoint, exchange: Exchange) -> None:
    context.counters.answered(endpoint.name, 200)
    exchange.answer(200, _JSON, b'{"status":"live"}')


def _ready(context: Context, endpoint: Endpoint, exchange: Exchange) -> None:
    problems = [
        name
        for name, wrong in (
            ("no_catalogue", context.catalogue is None),
            ("draining", context.draining),
            ("journal_not_writable", not context.journal.admitting),
        )
        if wrong
    ]
    status = 503 if problems else 200
    body = msgspec.json.encode(
        {
            "status": "not ready" if problems else "ready",
            "problems": problems,
            "ledger": "up" if context.ledger_up() else "down",
        }
    )
    context.counters.answered(endpoint.name, status)
    exchange.answer(status, _JSON, body)


LIVE = Endpoint("health.live", "GET", "/health/live", _live)
READY = Endpoint("health.ready", "GET", "/health/ready", _ready)
