"""What was said in a call, where the token's owner wants it kept: from a worker to control.

It goes past the books: it is no money, may be large, and is lost rather than waited for. On
contents.sock, a 4-byte little-endian length and one msgpack value each; nothing is answered.
"""

from __future__ import annotations

import struct

import msgspec

_LENGTH = struct.Struct("<I")

SOCKET_NAME = "contents.sock"
#: Of a request, and of an answer; what is longer is cut and says so.
TEXT_BYTES_MAX = 256 * 1024


class Content(msgspec.Struct, array_like=True, frozen=True, gc=False):
    """One call's request and answer, as they were sent: the body, and the body or the events.

    expires_at_ms: unix milliseconds.  request_cut, answer_cut: only the beginning is here.
    """

    rid: str
    token_id: int
    user_id: int
    expires_at_ms: int
    request: bytes
    request_cut: bool
    answer: bytes
    answer_cut: bool


_encode = msgspec.msgpack.Encoder().encode
decode = msgspec.msgpack.Decoder(Content).decode


def pack(content: Content) -> bytes:
    """With its length in front."""
    payload = _encode(content)
    return _LENGTH.pack(len(payload)) + payload
