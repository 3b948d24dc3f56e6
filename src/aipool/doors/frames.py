"""Messages on link.sock: a 4-byte little-endian length, then one msgpack value.

    worker                                   ledger process
      Hello ────────────────────────────────▶
                                  ◀──────────── Welcome | Fenced
      Acquire (one outstanding) ────────────▶
                                  ◀──────────── Granted
      Collect ──────────────────────────────▶
                                  ◀──────────── Recall (to those who hold leases on it)
      GivenBack ────────────────────────────▶
                                  ◀──────────── Collected
                                  ◀──────────── Today
      AskPermits (one a chain of rates) ────▶
                                  ◀──────────── RecallPermits (to those who may hold some)
      PermitsBack (also unasked) ───────────▶
                                  ◀──────────── Permits
      KeyReports ───────────────────────────▶
                                  ◀──────────── KeyStates (to every worker)
      AskSlots (one a cap) ─────────────────▶
                                  ◀──────────── RecallSlots (to those who may hold some)
      SlotsBack (also unasked) ─────────────▶
                                  ◀──────────── Slots
      Claim ────────────────────────────────▶
                                  ◀──────────── Claimed
      Unclaim ──────────────────────────────▶
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
      Collect ──────────────────────────────▶
                                  ◀──────────── Collected
      Changed ──────────────────────────────▶
                                  ◀──────────── Acknowledged

A worker that reconnects says Hello with the same epoch: Welcome carries the high-water
mark, and it repeats its outstanding Acquire under the same number, which is answered
identically. Positions are those of doors.records.
"""

from __future__ import annotations

import struct
from enum import IntEnum

import msgspec

from aipool.doors.snapshot import Snapshot, TokenView
from aipool.ledger.types import Note
from aipool.pool.health import Lane, Report

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
    """What one budget must give: at least `least`, at best `want`, in its unit (nano-yuan,
    or calls). cap: of a budget of calls, its limit by the worker's snapshot; 0 for money."""

    budget: str
    window: int
    least: int
    want: int
    cap: int = 0


class Acquire(msgspec.Struct, tag=4, array_like=True, frozen=True):
    """Ask for leases. Each chain is granted on all its budgets or on none."""

    number: int
    chains: tuple[tuple[Need, ...], ...]


class Grant(msgspec.Struct, array_like=True, frozen=True):
    """The answer for one budget. amount 0 = refused; free: what the budget had
    unleased before this answer (after earlier chains of the same frame).
    low: low-balance mode, the rest goes back at settle.
    note: what is to be said of it; a chain with any note but FINE is refused."""

    amount: int
    free: int
    low: bool
    note: Note = Note.FINE


class Granted(msgspec.Struct, tag=5, array_like=True, frozen=True):
    """One tuple a chain, one Grant a need, in the order asked."""

    number: int
    chains: tuple[tuple[Grant, ...], ...]


class Collect(msgspec.Struct, tag=17, array_like=True, frozen=True):
    """Have everybody who holds a lease on one of these budgets give back what is free of
    it: (budget, window). `number` is the asker's own. Workers ask before they refuse for
    want of money that others hold; a writer asks before it takes money away."""

    number: int
    budgets: tuple[tuple[str, int], ...]


class Recall(msgspec.Struct, tag=18, array_like=True, frozen=True):
    """Give back what is free of these leases, and keep nothing of them for later."""

    number: int
    budgets: tuple[tuple[str, int], ...]


class GivenBack(msgspec.Struct, tag=19, array_like=True, frozen=True):
    """The answer to Recall `number`: all that was free is in the journal before `position`."""

    number: int
    position: int


class Collected(msgspec.Struct, tag=20, array_like=True, frozen=True):
    """The answer to Collect `number`, within a tenth of a second. complete: every holder
    answered, and what it gave back is in the books."""

    number: int
    complete: bool


class Today(msgspec.Struct, tag=21, array_like=True, frozen=True):
    """The UTC day it is for the windows of budgets, in days since 1970-01-01: after
    Welcome, and whenever it changes."""

    day: int


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


#: Rates (requests or tokens in any 60 seconds) up to this limit are granted one by one, for
#: exactly the calls that wait; above it workers get some in advance.
EXACT_LIMIT_MAX = 120
#: A permit may be used until this long after its worker asked for it.
PERMIT_SECONDS = 1.0

#: What is no longer counted of a rate: (rate, mark, amount). mark: under which it was
#: counted.  An amount below zero is counted now in addition, whatever the mark.
Uncounted = tuple[str, float, int]


class PermitNeed(msgspec.Struct, array_like=True, frozen=True):
    """What one rate must let pass: `least` for the first call that waits, `all` for all of
    them, `want` with some in advance. limit: in any 60 seconds, by the worker's snapshot."""

    rate: str
    limit: int
    least: int
    all: int
    want: int


