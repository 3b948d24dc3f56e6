"""What the ledger process is asked to write, and what it answers.

A request is decoded and checked before it comes here; an answer is a message of
doors.frames, sent after the commit and never before.
"""

from __future__ import annotations

from dataclasses import dataclass

import msgspec

from aipool.doors.frames import Acquire, Fenced, Granted, Recorded, Ship, Welcome
from aipool.doors.records import Entry, decode_entry


@dataclass(frozen=True, slots=True)
class Open:
    """A worker introduces its epoch."""

    epoch: int
    worker: int
    pid: int


@dataclass(frozen=True, slots=True)
class Borrow:
    """A worker asks for leases."""

    epoch: int
    acquire: Acquire


@dataclass(frozen=True, slots=True)
class Append:
    """Entries of an epoch between two positions of its journal."""

    epoch: int
    start: int
    end: int
    entries: tuple[Entry, ...]


@dataclass(frozen=True, slots=True)
class Misplaced:
    """An answer that is not sent: the entries do not follow on the high-water mark, or the
    request is older than the last one. The connection is closed; the worker connects
    again and learns where it stands."""

    reason: str


Request = Open | Borrow | Append
Answer = Welcome | Granted | Recorded | Fenced | Misplaced


def append_of(epoch: int, ship: Ship) -> Append:
    """A Ship with its entries decoded. Raises msgspec.MsgspecError for one that is none."""
    return Append(epoch, ship.start, ship.end, tuple([decode_entry(e) for e in ship.entries]))


#: The error of bytes that are no entry.
BadEntry = msgspec.MsgspecError
