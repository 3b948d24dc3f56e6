"""Every way a journal can end."""

from __future__ import annotations

from pathlib import Path

import pytest

from aipool.books import journal
from aipool.books.journal import Corrupt
from aipool.doors import records
from aipool.doors.records import Lost, Record, Returned, Synced


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
        record.amount
        for _, record in journal.read(directory, high_water)
        if isinstance(record, Returned)
    ]


def test_segments_are_read_in_order_from_the_one_of_the_mark(tmp_path: Path) -> None:
    first = write(tmp_path, back(1), back(2))
    second = write(tmp_path, back(3), begin=first)
    third = write(tmp_path, back(4), begin=second)
    write(tmp_path, back(4), Synced(third), begin=second)

    assert amounts(tmp_path) == [1, 2, 3, 4]
    assert amounts(tmp_path, first - 1) == [1, 2, 3, 4]
    assert amounts(tmp_path, first) == [3, 4]
    assert amounts(tmp_path, second + 999) == [4]


def test_an_older_segment_is_read_while_the_head_of_the_next_is_not_safe(tmp_path: Path) -> None:
    """The books are ahead: the calls open at that head may be found before it only."""
    first = write(tmp_path, back(1))
    second = write(tmp_path, back(2), Synced(first), begin=first)
    third = write(tmp_path, back(3), begin=second)
    write(tmp_path, back(3), Synced(third), Lost(second, third), begin=second)

    assert amounts(tmp_path, second) == [2, 3], "the last segment was lost"
    (tmp_path / f"{second:016x}.seg").unlink()
    assert amounts(tmp_path, second) == [1, 2], "nothing says that the second is safe"


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


def test_a_segment_that_is_missing_is_corruption_under_what_had_reached_the_disk(
    tmp_path: Path,
) -> None:
    first = write(tmp_path, back(1))
    second = write(tmp_path, back(2), begin=first)
    write(tmp_path, back(3), Synced(second), begin=second)
    (tmp_path / f"{first:016x}.seg").unlink()

    with pytest.raises(Corrupt):
        amounts(tmp_path)
    assert amounts(tmp_path, second) == [1, 3], "all of it was recorded"


def test_a_segment_that_is_missing_and_never_was_safe_is_passed_over(tmp_path: Path) -> None:
    first = write(tmp_path, back(1))
    second = write(tmp_path, back(2), begin=first)
    write(tmp_path, back(3), Synced(first), begin=second)
    (tmp_path / f"{first:016x}.seg").unlink()

    assert amounts(tmp_path) == [1, 3]


def test_the_first_segment_may_not_be_missing_either(tmp_path: Path) -> None:
    first = write(tmp_path, back(1))
    write(tmp_path, back(2), Synced(first), begin=first)
    (tmp_path / f"{0:016x}.seg").unlink()

    with pytest.raises(Corrupt):
        amounts(tmp_path)


def test_what_the_writer_knew_to_be_lost_is_no_corruption(tmp_path: Path) -> None:
    """An fsync failed after the first record, and later ones succeeded in a new file."""
    safe = write(tmp_path, back(1))
    end = write(tmp_path, back(1), back(2), back(3))
    data = (tmp_path / f"{0:016x}.seg").read_bytes()
    later = write(tmp_path, back(4), Lost(safe, end), Synced(end), begin=end)
    write(tmp_path, Synced(later), begin=later)

    for cut in range(len(data) + 1):
        (tmp_path / f"{0:016x}.seg").write_bytes(data[:cut])
        if cut < safe:
            with pytest.raises(Corrupt):
                amounts(tmp_path)
        else:
            whole = [n for n in (1, 2, 3) if cut >= n * safe]
            assert amounts(tmp_path) == [*whole, 4]
