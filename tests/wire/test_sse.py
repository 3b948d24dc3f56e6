"""Event streams: cut anywhere, they fall into the same events, and no byte is lost."""

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aipool.wire.sse import EventSplitter, EventTooLarge, data_of, together

ENDING = re.compile(rb"\r\n|\n|\r")


def obvious_events(stream: bytes) -> tuple[list[bytes], bytes]:
    """The slow reference: all line endings, and an event after each two that touch."""
    endings = list(ENDING.finditer(stream))
    events, start, previous = [], 0, None
    for ending in endings:
        if ending.group() == b"\r" and ending.end() == len(stream):
            break  # It may yet become CRLF.
        if previous is not None and previous == ending.start() and ending.start() > start:
            events.append(stream[start : ending.end()])
            start, previous = ending.end(), None
        else:
            previous = ending.end()
    return events, stream[start:]


pieces = st.lists(
    st.one_of(
        st.sampled_from(
            [b"\n", b"\r", b"\r\n", b"\n\n", b"\r\n\r\n", b"\r\r", b"data: ", b"data:", b"x"]
        ),
        st.sampled_from([b"event: e", b": c", b"id", "é你".encode(), b"\xef\xbb\xbf", b"\x00"]),
        st.binary(max_size=5),
    ),
    max_size=40,
)


@pytest.mark.slow
@settings(max_examples=2000)
@given(parts=pieces, data=st.data())
def test_any_stream_cut_anywhere_yields_the_reference_events(
    parts: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(parts)
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=10)))
    splitter = EventSplitter()
    events = []
    for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        events += splitter.feed(stream[start:end])

    expected, rest = obvious_events(stream)

    assert events == expected
    assert splitter.rest() == rest
    assert b"".join(events) + splitter.rest() == stream


@pytest.mark.parametrize("ending", [b"\n", b"\r\n", b"\r"])
def test_each_line_ending_delimits(ending: bytes) -> None:
    event = b"event: a" + ending + b"data: b" + ending * 2
    splitter = EventSplitter()
    assert splitter.feed(event * 3 + b"x") == [event] * 3
    assert data_of(event) == b"b"


def test_an_event_grows_to_its_bound_and_no_further() -> None:
    event = b"data: " + b"x" * 92 + b"\n\n"
    assert EventSplitter(100).feed(event * 50) == [event] * 50
    splitter = EventSplitter(100)
    splitter.feed(event[:60])
    assert splitter.feed(event[60:]) == [event]
    for ending in (b"\n", b"\r\n"):
        with pytest.raises(EventTooLarge):
            EventSplitter(100).feed(b"x" * 101 + ending)
    with pytest.raises(EventTooLarge):
        splitter = EventSplitter(100)
        for _ in range(101):
            splitter.feed(b"x")


@pytest.mark.parametrize(
    ("event", "data"),
    [
        (b"data: a\n\n", b"a"),
        (b"data:a\n\n", b"a"),
        (b"data:  a\n\n", b" a"),
        (b"data: a\ndata: b\n\n", b"a\nb"),
        (b"data\n\n", b""),
        (b"data:\n\n", b""),
        (b"data: \n\n", b""),
        (b": ping\n\n", None),
        (b"event: x\n\n", None),
        (b"event: x\ndata: {}\nid: 3\n\n", b"{}"),
        (b"data: a\r\n\r\n", b"a"),
        (b"data: a\r\r", b"a"),
        (b"data: a\rdata: b\r\n\n", b"a\nb"),
        (b"\xef\xbb\xbfdata: a\n\n", b"a"),
        (b"database: a\n\n", None),
        (b"\n\n", None),
        (b"\ndata: a\n\n", b"a"),
        (b"data: [DONE]\n\n", b"[DONE]"),
    ],
)
def test_data_is_what_the_data_lines_say(event: bytes, data: bytes | None) -> None:
    assert data_of(event) == data


def test_events_without_data_become_one_and_no_byte_is_lost() -> None:
    stream = b"\n\n: a\n\n\n\ndata: x\n\n\n\n:\n\ndata: y\n\ndata: z\n\n"
    events = EventSplitter().feed(stream)

    joined = together(events)

    assert b"".join(joined) == stream
    assert [data_of(event) for event in joined] == [None, b"x", None, b"y", b"z"]
    assert together([]) == []
