"""Event streams cut into events, byte for byte.

An event ends at a blank line: two line endings in a row, each LF, CRLF or CR, mixed as they may
be (HTML living standard, section 9.2). Chunks may be cut anywhere, inside a CRLF or a UTF-8
character as well. Events are slices of what came, terminator included, so what is relayed is what
was sent; put together, the events and `rest` are the stream.

A CR at the very end of what has come may be the first half of a CRLF. The event it seems to end
is held until the next byte decides.

The fast path is a chunk of whole events ended by LF LF with nothing held: one search an event.
"""

import re

from aipool.wire.limits import Limits

_BOM = b"\xef\xbb\xbf"

# The last byte of a line ending, then a whole line ending. Only off the fast path.
_BLANK_LINE = re.compile(rb"(?:\n|\r(?!\n))(?:\n|\r\n|\r(?=[^\n]))")
_BLANK_LINE_BYTES_MAX = 3


class EventTooLarge(Exception):
    """An event grew past the bound; the stream cannot go on."""


class EventSplitter:
    """Cuts one stream. Feed it the chunks in order; it holds at most one unfinished event."""

    __slots__ = ("_event_bytes_max", "_held")

    def __init__(self, event_bytes_max: int = Limits().event_bytes) -> None:
        self._event_bytes_max = event_bytes_max
        self._held = bytearray()

    def feed(self, chunk: bytes) -> list[bytes]:
        """The events this chunk completes. Raises EventTooLarge."""
        if self._held or b"\r" in chunk:
            return self._feed_held(chunk)
        end = chunk.find(b"\n\n") + 2
        if end == len(chunk) and end > 1:
            return [chunk]
        events = []
        position = 0
        while end > 1:
            events.append(chunk[position:end])
            position = end
            end = chunk.find(b"\n\n", position) + 2
        if position < len(chunk):
            self._held += chunk[position:]
            self._check(len(self._held))
        return events

    def rest(self) -> bytes:
        """What is held: the beginning of an event whose end has not come."""
        return bytes(self._held)

    def _feed_held(self, chunk: bytes) -> list[bytes]:
        held = self._held
        looked = max(0, len(held) - _BLANK_LINE_BYTES_MAX)
        held += chunk
        events = []
        position = 0
        while (blank := _BLANK_LINE.search(held, looked)) is not None:
            end = looked = blank.end()
            del blank  # It pins the held bytes.
            self._check(end - position)
            events.append(bytes(held[position:end]))
            position = end
        if position:
            del held[:position]
        self._check(len(held))
        return events

    def _check(self, size: int) -> None:
        if size > self._event_bytes_max:
            raise EventTooLarge


def together(events: list[bytes]) -> list[bytes]:
    """The same events, those without data in a row as one: blank lines and comments mean nothing,
    and a stream may consist of a hundred thousand of them."""
    joined: list[bytes] = []
    silent: list[bytes] = []
    for event in events:
        if b"data" not in event:
            silent.append(event)
            continue
        if silent:
            joined.append(b"".join(silent))
            silent.clear()
        joined.append(event)
    if silent:
        joined.append(b"".join(silent))
    return joined


def data_of(event: bytes) -> bytes | None:
    """The event's data: its `data` lines joined by LF; None when it has none."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2]
    event = event.removeprefix(_BOM)
    if b"\r" in event:
        event = event.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    found = None
    for line in event.split(b"\n"):
        if line[:5] == b"data:":
            value = line[6:] if line[5:6] == b" " else line[5:]
        elif line == b"data":
            value = b""
        else:
            continue
        found = value if found is None else found + b"\n" + value
    return found
