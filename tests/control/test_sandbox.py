"""The sandbox keeps to the pace of whoever reads it."""

from __future__ import annotations

import json

from aipool.control import sandbox


class SlowReader:
    """An exchange whose client takes one event and then needs a rest."""

    def __init__(self, body: bytes) -> None:
        self.method, self.path, self.body = b"POST", b"/v1/chat/completions", body
        self.listener: sandbox._Call | None = None
        self.sent: list[bytes] = []
        self.ended = 0

    def start(self, status: int, headers: bytes) -> None:
        assert status == 200
        assert b"text/event-stream" in headers

    def send(self, data: bytes) -> None:
        self.sent.append(data)
        assert self.listener is not None
        self.listener.writable(False)

    def end(self) -> None:
        self.ended += 1

    def release_body(self) -> None:
        self.body = b""


def stream() -> SlowReader:
    asked = {"model": "m", "stream": True, "messages": [{"role": "user", "content": "hello"}]}
    reader = SlowReader(json.dumps(asked).encode())
    sandbox._begin(lambda: 1, reader)  # type: ignore[arg-type]
    assert reader.listener is not None
    reader.listener.body_complete()
    return reader


def test_one_event_is_sent_for_each_rest_of_the_reader_and_all_arrive() -> None:
    reader = stream()
    assert reader.listener is not None
    assert len(reader.sent) == 1

    for count in range(2, 10_000):
        reader.listener.writable(True)
        if reader.ended:
            break
        assert len(reader.sent) == count

    assert reader.sent[-1] == b"data: [DONE]\n\n"
    assert reader.ended == 1


def test_nothing_is_sent_to_a_reader_that_has_gone() -> None:
    reader = stream()
    assert reader.listener is not None

    reader.listener.client_gone()
    reader.listener.writable(True)

    assert len(reader.sent) == 1
    assert reader.ended == 0
