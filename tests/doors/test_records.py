"""A journal's records: read back as written, in their place, or not at all."""

from __future__ import annotations

import struct

import google_crc32c
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aipool.doors import records
from aipool.doors.outcome import Attempt, Outcome
from aipool.doors.records import (
    HEAD_BYTES,
    PAYLOAD_BYTES_MAX,
    BadRecord,
    Hold,
    Progress,
    Record,
    Returned,
    Synced,
)
from aipool.rating.types import Price

HOLD = Hold(
    "req_1", 1, 2, 3, 4, "m", "chat.completions", True, 5, (("wallet:2", 0),),
    Price(1, 2, 3, 4), 1_000_000, "10.0.0.1",
)  # fmt: skip
OUTCOME = Outcome(
    "req_1", 1, 20, -1, 2, 3, 4, "m", "chat.completions", True, 200, "", 10, 5, 7, 0, 1, 1,
    1_000_000, 99, 100, (("wallet:2", 0), ("token:3", 0)), 50, 1, 2, "up", "x-1",
    (Attempt(1, 2, 200, "", 19),), "10.0.0.1", "curl", False,
)  # fmt: skip
ALL: list[Record] = [
    HOLD,
    Progress("req_1", 10, 64, 1, 2),
    OUTCOME,
    Returned("wallet:2", 0, 2**62),
    Synced(2**40),
]


def written(position: int, many: list[Record] = ALL) -> tuple[bytes, list[int]]:
    """The bytes of these records from a position on, and where each ends."""
    data, ends = b"", []
    for record in many:
        data += records.frame(records.encode(record), position + len(data))
        ends.append(position + len(data))
    return data, ends


@given(st.integers(0, 2**50))
def test_records_are_read_back_as_written_with_the_positions_of_their_ends(position: int) -> None:
    data, ends = written(position)

    assert list(records.read(data, position)) == list(zip(ends, ALL, strict=True))


def test_nothing_is_no_record() -> None:
    assert list(records.read(b"", 7)) == []


def test_the_crc_is_crc_32c_of_the_payload_seeded_by_the_position() -> None:
    data = records.frame(b"123456789", 0)

    assert struct.unpack_from("<II", data) == (9, 0xE3069283), "the check value of CRC-32C"
    seeded = google_crc32c.extend(5, b"123456789")
    assert struct.unpack_from("<II", records.frame(b"123456789", 5)) == (9, seeded)
    assert records.frame(b"x", 2**32 + 5) == records.frame(b"x", 5), "seeded by the low 32 bits"


@given(st.integers(0, 2**40), st.integers(-(2**20), 2**20).filter(bool))
def test_a_record_in_the_wrong_place_is_none(position: int, shift: int) -> None:
    data, _ = written(position + 2**20)

    with pytest.raises(BadRecord) as bad:
        list(records.read(data, position + 2**20 + shift))

    assert bad.value.position == position + 2**20 + shift


@given(st.data())
def test_a_torn_tail_ends_the_reading_at_the_last_whole_record(data: st.DataObject) -> None:
    raw, ends = written(100)
    cut = data.draw(st.integers(0, len(raw) - 1).filter(lambda at: at + 100 not in ends and at))
    whole = [end for end in ends if end - 100 <= cut]
    got: list[int] = []

    with pytest.raises(BadRecord) as bad:
        for end, _ in records.read(raw[:cut], 100):
            got.append(end)

    assert got == whole
    assert bad.value.position == (whole[-1] if whole else 100)


@given(st.data())
def test_a_bit_that_flipped_is_found(data: st.DataObject) -> None:
    raw, ends = written(0)
    bit = data.draw(st.integers(0, len(raw) * 8 - 1))
    damaged = bytearray(raw)
    damaged[bit // 8] ^= 1 << bit % 8
    got: list[int] = []

    with pytest.raises(BadRecord) as bad:
        for end, _ in records.read(bytes(damaged), 0):
            got.append(end)

    assert got == [end for end in ends if end <= bit // 8]
    assert bad.value.position == (got[-1] if got else 0)


@pytest.mark.parametrize(
    "payload",
    [
        b"",
        b"\xc0",
        b"\x92\xa1Z\x01",
        msgspec.msgpack.encode(["F"]),
        msgspec.msgpack.encode({"F": 1}),
    ],
)
def test_a_payload_that_is_no_record_is_refused(payload: bytes) -> None:
    with pytest.raises(BadRecord):
        list(records.read(records.frame(payload, 0), 0))


def test_a_length_beyond_any_record_is_not_waited_for() -> None:
    head = struct.pack("<II", PAYLOAD_BYTES_MAX + 1, 0)

    with pytest.raises(BadRecord, match="longer than any"):
        list(records.read(head, 0))
    assert len(head) == HEAD_BYTES


def test_only_what_changes_the_books_is_an_entry() -> None:
    for record in ALL:
        payload = records.encode(record)
        if isinstance(record, Outcome | Returned):
            assert records.decode_entry(payload) == record
        else:
            with pytest.raises(msgspec.MsgspecError):
                records.decode_entry(payload)
