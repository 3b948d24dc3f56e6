"""Messages on link.sock: a 4-byte little-endian length, then one msgpack value.

    worker                                   ledger process
      Hello ────────────────────────────────▶
                                  ◀──────────── Welcome | Fenced
      Acquire (one outstanding) ────────────▶
                                  ◀──────────── Granted
      Ship (one outstanding) ───────────────▶
                                  ◀──────────── Recorded
      FetchToken ───────────────────────────▶
                                  ◀──────────── TokenAnswer
                                  ◀──────────── Publish
      Applied ──────────────────────────────▶
      Counters (each second) ───────────────▶
                                  ◀──────────── Ping
      Pong ─────────────────────────────────▶

    writer (control, CLI)
      Changed ──────────────────────────────▶
                                  ◀──────────── Acknowledged

A worker that reconnects says Hello with the same epoch: Welcome carries the high-water
mark, and it repeats its outstanding Acquire under the same number, which is answered
identically. Positions are those of doors.records.
"""

from __future__ import annotations

import struct

import msgspec

from aipool.doors.snapshot import Snapshot, TokenView

_LENGTH = struct.Struct("<I")
#: A snapshot of 2,000 models and 1,000 keys is about 0.5 MB.
FRAME_BYTES_MAX = 64 * 1024 * 1024

#: Entries in one Ship; at 25,000 calls a second this is 10 ms of traffic.
SHIP_ENTRIES_MAX = 512


class Hello(msgspec.Struct, tag=1, array_like=True, frozen=True):
    """A worker introduces its epoch. `applied`: the newest revision it has, 0 = none."""

    epoch: int
    worker: int
    pid: int
    applied: int


class Welcome(msgspec.Struct, tag=2, array_like=True, frozen=True):
    """The epoch is open. A Publish with everything the worker lacks follows at once."""

    high_water: int


class Fenced(msgspec.Struct, tag=3, array_like=True, frozen=True):
    """The epoch is closed for good: nothing of it is accepted any more."""

    reason: str


class Need(msgspec.Struct, array_like=True, frozen=True):
    """What one budget must give: at least `least_nano`, at best `want_nano`."""

    budget: str
    window: int
    least_nano: int
    want_nano: int


class Acquire(msgspec.Struct, tag=4, array_like=True, frozen=True):
    """Ask for leases. Each chain is granted on all its budgets or on none."""

    number: int
    chains: tuple[tuple[Need, ...], ...]


class Grant(msgspec.Struct, array_like=True, frozen=True):
    """The answer for one budget. amount_nano 0 = refused; free_nano: what the budget had
    unleased before this answer (after earlier chains of the same frame).
    low: low-balance mode, the rest goes back at settle."""

    amount_nano: int
    free_nano: int
    low: bool


class Granted(msgspec.Struct, tag=5, array_like=True, frozen=True):
    """One tuple a chain, one Grant a need, in the order asked."""

    number: int
    chains: tuple[tuple[Grant, ...], ...]


class Ship(msgspec.Struct, tag=6, array_like=True, frozen=True):
    """Entries (payloads of S and R records) between two positions, in order.
    `start` must be the high-water mark; `end` becomes it."""

    start: int
    end: int
    entries: tuple[bytes, ...]


class Recorded(msgspec.Struct, tag=7, array_like=True, frozen=True):
    """Committed up to here."""

    high_water: int


class FetchToken(msgspec.Struct, tag=8, array_like=True, frozen=True):
    """Who has this digest?"""

    number: int
    digest: bytes


class TokenAnswer(msgspec.Struct, tag=9, array_like=True, frozen=True):
    """As of `revision`; None = no such token."""

    number: int
    revision: int
    token: TokenView | None


class Publish(msgspec.Struct, tag=10, array_like=True, frozen=True):
    """What changed up to `revision`: a whole new snapshot or none, tokens to forget.
    everything: forget all tokens."""

    revision: int
    snapshot: Snapshot | None
    digests: tuple[bytes, ...]
    everything: bool


class Applied(msgspec.Struct, tag=11, array_like=True, frozen=True):
    """The worker acts on `revision` from now on."""

    revision: int


class Counters(msgspec.Struct, tag=12, array_like=True, frozen=True):
    """A worker's metrics since its start: plain values by (name, label values)."""

    values: tuple[tuple[str, tuple[str, ...], int], ...]


class Ping(msgspec.Struct, tag=13, array_like=True, frozen=True):
    """Are you there?"""


class Pong(msgspec.Struct, tag=14, array_like=True, frozen=True):
    """I am."""


class Changed(msgspec.Struct, tag=15, array_like=True, frozen=True):
    """A writer committed `revision`: the catalogue, these tokens, or every token."""

    revision: int
    catalogue: bool
    digests: tuple[bytes, ...]
    everything: bool


class Acknowledged(msgspec.Struct, tag=16, array_like=True, frozen=True):
    """Every live worker acts on `revision`, but for those named in `missing`."""

    revision: int
    missing: tuple[str, ...]


FromWorker = Hello | Acquire | Ship | FetchToken | Applied | Counters | Pong | Changed
FromLedger = Welcome | Fenced | Granted | Recorded | TokenAnswer | Publish | Ping | Acknowledged

_encoder = msgspec.msgpack.Encoder()
from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
from_ledger: msgspec.msgpack.Decoder[FromLedger] = msgspec.msgpack.Decoder(FromLedger)


def pack(message: FromWorker | FromLedger) -> bytes:
    """A message with its length in front."""
    payload = _encoder.encode(message)
    return _LENGTH.pack(len(payload)) + payload


class Splitter:
    """Cuts a byte stream into payloads. Raises ValueError on a frame too long."""

    __slots__ = ("_buffer",)

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> list[bytes]:
        """The payloads that are whole now."""
        buffer = self._buffer
        buffer += data
        payloads: list[bytes] = []
        offset = 0
        while len(buffer) - offset >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(buffer, offset)
            if length > FRAME_BYTES_MAX:
                raise ValueError(f"a frame of {length} bytes on link.sock")
            end = offset + _LENGTH.size + length
            if len(buffer) < end:
                break
            payloads.append(bytes(buffer[offset + _LENGTH.size : end]))
            offset = end
        if offset:
            del buffer[:offset]
        return payloads
