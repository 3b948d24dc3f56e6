"""Every way a journal can end."""

from __future__ import annotations

from pathlib import Path

import pytest

from aipool.books import journal
from aipool.books.journal import Corrupt
from aipool.doors import records
from aipool.doors.records import Record, Returned, Synced


def write(directory: Path, *items: Record, begin: int = 0) -> int:
    """A segment that begins at a position; the position of its end."""
    data = b""
    for item in items:
        data += records.frame(records.encode(item), begin + len(data))
    (directory / f"{begin:016x}.seg").write_bytes(data)
    return begin + len(data)


def back(number: int) -> Returned:
    return Returned("wallet:1", 0, number)


def amounts(directory: Path, high_water: int = 0) -> list[int]:
    return [
        record.amount_nano
        for _, record in journal.read(directory, high_water)
        if isinstance(record, Returned)
    ]


def test_segments_are_read_in_order_from_the_one_of_the_mark(tmp_path: Path) -> None:
    first = write(tmp_path, back(1), back(2))
    second = write(tmp_path, back(3), begin=first)
    write(tmp_path, back(4), begin=second)

    assert amounts(tmp_path) == [1, 2, 3, 4]
    assert amounts(tmp_path, first - 1) == [1, 2, 3, 4]
    assert amounts(tmp_path, first) == [3, 4]
    assert amounts(tmp_path, second + 999) == [4]


def test_an_empty_journal_has_no_records(tmp_path: Path) -> None:
    assert amounts(tmp_path) == []
    write(tmp_path)
    assert amounts(tmp_path) == []


def test_a_journal_cut_at_any_byte_gives_the_whole_records_before(tmp_path: Path) -> None:
    ends = [write(tmp_path, *(back(n) for n in range(count))) for count in range(5)]
    segment = tmp_path / f"{0:016x}.seg"
    data = segment.read_bytes()

    for cut in range(len(data) + 1):
        segment.write_bytes(data[:cut])
        whole = sum(end <= cut for end in ends[1:])
        assert amounts(tmp_path) == list(range(whole))


def test_a_flipped_byte_is_corruption_only_under_what_had_reached_the_disk(
    tmp_path: Path,
) -> None:
    covered = write(tmp_path, back(1), back(2))
    data_end = write(tmp_path, back(1), back(2), Synced(covered), back(3))
    segment = tmp_path / f"{0:016x}.seg"
    data = segment.read_bytes()
    synced_begin = covered

    for position in range(data_end):
        damaged = bytearray(data)
        damaged[position] ^= 0x40
        segment.write_bytes(damaged)
        if position < covered:
            with pytest.raises(Corrupt):
                amounts(tmp_path)
        else:
            assert amounts(tmp_path) == [1, 2] + [3] * (position < synced_begin)


def test_damage_after_what_had_reached_the_disk_is_a_torn_tail(tmp_path: Path) -> None:
    synced = write(tmp_path, back(1))
    damaged = write(tmp_path, back(1), back(2)) - 1
    write(tmp_path, back(1), back(2), Synced(synced))
    segment = tmp_path / f"{0:016x}.seg"
    data = bytearray(segment.read_bytes())
    data[damaged] ^= 1
    segment.write_bytes(data)

    assert amounts(tmp_path) == [1]


def test_what_a_later_segment_says_of_the_disk_counts(tmp_path: Path) -> None:
    end = write(tmp_path, back(1), back(2))
    write(tmp_path, back(3), Synced(end), begin=end)
    segment = tmp_path / f"{0:016x}.seg"
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data)

    with pytest.raises(Corrupt):
        amounts(tmp_path)


def test_records_after_a_torn_one_are_not_believed(tmp_path: Path) -> None:
    """Pages may reach the disk out of order; without an F nothing says these are whole."""
    end = write(tmp_path, back(1), back(2))
    write(tmp_path, back(3), begin=end)
    segment = tmp_path / f"{0:016x}.seg"
    segment.write_bytes(segment.read_bytes()[:-2])

    assert amounts(tmp_path) == [1]


def test_an_f_in_the_wrong_place_is_not_believed(tmp_path: Path) -> None:
    end = write(tmp_path, back(1))
    strayed = records.frame(records.encode(Synced(end)), 12345)
    segment = tmp_path / f"{0:016x}.seg"
    data = bytearray(segment.read_bytes())
    data[-1] ^= 1
    segment.write_bytes(data + strayed)

    assert amounts(tmp_path) == []
