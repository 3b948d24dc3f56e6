"""Which client headers reach a vendor: these, and no others.

Names are kept by allow-list, because a header nobody thought of may be identity, routing or
framing to somebody's server. What stands here is known to be read by vendors or to help
their support: API versions and betas, the SDK's own description of itself, session ids.
"""

from __future__ import annotations

_NAMES = (
    b"openai-beta",
    b"user-agent",
    b"idempotency-key",
    b"x-stainless-lang",
    b"x-stainless-package-version",
    b"x-stainless-os",
    b"x-stainless-arch",
    b"x-stainless-runtime",
    b"x-stainless-runtime-version",
    b"x-stainless-retry-count",
    b"x-stainless-helper-method",
    b"x-claude-code-session-id",
    b"session-id",
    b"x-session-affinity",
)

#: Lower-case name → the name as it is sent, with its colon.
_ALLOWED = {name: name + b": " for name in _NAMES}


def forwarded(headers: dict[bytes, bytes]) -> bytes:
    """The header lines of this request that its vendor gets too."""
    lines = b""
    for name, value in headers.items():
        if name in _ALLOWED:
            lines += _ALLOWED[name] + value + b"\r\n"
    return lines


def credential(headers: dict[bytes, bytes], query: bytes) -> bytes | None:
    """The API token a client presents, looked for where clients put it; None = nowhere.

    In this order: `Authorization: Bearer`, `x-api-key`, `x-goog-api-key`, `api-key`, the
    query's `key`, the WebSocket subprotocol of OpenAI's browser clients, `mj-api-secret`.
    """
    value = headers.get(b"authorization")
    if value is not None:
        scheme, _, secret = value.partition(b" ")
        if scheme.lower() == b"bearer":
            return secret.strip()
    for name in (b"x-api-key", b"x-goog-api-key", b"api-key"):
        value = headers.get(name)
        if value is not None:
            return value
    for pair in query.split(b"&"):
        if pair.startswith(b"key="):
            return pair[4:]
    for protocol in headers.get(b"sec-websocket-protocol", b"").split(b","):
        protocol = protocol.strip()
        if protocol.startswith(_SUBPROTOCOL):
            return protocol[len(_SUBPROTOCOL) :]
    return headers.get(b"mj-api-secret")


_SUBPROTOCOL = b"openai-insecure-api-key."
