"""The words of the trail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class Act:
    """Somebody does something at a moment: handed to every use case that changes data.

    actor: who, as "user:<id>", "cli:<login name>", "setup" or "demo".
    at_ms: when, in unix milliseconds.
    role: what they may do, as they did it; "" = it is not a person of the platform.
    ip, user_agent, request_id: from where, with what, and by which request; "" = by none.
    """

    actor: str
    at_ms: int
    role: str = ""
    ip: str = ""
    user_agent: str = ""
    request_id: str = ""


@dataclass(frozen=True, slots=True)
class Note:
    """What is written into the trail, before it has its place there. before, after: fields of
    what it was done to, without secrets; None = there was nothing before, or is nothing after."""

    act: Act
    action: str
    target: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None


@dataclass(frozen=True, slots=True)
class Entry:
    """One row of the trail: a Note with its place. previous: the digest of the row before.
    digest: of this row and of all before it."""

    id: int
    at_ms: int
    actor: str
    action: str
    target: str
    before: Mapping[str, Any] | None
    after: Mapping[str, Any] | None
    role: str = ""
    ip: str = ""
    user_agent: str = ""
    request_id: str = ""
    previous: bytes = b""
    digest: bytes = b""


@dataclass(frozen=True, slots=True)
class Wanted:
    """Which rows of the trail are asked for; "" and None = any.

    action: one of them ("token.create"), or a whole family ("token").
    since_ms, until_ms: done at or after, and before.
    """

    actor: str = ""
    action: str = ""
    target: str = ""
    since_ms: int | None = None
    until_ms: int | None = None


EVERYTHING = Wanted()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What walking along the trail has shown.

    count: rows that were walked along.  last_id, digest: the newest of them; noted elsewhere,
    they prove later that nothing up to there was changed.  problem: what is wrong, "" = nothing.
    at_id: the first row that shows it.
    """

    count: int
    last_id: int
    digest: bytes
    problem: str = ""
    at_id: int = 0
