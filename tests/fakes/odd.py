"""Answers as no vendor should give them: three hundred made by hand, any number by chance.

An odd answer is bytes, written as they stand, and how the connection goes on after them. The ones
by hand are every kind of stream (`sse.KINDS`) in every framing, and a list of whatever else has
been seen or feared. The ones by chance are right answers with a few things done to them; the same
seed and number make the same answer, so what failed once can be told again.
"""

from __future__ import annotations

import json
import random
import zlib
from collections.abc import Callable, Iterator
from enum import Enum
from itertools import pairwise
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

_CONTENTS: Final[tuple[Body, ...]] = (
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
        for number, wishes in enumerate(_CONTENTS[:4]):
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


# --- by chance --------------------------------------------------------------------------------


def by_chance(seed: int, number: int, request: Body) -> Odd:
    """The answer with this number; always the same for the same seed."""
    chance = random.Random(f"{seed}:{number}")
    stream = chance.random() < 0.7
    wishes = dict(chance.choice(_CONTENTS))
    if stream:
        wishes["sse"] = chance.choice(_SMALL_KINDS)
        pieces = events_of(wishes, request)
        kind = KINDS[wishes["sse"]].content_type.encode()
    else:
        pieces, kind = [answer_of(wishes, request)], JSON
    for _ in range(chance.choice((0, 1, 1, 1, 2, 3))):
        pieces = chance.choice(_ON_PIECES if len(pieces) > 1 else _ON_BYTES)(pieces, chance)
    payload: bytes | None = b"".join(pieces)
    framing = chance.choice(("chunked", "chunked", "length", "close"))
    writes, after = framed(pieces, framing, kind)
    fails = False
    if chance.random() < 0.3:
        # What is done to the framing makes the body a matter of opinion.
        payload = None
        writes, after = _spoilt(list(writes), after, chance)
    if chance.random() < 0.5:
        writes = _scattered(b"".join(writes), chance)
    pause = chance.choice((0.0, 0.0, 0.0, 0.001))
    return Odd(f"{seed}:{number}", stream, writes, after, payload, fails, pause)


#: Kinds without a line of a megabyte: there are thousands of these.
_SMALL_KINDS: Final = tuple(kind for kind in KINDS if kind != "long_line")

Change = Callable[[list[bytes], random.Random], list[bytes]]


def _drop(pieces: list[bytes], chance: random.Random) -> list[bytes]:
    at = chance.randrange(len(pieces))
    return pieces[:at] + pieces[at + 1 :]


def _double(pieces: list[bytes], chance: random.Random) -> list[bytes]:
    at = chance.randrange(len(pieces))
    return pieces[: at + 1] + pieces[at:]


def _swap(pieces: list[bytes], chance: random.Random) -> list[bytes]:
    changed = list(pieces)
    one, other = chance.randrange(len(changed)), chance.randrange(len(changed))
    changed[one], changed[other] = changed[other], changed[one]
    return changed


def _truncate(pieces: list[bytes], chance: random.Random) -> list[bytes]:
    whole = b"".join(pieces)
    return [whole[: chance.randrange(len(whole) + 1)]]


def _flip(pieces: list[bytes], chance: random.Random) -> list[bytes]:
    def change(data: bytearray, at: int) -> None:
        data[at] ^= 1 << chance.randrange(8)

    return _at_some_byte(pieces, chance, change)


def _insert(pieces: list[bytes], chance: random.Random) -> list[bytes]:
    what = chance.choice(_BITS)

    def change(data: bytearray, at: int) -> None:
        data[at:at] = what

    return _at_some_byte(pieces, chance, change)


def _cut_out(pieces: list[bytes], chance: random.Random) -> list[bytes]:
    size = chance.randrange(1, 20)

    def change(data: bytearray, at: int) -> None:
        del data[at : at + size]

    return _at_some_byte(pieces, chance, change)


def _at_some_byte(
    pieces: list[bytes], chance: random.Random, change: Callable[[bytearray, int], None]
) -> list[bytes]:
    changed = list(pieces)
    index = chance.randrange(len(changed)) if changed else 0
    if changed and changed[index]:
        data = bytearray(changed[index])
        change(data, chance.randrange(len(data)))
        changed[index] = bytes(data)
    return changed


def _replace(pieces: list[bytes], chance: random.Random) -> list[bytes]:
    before = chance.choice(_WORDS)
    after = chance.choice(_WORDS_INSTEAD)
    return [piece.replace(before, after, 1) for piece in pieces]


def _line_ends(pieces: list[bytes], chance: random.Random) -> list[bytes]:
    return [piece.replace(b"\n", chance.choice((b"\n", b"\r\n", b"\r"))) for piece in pieces]


_BITS: Final = (
    b"\0", b"\n", b"\r", b"\r\n", b"\n\n", b"\xff", b"\xc3", BOM, b"data: ", b"data: [DONE]\n\n",
    b"{", b"}", b"[", b"]", b'"', b"\\", b"\\ud800", b": ", b"null", b"1e999", b"-0",
    b'data: {"error":{"message":"x"}}\n\n', b"0\r\n\r\n", b"event: error\n", b"x" * 5_000,
)  # fmt: skip
_WORDS: Final = (
    b'"choices"', b'"delta"', b'"content"', b'"finish_reason"', b'"usage"', b"null", b"[", b"}",
    b'"prompt_tokens"', b'"completion_tokens"', b'"index":0', b'"stop"', b"data: ", b"0", b"1",
)  # fmt: skip
_WORDS_INSTEAD: Final = (
    b"", b"null", b'"error"', b"[]", b"{}", b"-1", b"1e400", b"18446744073709551616", b'"\\u0000"',
    b"true", b"[[[[[[", b'"usage"', b'"content"', b"\xf0\x9f", b"0.5", b" ",
)  # fmt: skip

_ON_BYTES: Final[tuple[Change, ...]] = (_flip, _insert, _cut_out, _replace, _truncate)
_ON_PIECES: Final[tuple[Change, ...]] = (*_ON_BYTES, _drop, _double, _swap, _line_ends)


def _spoilt(
    writes: list[bytes], after: After, chance: random.Random
) -> tuple[tuple[bytes, ...], After]:
    """Something is done to the head, to the framing or to the end."""
    what = chance.randrange(6)
    if what == 0:
        whole = b"".join(writes)
        return (whole[: chance.randrange(1, len(whole) + 1)],), chance.choice(list(After))
    if what == 1:
        return tuple(writes), chance.choice((After.FIN, After.RST))
    if what == 2:
        extra = chance.choice(_LINES)
        return (writes[0].replace(b"\r\n", b"\r\n" + extra + b"\r\n", 1), *writes[1:]), after
    if what == 3:
        # Past the status, which may convict the key for good.
        data = bytearray(writes[0])
        data[chance.randrange(15, len(data))] = chance.randrange(256)
        return (bytes(data), *writes[1:]), After.FIN
    if what == 4:
        index = chance.randrange(1, len(writes)) if len(writes) > 1 else 0
        writes[index] = writes[index][1:] if index else writes[index]
        return tuple(writes), After.FIN
    return (*writes, chance.choice(_BITS)), after


_LINES: Final = (
    b"content-length: 5", b"content-length: 99999999999", b"transfer-encoding: chunked",
    b"content-encoding: gzip", b"content-type: text/html", b"connection: close", b"x" * 3_000,
    b"a: \xff", b"set-cookie: a=b", b"content-encoding: identity", b"trailer: a", b"upgrade: h2c",
)  # fmt: skip


def _scattered(data: bytes, chance: random.Random) -> tuple[bytes, ...]:
    """The same bytes, cut anywhere."""
    cuts = sorted(chance.randrange(len(data) + 1) for _ in range(chance.randrange(1, 6)))
    marks = [0, *cuts, len(data)]
    pieces = [data[start:end] for start, end in pairwise(marks)]
    return tuple(piece for piece in pieces if piece)
