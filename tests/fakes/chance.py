"""Right answers with a few things done to them by chance.

The same seed and number make the same answer, so what failed once can be told again.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from itertools import pairwise
from typing import Final

from tests.fakes.odd import CONTENTS, JSON, After, Body, Odd, answer_of, events_of, framed
from tests.fakes.sse import BOM, KINDS


def by_chance(seed: int, number: int, request: Body) -> Odd:
    """The answer with this number; always the same for the same seed."""
    chance = random.Random(f"{seed}:{number}")
    stream = chance.random() < 0.7
    wishes = dict(chance.choice(CONTENTS))
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
