"""Answers as no vendor should give them, made by hand: more than three hundred.

An odd answer is bytes, written as they stand, and how the connection goes on after them. Here are
every kind of stream (`sse.KINDS`) in every framing, and a list of whatever else has been seen or
feared. `chance.py` makes any number more.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterator
from enum import Enum
from typing import Any, Final, NamedTuple

from tests.fakes.answers import Send, steps
from tests.fakes.behaviour import Behaviour
from tests.fakes.sse import BOM, KINDS, MEGABYTE

Body = dict[str, Any]

STREAM: Final = b"text/event-stream"
JSON: Final = b"application/json"
#: What a few kilobytes of gzip become.
_BOMB_BYTES: Final = 16 * MEGABYTE


class After(Enum):
    """What becomes of the connection after the last byte."""

    KEEP = "keep"  # open, for the next request or for nothing
    FIN = "fin"
    RST = "rst"


class Odd(NamedTuple):
    """One odd answer.

    writes: what is written, piece by piece.  pause_seconds: between two pieces.  payload: the body
    that somebody who reads the framing rightly gets, None = nobody can say.  fails: it may not be
    relayed as a success.  endless: the last piece is written again and again.
    """

    name: str
    stream: bool
    writes: tuple[bytes, ...]
    after: After = After.KEEP
    payload: bytes | None = None
    fails: bool = False
    pause_seconds: float = 0.0
    endless: bool = False


# --- right answers, to begin with ------------------------------------------------------------

CONTENTS: Final[tuple[Body, ...]] = (
    {"events": 6},
    {"content": "你好，世界 🌍 and this is a text é"},
    {"reasoning": "let me think 想", "content": "well then", "empty_first": True},
    {"tool_calls": [{"name": "look", "arguments": '{"where":"上海"}'}]},
    {"events": 12, "usage_at": "every"},
    {"events": 4, "usage": "none"},
)


def events_of(wishes: Body, request: Body) -> list[bytes]:
    """The events of a streamed answer, as bytes."""
    planned = steps(
        Behaviour.of({"framing": "close", **wishes}), request | {"stream": True}, number=1, key="k"
    )
    return [step.data for step in planned if isinstance(step, Send)][1:]


def answer_of(wishes: Body, request: Body) -> bytes:
    """The body of a whole answer."""
    [send] = [
        step
        for step in steps(Behaviour.of(wishes), request | {"stream": False}, number=1, key="k")
        if isinstance(step, Send)
    ]
    return send.data.partition(b"\r\n\r\n")[2]


def head(*lines: bytes, status: bytes = b"HTTP/1.1 200 OK", kind: bytes = STREAM) -> bytes:
    """The head of an answer."""
    return b"\r\n".join([status, b"content-type: " + kind, *lines, b"", b""])


def _chunk(data: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(data), data) if data else b""


def framed(pieces: list[bytes], framing: str, kind: bytes) -> tuple[tuple[bytes, ...], After]:
    """Head and body in one of the three framings of HTTP/1.1, and how it ends."""
    if framing == "chunked":
        begin = head(b"transfer-encoding: chunked", kind=kind)
        return (begin, *map(_chunk, pieces), b"0\r\n\r\n"), After.KEEP
    if framing == "length":
        size = sum(map(len, pieces))
        return (head(b"content-length: %d" % size, kind=kind), *pieces), After.KEEP
    return (head(b"connection: close", kind=kind), *pieces), After.FIN


# --- by hand ----------------------------------------------------------------------------------


def by_hand(request: Body) -> list[Odd]:
    """All of them. request: the body that they answer."""
    return [*_framings(request), *_streams(request), *_answers(request), *_heads(request)]


def _framings(request: Body) -> Iterator[Odd]:
    for kind in KINDS:
        for number, wishes in enumerate(CONTENTS[:4]):
            events = events_of({"sse": kind, **wishes}, request)
            for framing in ("chunked", "length", "close"):
                kind_of_content = KINDS[kind].content_type.encode()
                writes, after = framed(events, framing, kind_of_content)
                name = f"{kind} {number} {framing}"
                yield Odd(name, True, writes, after, payload=b"".join(events))


def _streams(request: Body) -> Iterator[Odd]:
    good = events_of({"events": 5}, request)
    role, said, finish, usage, done = good[0], good[1:-3], good[-3], good[-2], good[-1]
    error = b'data: {"error":{"message":"overloaded","type":"server_error"}}\n\n'
    yield from (
        _closed("nothing", []),
        _closed("comments only", [b": a\n\n"] * 9),
        _closed("done only", [done]),
        _closed("role only", [role]),
        _closed("role and finish", [role, finish, done]),
        _closed("usage only", [role, usage, done]),
        _closed("usage before everything", [usage, *good]),
        _closed("a BOM and nothing", [BOM]),
        _closed("zeros", [b"\0" * 4_000]),
        _closed("finish, and no done", [role, *said, finish]),
        _closed("finish, usage, and no done", [role, *said, finish, usage]),
        _closed("no finish", [role, *said]),
        _closed("no finish, but done", [role, *said, done]),
        _closed("an error first", [error]),
        _closed("a role and an error", [role, error]),
        _closed("an error in the middle", [role, *said[:2], error]),
        _closed("an error after the finish", [role, *said, finish, error]),
        _closed("a field named error", [role, b"event: error\ndata: overloaded\n\n"]),
        _closed("more after done", [*good, *said, done]),
        _closed("done twice", [*good, done]),
        _closed("done without a space", [*good[:-1], b"data:[DONE]\n\n"]),
        _closed("done with two spaces", [*good[:-1], b"data:  [DONE]\n\n"]),
        _closed("done in quotes", [*good[:-1], b'data: "[DONE]"\n\n']),
        _closed("a line of a megabyte", [role, _said("x" * MEGABYTE), finish, usage, done]),
        _closed("an event of a thousand lines", [b"data: \n" * 1_000 + b"\n", *good]),
        _closed("deep", [b"data: " + b"[" * 50_000 + b"\n\n", *good]),
        _closed("deep in the event", [b'data: {"choices":' + b"[" * 50_000 + b"\n\n", *good]),
        _closed("lone surrogates", [role, _said("\ud83d"), finish, usage, done]),
        _closed("no UTF-8", [role, b'data: {"choices":[{"delta":{"content":"\xff\xfe"}}]}\n\n']),
        _closed("a number for a delta", [role, b'data: {"choices":[{"delta":7}]}\n\n', done]),
        _closed("choices that are none", [b'data: {"choices":{"0":1}}\n\n'] * 3),
        _closed("an index of 10^30", [b'data: {"choices":[{"index":1e30}]}\n\n', *good]),
        _closed("usage of nonsense", events_of({"usage": "absurd"}, request)),
        _closed("usage below zero", events_of({"usage": "negative"}, request)),
        _closed("usage in words", events_of({"usage": "text"}, request)),
    )
    for size in (3, 5, 8):
        kept = b"".join(good[: size - 1])
        for after in (After.FIN, After.RST, After.KEEP):
            writes = (head(b"transfer-encoding: chunked"), *map(_chunk, good[: size - 1]))
            yield Odd(f"cut after {size} by {after.value}", True, writes, after, payload=kept)
            half = (*writes, _chunk(good[size - 1])[:9])
            yield Odd(f"cut inside {size} by {after.value}", True, half, after)
    yield Odd("done, and the line stays open", True, (head(), *good), payload=b"".join(good))
    packed = _gzip(b"".join(good))
    yield Odd("gzip", True, (head(b"content-encoding: gzip"), packed), After.FIN, fails=True)
    bomb = _gzip(b"data: " + b"\0" * _BOMB_BYTES)
    yield Odd("a bomb", True, (head(b"content-encoding: gzip"), bomb), After.FIN, fails=True)
    lie = (head(b"content-encoding: br"), *good)
    yield Odd("says brotli, and is none", True, lie, After.FIN)
    for name, again in (
        ("a line without end", b"data: " + b"x" * 65_536),
        ("comments without end", b": " + b"x" * 16_382 + b"\n\n"),
        ("roles without end", role * 50),
        ("words without end", said[0] * 5),
        ("blank lines without end", b"\n" * 16_384),
    ):
        yield Odd(name, True, (head(), again), pause_seconds=0.005, endless=True)
    yield Odd("a byte at a time", True, _bytewise(head() + b"".join(good)), After.FIN, None)


def _closed(name: str, events: list[bytes]) -> Odd:
    return Odd(name, True, (head(), *events), After.FIN, payload=b"".join(events))


def _said(text: str) -> bytes:
    chunk = {"choices": [{"index": 0, "delta": {"content": text}, "finish_reason": None}]}
    return b"data: " + json.dumps(chunk).encode() + b"\n\n"


def _bytewise(data: bytes) -> tuple[bytes, ...]:
    return tuple(data[at : at + 1] for at in range(len(data)))


def _answers(request: Body) -> Iterator[Odd]:
    good = answer_of({}, request)
    begin = head(b"content-length: %d" % len(good), kind=JSON)
    for name, body, fails in (
        ("nothing", b"", True),
        ("null", b"null", True),
        ("a list", b"[]", True),
        ("a word", b'"hello"', True),
        ("an object", b"{}", True),
        ("no choices", b'{"choices":[]}', True),
        ("an error", b'{"error":{"message":"overloaded","type":"server_error"}}', True),
        ("an error in words", b'{"error":"overloaded"}', True),
        ("a page", b"<!doctype html><title>502 Bad Gateway</title>", True),
        ("half of it", good[: len(good) // 2], True),
        ("it twice", good + good, True),
        ("it and more", good + b"}", True),
        ("a BOM before it", BOM + good, False),
        ("blanks around it", b" \n" * 500_000 + good, False),
        ("no UTF-8", good.replace(b"word", b"w\xff\xfed", 1), False),
        ("zeros in it", good.replace(b"word", b"w\0rd", 1), False),
        ("deep", b'{"choices":' + b"[" * 100_000, True),
        ("deep and whole", b'{"a":' + b"[" * 5_000 + b"]" * 5_000 + b"," + good[1:], False),
        ("a number of ten thousand digits", b'{"a":' + b"9" * 10_000 + b"," + good[1:], False),
        ("usage of nonsense", answer_of({"usage": "absurd"}, request), False),
        ("usage below zero", answer_of({"usage": "negative"}, request), False),
        ("usage in words", answer_of({"usage": "text"}, request), False),
        ("a stream instead", b"".join(events_of({}, request)), True),
    ):
        for framing in ("length", "close"):
            writes, after = framed([body], framing, JSON)
            yield Odd(f"{name}, by {framing}", False, writes, after, body, fails)
    yield Odd("shorter than it says", False, (begin, good[:-5]), After.FIN, fails=True)
    yield Odd("shorter, and waiting", False, (begin, good[:-5]), fails=True)
    yield Odd("shorter, and reset", False, (begin, good[:-5]), After.RST, fails=True)
    yield Odd("longer than it says", False, (begin + good + b"HTTP/1.1 200 OK\r\n\r\n",))
    giant = head(b"content-length: 1073741824", kind=JSON)
    yield Odd("says it is giant", False, (giant, good), fails=True)
    packed = _gzip(good)
    size = b"content-length: %d" % len(packed)
    zipped = head(size, b"content-encoding: gzip", kind=JSON)
    yield Odd("gzip", False, (zipped, packed), fails=True)
    bomb = _gzip(b" " * _BOMB_BYTES + good)
    size = b"content-length: %d" % len(bomb)
    yield Odd("bomb", False, (head(size, b"content-encoding: gzip", kind=JSON), bomb), fails=True)
    endless = (head(kind=JSON), b" " * 65_536)
    yield Odd("blanks without end", False, endless, fails=True, endless=True)


def _heads(request: Body) -> Iterator[Odd]:
    for stream in (True, False):
        body = b"".join(events_of({}, request)) if stream else answer_of({}, request)
        kind = STREAM if stream else JSON
        size = b"content-length: %d" % len(body)
        chunked = b"transfer-encoding: chunked"

        def odd(
            name: str,
            *writes: bytes,
            after: After = After.FIN,
            fails: bool = False,
            stream: bool = stream,
            **more: Any,
        ) -> Odd:
            return Odd(f"{name}, {'stream' if stream else 'whole'}", stream, writes, after,
                       fails=fails, **more)  # fmt: skip

        yield odd("no HTTP", b"hello\r\n\r\n", fails=True)
        yield odd("an alert of TLS", b"\x15\x03\x01\x00\x02\x02\x46", fails=True)
        yield odd("HTTP/2", b"HTTP/2 200\r\n\r\n" + body, fails=True)
        yield odd("HTTP/9.9", b"HTTP/9.9 200 OK\r\n" + size + b"\r\n\r\n" + body)
        yield odd("HTTP/1.0", b"HTTP/1.0 200 OK\r\ncontent-type: " + kind + b"\r\n\r\n" + body)
        yield odd("a status of two digits", b"HTTP/1.1 20 OK\r\n\r\n" + body, fails=True)
        yield odd("a status of 999", head(size, status=b"HTTP/1.1 999 X", kind=kind) + body)
        for status in (b"199", b"201", b"204", b"206", b"302", b"304", b"418", b"599"):
            line = b"HTTP/1.1 " + status + b" Odd"
            yield odd(f"a status of {status.decode()}", head(size, status=line, kind=kind), body)
        yield odd("another protocol", b"HTTP/1.1 101 Switching Protocols\r\n\r\n", fails=True)
        yield odd("many interim answers", b"HTTP/1.1 103 Early Hints\r\n\r\n" * 2_000)
        interim = b"HTTP/1.1 100 Continue\r\n\r\n"
        yield odd("one interim answer", interim + head(size, kind=kind) + body, after=After.KEEP)
        yield odd("no end of head", b"HTTP/1.1 200 OK\r\n" + b"a: b\r\n" * 20_000, fails=True)
        yield odd("a header of a megabyte", head(b"a: " + b"x" * MEGABYTE) + body, fails=True)
        yield odd("heads without end", b"HTTP/1.1 200 OK\r\n", b"a: " + b"b" * 4_000 + b"\r\n",
                  fails=True, endless=True, pause_seconds=0.001)  # fmt: skip
        yield odd("a length below zero", head(b"content-length: -1", kind=kind) + body, fails=True)
        yield odd("a length in hex", head(b"content-length: 0x20", kind=kind) + body, fails=True)
        yield odd("two lengths", head(size, b"content-length: 1", kind=kind) + body, fails=True)
        yield odd("length and chunks", head(size, chunked, kind=kind) + _chunk(body), fails=True)
        yield odd("chunks of gzip",
                  head(b"transfer-encoding: gzip, chunked", kind=kind) + _chunk(body),
                  fails=True)  # fmt: skip
        giant = b"F" * 24 + b"\r\n" + body
        yield odd("a giant chunk", head(chunked, kind=kind) + giant, fails=True)
        yield odd("chunks that are none", head(chunked, kind=kind) + body, fails=True)
        long_extension = b"%x;%b\r\n" % (len(body), b"a" * 60_000)
        yield odd("a long extension", head(chunked, kind=kind) + long_extension + body)
        trailers = b"0\r\n" + b"a: b\r\n" * 20_000 + b"\r\n"
        yield odd("many trailers", head(chunked, kind=kind) + _chunk(body) + trailers)
        yield odd("no last chunk", head(chunked, kind=kind) + _chunk(body))
        yield odd("a NUL in a header", head(b"a: \0", size, kind=kind) + body)
        yield odd("a bare LF", head(size, kind=kind).replace(b"\r\n", b"\n") + body)
        yield odd("a bare CR", head(b"a: b\rc: d", size, kind=kind) + body)
        yield odd("a folded header", head(b"a: b\r\n c", size, kind=kind) + body)
        yield odd("no content type", b"HTTP/1.1 200 OK\r\n" + size + b"\r\n\r\n" + body)
        other = JSON if stream else STREAM
        yield odd("the other content type", head(size, kind=other) + body)
        yield odd("a head, and nothing", head(size, kind=kind), after=After.KEEP)
        yield odd("a head, and the end", head(size, kind=kind), fails=not stream)
        yield odd("nothing at all", after=After.KEEP, fails=True)
        yield odd("nothing and the end", fails=True)
        yield odd("nothing and a reset", after=After.RST, fails=True)
        yield odd("a slow head", *_bytewise(head(size, kind=kind)[:80]),
                  pause_seconds=0.05, after=After.KEEP, fails=True)  # fmt: skip


def _gzip(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=31)
    return packer.compress(data) + packer.flush()
