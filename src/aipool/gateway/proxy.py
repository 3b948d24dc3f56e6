"""Everything that is not the gateway's own goes to the control process, over a Unix socket.

So one port is exposed. What a stranger says about where a request comes from is replaced by
what is known: forwarding headers of peers that are no trusted proxies are dropped, and the
verified client and scheme are put in their place. Answers stream through with back-pressure
and no limit between bytes: an export may take its time. A request that is under way when
the worker drains is cut at once; it is a person's, who can repeat it, not a customer's call.
"""

from __future__ import annotations

import time

from aipool.gateway import problems
from aipool.gateway.access import client_address
from aipool.gateway.context import Context
from aipool.wire.exchange import Exchange
from aipool.wire.request import Failure, Request

#: More than the control process takes (control.guard), which says so itself of what is a little too
#: large. Bodies are held here before anybody knows whose they are, in room that calls need.
BODY_BYTES_MAX = 1 << 20
#: Of a list of prices; so many at a time.
_PRICES = b"/api/admin/prices/import/"
PRICES_BODY_BYTES_MAX = 13 << 20
PRICES_AT_ONCE_MAX = 4

_CONNECT_OR_FIRST_BYTE_SECONDS = 120.0
_NO_LIMIT_SECONDS = 24 * 3600.0

#: Belong to one connection, or are said anew by us.
_NOT_FORWARDED = frozenset(
    {
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"expect",
        b"content-length",
        b"forwarded",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-forwarded-port",
        b"x-forwarded-prefix",
        b"x-real-ip",
    }
)

_TOO_LARGE = "A request here has at most {most} bytes."
_UNAVAILABLE = "The platform's interface is restarting; calls are not affected. Try again soon."
_DOWN = (
    b"<!doctype html><html lang=en><meta charset=utf-8><title>Back in a moment</title>"
    b"<p>The console is restarting. API calls are not affected. "
    b"Please reload this page in a few seconds.</p></html>"
)


class ControlProxy:
    """One request on its way to the control process. Listener of both sides."""

    __slots__ = ("_context", "_exchange", "_extra", "_request", "_started", "_target", "bytes_max")

    def __init__(
        self,
        context: Context,
        exchange: Exchange,
        target: bytes | None = None,
        extra: bytes = b"",
    ) -> None:
        """target: what is asked for there, None = what was asked for here.  extra: header lines
        of every answer."""
        self._context = context
        self._exchange = exchange
        self._target = exchange.target if target is None else target
        self._extra = extra
        self._request: Request | None = None
        self._started = False
        self.bytes_max = self._most()

    def start(self) -> None:
        """Wait for the body, if it may be as large as it says."""
        exchange = self._exchange
        if exchange.content_length is not None and exchange.content_length > self.bytes_max:
            self._context.counters.answered("control", 413)
            said = _TOO_LARGE.format(most=self.bytes_max)
            exchange.answer(413, *self._problem(413, "request_too_large", said))
            return
        exchange.bound_body(self.bytes_max)
        exchange.listener = self
        exchange.no_stall_limit()
        self._context.proxied.add(self)

    def _most(self) -> int:
        """The largest body it is passed on with."""
        if not self._target.startswith(_PRICES):
            return BODY_BYTES_MAX
        large = sum(each.bytes_max > BODY_BYTES_MAX for each in self._context.proxied)
        return PRICES_BODY_BYTES_MAX if large < PRICES_AT_ONCE_MAX else BODY_BYTES_MAX

    # --- the client's side ----------------------------------------------------------------

    def body_complete(self) -> None:
        """Pass the request on."""
        exchange = self._exchange
        body = exchange.body
        self._request = self._context.plain.request(
            self._context.control,
            self._head(len(body)),
            body,
            self,
            first_byte_seconds=_CONNECT_OR_FIRST_BYTE_SECONDS,
            idle_seconds=_NO_LIMIT_SECONDS,
            total_seconds=_NO_LIMIT_SECONDS,
        )

    def client_gone(self) -> None:
        """Nobody waits for the answer."""
        self._end()
        if self._request is not None:
            self._request.cancel()

    def writable(self, ok: bool) -> None:
        """Back-pressure of the client."""
        if self._request is not None:
            if ok:
                self._request.resume()
            else:
                self._request.pause()

    def cut(self) -> None:
        """The worker drains."""
        self.client_gone()
        self._exchange.abort()

    # --- control's side -------------------------------------------------------------------

    def response(self, status: int, headers: dict[bytes, bytes]) -> bool:
        """Pass the head on, its framing made anew."""
        lines: list[bytes] = []
        for name, value in headers.items():
            if name in _NOT_FORWARDED:
                continue
            # Repeated cookies come joined by line feeds; each is a line of its own.
            lines += [b"%b: %b\r\n" % (name, line) for line in value.split(b"\n")]
        length = headers.get(b"content-length")
        self._started = True
        self._context.counters.answered("control", status)
        self._exchange.start(
            status,
            b"".join(lines) + self._extra,
            length=int(length) if length is not None else None,
        )
        return True

    def data(self, chunk: bytes) -> None:
        """Pass a piece on."""
        self._exchange.send(chunk)

    def complete(self, body: bytes) -> None:
        """The clean end."""
        self._end()
        self._exchange.end()

    def failed(self, failure: Failure) -> None:
        """Control is down, or went down in the middle."""
        self._end()
        if self._started:
            self._exchange.abort()
            return
        self._context.counters.answered("control", 503)
        if problems.is_told(self._exchange.path):
            headers, body = self._problem(503, "control_unavailable", _UNAVAILABLE)
            self._exchange.answer(503, b"Retry-After: 2\r\n" + headers, body)
            return
        self._exchange.answer(
            503,
            b"Content-Type: text/html; charset=utf-8\r\nRetry-After: 2\r\n"
            b"Cache-Control: no-store\r\n" + self._extra,
            _DOWN,
        )

    # --- inside ---------------------------------------------------------------------------

    def _head(self, length: int) -> bytes:
        exchange, context = self._exchange, self._context
        headers = exchange.headers
        peer = exchange.connection
        client = client_address(
            peer.address, headers.get(b"x-forwarded-for"), context.trusted_proxies
        )
        scheme = b"https" if peer.tls else b"http"
        if peer.address in context.trusted_proxies:
            scheme = _scheme_of(headers.get(b"x-forwarded-proto", b"")) or scheme
        named = headers.get(b"connection", b"").lower()
        dropped = {name.strip() for name in named.split(b",")}
        lines = [
            b"%b: %b\r\n" % (name, value)
            for name, value in headers.items()
            if name not in _NOT_FORWARDED and name not in dropped
        ]
        return b"%b %b HTTP/1.1\r\n%bX-Forwarded-For: %b\r\nX-Forwarded-Proto: %b\r\n%b\r\n" % (
            exchange.method,
            self._target,
            b"".join(lines),
            client.encode(),
            scheme,
            b"Content-Length: %d\r\n" % length if length or exchange.method == b"POST" else b"",
        )

    def _problem(self, status: int, code: str, detail: str) -> tuple[bytes, bytes]:
        rid = self._context.next_rid(time.time_ns() // 1_000_000)
        return problems.problem(status, code, detail, rid)

    def _end(self) -> None:
        self._context.proxied.discard(self)


def _scheme_of(said: bytes) -> bytes:
    """What the browser spoke to the first of the proxies, each of which may have said it; "" = they
    do not say."""
    first = said.partition(b",")[0].strip().lower()
    return first if first in (b"http", b"https") else b""
