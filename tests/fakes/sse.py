"""How a stream can be written, rightly and wrongly: the catalogue of framings.

Each kind turns the data of a stream's events into what is sent, event by event. `intact` kinds are
valid SSE whose every event can be read; the others are broken in the way their name says.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass

BOM = b"\xef\xbb\xbf"
MEGABYTE = 1 << 20

#: (data of the event, its place in the stream) → the bytes sent for it.
Framing = Callable[[bytes, int], bytes]


@dataclass(frozen=True, slots=True)
class Kind:
    """One way to write a stream."""

    frame: Framing
    intact: bool
    content_type: str = "text/event-stream"
    done: bool = True
    halved: bool = False
    """Each event leaves in two writes, cut in the middle of a character where there is one."""


def _plain(data: bytes, _: int) -> bytes:
    return b"data: " + data + b"\n\n"


def _with(before: bytes, end: bytes, between: bytes = b"") -> Framing:
    return lambda data, _: before + data + end + between


def _mixed(data: bytes, index: int) -> bytes:
    return b"data: " + data + (b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n")[index % 5]


def _bom(data: bytes, index: int) -> bytes:
    return (BOM if index == 0 else b"") + _plain(data, index)


def _several_lines(data: bytes, index: int) -> bytes:
    try:
        written = json.dumps(json.loads(data), indent=1, ensure_ascii=False).encode()
    except ValueError:
        return _plain(data, index)
    return b"".join(b"data: " + line + b"\n" for line in written.split(b"\n")) + b"\n"


def _long_line(data: bytes, index: int) -> bytes:
    if index != 1 or not data.startswith(b"{"):
        return _plain(data, index)
    return _plain(b'{"padding":"' + b"x" * MEGABYTE + b'",' + data[1:], index)


def _garbage(data: bytes, index: int) -> bytes:
    rubbish = (
        b"garbage\n\n",
        b"data: {not json\n\n",
        b"data: null\n\n",
        b"data: []\n\n",
        b"{}\n\n",
    )
    return _plain(data, index) + rubbish[index % 5]


def _no_end(data: bytes, index: int) -> bytes:
    return b"data: " + data if data == b"[DONE]" else _plain(data, index)


KINDS: dict[str, Kind] = {
    "plain": Kind(_plain, intact=True),
    "crlf": Kind(_with(b"data: ", b"\r\n\r\n"), intact=True),
    "cr": Kind(_with(b"data: ", b"\r\r"), intact=True),
    "mixed": Kind(_mixed, intact=True),
    "no_space": Kind(_with(b"data:", b"\n\n"), intact=True),
    "comments": Kind(_with(b": ping\n\n: note\ndata: ", b"\n: after\n\n", b":\n\n"), intact=True),
    "blank_lines": Kind(_with(b"\n\n\ndata: ", b"\n\n\n\n"), intact=True),
    "fields": Kind(_with(b"event: message\nid: 1\nretry: 9\ndata: ", b"\n\n"), intact=True),
    "several_lines": Kind(_several_lines, intact=True),
    "bom": Kind(_bom, intact=True),
    "split_utf8": Kind(_plain, intact=True, halved=True),
    "long_line": Kind(_long_line, intact=True),
    "empty_data": Kind(_with(b"data: ", b"\n\n", b"data:\n\ndata\n\n"), intact=True),
    "unterminated": Kind(_no_end, intact=True),
    "no_done": Kind(_plain, intact=True, done=False),
    "content_type": Kind(_plain, intact=False, content_type="application/json"),
    "content_type_html": Kind(_plain, intact=False, content_type="text/html; charset=utf-8"),
    "garbage": Kind(_garbage, intact=False),
    "two_json": Kind(lambda data, _: b"data: " + data + b"\ndata: " + data + b"\n\n", intact=False),
    "two_json_line": Kind(lambda data, _: b"data: " + data + data + b"\n\n", intact=False),
    "no_blank_line": Kind(_with(b"data: ", b"\n"), intact=False),
    "nul": Kind(_with(b"\x00data: ", b"\n\n", b"da\x00ta: {}\n\n"), intact=False),
    "bare_json": Kind(_with(b"", b"\n\n"), intact=False),
}


def halves(written: bytes) -> tuple[bytes, bytes]:
    """Cut in two, inside a character of several bytes where there is one."""
    inside = next((at for at, byte in enumerate(written) if 0x80 <= byte <= 0xBF), None)
    at = len(written) // 2 if inside is None else inside
    return written[:at], written[at:]
