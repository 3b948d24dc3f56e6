"""What vendors answer when a call fails, as they send it, and what is to be made of it.

The answers stand in `failure_examples.txt`, one after the other, each as

    vendor's type: name of the example, unique for its vendor
    status -> action why, and scope, seconds and strip where they are not the usual ones
    headers, if there are any that matter
    the body, in one line

where the status `event` is a stream that began with 200 and whose first event was this error. They
are the rows of the table of failures, with bodies as in the vendors' documents and in reports of
their users. Names, ids and keys in them are invented.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import NamedTuple

from aipool.vendors.types import Action, Scope, Verdict

#: The moment at which the examples are judged: 2026-03-10T12:00:00Z.
UNIX_NOW = 1_773_144_000.0

_FIRST = re.compile(r"(?P<vendor>\w+): (?P<name>.+)")
_SECOND = re.compile(r"(?P<status>\d+|event) -> (?P<action>\w+) (?P<why>\w+)(?P<rest>.*)")
_HEADER = re.compile(r"([a-z][a-z0-9-]*): (.*)")


class FailureExample(NamedTuple):
    """One failed answer, and the verdict on it.

    headers: names in lower case.  event: the body came as the first event of a stream, behind
    `data: `; its status is 200.
    """

    vendor: str
    name: str
    status: int
    body: bytes
    action: Action
    why: str
    headers: dict[bytes, bytes]
    scope: Scope = Scope.KEY
    seconds: float | None = None
    strip: str = ""
    event: bool = False

    @property
    def verdict(self) -> Verdict:
        return Verdict(self.action, self.why, self.scope, self.seconds, self.strip)


def _example(block: str) -> FailureExample:
    lines = block.split("\n")
    first, second = _FIRST.fullmatch(lines[0]), _SECOND.fullmatch(lines[1])
    assert first and second, block
    headers: dict[bytes, bytes] = {}
    place = 2
    while place < len(lines) and (header := _HEADER.fullmatch(lines[place])):
        headers[header[1].encode()] = header[2].encode()
        place += 1
    rest = dict(pair.split("=") for pair in second["rest"].split())
    event = second["status"] == "event"
    return FailureExample(
        first["vendor"],
        first["name"],
        200 if event else int(second["status"]),
        "\n".join(lines[place:]).encode(),
        Action(second["action"]),
        second["why"],
        headers,
        Scope(rest.get("scope", "key")),
        float(rest["seconds"]) if "seconds" in rest else None,
        rest.get("strip", ""),
        event,
    )


def _examples() -> tuple[FailureExample, ...]:
    text = Path(__file__).with_suffix(".txt").read_text(encoding="utf-8")
    return tuple(_example(block) for block in text.rstrip("\n").split("\n\n"))


EXAMPLES = _examples()
