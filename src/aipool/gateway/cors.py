"""Cross-origin rules of /v1: no cookies, so any page may call with a token of its own.

The operator can name the origins instead; then only those are echoed.
"""

from __future__ import annotations

_EXPOSED = (
    b"Access-Control-Expose-Headers: x-request-id, x-aipool-charge, x-aipool-attempts, "
    b"retry-after, x-should-retry, x-ratelimit-limit-requests, x-ratelimit-remaining-requests, "
    b"x-ratelimit-reset-requests, x-ratelimit-limit-tokens, x-ratelimit-remaining-tokens, "
    b"x-ratelimit-reset-tokens\r\n"
)
_PREFLIGHT = (
    b"Access-Control-Allow-Methods: GET, POST, OPTIONS\r\nAccess-Control-Max-Age: 86400\r\n"
)


class Cors:
    """Decides what a page of another origin may see."""

    def __init__(self, origins: tuple[str, ...]) -> None:
        self._any = "*" in origins
        self._origins = frozenset(origin.encode() for origin in origins)

    def headers(self, origin: bytes | None) -> bytes:
        """Header lines for an answer to a request with this Origin header."""
        if origin is None:
            return b""
        if self._any:
            return b"Access-Control-Allow-Origin: *\r\n" + _EXPOSED
        if origin in self._origins:
            return b"Access-Control-Allow-Origin: %b\r\nVary: Origin\r\n%b" % (origin, _EXPOSED)
        return b"Vary: Origin\r\n"

    def preflight(self, origin: bytes | None, asked_headers: bytes | None) -> bytes:
        """Header lines that answer an OPTIONS request.

        The headers a page asks for are granted by name: `*` does not cover Authorization.
        """
        lines = self.headers(origin) + _PREFLIGHT
        if asked_headers and len(asked_headers) <= 4096:
            lines += b"Access-Control-Allow-Headers: %b\r\n" % asked_headers
        return lines
