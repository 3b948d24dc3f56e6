"""One answer that takes more than a single read, or is out of the ordinary.

The parser's callbacks only take notes; `feed` acts on them after the parser has returned, so a
listener may cancel, pause or start the next request from inside its own calls, and what it raises
is not mistaken for a parser error.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from httptools import (
    HttpParserCallbackError,
    HttpParserError,
    HttpParserUpgrade,
    HttpResponseParser,
)

from aipool.wire.request import FailureKind, Request
from aipool.wire.statuses import BODILESS

if TYPE_CHECKING:
    from aipool.wire.upstream import UpstreamConnection

_HEAD_BYTES_MAX = 64 * 1024  # Answers carry cookies and policies; twice what requests may.


class _Unsolicited(Exception):
    """Stops the parser at bytes nobody asked for."""


class AnswerReader:
    """Reads one answer for the request its connection carries."""

    __slots__ = (
        "_begun",
        "_budget",
        "_charged_bytes",
        "_connection",
        "_content",
        "_headers",
        "_interim",
        "_limits",
        "_parser",
        "_pieces",
        "_received_bytes",
        "_status",
        "_streamed",
        "_waiting",
        "complete",
        "head_read",
        "keep_alive",
        "on_body",
        "until_close",
    )

    def __init__(self, connection: UpstreamConnection) -> None:
        self._connection = connection
        self._limits = connection.client.limits
        self._budget = connection.client.answers
        self._pieces: list[bytes] = []
        self.on_body = self._pieces.append  # Called for every chunk: no Python in between.
        self._parser = HttpResponseParser(self)
        self._headers: dict[bytes, bytes] = {}
        self._status = 0
        self._interim = False
        self._content: bytearray | None = None
        self._charged_bytes = 0
        self._received_bytes = 0
        self._streamed = False
        self._begun = False
        self._waiting = False
        self.head_read = False
        self.complete = False
        self.keep_alive = False
        self.until_close = False
        """The end of the connection is the end of the answer."""

    @property
    def body_begun(self) -> bool:
        """A byte of the body has come."""
        return self._begun

    def feed(self, data: bytes, request: Request) -> None:
        """Takes bytes, and calls the request's listener and the connection as they warrant."""
        connection = self._connection
        broken = ""
        try:
            self._parser.feed_data(data)
        except HttpParserUpgrade:
            broken = "the answer switches protocols"
        except (HttpParserError, HttpParserCallbackError) as error:
            broken = str(error)
            self.keep_alive = False
        if self.head_read:
            pass
        elif self._status:
            broken = self._judge_head(request) or broken
            if not broken or self.complete:
                self.head_read = True
                self._streamed = request.listener.response(self._status, self._headers)
                if connection.request is not request:
                    return
        else:
            self._received_bytes += len(data)
            if self._received_bytes > _HEAD_BYTES_MAX:
                broken = "the answer's head has no end"
        if broken and not self.complete:
            connection.fail(FailureKind.PROTOCOL, broken)
            return
        if self._pieces:
            self._take_pieces(request)
        elif self.head_read and not self.complete:
            self._refuse_announced()
        if self.complete and connection.request is request:
            connection.finish(request, b"" if self._content is None else bytes(self._content))

    def _judge_head(self, request: Request) -> str:
        """Whether the body's end can be told; what is wrong when it cannot."""
        headers = self._headers
        length = headers.get(b"content-length")
        coding = headers.get(b"transfer-encoding")
        if coding is not None and (length is not None or coding.lower() != b"chunked"):
            self.complete = False
            return "the answer's framing is ambiguous"
        if self._status == 101:
            self.complete = False
            return "the answer switches protocols"
        if request.head.startswith(b"HEAD "):
            # The parser waits for a body that never comes; the connection's next answer gets
            # another parser.
            self.keep_alive = (
                not self._pieces and b"close" not in headers.get(b"connection", b"").lower()
            )
            self._pieces.clear()
            self.complete = True
        elif length is None and coding is None and self._status not in BODILESS:
            self.until_close = not self.complete
        return ""

    def _take_pieces(self, request: Request) -> None:
        pieces = self._pieces
        piece = pieces[0] if len(pieces) == 1 else b"".join(pieces)
        pieces.clear()
        self._begun = True
        if not self.complete:
            self._connection.postpone(request)
        if self._streamed:
            request.listener.data(piece)
        elif not self._refuse_announced():
            self._collect(piece)

    def _refuse_announced(self) -> bool:
        """An answer to be collected that announces more than may be is not read."""
        length = self._headers.get(b"content-length")
        if self._streamed or length is None or int(length) <= self._limits.answer_bytes:
            return False
        self._connection.fail(FailureKind.TOO_LARGE, "the answer announces more than the limit")
        return True

    def _collect(self, piece: bytes) -> None:
        if self._content is None:
            self._content = bytearray()
        self._content += piece
        self._charged_bytes += len(piece)
        self._budget.charge(len(piece))
        if len(self._content) > self._limits.answer_bytes:
            self._connection.fail(FailureKind.TOO_LARGE, "the answer is larger than the limit")
        elif not self.complete and len(self._content) > self._budget.free_bytes:
            if not self._budget.must_wait(self):
                self._budget.reading(self, self._wait_for_room)
            elif not self._waiting:
                self._wait_for_room()

    def _wait_for_room(self) -> None:
        # The deadline stays: an answer for which there is no room in time has failed.
        self._waiting = True
        self._connection.pause_reading()
        self._budget.wait(self, self._room_again)

    def _room_again(self) -> None:
        self._waiting = False
        self._budget.reading(self, self._wait_for_room)
        self._connection.read_on()

    @property
    def waiting(self) -> bool:
        """Reading is paused until there is room."""
        return self._waiting

    def ended_by_close(self, request: Request) -> None:
        """The connection closed cleanly, which is how this answer ends."""
        self._connection.finish(request, b"" if self._content is None else bytes(self._content))

    def leave(self) -> None:
        """The answer is over; its bytes go back to the budget. Called once."""
        # The parser knows the methods of this reader; no collector is needed to free the two.
        del self._parser
        self._waiting = False
        self._budget.leave(self)
        if self._charged_bytes:
            self._budget.release(self._charged_bytes)
            self._charged_bytes = 0

    # Parser callbacks.

    def on_message_begin(self) -> None:
        """Another answer, or the first, or the one after a 1xx."""
        if self.complete:
            raise _Unsolicited
        self._headers = {}

    def on_header(self, name: bytes, value: bytes) -> None:
        """A header, or a trailer, which is dropped."""
        if self._status:
            return
        name = name.lower()
        value = value.strip()
        headers = self._headers
        if name in headers:
            # Cookies hold commas; a line feed cannot be part of any value.
            separator = b"\n" if name == b"set-cookie" else b", "
            value = headers[name] + separator + value
        headers[name] = value

    def on_headers_complete(self) -> None:
        """The end of a head; of a 1xx too, which is skipped."""
        status = self._parser.get_status_code()
        if 100 <= status < 200 and status != 101:
            self._interim = True
        else:
            self._status = status

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self._interim:
            self._interim = False
        else:
            self.complete = True
            self.keep_alive = self._parser.should_keep_alive()
