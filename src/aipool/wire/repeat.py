"""Heads seen before.

A client on a kept-alive connection sends the same head again and again, down to the byte, save
the digits of its Content-Length. A head that was judged once is recognised by its bytes before
and after those digits, which is two comparisons instead of a parse; nothing about it can be
different, so nothing has to be judged again.
"""

from __future__ import annotations

from aipool.wire.exchange import Asked

_LENGTH = b"\r\ncontent-length: "


class KnownHead:
    """The last ordinary head of a connection, cut around the value of its Content-Length."""

    __slots__ = ("_after", "_before", "_has_length", "asked", "headers")

    def __init__(self, block: bytes, asked: Asked, headers: dict[bytes, bytes]) -> None:
        self.asked = asked
        self.headers = headers
        self._before, self._after = block, b""
        length = headers.get(b"content-length")
        self._has_length = length is not None
        if length is not None:
            # Spelled otherwise than usual it is not found, and the head never known again.
            at = block.lower().find(_LENGTH + length)
            digits_at = at + len(_LENGTH)
            self._before = block[:digits_at] if at >= 0 else b"\0"
            self._after = block[digits_at + len(length) :]

    def headers_of(self, block: bytes, body: bytes) -> dict[bytes, bytes] | None:
        """The headers of this head, if it is the known one and announces just this body."""
        before, after = self._before, self._after
        if not block.startswith(before) or not block.endswith(after):
            return None
        digits = block[len(before) : len(block) - len(after)]
        if not self._has_length:
            return None if digits or body else self.headers.copy()
        if not digits.isdigit() or int(digits) != len(body):
            return None
        headers = self.headers.copy()
        headers[b"content-length"] = digits
        return headers
