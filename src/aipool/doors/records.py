"""The journal of a worker: records, their bytes, and how they are read back.

An epoch is one life of one worker. It owns a directory `<epoch as 16 hex digits>`:

    lock                      created and flocked before the epoch is registered
    <position, 16 hex>.seg    segments of about 32 MB; the name is the epoch-wide
                              position of the segment's first byte

A record is a head (length of the payload, CRC) and a payload (msgpack). The CRC-32C is
seeded with the low 32 bits of the record's position, so bytes that are right but in the
wrong place are wrong.

    H  Hold      money is held and the vendor may be called from now on
    P  Progress  a stream has relayed this much
    S  Outcome   the call ended (doors.outcome); the hold ends with it
    R  Returned  unused lease goes back
    F  Synced    everything before this position is on the disk
    L  Lost      but not what is between these: it could not be written, or not synced

H and P repeat when a new segment begins (for the calls then open), so that a segment can
be deleted as soon as everything in it that moves money is recorded; the last one of a
rid counts. Only S and R are shipped. A position in S or R terms ("high-water mark") is
the position of the END of the record in the journal.

Reading back: a record that is short or fails its CRC at or before a position covered by
any later F is corruption, unless an L says that it was lost; past the last F everything
from it on is a torn tail. The L of a fault stands at the head of the segment after it and,
until that is recorded, of every later one.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

import google_crc32c
import msgspec

from aipool.doors.outcome import Outcome
from aipool.rating.types import Price

_HEAD = struct.Struct("<II")
HEAD_BYTES = _HEAD.size

SEGMENT_BYTES = 32 * 1024 * 1024
#: A record is a few hundred bytes; anything longer than this is not a record.
PAYLOAD_BYTES_MAX = 1024 * 1024

LOCK_NAME = "lock"
SEGMENT_SUFFIX = ".seg"


class Hold(msgspec.Struct, tag="H", array_like=True, frozen=True, gc=False):
    """Money held for a call: all that recovery needs to settle it alone."""

    rid: str
    at_ms: int
    user_id: int
    token_id: int
    group_id: int
    model: str
    endpoint: str
    stream: bool
    hold_nano: int
    budgets: tuple[tuple[str, int], ...]
    price: Price
    multiplier_ppm: int
    ip: str
    origin: str = ""


class Progress(msgspec.Struct, tag="P", array_like=True, frozen=True, gc=False):
    """Tokens of a stream relayed so far, counted by the gateway, input included."""

    rid: str
    input_tokens: int
    output_tokens: int
    vendor_id: int
    key_id: int


class Returned(msgspec.Struct, tag="R", array_like=True, frozen=True, gc=False):
    """Lease given back unused."""

    budget: str
    window: int
    amount: int


class Synced(msgspec.Struct, tag="F", array_like=True, frozen=True, gc=False):
    """Everything before `position` survived a successful fsync."""

    position: int


class Lost(msgspec.Struct, tag="L", array_like=True, frozen=True, gc=False):
    """What stood, or was to stand, from `start` up to `end`: no F speaks of it."""

    start: int
    end: int


Record = Hold | Progress | Outcome | Returned | Synced | Lost
#: What is shipped: the records that change the books.
Entry = Outcome | Returned

_encoder = msgspec.msgpack.Encoder()
_decoder: msgspec.msgpack.Decoder[Record] = msgspec.msgpack.Decoder(Record)
_entry_decoder: msgspec.msgpack.Decoder[Entry] = msgspec.msgpack.Decoder(Entry)

_pack_head = _HEAD.pack
_crc = google_crc32c.extend
encode = _encoder.encode
decode_entry = _entry_decoder.decode


def frame(payload: bytes, position: int) -> bytes:
    """The bytes of one record that begins at `position` of its epoch."""
    return _pack_head(len(payload), _crc(position & 0xFFFFFFFF, payload)) + payload


class BadRecord(Exception):
    """Bytes that are not a record; `position` is where it should have begun."""

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"{reason} at position {position}")
        self.position = position


def read(data: bytes, position: int) -> Iterator[tuple[int, Record]]:
    """The records in `data`, each with the position of its END.

    position: the epoch-wide position of data[0]. Raises BadRecord at the first record
    that is short, fails its CRC or does not decode; whether that is a torn tail or
    corruption is the caller's to decide (see the module's text).
    """
    offset = 0
    while offset < len(data):
        begin = position + offset
        body = offset + HEAD_BYTES
        if body > len(data):
            raise BadRecord(begin, "a record's head is cut off")
        length, crc = _HEAD.unpack_from(data, offset)
        if length > PAYLOAD_BYTES_MAX:
            raise BadRecord(begin, "a record is longer than any record")
        payload = data[body : body + length]
        if len(payload) < length:
            raise BadRecord(begin, "a record is cut off")
        if google_crc32c.extend(begin & 0xFFFFFFFF, payload) != crc:
            raise BadRecord(begin, "a record fails its CRC")
        try:
            record = _decoder.decode(payload)
        except msgspec.MsgspecError as error:
            raise BadRecord(begin, f"a record does not decode ({error})") from error
        offset = body + length
        yield position + offset, record
