"""A read that holds exactly one whole, ordinary request.

The parser is given the read, and its one callback is a method of a dict, so no Python runs inside
it. Then the read must add up: as many headers as lines, and a body as long as announced, to the
last byte. Clients repeat themselves, so a request line and a Host that were judged once are known
again by comparison; and a whole head by its bytes (`repeat`).

Nothing is refused here. What does not add up is not ordinary, and the careful path says what it is.
"""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace

from httptools import HttpParserError, HttpParserUpgrade, HttpRequestParser

from aipool.wire import strict
from aipool.wire.exchange import Asked, Peer
from aipool.wire.repeat import KnownHead

_NEW_HEADS_MAX = 8  # A client whose heads go on differing is not worth remembering.


class OrdinaryRequests:
    """Reads the ordinary requests of one connection."""

    __slots__ = ("_feed", "_host", "_line", "_names", "_new_heads", "_peer", "asked", "known")

    def __init__(self, peer: Peer) -> None:
        self._peer = peer
        self._host = b"\0"  # What no Host can be.
        self._line = b"\0"  # Nor any request line.
        self._new_heads = 0
        self.asked: Asked
        """The request line of the last read that was ordinary."""

        self.known: KnownHead | None = None
        """The last head worth remembering."""

        self._new_parser()

    def _new_parser(self) -> None:
        """A parser that only takes notes; one that has seen anything irregular is replaced."""
        self._names: dict[bytes, bytes] = {}
        notes = SimpleNamespace(on_header=self._names.__setitem__)
        self._feed: Callable[[bytes], None] = HttpRequestParser(notes).feed_data

    def headers_of(self, data: bytes, block: bytes, body: bytes) -> dict[bytes, bytes] | None:
        """The headers of a read that is one ordinary request; None when it is not.

        data: the read; block and body: what stands before and after its first blank line.
        """
        headers = self._parsed(data, block, body)
        if headers is None:
            self._new_parser()
        elif self._new_heads < _NEW_HEADS_MAX:
            self._new_heads += 1
            self.known = KnownHead(block, self.asked, headers)
        return headers

    def _parsed(self, data: bytes, block: bytes, body: bytes) -> dict[bytes, bytes] | None:
        names = self._names
        try:
            self._feed(data)
        except (HttpParserError, HttpParserUpgrade):
            return None
        headers = {name.lower(): value.strip() for name, value in names.items()}
        names.clear()
        length = headers.get(b"content-length")
        if (
            len(body) != (0 if length is None else int(length))
            or len(headers) != block.count(b"\r\n")
            or not (data.startswith(self._line) or self._learns_line(block))
            or (headers.get(b"host") != self._host and not self._learns_host(headers))
            or headers.get(b"connection", b"keep-alive") != b"keep-alive"
            or b"transfer-encoding" in headers
            or b"expect" in headers
        ):
            return None
        return headers

    def _learns_line(self, block: bytes) -> bool:
        line = block[: block.find(b"\r\n") + 2]
        parts = line.split(b" ")
        if len(parts) != 3 or parts[0] not in strict.METHODS or parts[2] != b"HTTP/1.1\r\n":
            return False
        if strict.refused_target(parts[1], parts[0]) is not None:
            return False
        self._line = line
        self.asked = Asked.of(self._peer, parts[0], parts[1])
        return True

    def _learns_host(self, headers: dict[bytes, bytes]) -> bool:
        host = headers.get(b"host")
        if host is None or not strict.host_is_valid(host):
            return False
        self._host = host
        return True
