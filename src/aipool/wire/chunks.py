"""The chunked coding of request bodies, decoded strictly and incrementally.

The parser library decodes chunks too, but keeps neither the length of an extension nor the number
of trailers, and cannot say where in a read the body ended, which pipelining needs to know. So
bodies in chunks are decoded here, and the decoder returns what follows them.

    size-line  → data → CRLF → size-line → … → "0" size-line → trailers → blank line
"""

from aipool.wire.limits import Limits

_HEX = b"0123456789abcdefABCDEF"
_TEXT = bytes(code for code in range(256) if code == 9 or (code >= 32 and code != 127))
_SIZE_DIGITS_MAX = 8  # A chunk of 4 GiB is beyond any body limit already.
_TRAILER_BYTES_MAX = 8192

# A body cut into crumbs costs a turn of the loop each. Beyond the first few thousand chunks the
# average must reach 64 bytes, which keeps the worst case near 15 ms of CPU a megabyte.
_CRUMBS_FREE = 4096
_CRUMB_BYTES = 64


class BadChunk(Exception):
    """The body's chunked framing is broken; the connection cannot go on."""


class ChunkDecoder:
    """Turns the bytes after a request head into its body.

    After `done` the decoder must not be fed again; `rest` then holds what follows the body.
    """

    __slots__ = (
        "_bytes",
        "_carry",
        "_chunks",
        "_extension_max",
        "_need",
        "_trailer_bytes",
        "_trailers",
        "_trailers_max",
        "done",
        "rest",
    )

    def __init__(self, limits: Limits) -> None:
        self._bytes = 0
        self._carry = b""
        self._chunks = 0
        self._need = 0  # Bytes wanted of the present chunk, its CRLF included; 0 = a size line.
        self._extension_max = limits.chunk_extension_bytes
        self._trailers_max = limits.trailer_lines
        self._trailers = -1  # -1 until the last chunk has been seen.
        self._trailer_bytes = 0
        self.done = False
        self.rest = b""

    def feed(self, data: bytes) -> list[bytes]:
        """The pieces of body in these bytes. Raises BadChunk."""
        if self._carry:
            data = self._carry + data
            self._carry = b""
        pieces: list[bytes] = []
        position = 0
        length = len(data)
        while position < length:
            if self._need:
                position = self._chunk(data, position, pieces)
                if self._need:
                    break
                continue
            end = data.find(b"\n", position)
            if end < 0:
                self._keep_partial_line(data, position)
                break
            line = data[position:end]
            position = end + 1
            if line[-1:] != b"\r":
                raise BadChunk("a line that does not end in CRLF")
            if self._trailers < 0:
                self._size_line(line[:-1])
            elif self._trailer_line(line[:-1]):
                self.done = True
                self.rest = data[position:]
                break
        return pieces

    def _chunk(self, data: bytes, position: int, pieces: list[bytes]) -> int:
        available = len(data) - position
        if available >= self._need:
            end = position + self._need
            if data[end - 2 : end] != b"\r\n":
                raise BadChunk("a chunk longer than its size")
            if self._need > 2:
                pieces.append(data[position : end - 2])
            self._need = 0
            return end
        if self._need - available >= 2:
            pieces.append(data[position:])
            self._need -= available
        else:  # Only the LF is missing: keep the CR, so that the two are looked at together.
            if data[-1:] != b"\r":
                raise BadChunk("a chunk longer than its size")
            if available > 1:
                pieces.append(data[position:-1])
            self._carry = b"\r"
            self._need = 2
        return len(data)

    def _keep_partial_line(self, data: bytes, position: int) -> None:
        partial = data[position:]
        bound = self._extension_max + _SIZE_DIGITS_MAX + 2
        if len(partial) > (bound if self._trailers < 0 else _TRAILER_BYTES_MAX):
            raise BadChunk("an endless line")
        self._carry = partial

    def _size_line(self, line: bytes) -> None:
        digits, semicolon, extension = line.partition(b";")
        if not digits or len(digits) > _SIZE_DIGITS_MAX or digits.translate(None, _HEX):
            raise BadChunk("a chunk size that is no hexadecimal number")
        if semicolon and (len(extension) > self._extension_max or extension.translate(None, _TEXT)):
            raise BadChunk("a chunk extension too long or malformed")
        size = int(digits, 16)
        if size:
            self._need = size + 2
            self._chunks += 1
            self._bytes += size
            if self._bytes < (self._chunks - _CRUMBS_FREE) * _CRUMB_BYTES:
                raise BadChunk("a body cut into crumbs")
        else:
            self._trailers = 0

    def _trailer_line(self, line: bytes) -> bool:
        """True at the blank line that ends the body. Trailers are checked and dropped."""
        if not line:
            return True
        self._trailers += 1
        self._trailer_bytes += len(line)
        if self._trailers > self._trailers_max or self._trailer_bytes > _TRAILER_BYTES_MAX:
            raise BadChunk("too many trailers")
        name, colon, value = line.partition(b":")
        if not colon or not name or name.translate(None, _TOKEN) or value.translate(None, _TEXT):
            raise BadChunk("a malformed trailer")
        return False


_TOKEN = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789!#$%&'*+-.^_`|~"
