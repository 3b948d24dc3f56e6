"""What a request head must be, beyond what the parser already refuses.

The parser (llhttp, strict) refuses control characters, obs-fold, bare LF, spaces before a colon,
duplicate or odd Content-Length, Content-Length beside Transfer-Encoding. It lets through what is
decided here: two Hosts or none, absolute-form, HTTP/0.9 and 2.0, transfer codings other than
`chunked`, Transfer-Encoding on HTTP/1.0, and `Connection` options that name framing headers.

Everything ambiguous is refused and the connection closed: two programs that read the same bytes
differently are how requests are smuggled (RFC 9112 section 11.2).
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from httptools import (
    HttpParserError,
    HttpParserInvalidMethodError,
    HttpParserUpgrade,
    HttpRequestParser,
)

from aipool.wire.limits import Limits

METHODS = frozenset((b"GET", b"HEAD", b"POST", b"PUT", b"PATCH", b"DELETE", b"OPTIONS"))

SINGLE = frozenset((b"host", b"content-length", b"transfer-encoding", b"expect", b"authorization"))
"""Headers of which a second one is refused rather than joined."""

_UNTOUCHABLE = frozenset(
    (
        b"host",
        b"content-length",
        b"transfer-encoding",
        b"content-type",
        b"content-encoding",
        b"authorization",
        b"cookie",
        b"expect",
        b"x-forwarded-for",
        b"x-forwarded-proto",
        b"x-forwarded-host",
        b"x-real-ip",
        b"forwarded",
        b"x-api-key",
        b"x-goog-api-key",
        b"api-key",
        b"connection",
    )
)
"""Framing and identity: a `Connection` that names one asks the next hop to forget it."""

_HOST_CHARACTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-._~!$&'()*+,;=%"
_TOKEN_CHARACTERS = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"
_TARGET_CHARACTERS = bytes(code for code in range(0x21, 0x7F) if code != ord("#"))


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the wire will not serve a request. The connection ends after it."""

    status: int
    code: str
    message: str


class Framing(Enum):
    """How a request's body is delimited."""

    NONE = "none"
    LENGTH = "length"
    CHUNKED = "chunked"


@dataclass(frozen=True, slots=True)
class Head:
    """A request head that is unambiguous."""

    method: bytes
    target: bytes
    headers: dict[bytes, bytes]
    http10: bool
    keep_alive: bool
    expects: bool
    """The client waits for `100 Continue`."""

    framing: Framing
    length: int | None


def read_head(block: bytes, limits: Limits) -> Head | Refusal:
    """Judges a head, from its request line to its blank line.

    The caller found the blank line by itself; the parser must agree that the head ends there and
    nowhere else.
    """
    notes = _Notes()
    try:
        HttpRequestParser(notes).feed_data(block)
    except HttpParserUpgrade:
        pass  # A request to switch protocols is whole; granting it is the application's choice.
    except HttpParserInvalidMethodError:
        return BAD_METHOD if _names_a_method(block) else MALFORMED
    except HttpParserError:
        return BAD_VERSION if _names_a_version(block) else MALFORMED
    if not notes.whole:
        return MALFORMED
    method, _, version = block[: block.find(b"\r\n")].partition(b" " + notes.target + b" ")
    if version not in (b"HTTP/1.1", b"HTTP/1.0"):
        return BAD_VERSION if _names_a_version(block) else MALFORMED
    if method not in METHODS:
        return BAD_METHOD if _names_a_method(block) else MALFORMED
    return refused_target(notes.target, method) or _judge(
        method, notes, http10=version == b"HTTP/1.0", limits=limits
    )


def _judge(method: bytes, notes: _Notes, *, http10: bool, limits: Limits) -> Head | Refusal:
    headers = notes.headers
    if notes.lines > limits.header_lines:
        return HEAD_TOO_LARGE
    host = headers.get(b"host")
    if (host is None and not http10) or (host is not None and not host_is_valid(host)):
        return BAD_HOST
    if notes.repeated:
        return MALFORMED
    framing = framing_of(headers, http10=http10, limits=limits)
    if isinstance(framing, Refusal):
        return framing
    options = connection_options(headers.get(b"connection", b""))
    if options is None:
        return BAD_CONNECTION
    close, keep = options
    expect = b"" if http10 else headers.get(b"expect", b"").lower()
    if expect and expect != b"100-continue":
        return BAD_EXPECT
    return Head(
        method,
        notes.target,
        headers,
        http10,
        not close and (keep or not http10),
        bool(expect),
        *framing,
    )


class _Notes:
    """What the parser says of one head."""

    __slots__ = ("headers", "lines", "repeated", "target", "whole")

    def __init__(self) -> None:
        self.headers: dict[bytes, bytes] = {}
        self.target = b""
        self.lines = 0
        self.repeated = False
        self.whole = False

    def on_url(self, target: bytes) -> None:
        self.target += target

    def on_header(self, name: bytes, value: bytes) -> None:
        self.lines += 1
        name = name.lower()
        value = value.strip()
        headers = self.headers
        if name in headers:
            # Two Hosts, joined, are not a valid one.
            separator = b"; " if name == b"cookie" else b", "
            value = headers[name] + separator + value
            self.repeated = self.repeated or name in SINGLE
        headers[name] = value

    def on_headers_complete(self) -> None:
        self.whole = True


