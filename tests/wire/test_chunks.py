"""The chunk decoder against the parser library's, and against its own bounds."""

import itertools

import httptools
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aipool.wire.chunks import BadChunk, ChunkDecoder
from aipool.wire.limits import Limits

LIMITS = Limits()


def encode(chunks: list[bytes]) -> bytes:
    return b"".join(b"%x\r\n%b\r\n" % (len(chunk), chunk) for chunk in chunks) + b"0\r\n\r\n"


@settings(max_examples=500)
@given(
    chunks=st.lists(st.binary(min_size=1, max_size=300), max_size=8),
    rest=st.binary(max_size=20),
    data=st.data(),
)
def test_cut_anywhere_the_body_and_what_follows_are_the_same(
    chunks: list[bytes], rest: bytes, data: st.DataObject
) -> None:
    stream = encode(chunks)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=12)))
    decoder = ChunkDecoder(LIMITS)
    body = b""
    edges = [0, *cuts, len(stream)]
    for start, end in itertools.pairwise(edges):
        if start < end and not decoder.done:
            body += b"".join(decoder.feed(stream[start:end] + (rest if end == edges[-1] else b"")))

    assert decoder.done
    assert body == b"".join(chunks)
    assert decoder.rest == rest


class Library:
    def __init__(self) -> None:
        self.body = b""
        self.complete = False
        self.parser = httptools.HttpRequestParser(self)
        self.parser.feed_data(b"POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n")

    def on_body(self, piece: bytes) -> None:
        self.body += piece

    def on_message_complete(self) -> None:
        self.complete = True


@settings(max_examples=1500)
@given(
    st.lists(
        st.sampled_from(
            [
                b"3\r\nabc\r\n",
                b"0\r\n",
                b"\r\n",
                b"3",
                b"a",
                b";x=y",
                b"\n",
                b"\r",
                b" ",
                b"A: b\r\n",
            ]
        ),
        max_size=10,
    )
)
def test_whatever_it_accepts_the_library_reads_the_same(parts: list[bytes]) -> None:
    stream = b"".join(parts)
    decoder = ChunkDecoder(LIMITS)
    try:
        body = b"".join(decoder.feed(stream))
    except BadChunk:
        return
    if not decoder.done:
        return
    library = Library()
    library.parser.feed_data(stream[: len(stream) - len(decoder.rest)])
    assert library.complete
    assert library.body == body


def test_a_body_cut_into_crumbs_is_refused_but_a_streamed_one_is_not() -> None:
    with pytest.raises(BadChunk):
        ChunkDecoder(LIMITS).feed(b"1\r\nx\r\n" * 5000)
    ChunkDecoder(LIMITS).feed(b"1\r\nx\r\n" * 4000)
    ChunkDecoder(LIMITS).feed((b"40\r\n" + b"x" * 64 + b"\r\n") * 20_000)


@pytest.mark.parametrize("stream", [b"3" * 300, b"0\r\n" + b"x" * 9000, b"1;" + b"x" * 300])
def test_no_line_may_go_on_for_ever(stream: bytes) -> None:
    decoder = ChunkDecoder(LIMITS)
    with pytest.raises(BadChunk):
        for byte in stream:
            decoder.feed(bytes([byte]))
