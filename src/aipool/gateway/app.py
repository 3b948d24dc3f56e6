"""Where a request goes: the table of contents of the gateway.

POST /v1/chat/completions …   the endpoints, under /v1, /openai/v1 and bare
OPTIONS /v1/…                 what a page of another origin may do
anything else under /v1       404 or 405, in OpenAI's shape
everything else               the control process: console, payments, set-up
"""

from __future__ import annotations

import time

from aipool.gateway import errors, problems
from aipool.gateway.context import Context
from aipool.gateway.endpoints import ENDPOINTS
from aipool.gateway.endpoints.base import Endpoint
from aipool.gateway.errors import Refusal
from aipool.gateway.headers import credential
from aipool.gateway.proxy import ControlProxy
from aipool.wire.exchange import Exchange

_PREFIX = b"/v1/"


class App:
    """Takes each exchange at the end of its headers."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._exact: dict[tuple[bytes, bytes], Endpoint] = {}
        self._deeper: dict[tuple[bytes, bytes], Endpoint] = {}
        for endpoint in ENDPOINTS:
            table = self._deeper if endpoint.path != "/" and endpoint.path.endswith("/") else None
            key = (endpoint.method.encode(), endpoint.path.encode())
            (self._exact if table is None else table)[key] = endpoint

    def begin(self, exchange: Exchange) -> None:
        """Find whose request this is."""
        endpoint = self._exact.get((exchange.method, exchange.path))
        if endpoint is not None:
            endpoint.begin(self._context, endpoint, exchange)
        else:
            self._begin_otherwise(exchange)

    def _begin_otherwise(self, exchange: Exchange) -> None:
        path = self._canonical(exchange)
        if not path.startswith(_PREFIX):
            ControlProxy(self._context, exchange).start()
            return
        if exchange.method == b"OPTIONS":
            self._preflight(exchange)
            return
        endpoint = self._find(exchange.method, path)
        if endpoint is not None:
            endpoint.begin(self._context, endpoint, exchange)
            return
        methods = [
            method for method in (b"GET", b"POST", b"HEAD") if self._find(method, path) is not None
        ]
        if methods:
            self._refuse(
                exchange,
                Refusal(
                    405,
                    "invalid_request_error",
                    "method_not_allowed",
                    f"This path takes {b', '.join(methods).decode()}.",
                ),
                b"Allow: %b\r\n" % b", ".join(methods),
            )
        else:
            self._refuse(exchange, errors.not_found("There is no such endpoint.", "unknown_url"))

    def _canonical(self, exchange: Exchange) -> bytes:
        """The path under /v1 that is meant.

        A client configured without /v1 asks for /chat/completions; a console page might
        have the same path as a GET, so bare paths count only with a credential.
        """
        path = exchange.path
        if path.startswith(b"/openai/v1/"):
            return path[len(b"/openai") :]
        if path.startswith(_PREFIX):
            return path
        under = _PREFIX + path[1:]
        if self._find(exchange.method, under) is not None and (
            exchange.method == b"POST" or credential(exchange.headers, exchange.query) is not None
        ):
            return under
        return path

    def _find(self, method: bytes, path: bytes) -> Endpoint | None:
        found = self._exact.get((method, path))
        if found is None and not path.endswith(b"/"):
            found = self._deeper.get((method, path[: path.rfind(b"/") + 1]))
        return found

    def _preflight(self, exchange: Exchange) -> None:
        headers = exchange.headers
        self._context.counters.answered("preflight", 204)
        exchange.answer(
            204,
            self._context.cors.preflight(
                headers.get(b"origin"), headers.get(b"access-control-request-headers")
            ),
            b"",
        )

    def _refuse(self, exchange: Exchange, refusal: Refusal, more: bytes = b"") -> None:
        context = self._context
        rid = context.next_rid(time.time_ns() // 1_000_000)
        context.counters.answered("other", refusal.status)
        exchange.answer(
            refusal.status,
            b"%b%bx-request-id: %b\r\n%b"
            % (
                errors.headers_of(refusal),
                more,
                rid.encode(),
                context.cors.headers(exchange.headers.get(b"origin")),
            ),
            errors.body_of(refusal, rid),
        )

    def refusal(self, status: int, code: str, message: str, target: bytes) -> tuple[bytes, bytes]:
        """The shape of what the wire layer refuses by itself."""
        context = self._context
        rid = context.next_rid(time.time_ns() // 1_000_000)
        context.counters.answered("wire", status)
        if status == 413:
            code = "request_too_large"
        if problems.is_told(target.partition(b"?")[0]):
            context.log.call(rid=rid, status=status, code=code, path="")
            return problems.problem(status, code, message, rid)
        kind = "overloaded_error" if status == 503 else "invalid_request_error"
        refusal = Refusal(status, kind, code, message, None, 1 if status == 503 else 0)
        context.log.call(rid=rid, status=status, code=code, path="")
        return (
            errors.headers_of(refusal) + b"x-request-id: %b\r\n" % rid.encode(),
            errors.body_of(refusal, rid),
        )