class AskPermits(msgspec.Struct, tag=30, array_like=True, frozen=True):
    """May these calls pass? Every need gets at least its least, or none gets anything.
    back: what is no longer counted, before the question is looked at."""

    number: int
    needs: tuple[PermitNeed, ...]
    back: tuple[Uncounted, ...]


class Permit(msgspec.Struct, array_like=True, frozen=True):
    """The answer for one rate. amount 0 = refused.  mark: under which it was counted.
    counted: all that the last minute has now.  wait_seconds: until the least could pass, 0 =
    it could now.  empty_seconds: until nothing of what is counted now counts any more."""

    amount: int
    mark: float
    counted: int
    wait_seconds: float
    empty_seconds: float


class Permits(msgspec.Struct, tag=31, array_like=True, frozen=True):
    """The answer to AskPermits `number`: one Permit a need, in the order asked."""

    number: int
    permits: tuple[Permit, ...]


class PermitsBack(msgspec.Struct, tag=32, array_like=True, frozen=True):
    """What is no longer counted; number: the RecallPermits that it answers, 0 = none."""

    number: int
    entries: tuple[Uncounted, ...]


class RecallPermits(msgspec.Struct, tag=33, array_like=True, frozen=True):
    """Somebody else needs permits of these rates: hand back those that are unused."""

    number: int
    rates: tuple[str, ...]


class KeyReports(msgspec.Struct, tag=40, array_like=True, frozen=True):
    """What calls have shown of upstream keys, in the order it was seen."""

    reports: tuple[Report, ...]


class KeyStates(msgspec.Struct, tag=41, array_like=True, frozen=True):
    """How lanes of upstream keys stand now, as all workers are to see them: after Welcome all
    of which anything is known (`everything`), in place of all the worker knew; then what
    changes."""

    lanes: tuple[Lane, ...]
    everything: bool = False


class AskSlots(msgspec.Struct, tag=42, array_like=True, frozen=True):
    """May this worker have more calls in flight under a cap? cap_name: "key:7" or "vendor:2".

    limit: by the worker's snapshot.  held: what it has already.  want: how many more, at least 1.
    """

    number: int
    cap_name: str
    limit: int
    held: int
    want: int


class Slots(msgspec.Struct, tag=43, array_like=True, frozen=True):
    """The answer to AskSlots `number`: so many more, 0 = none is free."""

    number: int
    cap_name: str
    amount: int


class RecallSlots(msgspec.Struct, tag=44, array_like=True, frozen=True):
    """Somebody else needs room under this cap: hand back what no call is using."""

    cap_name: str


class SlotsBack(msgspec.Struct, tag=45, array_like=True, frozen=True):
    """What a worker no longer holds of a cap: it keeps `held`. After Welcome one of every cap of
    which it holds something, and then one of no cap (""): that was all."""

    cap_name: str
    held: int


class Verdict(IntEnum):
    """What is known of a client's idempotency key."""

    NEW = 0  # the call may be made; the key is this call's from now on
    RUNNING = 1  # a call of the same key and body is under way
    ENDED = 2  # one has ended, and was answered or charged for
    OTHER = 3  # the key belongs to another body
    UNKNOWN = 4  # it cannot be looked up now


class Claim(msgspec.Struct, tag=46, array_like=True, frozen=True):
    """May a call be made under a client's idempotency key? key, body: SHA-256 of what was sent.
    rid: of the call that asks."""

    number: int
    token_id: int
    key: bytes
    body: bytes
    rid: str


class Claimed(msgspec.Struct, tag=47, array_like=True, frozen=True):
    """The answer to Claim `number`. rid: of the call that has the key.  charge_nano: of one that
    has ended."""

    number: int
    verdict: Verdict
    rid: str
    charge_nano: int


class Unclaim(msgspec.Struct, tag=48, array_like=True, frozen=True):
    """The call came to nothing: its key may be used again."""

    token_id: int
    key: bytes
    rid: str


FromWorker = (
    Hello
    | Acquire
    | Collect
    | GivenBack
    | AskPermits
    | PermitsBack
    | KeyReports
    | AskSlots
    | SlotsBack
    | Claim
    | Unclaim
    | Ship
    | FetchToken
    | Applied
    | Counters
    | Pong
    | Changed
)
FromLedger = (
    Welcome
    | Fenced
    | Granted
    | Recall
    | Collected
    | Today
    | Permits
    | RecallPermits
    | KeyStates
    | Slots
    | RecallSlots
    | Claimed
    | Recorded
    | TokenAnswer
    | Publish
    | Ping
    | Acknowledged
)

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
