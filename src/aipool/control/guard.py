"""Around the whole application: headers on every answer, and a bound on every request.

The pages carry no third party's script, style or picture, so the policy allows none.
"""

from __future__ import annotations

from starlette.datastructures import MutableHeaders
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

#: A form with a phone number and a password; nothing that control takes is larger.
BODY_BYTES_MAX = 64 * 1024

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

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answers one request, with the headers, reading no more than the bound."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = dict(scope["headers"])
        over_tls = given.get(b"x-forwarded-proto") == b"https"

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                headers = MutableHeaders(scope=message)
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                if over_tls:
                    headers.setdefault("Strict-Transport-Security", _HSTS)
            await send(message)

        body = await _read(receive)
        if body is None:
            await _too_large(scope, receive, send_guarded)
            return
        await self._app(scope, _replay(body, receive), send_guarded)


async def _read(receive: Receive) -> bytes | None:
    """The whole body; None when it is larger than the bound."""
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return bytes(body)
        body += message.get("body", b"")
        if len(body) > BODY_BYTES_MAX:
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


_too_large = JSONResponse(
    {
        "type": "about:blank",
        "title": "Content Too Large",
        "status": 413,
        "detail": f"A request here has at most {BODY_BYTES_MAX} bytes.",
    },
    status_code=413,
    media_type="application/problem+json",
    headers={"Connection": "close"},
)
