"""Around the whole application: headers on every answer, a bound on every request, and what
refusals are said with: the request's id and the language of who asks.

The pages carry no third party's script, style or picture, so the policy allows none.
"""

from __future__ import annotations

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from aipool.control.access import is_guarded
from aipool.control.languages import translation_for
from aipool.kit.clock import now_ms
from aipool.kit.ids import RequestIds
from aipool.kit.problems import REQUEST_ID, TRANSLATION, problem

#: A form with a phone number and a password; no page takes anything larger.
BODY_BYTES_MAX = 64 * 1024
#: A thousand upstream keys pasted at once, each with a name and the longest usual secret.
API_BODY_BYTES_MAX = 512 * 1024
#: A file of prices as text inside JSON, whose quotes are escaped.
PRICES_BODY_BYTES_MAX = 12 * 1024 * 1024
_PRICES = "/api/admin/prices/import/"

_POLICY = "; ".join(
    (
        "default-src 'self'",
        "script-src 'self'",
        "style-src 'self' 'unsafe-inline'",
        "img-src 'self' data: blob:",
        "media-src 'self' blob:",
        "connect-src 'self'",
        "frame-src 'none'",
        "object-src 'none'",
        "base-uri 'none'",
        "form-action 'self'",
        "frame-ancestors 'none'",
    )
)

_HEADERS = {
    "Content-Security-Policy": _POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}

#: Only over TLS, where it means something: one year.
_HSTS = "max-age=31536000"


class Guard:
    """ASGI middleware; wraps the application once."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._ids = RequestIds()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, with the headers, reading no more than the bound."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope)
        over_tls = given.get("x-forwarded-proto") == "https"
        request_id = self._ids.new(now_ms())
        state = scope.setdefault("state", {})
        state[REQUEST_ID] = request_id
        state[TRANSLATION] = translation_for(given.get("accept-language", ""))

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers["X-Request-Id"] = request_id
                if over_tls:
                    headers.setdefault("Strict-Transport-Security", _HSTS)
            await send(message)

        bytes_max = _bytes_max(scope["path"])
        body = await _read(receive, bytes_max)
        if body is None:
            await _too_large(bytes_max)(scope, receive, send_guarded)
            return
        await self._app(scope, _replay(body, receive), send_guarded)


def _bytes_max(path: str) -> int:
    """The most that is read for this path."""
    if path.startswith(_PRICES):
        return PRICES_BODY_BYTES_MAX
    return API_BODY_BYTES_MAX if is_guarded(path) else BODY_BYTES_MAX


async def _read(receive: Receive, bytes_max: int) -> bytes | None:
    """The whole body; None when it is larger than the bound."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > bytes_max:
            return None
        if not message.get("more_body", False):
            return bytes(body)


def _replay(body: bytes, receive: Receive) -> Receive:
    """Hands the body out once, then whatever else happens on the connection."""
    waiting = [body]

    async def replayed() -> Message:
        if waiting:
            return {"type": "http.request", "body": waiting.pop(), "more_body": False}
        return await receive()

    return replayed


def _too_large(bytes_max: int) -> Response:
    return problem(
        413,
        "request_too_large",
        f"A request here has at most {bytes_max} bytes.",
        headers={"Connection": "close"},
        params={"most": bytes_max},
    )
