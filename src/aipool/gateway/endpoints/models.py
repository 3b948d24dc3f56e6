"""GET /v1/models and /v1/models/{id}: what this token may call, in OpenAI's shape."""

from __future__ import annotations

import time
from urllib.parse import unquote_to_bytes

import msgspec

from aipool.doors.snapshot import ModelView
from aipool.gateway import errors
from aipool.gateway.access import client_address
from aipool.gateway.admission import may_use
from aipool.gateway.context import Context
from aipool.gateway.endpoints.base import Endpoint
from aipool.gateway.errors import Refusal
from aipool.gateway.identity import find_token
from aipool.gateway.tokens import Token
from aipool.wire.exchange import Exchange

_encode = msgspec.json.Encoder().encode


class ModelsQuery:
    """One question about models. The listener of its exchange; its body is ignored."""

    __slots__ = ("_at_ms", "_context", "_endpoint", "_exchange", "_gone", "_rid")

    def __init__(self, context: Context, endpoint: Endpoint, exchange: Exchange) -> None:
        self._context = context
        self._endpoint = endpoint
        self._exchange = exchange
        self._at_ms = time.time_ns() // 1_000_000
        self._rid = context.next_rid(self._at_ms)
        self._gone = False

    def start(self) -> None:
        """Find out who asks."""
        found = find_token(self._context, self._exchange, self._address(), self._found)
        if found is not None:
            self._found(found)

    def body_complete(self) -> None:
        """A GET's body means nothing."""

    def client_gone(self) -> None:
        """Nobody is there to be told."""
        self._gone = True

    def writable(self, ok: bool) -> None:
        """Answers are small."""

    def _address(self) -> str:
        return client_address(
            self._exchange.connection.address,
            self._exchange.headers.get(b"x-forwarded-for"),
            self._context.trusted_proxies,
        )

    def _found(self, found: Token | Refusal) -> None:
        if self._gone:
            return
        if isinstance(found, Refusal):
            self._refuse(found)
            return
        refusal = may_use(found, self._address(), self._at_ms / 1000)
        if refusal is not None:
            self._refuse(refusal)
            return
        catalogue = self._context.catalogue
        if catalogue is None:
            self._refuse(errors.unavailable("ledger_unavailable", "Models are not known yet."))
            return
        sold = catalogue.sold_to(found.view.group_id, found.models)
        if self._endpoint is MODELS:
            self._answer({"object": "list", "data": [_shape(model) for model in sold]})
            return
        name = unquote_to_bytes(self._exchange.path.rpartition(b"/models/")[2]).decode(
            "utf-8", "replace"
        )
        for model in sold:
            if model.name == name:
                self._answer(_shape(model))
                return
        self._refuse(errors.not_found("There is no such model.", "model_not_found", "model"))

    def _answer(self, body: object) -> None:
        self._context.counters.answered(self._endpoint.name, 200)
        self._exchange.answer(
            200, b"Content-Type: application/json\r\n" + self._headers(), _encode(body)
        )

    def _refuse(self, refusal: Refusal) -> None:
        self._context.counters.answered(self._endpoint.name, refusal.status)
        self._exchange.answer(
            refusal.status,
            errors.headers_of(refusal) + self._headers(),
            errors.body_of(refusal, self._rid),
        )

    def _headers(self) -> bytes:
        return b"x-request-id: %b\r\n%b" % (
            self._rid.encode(),
            self._context.cors.headers(self._exchange.headers.get(b"origin")),
        )


def _shape(model: ModelView) -> dict[str, object]:
    return {
        "id": model.name,
        "object": "model",
        "created": model.created_at,
        "owned_by": "aipool",
    }


def _begin(context: Context, endpoint: Endpoint, exchange: Exchange) -> None:
    query = ModelsQuery(context, endpoint, exchange)
    exchange.listener = query
    query.start()


MODELS = Endpoint("models", "GET", "/v1/models", _begin)
MODEL = Endpoint("models", "GET", "/v1/models/", _begin)
