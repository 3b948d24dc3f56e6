"""The fake vendor's own books: what was asked, how far the answer got, what it would bill.

In memory, and in a file when a path is given: one JSON line at each step, written at once, so that
the file tells the truth about every other process's death. `Books.load` folds the lines again.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

#: A request's steps, in order; it ends in one of the last three.
HEADERS, RECEIVED, ANSWERING = "headers", "received", "answering"
COMPLETED, CUT, CLIENT_GONE = "completed", "cut", "client_gone"


class Progress(msgspec.Struct, kw_only=True, omit_defaults=True):
    """How far a request has got: the line of a step. Times are seconds since 1970."""

    number: int
    phase: str = HEADERS

    # the answer, so far as it was handed to the socket
    status: int | None = None
    first_event_time: float | None = None
    events_sent: int = 0
    bytes_sent: int = 0
    tokens_sent: int = 0
    usage_sent: dict[str, Any] | None = None
    ended_time: float | None = None

    # what the vendor would bill for that
    billed_input: int = 0
    billed_output: int = 0


class Entry(Progress, kw_only=True, omit_defaults=True):
    """One request as the vendor saw it."""

    time: float
    method: str
    target: str
    key: str
    headers: dict[str, str]

    # from the body on
    model: str | None = None
    stream: bool = False
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    user: str | None = None
    message: str = ""
    body_bytes: int = 0
    body_sha256: str = ""

    def is_marked(self, marker: str) -> bool:
        """Does the request carry this marker, as its `user` or in its last user message?"""
        return self.user == marker or marker in self.message


_PROGRESS = Progress.__struct_fields__
_encode = msgspec.json.Encoder().encode


class Books:
    """All entries, in the order of their numbers."""

    def __init__(self, path: Path | None = None) -> None:
        self.entries: list[Entry] = []
        self.malformed = 0
        self._file = None
        if path is not None:
            self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)

    def __iter__(self) -> Iterator[Entry]:
        return iter(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def open(self, entry: Entry) -> None:
        """A request has begun."""
        self.entries.append(entry)
        self._line(entry)

    def write(self, entry: Entry) -> None:
        """The whole entry again, when its body is known."""
        self._line(entry)

    def step(self, entry: Entry) -> None:
        """How far it has got."""
        if self._file is not None:
            self._line(Progress(**{name: getattr(entry, name) for name in _PROGRESS}))

    def close(self) -> None:
        """Close the file; what it holds was written long ago."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def marked(self, marker: str) -> list[Entry]:
        """The requests that carry this marker; several when one was tried again."""
        return [entry for entry in self.entries if entry.is_marked(marker)]

    def billed(self, marker: str) -> tuple[int, int]:
        """Input and output tokens billed for the requests with this marker, all attempts."""
        found = self.marked(marker)
        return sum(e.billed_input for e in found), sum(e.billed_output for e in found)

    @classmethod
    def load(cls, path: Path) -> Books:
        """The books as a file holds them; a torn last line is left out."""
        by_number: dict[int, Entry] = {}
        for line in path.read_bytes().split(b"\n")[:-1]:
            held = msgspec.json.decode(line)
            if "method" in held:
                by_number[held["number"]] = msgspec.convert(held, Entry)
            else:
                entry = by_number[held["number"]]
                for name, value in held.items():
                    setattr(entry, name, value)
        books = cls()
        books.entries = list(by_number.values())
        return books

    def _line(self, held: Progress) -> None:
        if self._file is not None:
            os.write(self._file, _encode(held) + b"\n")