def _names_a_method(head: bytes) -> bool:
    """The request line is well-formed; only its method is one nobody registered."""
    parts = head[: head.find(b"\r\n")].split(b" ")
    return (
        len(parts) == 3
        and 0 < len(parts[0]) <= 32
        and parts[0].isalpha()
        and parts[0].isupper()
        and parts[2] in (b"HTTP/1.1", b"HTTP/1.0")
    )


def _names_a_version(head: bytes) -> bool:
    """The request line is well-formed; only its version is not ours."""
    parts = head[: head.find(b"\r\n")].split(b" ")
    return (
        len(parts) == 3
        and len(parts[2]) == 8
        and parts[2][:5] == b"HTTP/"
        and parts[2] not in (b"HTTP/1.1", b"HTTP/1.0")
        and parts[2][5:6].isdigit()
        and parts[2][6:7] == b"."
        and parts[2][7:].isdigit()
    )


def target_of(head: bytes) -> bytes:
    """What a head that is refused seems to ask for; empty where it does not say."""
    words = head.partition(b"\r\n")[0].split(b" ", 2)
    return words[1] if len(words) > 1 else b""


def refused_target(target: bytes, method: bytes) -> Refusal | None:
    """A target is a path, or `*` for OPTIONS; visible ASCII without a fragment."""
    if target[:1] != b"/" and not (target == b"*" and method == b"OPTIONS"):
        return Refusal(400, "bad_target", "The request target must be a path.")
    if target.translate(None, _TARGET_CHARACTERS):
        return Refusal(400, "bad_target", "The request target holds a character it must not.")
    return None


def host_is_valid(host: bytes) -> bool:
    """`name`, `1.2.3.4` or `[v6]`, each with an optional port (RFC 9110 section 7.2)."""
    if host[:1] == b"[":
        name, bracket, port = host[1:].partition(b"]")
        if not bracket or not name or name.translate(None, b"0123456789abcdefABCDEF:."):
            return False
        if port and port[:1] != b":":
            return False
        port = port[1:]
    else:
        name, _, port = host.partition(b":")
        if not name or name.translate(None, _HOST_CHARACTERS):
            return False
    return not port or (port.isdigit() and len(port) <= 5)


def connection_options(value: bytes) -> tuple[bool, bool] | None:
    """(close, keep-alive) of a `Connection` header; None when it must be refused."""
    close = keep = False
    for raw in value.lower().split(b","):
        option = raw.strip(b" \t")
        if option == b"close":
            close = True
        elif option == b"keep-alive":
            keep = True
        elif option in _UNTOUCHABLE or option.translate(None, _TOKEN_CHARACTERS):
            return None
    return close, keep


def framing_of(
    headers: dict[bytes, bytes], *, http10: bool, limits: Limits
) -> tuple[Framing, int | None] | Refusal:
    """How the body is delimited and how long it says it is, or why that cannot be told."""
    coding = headers.get(b"transfer-encoding")
    length = headers.get(b"content-length")
    if coding is not None:
        if length is not None:
            return Refusal(400, "bad_framing", "Content-Length beside Transfer-Encoding.")
        if http10:
            return Refusal(400, "bad_framing", "Transfer-Encoding on HTTP/1.0.")
        if coding.lower() != b"chunked":
            return Refusal(400, "bad_framing", "The only transfer coding accepted is chunked.")
        return Framing.CHUNKED, None
    if length is None:
        return Framing.NONE, None
    if not length.isdigit() or len(length) > 19:
        return Refusal(400, "bad_framing", "Content-Length is not a length.")
    size = int(length)
    if size > limits.body_bytes:
        return TOO_LARGE
    return (Framing.LENGTH if size else Framing.NONE), size


TOO_LARGE = Refusal(413, "body_too_large", "The request body is larger than this server accepts.")
HEAD_TOO_LARGE = Refusal(431, "headers_too_large", "The request's header block is too large.")
MALFORMED = Refusal(400, "malformed_request", "The request is not valid HTTP/1.1.")
BAD_METHOD = Refusal(501, "method_not_supported", "The request method is not supported.")
BAD_VERSION = Refusal(505, "version_not_supported", "Only HTTP/1.0 and HTTP/1.1 are spoken here.")
BAD_HOST = Refusal(400, "bad_host", "A request carries exactly one valid Host.")
BAD_CONNECTION = Refusal(
    400, "bad_connection", "Connection names a header that must reach this server."
)
BAD_EXPECT = Refusal(417, "expectation_failed", "The only expectation met is 100-continue.")
HEAD_TIMEOUT = Refusal(408, "request_timeout", "The request's headers did not arrive in time.")
BODY_TIMEOUT = Refusal(408, "request_timeout", "The request's body arrived too slowly.")
NO_ROOM = Refusal(503, "overloaded", "Too many request bodies are in flight; try again.")
TOO_MANY = Refusal(503, "too_many_connections", "Too many connections from this address.")
